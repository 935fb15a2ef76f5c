"""What reviewers do to runs, each in one transaction: corrections, the caches that follow from them, the plate, the
audit trail. Who names another revision than the run's is told what changed since, and nothing happens.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from central.assays.registry import assays_of
from central.audit.chain import Actor, Change, record
from central.db import transaction
from central.deliveries.changes import Kind, News, announce
from central.deliveries.withdrawing import withdraw
from central.laboratory.states import PlateEvent, PlateState, StateError, after
from central.people.sites import Sites
from central.results.aggregate import Run, current_runs
from central.results.queries import runs_of, select_runs
from central.review.corrections import Action, Correction, CorrectionError, Step, cache_of, check_steps
from central.review.dossier import Dossier, get_dossier
from central.tables import alarms, corrections, plates, run_records


class StaleError(Exception):
    """The run is at another revision than the one that was seen; `since` is what was said meanwhile."""

    def __init__(self, seen: int, dossier: Dossier) -> None:
        """`seen` is the revision that the caller named."""
        super().__init__(f"revision {seen} of the run (expected {dossier.run.revision}: somebody changed it meanwhile)")
        self.dossier = dossier
        self.since: tuple[Correction, ...] = tuple(each for each in dossier.corrections if each.revision > seen)


class UnknownRunError(LookupError):
    """No such run, or one of another site."""


async def correct(
    engine: AsyncEngine,
    run_id: str,
    steps: Sequence[Step],
    *,
    seen: int,
    sites: Sites,
    user_id: str,
    actor: Actor,
    now: datetime,
) -> Dossier:
    """Say these things of a run as it was at revision `seen`; the run as it stands afterwards.

    UnknownRunError, StaleError, or CorrectionError where one of them cannot be said.
    """
    async with transaction(engine) as connection:
        before = await take(connection, run_id, seen, sites)
        check_steps(steps, before.now, before.reading, before.run.assay)
        await connection.execute(insert(corrections), [_row(step, before, seen + 1, user_id, now) for step in steps])
        found = await _said(connection, before, user_id, now)
        if any(step.action is Action.REREAD for step in steps):
            await _raise_reread(connection, found, now)
        voided = any(step.action is Action.VOID for step in steps)
        gone = await withdraw(connection, [run_id], actor=actor, now=now) if voided else ()
        await record(connection, actor, [*(_change(step, before, seen + 1) for step in steps), *gone], now)
        await announce(connection, [news_of(found.run, "run.voided" if voided else "run.changed")], now)
    return found


async def interpret(
    engine: AsyncEngine,
    run_id: str,
    version: int,
    *,
    seen: int,
    sites: Sites,
    user_id: str,
    actor: Actor,
    now: datetime,
) -> Dossier:
    """Work out a run's titres by another version of its profile. One that was ever signed keeps its version."""
    async with transaction(engine) as connection:
        before = await take(connection, run_id, seen, sites)
        old = before.run.assay.version
        if before.now.voided or before.signatures:
            raise CorrectionError("the run is void or was signed (expected one that is open)")
        if version == old:
            raise CorrectionError(f"the run's titres are worked out by version {version} already")
        await assays_of(connection, [(before.run.profile, version)])
        await connection.execute(
            update(run_records).where(run_records.c.run_id == run_id).values(assay_version=version)
        )
        row = {"run_id": run_id, "revision": seen + 1, "action": Action.INTERPRET.value, "reason_code": "version"}
        row |= {"reason": str(version), "at": now, "user_id": user_id}
        await connection.execute(insert(corrections).values(row))
        found = await _said(connection, before, user_id, now)
        change = Change("run.interpret", "run", run_id, before.run.site_id, {"version": old}, {"version": version})
        await record(connection, actor, [change], now)
        await announce(connection, [news_of(found.run, "run.changed")], now)
    return found


def news_of(run: Run, kind: Kind) -> News:
    """What who reads along is told of a run."""
    return News(kind=kind, site_id=run.site_id, run_id=run.id, plate_id=run.plate_id, revision=run.revision)


