"""The SELECTs that the API and the pages need, one function each; rows leave here as frozen structs.

Open a connection with `db.reading(engine)`, or `db.one_moment(engine)` where several answers must agree.
"""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, Row, Select, bindparam, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from central.assays.registry import assays_of
from central.laboratory.states import PlateState
from central.people.sites import EVERY_SITE, Sites
from central.results.aggregate import Run, mark_current
from central.tables import (
    boots,
    dead_letters,
    devices,
    images,
    placements,
    plates,
    run_records,
    runs,
    submissions,
    tests,
    users,
)
from protocol.assay import AssayProfile
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


class ImageRow(msgspec.Struct, frozen=True):
    """A picture that was stored; since `removed_at`, if it has one, it is kept no longer (see `keeping`)."""

    sha256: str
    bytes: int
    media_type: str
    stored_at: datetime
    device_id: str
    removed_at: datetime | None = None


class Counts(msgspec.Struct, frozen=True):
    """How much there is."""

    runs: int
    devices: int
    images: int
    dead_letters: int
    users: int


# While nobody knows which plate a run is of, these are what its code said.
_NAMES: Final = {
    "submission": func.coalesce(submissions.c.name, runs.c.submission),
    "test": func.coalesce(tests.c.name, runs.c.test),
    "plate_number": func.coalesce(plates.c.number, runs.c.plate_number),
}


async def list_runs(
    connection: AsyncConnection,
    *,
    after: int | None = None,
    limit: int = 50,
    submission: str | None = None,
    test: str | None = None,
    device: str | None = None,
    sites: Sites = EVERY_SITE,
) -> RunPage:
    """Runs by number, newest first; `after` is the `next_after` of the page before."""
    query = select_runs(sites).order_by(runs.c.number.desc()).limit(limit + 1)
    if after is not None:
        query = query.where(runs.c.number < after)
    for column, value in ((submissions.c.name, submission), (tests.c.name, test), (runs.c.device_id, device)):
        if value is not None:
            query = query.where(column == value)
    found = await runs_of(connection, query)
    page = found[:limit]
    return RunPage(await marked(connection, page), page[-1].number if len(found) > limit else None)


async def get_run(connection: AsyncConnection, run_id: str, *, sites: Sites = EVERY_SITE) -> RunDetail | None:
    """One run by its reading's id."""
    row = (await connection.execute(_one_run(sites), {"run_id": run_id})).one_or_none()
    if row is None:
        return None
    assays = await assays_of(connection, {(row.profile, row.assay_version)})
    controls = tuple(sorted(row.control_rows.split(","))) if row.control_rows else ()
    run = _run(row, assays[row.profile, row.assay_version], controls)
    shown = msgspec.structs.replace(run, current=bool(row.speaks))
    return RunDetail(shown, decode_reading(decompress(row.document)), row.digest)


@lru_cache(maxsize=1024)
def _one_run(sites: Sites) -> Select[Any]:
    """A run with its document, the rows that hold control sera, and whether it speaks for its plate: one statement.

    Made once for those who may see the same, for making it costs more than asking it.
    """
    its_plate = select(run_records.c.plate_id).where(run_records.c.run_id == bindparam("run_id"))
    controls = select(func.aggregate_strings(placements.c.row, ",")).where(
        placements.c.control_serum_id.is_not(None), placements.c.plate_id.in_(its_plate)
    )
    return (
        select_runs(sites)
        .add_columns(runs.c.document, runs.c.digest)
        .add_columns(controls.scalar_subquery().label("control_rows"))
        .add_columns(runs.c.id.in_(_speaking(run_records.c.plate_id.in_(its_plate))).label("speaks"))
        .where(runs.c.id == bindparam("run_id"))
    )


async def submission_runs(
    connection: AsyncConnection, submission: str, test: str | None = None, *, sites: Sites = EVERY_SITE
) -> tuple[Run, ...]:
    """Every run of a submission (and test), newest first, with `current` set: what `aggregate.summarise` takes."""
    query = select_runs(sites).where(submissions.c.name == submission).order_by(runs.c.number.desc())
    if test is not None:
        query = query.where(tests.c.name == test)
    return mark_current(await runs_of(connection, query))


async def get_image(connection: AsyncConnection, sha256: str) -> ImageRow | None:
    """The row of a stored picture."""
    row = (await connection.execute(select(images).where(images.c.sha256 == sha256))).one_or_none()
    return None if row is None else ImageRow(**row._mapping)


async def picture_of_sites(connection: AsyncConnection, sha256: str, *, sites: Sites) -> ImageRow | None:
    """The row of a stored picture that a run of these sites names."""
    query = (
        select(runs.c.id)
        .join(run_records, run_records.c.run_id == runs.c.id)
        .where(runs.c.image_sha256 == sha256, sites.having(run_records.c.site_id))
    )
    named = await connection.scalar(query.limit(1))
    return None if named is None else await get_image(connection, sha256)


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


