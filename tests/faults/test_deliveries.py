"""C2: centrals are killed while they deliver; a laboratory system outside them says what arrived."""

import asyncio
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import IO, Any

import asyncssh
import httpx
import msgspec
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from central.audit.chain import COMMAND
from central.db import make_engine, migrate
from central.deliveries.dialect import shipped
from central.deliveries.editing import NewRule, add_rule
from central.deliveries.places import Kind
from central.parts import desk_of
from central.people.keys import create_key
from central.seal import Seal
from central.settings import Settings
from protocol.assay import Call
from tests.central.postgres import postgres_server
from tests.central.review.reviews import accept, override, people, read_plate, say, sign
from tests.central.wire import enrol
from tests.faults import lims
from tests.faults.centrals import Counts
from tests.faults.database import free_port
from tests.faults.received import WEBHOOK, Effect, Notes, Reader, Verdict, effect_of, judge
from tests.faults.record import Result, is_full_run, record, times
from tests.make import HI, NOON, make_code, make_wells

pytestmark = pytest.mark.system

PLACES = (*lims.FOLDERS, WEBHOOK)
# So many approvals may be on their way: a central that is started always finds some, and the system keeps up.
UNDER_WAY = 16
# Every so many-th approval is of what was approved before, and has been corrected.
CORRECTED = 4
LONGEST_END_S = 120.0


class Laboratory:
    """Reviewers, a laboratory system, and the ports of centrals that are yet to be started."""

    def __init__(self, folder: Path, url: str, replicas: int) -> None:
        self.folder, self.notes = folder, Reader(folder / "notes")
        self.settings = Settings(
            data_dir=folder / "data", database_url=url, delivery_folders=str(folder), delivery_networks="127.0.0.0/8"
        )
        self.ports = [free_port() for _ in range(replicas)]
        self.webhook, self.sftp, self.key = free_port(), free_port(), ""
        for name in ("data", *lims.FOLDERS):
            (folder / name).mkdir()

    @property
    def centrals(self) -> list[str]:
        """Where centrals will be."""
        return [f"http://127.0.0.1:{port}" for port in self.ports]

    async def prepare(self, engine: AsyncEngine) -> str:
        """A reader, rules to every place, the system's key; who approves."""
        host_key = asyncssh.generate_private_key("ssh-ed25519")
        host_key.write_private_key(self.folder / lims.HOST_KEY)
        places: list[tuple[Kind, dict[str, Any], str | None]] = [
            ("folder", {"path": str(self.folder / "folder")}, None),
            (
                "sftp",
                {
                    "host": "127.0.0.1",
                    "port": self.sftp,
                    "username": lims.USER,
                    "folder": "/sftp",
                    "host_key": host_key.export_public_key().decode(),
                },
                lims.PASSWORD,
            ),
            ("webhook", {"url": f"http://127.0.0.1:{self.webhook}/"}, lims.SECRET),
        ]
        desk = desk_of(self.settings, engine, Seal.load(self.settings.data_dir), self.centrals[0], lambda: NOON)
        before = NOON - timedelta(hours=1)
        for kind, target, secret in places:
            # Another name at each place: by its name the system knows which delivery it acknowledges.
            dialect = msgspec.structs.replace(shipped()["titres"], file_name=f"{kind}_{{submission}}_{{at}}.csv")
            wanted = NewRule(kind, "approved", "test", dialect, kind, target, secret)
            await add_rule(desk, "main", wanted, actor=COMMAND, now=before)
        _, self.key = await create_key(
            engine, title="LIMS", site_id="main", scopes=["results:read", "deliveries:read", "deliveries:write"],
            expires_at=NOON + timedelta(days=3650), actor=COMMAND, now=NOON,
        )  # fmt: skip
        await enrol(engine)
        return (await people(engine))["rita"]


class Reviewer:
    """Approves plates as fast as they leave, and corrects some of them; writes down what they are to say."""

    def __init__(self, laboratory: Laboratory, engine: AsyncEngine, user_id: str, chance: random.Random) -> None:
        self._laboratory, self._engine, self._user_id, self._chance = laboratory, engine, user_id, chance
        self._notes = Notes(laboratory.notes.path)
        self._plates: list[tuple[str, str, int, dict[str, int]]] = []
        self._waiting: set[Effect] = set()
        self._read = 0
        self.approved = 0

    async def keep_busy(self) -> None:
        """Approve what is needed so that there is always something under way."""
        found = self._laboratory.notes.read_on()
        for event in found[self._read :]:
            self._waiting.discard(effect_of(event))
        self._read = len(found)
        if len(self._waiting) < UNDER_WAY * len(PLACES):
            await self.approve()

    async def approve(self) -> None:
        """One more approval: of a new plate, or of one that was corrected."""
        self.approved += 1
        if self.approved % CORRECTED == 0:
            await self._correct()
            return
        rows = [series.row for series in HI.series]
        titres = {row: self._chance.randint(2, 10) for row in rows}
        name = f"S-{self.approved:05d}"
        run_id = await read_plate(
            self._engine, self.approved, enrolled=True, code=make_code(submission=name), wells=make_wells(titres)
        )
        await say(self._engine, self._user_id, accept(), run_id=run_id)
        await self._sign(run_id, name, 1, titres)

    async def _correct(self) -> None:
        """The last flowing well of row A was none, after all."""
        run_id, name, revision, titres = self._chance.choice([each for each in self._plates if each[3]["A"] > 1])
        await say(self._engine, self._user_id, override(f"A{titres['A']}", Call.BUTTON), accept(), run_id=run_id)
        await self._sign(run_id, name, revision + 1, titres | {"A": titres["A"] - 1})

    async def _sign(self, run_id: str, name: str, revision: int, titres: dict[str, int]) -> None:
        await sign(self._engine, self._user_id, run_id)
        self._notes.say("approved", id=run_id, submission=name, revision=revision, titres=titres)
        self._plates = [each for each in self._plates if each[0] != run_id]
        self._waiting -= {(place, name, revision - 1) for place in PLACES}
        self._waiting |= {(place, name, revision) for place in PLACES}
        self._plates.append((run_id, name, revision, titres))


