"""What follows when a delivery was placed, arrived or was given up: the feed tells it, and plates become delivered.

A plate is delivered when every file has arrived that its site's rules ask for of it, as it was approved: the newest of
each rule that was in force when it was approved, and of each that sent it by hand. A site without rules asks for none,
and nothing of it moves by itself. Two files of one plate that arrive at once wait for each other at their site's row,
so that the second one sees the first.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from central.audit.chain import Actor, Change, record
from central.deliveries.changes import Kind, News, announce
from central.deliveries.collect import Subject, dossiers_of, subject_sha256
from central.deliveries.states import DeliveryEvent, DeliveryState
from central.deliveries.withdrawing import settled_by
from central.laboratory.known import hold_site
from central.laboratory.states import PlateEvent, PlateState, StateError, after
from central.results.aggregate import Run
from central.tables import deliveries, delivery_rules, plates, submissions, tests

# What who reads along is told of a delivery.
TOLD: Final[Mapping[DeliveryEvent, Kind]] = {
    DeliveryEvent.PLACE: "delivery.placed",
    DeliveryEvent.ACKNOWLEDGE: "delivery.acknowledged",
    DeliveryEvent.FAIL: "delivery.failed",
}


async def follow(
    connection: AsyncConnection,
    row: Row[Any],
    event: DeliveryEvent,
    *,
    actor: Actor,
    now: datetime,
    entries: Sequence[Change] = (),
) -> None:
    """Write what follows from this into the trail, after these entries, and into the feed; last in a transaction."""
    changes, news = list(entries), [await _news(connection, row, TOLD[event])] if event in TOLD else []
    if event is DeliveryEvent.ACKNOWLEDGE:
        moved, told = await plates_delivered(connection, row.subject_kind, row.subject_id, row.site_id)
        settled = await settled_by(connection, row.id, actor=actor, now=now)
        changes, news = changes + moved + settled, news + told
    await record(connection, actor, changes, now)
    await announce(connection, news, now)


async def plates_delivered(
    connection: AsyncConnection, kind: Subject, subject_id: str, site_id: str
) -> tuple[list[Change], list[News]]:
    """Move the plates of this subject whose files have all arrived; what the trail and the feed say of it."""
    await hold_site(connection, site_id)
    query = select(delivery_rules).where(delivery_rules.c.site_id == site_id, delivery_rules.c.enabled.is_(True))
    rules = list(await connection.execute(query))
    approved = await _approved(connection, kind, subject_id)
    if not approved:
        return [], []
    speaking = {one.run.plate_id: one.run for one in await dossiers_of(connection, kind, subject_id)}
    digests: dict[tuple[str, str], str] = {}
    changes: list[Change] = []
    news: list[News] = []
    for plate in approved:
        run = speaking.get(plate.id)
        if run is None or not await _all_arrived(connection, plate, run, rules, digests):
            continue
        if await _deliver(connection, plate):
            old, new = {"state": plate.state}, {"state": PlateState.DELIVERED.value}
            changes.append(Change("plate.deliver", "plate", plate.id, site_id, old, new))
            ids = {"plate_id": plate.id, "submission_id": plate.submission_id, "run_id": run.id}
            news.append(News(kind="plate.delivered", site_id=site_id, revision=run.revision, **ids))
    return changes, news


async def _approved(connection: AsyncConnection, kind: Subject, subject_id: str) -> Sequence[Row[Any]]:
    owner = {"submission": tests.c.submission_id, "test": plates.c.test_id, "plate": plates.c.id}[kind]
    query = (
        select(plates.c.id, plates.c.state, plates.c.test_id, tests.c.submission_id)
        .join(tests, tests.c.id == plates.c.test_id)
        .where(owner == subject_id, plates.c.state == PlateState.APPROVED.value)
        .order_by(plates.c.id)
    )
    return (await connection.execute(query)).all()


async def _all_arrived(
    connection: AsyncConnection,
    plate: Row[Any],
    run: Run,
    rules: Sequence[Row[Any]],
    digests: dict[tuple[str, str], str],
) -> bool:
    """Whether something is asked for of this plate, and all of it has arrived as it was approved."""
    arrived = []
    for rule in rules:
        subject_id = {"plate": plate.id, "test": plate.test_id, "submission": plate.submission_id}[rule.of]
        if (rule.of, subject_id) not in digests:
            digests[rule.of, subject_id] = subject_sha256(await dossiers_of(connection, rule.of, subject_id))
        newest = await _newest(connection, rule.id, subject_id)
        is_of_this = newest is not None and newest.record_sha256 == digests[rule.of, subject_id]
        asks = rule.when == "approved" and run.approved_at is not None and rule.in_force_since <= run.approved_at
        if asks or is_of_this:
            arrived.append(is_of_this and newest.state == DeliveryState.ACKNOWLEDGED.value)
    return bool(arrived) and all(arrived)


async def _newest(connection: AsyncConnection, rule_id: str, subject_id: str) -> Any:
    query = (
        select(deliveries.c.state, deliveries.c.record_sha256)
        .where(deliveries.c.rule_id == rule_id, deliveries.c.subject_id == subject_id)
        .order_by(deliveries.c.revision.desc())
        .limit(1)
    )
    return (await connection.execute(query)).one_or_none()


async def _deliver(connection: AsyncConnection, plate: Row[Any]) -> bool:
    """Whether it moved: not where somebody says something of its run at this very moment."""
    try:
        state = after(PlateState(plate.state), PlateEvent.DELIVER)
    except StateError:
        return False
    seen = (plates.c.id == plate.id, plates.c.state == plate.state)
    return (await connection.execute(update(plates).where(*seen).values(state=state.value))).rowcount == 1


async def _news(connection: AsyncConnection, row: Row[Any], kind: Kind) -> News:
    """What the feed says of a delivery: of which plate or submission it is."""
    submission_id = row.subject_id if row.subject_kind == "submission" else None
    if submission_id is None:
        query = select(submissions.c.id).join(tests, tests.c.submission_id == submissions.c.id)
        if row.subject_kind == "plate":
            query = query.join(plates, plates.c.test_id == tests.c.id).where(plates.c.id == row.subject_id)
        else:
            query = query.where(tests.c.id == row.subject_id)
        submission_id = await connection.scalar(query)
    return News(
        kind=kind,
        site_id=row.site_id,
        delivery_id=row.id,
        plate_id=row.subject_id if row.subject_kind == "plate" else None,
        submission_id=submission_id,
        revision=row.revision,
    )