def select_runs(sites: Sites = EVERY_SITE) -> Select[Any]:
    """Every column of a run but its wells and its document, with its record, plate, device's name and picture."""
    stored = [runs.c[name] for name in Run.__struct_fields__ if name in runs.c and name not in _NAMES]
    return (
        select(
            *stored,
            *(expression.label(name) for name, expression in _NAMES.items()),
            run_records.c.site_id,
            run_records.c.plate_id,
            run_records.c.revision,
            run_records.c.assay_version,
            run_records.c.revised,
            run_records.c.accepted_at,
            run_records.c.approved_at,
            run_records.c.voided_at,
            plates.c.state.label("plate_state"),
            runs.c.monotonic_ns,
            boots.c.began_at,
            devices.c.name.label("device_name"),
            images.c.sha256.label("stored_sha256"),
            images.c.removed_at.label("image_removed_at"),
        )
        .join(run_records, run_records.c.run_id == runs.c.id)
        .outerjoin(plates, plates.c.id == run_records.c.plate_id)
        .outerjoin(tests, tests.c.id == plates.c.test_id)
        .outerjoin(submissions, submissions.c.id == tests.c.submission_id)
        .outerjoin(devices, devices.c.id == runs.c.device_id)
        .outerjoin(images, images.c.sha256 == runs.c.image_sha256)
        .outerjoin(boots, (boots.c.device_id == runs.c.device_id) & (boots.c.boot_id == runs.c.boot_id))
        .where(sites.having(run_records.c.site_id))
    )


async def runs_of(connection: AsyncConnection, query: Select[Any]) -> list[Run]:
    """The runs that a query over `select_runs` finds, in its order; `current` is not set."""
    return await _as_runs(connection, (await connection.execute(query)).all())


async def _as_runs(connection: AsyncConnection, rows: Sequence[Row[Any]]) -> list[Run]:
    assays = await assays_of(connection, {(row.profile, row.assay_version) for row in rows})
    controls = await control_rows(connection, {row.plate_id for row in rows if row.plate_id is not None})
    return [_run(row, assays[row.profile, row.assay_version], controls.get(row.plate_id, ())) for row in rows]


async def control_rows(connection: AsyncConnection, plate_ids: set[str]) -> dict[str, tuple[str, ...]]:
    """The rows of these plates that hold control sera."""
    query = (
        select(placements.c.plate_id, placements.c.row)
        .where(placements.c.control_serum_id.is_not(None), placements.c.plate_id.in_(plate_ids))
        .order_by(placements.c.plate_id, placements.c.row)
    )
    found: dict[str, tuple[str, ...]] = {}
    for row in await connection.execute(query) if plate_ids else ():
        found[row.plate_id] = (*found.get(row.plate_id, ()), row.row)
    return found


def _run(row: Row[Any], assay: AssayProfile, controls: tuple[str, ...]) -> Run:
    values = {name: row._mapping[name] for name in Run.__struct_fields__ if name in row._mapping}
    revised = row.revised or {}
    endpoints = row.endpoints | revised
    return Run(
        **values
        | {
            "endpoints": {
                name: msgspec.convert(endpoint, RowEndpoint)
                for name, endpoint in endpoints.items()
                if endpoint is not None
            },
            "assay": assay,
            "not_reportable": tuple(each.row for each in assay.series if revised.get(each.row, endpoints) is None),
            "control_rows": controls,
            "voided": row.voided_at is not None or row.plate_state == PlateState.VOID,
            "device_name": row.device_name or row.device_id,
            "image_stored": row.stored_sha256 is not None and row.image_removed_at is None,
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


async def marked(connection: AsyncConnection, some: Sequence[Run]) -> tuple[Run, ...]:
    """The same runs with `current` set, whatever other runs their plates have."""
    current = await speaking(connection, {run.plate_id for run in some if run.plate_id is not None})
    return tuple(msgspec.structs.replace(run, current=run.id in current) for run in some)


async def speakers(connection: AsyncConnection, plate_ids: Collection[str]) -> list[Run]:
    """The run that speaks for each of these plates, with `current` set; a plate that is void or unread has none."""
    query = select_runs().where(runs.c.id.in_(await speaking(connection, plate_ids)))
    return [msgspec.structs.replace(run, current=True) for run in await runs_of(connection, query)]


async def speaking(connection: AsyncConnection, plate_ids: Collection[str]) -> set[str]:
    """The ids of the runs that speak for these plates: what `aggregate.current_runs` says, said by the database.

    A plate that was read a thousand times costs a thousand places in an index, and nothing else of those runs is read.
    """
    if not plate_ids:
        return set()
    return set(await connection.scalars(_speaking(run_records.c.plate_id.in_(plate_ids))))


def _speaking(of_plates: ColumnElement[bool]) -> Select[Any]:
    outbox = (run_records.c.plate_id, runs.c.device_id, runs.c.epoch)
    of_outbox = func.row_number().over(partition_by=outbox, order_by=runs.c.seq.desc())
    counted = (
        select(runs.c.id, runs.c.number, run_records.c.plate_id, of_outbox.label("from_last"))
        .join(run_records, run_records.c.run_id == runs.c.id)
        .join(plates, plates.c.id == run_records.c.plate_id)
        .where(of_plates)
        .where(run_records.c.voided_at.is_(None), plates.c.state != PlateState.VOID.value)
        .subquery()
    )
    of_plate = func.row_number().over(partition_by=counted.c.plate_id, order_by=counted.c.number.desc())
    latest = select(counted.c.id, of_plate.label("from_last")).where(counted.c.from_last == 1).subquery()
    return select(latest.c.id).where(latest.c.from_last == 1)