@contextmanager
def started(log: IO[bytes], module: str, *arguments: object) -> Iterator[subprocess.Popen[bytes]]:
    """`python -m MODULE …`, killed at the end with all that it started."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


async def deliver_and_kill(laboratory: Laboratory, kills: int, seed: int) -> tuple[Counts, Verdict, list[str]]:
    """What was done, what the system says, and the deliveries that central itself does not call settled."""
    await migrate(laboratory.settings)
    engine = make_engine(laboratory.settings.database)
    try:
        reviewer = Reviewer(laboratory, engine, await laboratory.prepare(engine), random.Random(seed))
        ports = [word for port in laboratory.ports for word in ("--port", port)]
        centrals = [word for url in laboratory.centrals for word in ("--central", url)]
        with (laboratory.folder / "log").open("ab") as log, started(
            log, "tests.faults.lims", laboratory.folder, laboratory.notes.path, "--key", laboratory.key, *centrals,
            "--webhook", laboratory.webhook, "--sftp", laboratory.sftp,
        ) as system, started(
            log, "tests.faults.centrals", laboratory.settings.database, laboratory.settings.data_dir, *ports,
            "--kills", kills, "--seed", seed,
        ) as replicas:  # fmt: skip
            line = asyncio.create_task(asyncio.to_thread(replicas.stdout.readline))
            while not line.done():
                await reviewer.keep_busy()
                await asyncio.sleep(0.02)
            said = await line
            assert said, (laboratory.folder / "log").read_text()[-3000:]
            open_ = await _settled(laboratory, system, replicas)
            return msgspec.json.decode(said, type=Counts), judge(laboratory.notes.read_on(), PLACES), open_
    finally:
        await engine.dispose()


async def _settled(laboratory: Laboratory, *running: subprocess.Popen[bytes]) -> list[str]:
    """Wait until central has nothing more to do and the system has read everything; what is open still."""
    until_s = time.monotonic() + LONGEST_END_S
    async with httpx.AsyncClient(
        base_url=laboratory.centrals[0], headers={"authorization": f"Bearer {laboratory.key}"}, timeout=30
    ) as client:
        while True:
            assert all(process.poll() is None for process in running), (laboratory.folder / "log").read_text()[-3000:]
            open_ = await _open(client)
            if (not open_ and judge(laboratory.notes.read_on(), PLACES).clean) or time.monotonic() > until_s:
                return open_
            await asyncio.sleep(0.5)


async def _open(client: httpx.AsyncClient) -> list[str]:
    found = []
    for state in ("pending", "generated", "placing", "placed"):
        try:
            answer = await client.get("/api/v1/deliveries", params={"state": state, "limit": 20})
        except httpx.TransportError as error:
            return [f"central does not answer: {error!r}"]
        found += [f"{each['name']} {state}: {each['last_error']}" for each in answer.raise_for_status().json()["items"]]
    return found


def check(laboratory: Laboratory, part: str, title: str, kills: int, seed: int) -> None:
    """Kill, judge, record."""
    started_s = time.monotonic()
    counts, verdict, open_ = asyncio.run(deliver_and_kill(laboratory, kills, seed))
    record(
        Result(
            id="C2", part=part, title=title, seeds=str(seed), faults={"SIGKILL": counts.killed},
            counts={"approvals": verdict.approved, "effects at the laboratory system": verdict.arrived},
            acked=verdict.approved, lost=len(verdict.lost), doubled=len(verdict.doubled) + len(verdict.feed),
            altered=len(verdict.altered) + len(verdict.strange) + len(verdict.partial),
            seconds=time.monotonic() - started_s, full=is_full_run(),
            notes="at " + ", ".join(f"{step} {times}" for step, times in counts.by_step.items()),
        )
    )  # fmt: skip
    log = (laboratory.folder / "log").read_text()[-3000:]
    assert verdict.clean, (verdict, log)
    assert not open_, log
    assert counts.killed >= kills
    assert verdict.approved >= min(kills, UNDER_WAY)


@pytest.mark.proof("C2")
def test_what_was_approved_arrives_once_however_often_central_dies_on_sqlite(memory_folder: Path) -> None:
    laboratory = Laboratory(memory_folder, f"sqlite+aiosqlite:///{memory_folder / 'central.db'}", replicas=1)
    check(laboratory, "sqlite", "Central killed while it delivers, on SQLite", times(10, 5_000), seed=21)


@pytest.mark.proof("C2")
def test_what_was_approved_arrives_once_however_often_one_of_two_centrals_dies_on_postgresql(
    memory_folder: Path,
) -> None:
    with postgres_server() as server:
        laboratory = Laboratory(memory_folder, server.new_database(migrated=False), replicas=2)
        title = "One of two centrals killed while they deliver, on PostgreSQL"
        check(laboratory, "postgresql", title, times(10, 5_000), seed=22)