async def take(connection: AsyncConnection, run_id: str, seen: int, sites: Sites) -> Dossier:
    """The run, and its next revision for whoever saw the last one: one of two who try at once gets StaleError."""
    taken = await connection.execute(
        update(run_records)
        .where(run_records.c.run_id == run_id, run_records.c.revision == seen, sites.having(run_records.c.site_id))
        .values(revision=seen + 1)
    )
    found = await get_dossier(connection, run_id, sites)
    if found is None:
        raise UnknownRunError(run_id)
    if taken.rowcount != 1:
        raise StaleError(seen, found)
    return found


def _row(step: Step, before: Dossier, revision: int, user_id: str, now: datetime) -> dict[str, Any]:
    well = before.reading.wells.get(step.target or "") if step.action in {Action.OVERRIDE, Action.WITHDRAW} else None
    return {
        "run_id": before.run.id,
        "revision": revision,
        "action": step.action.value,
        "target": step.target,
        "call": None if step.call is None else step.call.value,
        "machine_call": None if well is None else well.call.value,
        "reason_code": step.reason_code,
        "reason": (step.reason or "").strip() or None,
        "at": now,
        "user_id": user_id,
    }


def _change(step: Step, before: Dossier, revision: int) -> Change:
    """The audit entry of one correction: the call as it was and as it is, the row's result as it was."""
    old: dict[str, Any] = {"revision": revision - 1}
    new: dict[str, Any] = {"revision": revision, "reason_code": step.reason_code}
    if step.target is not None:
        old["target"] = new["target"] = step.target
    if step.action in {Action.OVERRIDE, Action.WITHDRAW}:
        assert step.target is not None
        old["call"] = before.now.wells[step.target].call.value
        new["call"] = before.reading.wells[step.target].call.value if step.call is None else step.call.value
    elif step.target in before.now.endpoints:
        old["endpoint"] = msgspec.to_builtins(before.now.endpoints[step.target])
    reason = (step.reason or "").strip() or None
    return Change(f"run.{step.action.value}", "run", before.run.id, before.run.site_id, old, new, reason)


async def _said(connection: AsyncConnection, before: Dossier, user_id: str, now: datetime) -> Dossier:
    """After new corrections: the caches of the record, and where the plate is."""
    run_id = before.run.id
    mine = await get_dossier(connection, run_id)
    assert mine is not None
    cache = cache_of(mine.own, mine.now)
    await connection.execute(
        update(run_records)
        .where(run_records.c.run_id == run_id)
        .values(
            revised=cache.revised,
            worst_grade=cache.worst_grade,
            flagged=cache.flagged,
            accepted_at=now if cache.settled else None,
            accepted_by=user_id if cache.settled else None,
            approved_at=None,
            voided_at=now if mine.now.voided else None,
        )
    )
    if before.run.current and before.run.plate_id is not None:
        await _move_plate(connection, before.run.plate_id, voided=mine.now.voided)
    found = await get_dossier(connection, run_id)
    assert found is not None
    return found


async def _move_plate(connection: AsyncConnection, plate_id: str, *, voided: bool) -> None:
    """A plate whose run was changed or voided: without any run it waits to be read again."""
    event = PlateEvent.REVIEW
    if voided:
        left = current_runs(await runs_of(connection, select_runs().where(run_records.c.plate_id == plate_id)))
        event = PlateEvent.READ if left else PlateEvent.UNREAD
    await move_plate(connection, plate_id, event)


async def move_plate(connection: AsyncConnection, plate_id: str, event: PlateEvent) -> PlateState:
    """Bring a plate to where the event brings it; one that cannot go there stays. Where it is now."""
    held = select(plates.c.state).where(plates.c.id == plate_id).with_for_update(key_share=True)
    state = PlateState((await connection.execute(held)).scalar_one())
    try:
        target = after(state, event)
    except StateError:
        return state
    if target is not state:
        await connection.execute(update(plates).where(plates.c.id == plate_id).values(state=target.value))
    return target


async def _raise_reread(connection: AsyncConnection, found: Dossier, now: datetime) -> None:
    run = found.run
    plate = f"plate {run.plate_number} of {run.submission}, {run.test}" if run.plate_id else "a plate of unknown code"
    alarm = {"site_id": run.site_id, "kind": "reread", "object_kind": "run", "object_id": run.id, "raised_at": now}
    await connection.execute(insert(alarms).values(alarm | {"detail": f"a new reading of {plate} is asked for"}))
