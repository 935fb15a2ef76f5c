"""Runs of no known plate: those that wait, "this run is of plate X" by a person, and taking that back.

Nothing is guessed: a person says which plate it is, with a reason, and only a plate of the run's own site whose planned
profile is the one that the run was read by.
"""

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Row, Select, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from central.audit.chain import Actor, Change, record
from central.db import transaction
from central.deliveries.changes import announce, news_of_runs
from central.laboratory.editing import RefusedError, UnknownError
from central.laboratory.known import hold_site
from central.laboratory.matching import arrived, assign, left
from central.laboratory.states import PlateState
from central.people.sites import Sites
from central.tables import devices, plates, run_records, runs, signatures, submissions, tests


class WaitingRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run that nobody knows the plate of; `submission`, `test` and `plate_number` are what its code said."""

    id: str
    number: int
    site_id: str
    revision: int
    device_id: str
    device_name: str
    profile: str
    captured_at: datetime
    received_at: datetime
    submission: str | None
    test: str | None
    plate_number: str | None


async def list_waiting(
    connection: AsyncConnection, sites: Sites, *, after: int | None = None, limit: int = 50
) -> tuple[WaitingRun, ...]:
    """Runs that wait, newest first; `after` is the number of the last one that was seen."""
    query = (
        select(
            runs.c.id,
            runs.c.number,
            run_records.c.site_id,
            run_records.c.revision,
            runs.c.device_id,
            devices.c.name.label("device_name"),
            *(runs.c[name] for name in ("profile", "captured_at", "received_at", "submission", "test", "plate_number")),
        )
        .join(run_records, run_records.c.run_id == runs.c.id)
        .outerjoin(devices, devices.c.id == runs.c.device_id)
        .where(run_records.c.plate_id.is_(None), run_records.c.voided_at.is_(None), sites.having(run_records.c.site_id))
        .order_by(runs.c.number.desc())
        .limit(limit)
    )
    if after is not None:
        query = query.where(runs.c.number < after)
    rows = await connection.execute(query)
    return tuple(WaitingRun(**{**row._mapping, "device_name": row.device_name or row.device_id}) for row in rows)


async def say_plate(
    engine: AsyncEngine, run_id: str, plate_id: str, *, sites: Sites, actor: Actor, now: datetime, reason: str
) -> None:
    """This run is of this plate. UnknownError, or RefusedError where it cannot be."""
    async with transaction(engine) as connection:
        run = await _run(connection, run_id, sites)
        plate = await _plate(connection, plate_id, Sites.of([run.site_id]))
        if run.voided_at is not None:
            raise RefusedError("the run is void (expected one that is not)")
        if run.plate_id is not None:
            raise RefusedError("the run is of a plate already (expected one that waits: take that back first)")
        if plate.state == PlateState.VOID:
            raise RefusedError("the plate is void (expected one that is not)")
        if plate.profile is not None and plate.profile != run.profile:
            raise RefusedError(f"the run was read as {run.profile} (expected {plate.profile}, as the plate is planned)")
        await assign(connection, run_id, plate_id, actor.id)
        await arrived(connection, run.site_id, [{**run._mapping, "plate_id": plate_id}], now)
        new = {"plate_id": plate_id, "matched_by": actor.id}
        await record(
            connection, actor, [Change("run.match", "run", run_id, run.site_id, {"plate_id": None}, new, reason)], now
        )
        await announce(connection, await news_of_runs(connection, "run.matched", [run_id]), now)


async def take_back(
    engine: AsyncEngine, run_id: str, *, sites: Sites, actor: Actor, now: datetime, reason: str
) -> None:
    """This run is of no known plate again. UnknownError, or RefusedError where somebody signed for it."""
    async with transaction(engine) as connection:
        run = await _run(connection, run_id, sites)
        if run.plate_id is None:
            raise RefusedError("the run is of no known plate (expected one that was matched)")
        signed = await connection.scalar(select(signatures.c.id).where(signatures.c.run_id == run_id).limit(1))
        if signed is not None or run.approved_at is not None:
            raise RefusedError("the run was signed (expected one that nobody stood for: void it instead)")
        await assign(connection, run_id, None, None)
        await left(connection, run.plate_id)
        old = {"plate_id": run.plate_id, "matched_by": run.matched_by}
        changed = Change("run.unmatch", "run", run_id, run.site_id, old, {"plate_id": None}, reason)
        await record(connection, actor, [changed], now)
        await announce(connection, await news_of_runs(connection, "run.changed", [run_id]), now)


async def _run(connection: AsyncConnection, run_id: str, sites: Sites) -> Row[Any]:
    query = (
        select(
            runs.c.id,
            runs.c.profile,
            runs.c.endpoints,
            *(run_records.c[name] for name in ("site_id", "plate_id", "matched_by", "voided_at", "approved_at")),
        )
        .join(run_records, run_records.c.run_id == runs.c.id)
        .where(runs.c.id == run_id, sites.having(run_records.c.site_id))
    )
    site = (await connection.execute(query)).first()
    if site is None:
        raise UnknownError(f"no run {run_id!r} here")
    await hold_site(connection, site.site_id)
    return (await connection.execute(query)).one()


async def _plate(connection: AsyncConnection, plate_id: str, sites: Sites) -> Row[Any]:
    row = (await connection.execute(_plate_query(plate_id, sites))).first()
    if row is None:
        raise UnknownError(f"no plate {plate_id!r} of the run's laboratory")
    return row


def _plate_query(plate_id: str, sites: Sites) -> Select[Any]:
    return (
        select(plates.c.id, plates.c.state, tests.c.profile)
        .join(tests, tests.c.id == plates.c.test_id)
        .join(submissions, submissions.c.id == tests.c.submission_id)
        .where(plates.c.id == plate_id, sites.having(submissions.c.site_id))
    )
