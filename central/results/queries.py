"""The SELECTs that the API and the pages need, one function each; rows leave here as frozen structs.

Open a connection with `db.reading(engine)`; several queries on one connection see one moment (SQLite).
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from sqlalchemy import Row, Select, false, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from central.results.aggregate import Run, mark_current
from central.tables import boots, dead_letters, devices, images, runs, users
from protocol.codec import decode_reading, decompress
from protocol.endpoint import RowEndpoint
from protocol.messages import PlateReading


class RunPage(msgspec.Struct, frozen=True):
    """Some runs, newest first, with `current` set; `next_after` continues the list, None at its end."""

    runs: tuple[Run, ...]
    next_after: int | None


class RunDetail(msgspec.Struct, frozen=True):
    """One run with the reading as the device made it."""

    run: Run
    reading: PlateReading
    digest: str


class SubmissionRow(msgspec.Struct, frozen=True):
    """One submission in the list: its tests, plates and runs."""

    submission: str
    tests: tuple[str, ...]
    plates: int
    runs: int
    last_received_at: datetime


class ImageRow(msgspec.Struct, frozen=True):
    """A stored picture."""

    sha256: str
    bytes: int
    media_type: str
    stored_at: datetime
    device_id: str


class Counts(msgspec.Struct, frozen=True):
    """How much there is."""

    runs: int
    devices: int
    images: int
    dead_letters: int
    users: int


_PLATE: Final = (runs.c.submission, runs.c.test, runs.c.plate_number)


async def list_runs(
    connection: AsyncConnection,
    *,
    after: int | None = None,
    limit: int = 50,
    submission: str | None = None,
    test: str | None = None,
    device: str | None = None,
) -> RunPage:
    """Runs by number, newest first; `after` is the `next_after` of the page before."""
    query = _runs().order_by(runs.c.number.desc()).limit(limit + 1)
    if after is not None:
        query = query.where(runs.c.number < after)
    for column, value in ((runs.c.submission, submission), (runs.c.test, test), (runs.c.device_id, device)):
        if value is not None:
            query = query.where(column == value)
    found = [_run(row) for row in await connection.execute(query)]
    page = found[:limit]
    marked = mark_current(page, await _runs_of_plates(connection, page))
    return RunPage(marked, page[-1].number if len(found) > limit else None)


async def get_run(connection: AsyncConnection, run_id: str) -> RunDetail | None:
    """One run by its reading's id."""
    query = _runs().add_columns(runs.c.document, runs.c.digest).where(runs.c.id == run_id)
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        return None
    run = _run(row)
    (marked,) = mark_current([run], await _runs_of_plates(connection, [run]))
    return RunDetail(marked, decode_reading(decompress(row.document)), row.digest)


async def list_submissions(connection: AsyncConnection, *, limit: int = 200) -> tuple[SubmissionRow, ...]:
    """Submissions, the one with the newest run first."""
    newest = func.max(runs.c.number).label("newest")
    listed = (
        select(runs.c.submission, newest)
        .where(runs.c.submission.is_not(None))
        .group_by(runs.c.submission)
        .order_by(newest.desc())
        .limit(limit)
        .subquery()
    )
    query = (
        select(
            runs.c.submission,
            runs.c.test,
            func.count().label("runs"),
            func.count(runs.c.plate_number.distinct()).label("plates"),
            func.max(runs.c.received_at).label("last_received_at"),
        )
        .join(listed, listed.c.submission == runs.c.submission)
        .group_by(runs.c.submission, runs.c.test, listed.c.newest)
        .order_by(listed.c.newest.desc(), runs.c.test)
    )
    by_submission: dict[str, list[Row[Any]]] = {}
    for row in await connection.execute(query):
        by_submission.setdefault(row.submission, []).append(row)
    return tuple(
        SubmissionRow(
            submission=submission,
            tests=tuple(row.test for row in rows),
            plates=sum(row.plates for row in rows),
            runs=sum(row.runs for row in rows),
            last_received_at=max(row.last_received_at for row in rows),
        )
        for submission, rows in by_submission.items()
    )


async def submission_runs(connection: AsyncConnection, submission: str, test: str | None = None) -> tuple[Run, ...]:
    """Every run of a submission (and test), newest first, with `current` set: what `aggregate.summarise` takes."""
    query = _runs().where(runs.c.submission == submission).order_by(runs.c.number.desc())
    if test is not None:
        query = query.where(runs.c.test == test)
    return mark_current([_run(row) for row in await connection.execute(query)])


async def get_image(connection: AsyncConnection, sha256: str) -> ImageRow | None:
    """The row of a stored picture."""
    row = (await connection.execute(select(images).where(images.c.sha256 == sha256))).one_or_none()
    return None if row is None else ImageRow(**row._mapping)


async def picture_of_device(connection: AsyncConnection, sha256: str, device_id: str) -> int | None:
    """Size in bytes of a picture that a run of this device names; None where none does (nobody asked for it)."""
    query = select(runs.c.document).where(runs.c.image_sha256 == sha256, runs.c.device_id == device_id).limit(1)
    document = await connection.scalar(query)
    return None if document is None else decode_reading(decompress(document)).picture.bytes


async def counts(connection: AsyncConnection) -> Counts:
    """How much there is of everything."""
    tables = {"runs": runs, "devices": devices, "images": images, "dead_letters": dead_letters, "users": users}
    columns = [select(func.count()).select_from(table).scalar_subquery().label(name) for name, table in tables.items()]
    return Counts(**(await connection.execute(select(*columns))).one()._mapping)


def _runs() -> Select[Any]:
    """Every column of a run but its wells and its document, with its device's name and whether its picture is here."""
    stored = [runs.c[name] for name in Run.__struct_fields__ if name in runs.c]
    return (
        select(
            *stored,
            runs.c.monotonic_ns,
            boots.c.began_at,
            devices.c.name.label("device_name"),
            images.c.sha256.label("stored_sha256"),
        )
        .outerjoin(devices, devices.c.id == runs.c.device_id)
        .outerjoin(images, images.c.sha256 == runs.c.image_sha256)
        .outerjoin(boots, (boots.c.device_id == runs.c.device_id) & (boots.c.boot_id == runs.c.boot_id))
    )


def _run(row: Row[Any]) -> Run:
    values = {name: row._mapping[name] for name in Run.__struct_fields__ if name in runs.c}
    return Run(
        **values
        | {
            "endpoints": msgspec.convert(row.endpoints, dict[str, RowEndpoint]),
            "device_name": row.device_name or row.device_id,
            "image_stored": row.stored_sha256 is not None,
            "captured_at_corrected": corrected(row.began_at, row.monotonic_ns),
        }
    )


def corrected(boot_began_at: datetime | None, monotonic_ns: int) -> datetime | None:
    """A capture's time by central's clock: so long after its boot began as the device's monotonic clock says."""
    if boot_began_at is None:
        return None
    try:
        return boot_began_at + timedelta(microseconds=monotonic_ns // 1000)
    except OverflowError:
        return None


async def _runs_of_plates(connection: AsyncConnection, some: Iterable[Run]) -> tuple[Run, ...]:
    """Every run of the plates that these runs are of."""
    plates = {run.plate for run in some if run.plate is not None}
    query = _runs().where(tuple_(*_PLATE).in_(plates) if plates else false())
    return tuple(_run(row) for row in await connection.execute(query))
