"""The real database of central beside its model: each batch, account and status in both; a difference is an error."""

import asyncio
import shutil
from collections import Counter
from collections.abc import Collection, Coroutine, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from central.db import make_engine, reading, transaction
from central.intake.accounts import _online, answers_to
from central.intake.decide import Answers
from central.intake.gaps import device_accounts
from central.intake.ingest import ingest, record_states
from central.intake.plan import Delivery
from central.people.sites import MAIN_SITE
from central.tables import dead_letters, devices, images, runs
from protocol.codec import decompress
from protocol.messages import Ack, DeviceStatus, Ledger
from tests.central.tables import make_tables
from tests.simulation.table import Run, Table

_SOME_TIME: Final = datetime(2026, 11, 1, tzinfo=UTC)
_Result = TypeVar("_Result")


class TwinError(AssertionError):
    """The real thing did something else than its model."""


def same(what: str, model: _Result, real: _Result) -> _Result:
    """Both, if they agree."""
    if model != real:
        raise TwinError(f"{what}: the model says {model!r}, the real one {real!r}")
    return model


class TwinTable:
    """The real database beside its model."""

    def __init__(self, root: Path, runner: asyncio.Runner) -> None:
        """A new database in this folder."""
        self._root, self._runner, self._copies = root, runner, 0
        self._file = root / "central.db"
        self.model = Table()
        self._engine = self._open()
        self._run(make_tables(self._engine))

    def close(self) -> None:
        """Close the database."""
        self._run(self._engine.dispose())

    def commit(self, deliveries: Sequence[Delivery], now: datetime) -> tuple[Answers, Sequence[Run]]:
        """Commit a batch in both."""
        acks, new = self.model.commit(deliveries, now)
        outcome = self._run(ingest(self._engine, deliveries, now=now))
        same("answers", acks, outcome.acks)
        same("new runs", sorted((run.id, run.place) for run in new), sorted((run.id, run.place) for run in outcome.new))
        return acks, new

    def record_states(self, deliveries: Sequence[Delivery], now: datetime) -> None:
        """Keep what devices said of themselves."""
        self.model.record_states(deliveries, now)
        self._run(record_states(self._engine, deliveries, now=now))

    def compare(self, told: Ledger) -> Sequence[Ack]:
        """The answers to an account."""
        model, real = self.model.compare(told), self._run(_all(answers_to(self._engine, told)))
        same("held", [ack.held for ack in model], [ack.held for ack in real])
        same("wanted", [set(ack.wanted) for ack in model], [set(ack.wanted) for ack in real])
        return model

    def runs(self) -> Sequence[Run]:
        """Every run, as the real database has it."""
        rows = self._run(_rows(self._engine, select(runs)))
        real = [
            Run(row.id, (row.device_id, row.epoch, row.seq), row.digest, decompress(row.document),
                row.captured_at.date().isoformat(), row.image_sha256)
            for row in rows
        ]  # fmt: skip
        same("runs", sorted(self.model.runs(), key=_place), sorted(real, key=_place))
        return real

    def letters(self) -> Counter[str]:
        """How often each reading was refused."""
        counts: Counter[str] = Counter()
        for row in self._run(_rows(self._engine, select(dead_letters).where(dead_letters.c.code != "wrong_channel"))):
            counts[row.reading_id or ""] += row.times
        return counts

    def status(self, device_id: str) -> DeviceStatus | None:
        """What is known of a device."""
        query = select(devices.c.status).where(devices.c.id == device_id)
        (row,) = self._run(_rows(self._engine, query))
        real = None if row.status is None else msgspec.convert(row.status, DeviceStatus)
        return same("status", self.model.status(device_id), real)

    def lowest_holes(self) -> dict[str, tuple[str, int]]:
        """The lowest missing places."""
        return same("holes", self.model.lowest_holes(), self._run(_lowest(self._engine)))

    def enrol(self, device_id: str, *, revoked: bool) -> None:
        """Let a device deliver, or shut it out."""
        self.model.enrol(device_id, revoked=revoked)
        self._run(_enrol(self._engine, device_id, revoked=revoked))

    def keep_picture(self, picture: str) -> None:
        """A picture was uploaded."""
        self.model.keep_picture(picture)
        self._run(_keep_picture(self._engine, picture))

    def pictures(self) -> Collection[str]:
        """The pictures that are here."""
        rows = self._run(_rows(self._engine, select(images.c.sha256)))
        same("pictures", set(self.model.pictures()), {row.sha256 for row in rows})
        return self.model.pictures()

    def backup(self) -> object:
        """A copy of both: the file is copied while nothing is being written."""
        self._copies += 1
        copy = self._root / f"backup-{self._copies}"
        self._run(self._engine.dispose())
        shutil.copy(self._file, copy)
        self._engine = self._open()
        return self.model.backup(), copy

    def restore(self, backup: object) -> None:
        """Set both back; who may deliver is put right at once."""
        assert isinstance(backup, tuple)
        self._run(self._engine.dispose())
        for suffix in ("", "-wal", "-shm"):
            self._file.with_name(self._file.name + suffix).unlink(missing_ok=True)
        shutil.copy(backup[1], self._file)
        self._engine = self._open()
        self.model.restore(backup[0])
        for device_id, may in self.model.enrolled.items():
            self._run(_enrol(self._engine, device_id, revoked=not may))

    def _open(self) -> AsyncEngine:
        return make_engine(f"sqlite+aiosqlite:///{self._file}")

    def _run(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        return self._runner.run(work)


def _place(run: Run) -> tuple[str, str, int]:
    return run.place


async def _rows(engine: AsyncEngine, query: Any) -> Sequence[Any]:
    async with reading(engine) as connection:
        return (await connection.execute(query)).all()


async def _all(answers: Any) -> list[Ack]:
    return [ack async for ack in answers]


async def _lowest(engine: AsyncEngine) -> dict[str, tuple[str, int]]:
    async with reading(engine) as connection:
        online = await _online(connection)
        accounts = await device_accounts(connection)
    return {
        device_id: (some[0].epoch, some[0].holes[0][0])
        for device_id, some in accounts.items()
        if device_id in online and some[0].current and some[0].holes
    }


async def _enrol(engine: AsyncEngine, device_id: str, *, revoked: bool) -> None:
    values = {"revoked_at": _SOME_TIME if revoked else None}
    async with transaction(engine) as connection:
        if not await connection.scalar(select(devices.c.id).where(devices.c.id == device_id)):
            row = {"id": device_id, "name": device_id, "enrolled_at": _SOME_TIME, "broker_password_hash": "",
                   "upload_token_sha256": device_id, "site_id": MAIN_SITE} | values  # fmt: skip
            await connection.execute(insert(devices).values(row))
        await connection.execute(update(devices).where(devices.c.id == device_id).values(values))


async def _keep_picture(engine: AsyncEngine, picture: str) -> None:
    async with transaction(engine) as connection:
        await connection.execute(delete(images).where(images.c.sha256 == picture))
        row = {
            "sha256": picture,
            "bytes": 1,
            "media_type": "image/jpeg",
            "device_id": "",
            "stored_at": _SOME_TIME,
        }
        await connection.execute(insert(images).values(row))
