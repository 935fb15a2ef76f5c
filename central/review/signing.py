"""Signatures: a person stands for runs as they are. Whoever calls has proved again who he is (`people.reauthenticate`).

All runs that are signed together are signed or none is: each must be at the revision that the signer saw, and for
an approval nothing may stand against it.
"""

import uuid
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from central.audit.chain import Actor, Change, record
from central.db import transaction
from central.deliveries.changes import announce
from central.deliveries.rules import raise_for
from central.laboratory.states import PlateEvent, PlateState
from central.people.sites import EVERY_SITE, Sites
from central.results.aggregate import Run
from central.results.queries import speakers
from central.review.approval import Meaning
from central.review.changes import StaleError, UnknownRunError, move_plate, news_of
from central.review.dossier import Dossier, get_dossier
from central.tables import plates, run_records, signatures, submissions, tests


class NotApprovableError(Exception):
    """What stands against it, run by run in words."""

    def __init__(self, reasons: Mapping[str, tuple[str, ...]]) -> None:
        """`reasons` by plate or run."""
        super().__init__("; ".join(f"{of}: {', '.join(why)}" for of, why in reasons.items()))
        self.reasons = dict(reasons)


async def sign(
    engine: AsyncEngine,
    seen: Mapping[str, int],
    meaning: Meaning,
    *,
    proved: str,
    sites: Sites,
    user_id: str,
    actor: Actor,
    now: datetime,
    test_id: str | None = None,
) -> tuple[Dossier, ...]:
    """Sign runs (id → the revision that was seen); with `test_id` these must be all that the test's plates have.

    UnknownRunError, StaleError or NotApprovableError, and then nothing is signed.
    """
    async with transaction(engine) as connection:
        await _hold(connection, seen)
        if test_id is not None:
            await _check_whole(connection, test_id, seen, sites)
        dossiers = [await _taken(connection, run_id, revision, sites) for run_id, revision in sorted(seen.items())]
        reasons = {plate_title(each.run): why for each in dossiers if (why := against(each, meaning, user_id))}
        if reasons:
            raise NotApprovableError(reasons)
        rows = [_row(each, meaning, proved, user_id, now) for each in dossiers]
        await connection.execute(insert(signatures), rows)
        if meaning == "approved":
            await _approve(connection, dossiers, now)
        found = [each for one in dossiers if (each := await get_dossier(connection, one.run.id)) is not None]
        if meaning == "approved":
            await raise_for(connection, found, by=user_id, now=now)
        await record(connection, actor, [_change(each, row) for each, row in zip(dossiers, rows, strict=True)], now)
        if meaning == "approved":
            await announce(connection, [news_of(each.run, "run.approved") for each in found], now)
    return tuple(found)


def against(dossier: Dossier, meaning: Meaning, user_id: str) -> tuple[str, ...]:
    """What stands against this signature: a void run is signed by nobody, and an approval has its own conditions."""
    if meaning == "approved":
        return dossier.why_not(user_id)
    return ("the run is void",) if dossier.now.voided else ()


def plate_title(run: Run) -> str:
    """A run's plate in words."""
    return f"run {run.id}" if run.plate_id is None else f"{run.submission}, {run.test}, plate {run.plate_number}"


async def _hold(connection: AsyncConnection, run_ids: Iterable[str]) -> None:
    """Hold these runs, their plates and submissions until the transaction ends, always in this order.

    So of two who approve the last plates of a submission at once the second sees that all are approved, and a reading
    of one of these plates that comes meanwhile finds it approved, or is found.
    """
    these = run_records.c.run_id.in_(sorted(run_ids))
    of_runs = select(run_records.c.plate_id).where(these)
    of_plates = (
        select(tests.c.submission_id).join(plates, plates.c.test_id == tests.c.id).where(plates.c.id.in_(of_runs))
    )
    for column, wanted in (
        (submissions.c.id, submissions.c.id.in_(of_plates)),
        (run_records.c.run_id, these),
        (plates.c.id, plates.c.id.in_(of_runs)),
    ):
        await connection.execute(select(column).where(wanted).order_by(column).with_for_update(key_share=True))


async def _taken(connection: AsyncConnection, run_id: str, seen: int, sites: Sites) -> Dossier:
    """The run at the revision that was seen."""
    found = await get_dossier(connection, run_id, sites)
    if found is None:
        raise UnknownRunError(run_id)
    if found.run.revision != seen:
        raise StaleError(seen, found)
    return found


async def _approve(connection: AsyncConnection, dossiers: list[Dossier], now: datetime) -> None:
    ids = [each.run.id for each in dossiers]
    await connection.execute(update(run_records).where(run_records.c.run_id.in_(ids)).values(approved_at=now))
    for each in dossiers:
        assert each.run.plate_id is not None, f"run {each.run.id} was approved without a plate"
        await move_plate(connection, each.run.plate_id, PlateEvent.APPROVE)


def _row(dossier: Dossier, meaning: Meaning, proved: str, user_id: str, now: datetime) -> dict[str, Any]:
    return {
        "id": str(uuid.uuid4()),
        "run_id": dossier.run.id,
        "revision": dossier.run.revision,
        "meaning": meaning,
        "user_id": user_id,
        "at": now,
        "proved": proved,
        "record_sha256": dossier.sha256,
    }


def _change(dossier: Dossier, row: Mapping[str, Any]) -> Change:
    new = {name: row[name] for name in ("id", "revision", "meaning", "proved", "record_sha256")}
    action = "run.approve" if row["meaning"] == "approved" else "run.sign"
    old = None if dossier.state is None else {"state": dossier.state.value}
    return Change(action, "run", dossier.run.id, dossier.run.site_id, old, new)


async def _check_whole(connection: AsyncConnection, test_id: str, seen: Mapping[str, int], sites: Sites) -> None:
    """Every plate of the test that is not void has a run, and these are they."""
    found = await runs_of_test(connection, test_id, sites)
    if found is None:
        raise UnknownRunError(test_id)
    missing = {title: ("it has no run",) for title, run in found.items() if run is None}
    unnamed = {title: ("its run was not named",) for title, run in found.items() if run and run.id not in seen}
    others = set(seen) - {run.id for run in found.values() if run is not None}
    strange = {f"run {run_id}": ("it does not speak for a plate of this test",) for run_id in sorted(others)}
    if missing or unnamed or strange or not found:
        raise NotApprovableError(missing | unnamed | strange or {"the test": ("it has no plates",)})


async def runs_of_test(
    connection: AsyncConnection, test_id: str, sites: Sites = EVERY_SITE
) -> dict[str, Run | None] | None:
    """The run that speaks for each plate of a test that is not void, by plate; None where there is no such test."""
    query = (
        select(submissions.c.name.label("submission"), tests.c.name.label("test"))
        .join(submissions, submissions.c.id == tests.c.submission_id)
        .where(tests.c.id == test_id, sites.having(submissions.c.site_id))
    )
    named = (await connection.execute(query)).one_or_none()
    if named is None:
        return None
    query = select(plates.c.id, plates.c.number).where(
        plates.c.test_id == test_id, plates.c.state != PlateState.VOID.value
    )
    of_test = {row.id: row.number for row in await connection.execute(query)}
    current = {run.plate_id: run for run in await speakers(connection, of_test)}
    numbers = sorted(of_test.items(), key=lambda item: item[1])
    return {f"{named.submission}, {named.test}, plate {number}": current.get(plate) for plate, number in numbers}
