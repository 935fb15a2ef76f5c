"""By which rules approved results leave: what is approved whole makes a delivery, and a change of it another one.

A delivery is of what was approved, by digest: the same is never delivered twice, a correction is a new revision with a
new name that supersedes the one before.
"""

import uuid
from collections.abc import Iterable
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

import msgspec
from sqlalchemy import Row, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from central.deliveries.collect import Subject, collect, dossiers_of, subject_sha256, title_of
from central.deliveries.dialect import Dialect
from central.deliveries.differences import Differences, Made, Said, differences, said_of
from central.deliveries.render import RenderError, render
from central.deliveries.states import DeliveryEvent, DeliveryState, DeliveryStateError, after
from central.deliveries.withdrawal import Withdrawn, withdrawal
from central.laboratory.states import PlateState
from central.review.dossier import Dossier
from central.tables import deliveries, delivery_rules, plates, run_records, submissions, tests, withdrawals

_READY = frozenset({PlateState.APPROVED, PlateState.DELIVERED})


async def raise_for(connection: AsyncConnection, approved: Iterable[Dossier], *, by: str, now: datetime) -> list[str]:
    """The deliveries that these approvals make, by id; call it in their transaction."""
    made = []
    for dossier in approved:
        run = dossier.run
        query = select(delivery_rules).where(
            delivery_rules.c.site_id == run.site_id,
            delivery_rules.c.enabled.is_(True),
            delivery_rules.c.when == "approved",
        )
        for rule in await connection.execute(query):
            subject_id = await _subject_of(connection, rule.of, dossier)
            found = await raise_one(connection, rule, subject_id, by=by, now=now) if subject_id else None
            made += [] if found is None else [found]
    return made


async def raise_one(
    connection: AsyncConnection, rule: Row[Any], subject_id: str, *, by: str, now: datetime, again: bool = False
) -> str | None:
    """A delivery of this subject; None where it is not approved whole, or was delivered as it is (unless `again`)."""
    if not await _is_approved(connection, rule.of, subject_id):
        return None
    dossiers = await dossiers_of(connection, rule.of, subject_id)
    sha256 = subject_sha256(dossiers)
    before = await latest(connection, rule.id, subject_id)
    if before is not None and before.record_sha256 == sha256 and not again:
        return None
    made = await add_delivery(connection, rule, subject_id, before, sha256, by=by, now=now)
    if before is not None and before.withdraws is None:
        await supersede(connection, before)
    return made


async def add_delivery(
    connection: AsyncConnection,
    rule: Row[Any],
    subject_id: str,
    before: Row[Any] | None,
    sha256: str,
    *,
    by: str,
    now: datetime,
    of: Subject | None = None,
    withdraws: str | None = None,
) -> str:
    """The next revision of this subject by this rule, due now; its id. `of` where the rule is of others by now."""
    delivery = {
        "id": str(uuid.uuid4()),
        "rule_id": rule.id,
        "site_id": rule.site_id,
        "subject_kind": of or rule.of,
        "subject_id": subject_id,
        "revision": 1 if before is None else before.revision + 1,
        "state": DeliveryState.PENDING.value,
        "record_sha256": sha256,
        "withdraws": withdraws,
        "supersedes_id": None if before is None else before.id,
        "created_at": now,
        "created_by": by,
        "due_at": now,
        "attempts": 0,
    }
    await connection.execute(insert(deliveries).values(delivery))
    return str(delivery["id"])


async def generate(connection: AsyncConnection, row: Row[Any]) -> Made:
    """The file of a delivery: of what is approved now. RenderError where that is not what it was made for."""
    rule = (await connection.execute(select(delivery_rules).where(delivery_rules.c.id == row.rule_id))).one()
    if row.withdraws is not None:
        return await _withdrawing(connection, row, msgspec.convert(rule.dialect, Dialect))
    dossiers = await valid(connection, row)
    title = await title_of(connection, row.subject_kind, row.subject_id)
    assert title is not None, f"{row.subject_kind} {row.subject_id} of delivery {row.id} is gone"
    results = await collect(connection, dossiers, title[1], at=row.created_at, revision=row.revision)
    said, dialect = said_of(results), _named(msgspec.convert(rule.dialect, Dialect), row.subject_kind)
    return Made(render(dialect, results), said, await _changed(connection, row, said))


def _named(dialect: Dialect, of: Subject) -> Dialect:
    """Plates that are approved together have names of their own, also where the dialect's is that of a submission."""
    name = PurePosixPath(dialect.file_name)
    if of != "plate" or "{plate_number}" in dialect.file_name or "{run_id}" in dialect.file_name:
        return dialect
    return msgspec.structs.replace(dialect, file_name=f"{name.stem}_{{plate_number}}{name.suffix}")


async def valid(connection: AsyncConnection, row: Row[Any]) -> tuple[Dossier, ...]:
    """What a delivery is of, as it was approved. RenderError where it was changed since, or a control fails by now.

    What is expected of a control serum may be set after the approval, so its plates are judged again here.
    """
    if row.withdraws is not None:
        return ()  # what is void stays so
    dossiers = await dossiers_of(connection, row.subject_kind, row.subject_id)
    if subject_sha256(dossiers) != row.record_sha256:
        raise RenderError("it was changed since it was approved (expected another approval, which makes another file)")
    failed = [f"{one.run.test}, plate {one.run.plate_number}: {said}" for one in dossiers for said in one.failed]
    if failed:
        raise RenderError(f"controls that fail by now: {'; '.join(failed)} (no titre of such a plate is sent)")
    return dossiers


async def _changed(connection: AsyncConnection, row: Row[Any], said: Said) -> Differences | None:
    """What is different from the newest revision before that has a file; None where there is none."""
    before = await _before(connection, row)
    if before is None or before.said is None:
        return None
    return Differences(before.revision, differences(msgspec.convert(before.said, Said), said))


async def _withdrawing(connection: AsyncConnection, row: Row[Any], dialect: Dialect) -> Made:
    """The file that takes back what a file that is out says of these runs; what is left of that."""
    if not dialect.withdrawal:
        raise RenderError("its rule's dialect has no withdrawal by now (expected one that has, or somebody who tells)")
    out_query = (
        select(deliveries.c.id, deliveries.c.said, deliveries.c.name)
        .join(withdrawals, withdrawals.c.delivery_id == deliveries.c.id)
        .where(withdrawals.c.told_id == row.id)
    )
    out = (await connection.execute(out_query.limit(1))).one()
    said = msgspec.convert(out.said, Said)
    gone = {of: one for of, one in said.items() if one.run_id in row.withdraws.split()}
    query = (
        select(
            run_records.c.run_id, submissions.c.name.label("submission"), tests.c.name.label("test"), plates.c.number
        )
        .join(plates, plates.c.id == run_records.c.plate_id)
        .join(tests, tests.c.id == plates.c.test_id)
        .join(submissions, submissions.c.id == tests.c.submission_id)
        .where(run_records.c.run_id.in_([one.run_id for one in gone.values()]))
    )
    titles = {each.run_id: each for each in await connection.execute(query)}
    of = [
        Withdrawn(submission=each.submission, test=each.test, plate=each.number, said=one)
        for one in (gone[name] for name in sorted(gone))
        for each in (titles[one.run_id],)
    ]
    file = withdrawal(dialect, of, file=out.name, withdrawn_at=row.created_at, revision=row.revision)
    void = set(await connection.scalars(select(withdrawals.c.run_id).where(withdrawals.c.delivery_id == out.id)))
    return Made(file, {name: one for name, one in said.items() if one.run_id not in void})


async def _before(connection: AsyncConnection, row: Row[Any]) -> Row[Any] | None:
    """The newest revision before that has a file."""
    query = (
        select(deliveries.c.revision, deliveries.c.said)
        .where(
            deliveries.c.rule_id == row.rule_id,
            deliveries.c.subject_id == row.subject_id,
            deliveries.c.revision < row.revision,
            deliveries.c.content_sha256.is_not(None),
        )
        .order_by(deliveries.c.revision.desc())
        .limit(1)
    )
    return (await connection.execute(query)).one_or_none()


async def _subject_of(connection: AsyncConnection, of: Subject, dossier: Dossier) -> str | None:
    if of == "plate":
        return dossier.run.plate_id
    if of == "test":
        return dossier.test_id
    found: str | None = await connection.scalar(select(tests.c.submission_id).where(tests.c.id == dossier.test_id))
    return found


async def _is_approved(connection: AsyncConnection, of: Subject, subject_id: str) -> bool:
    """Whether every plate of it that is not void is approved."""
    owner = {"submission": tests.c.submission_id, "test": plates.c.test_id, "plate": plates.c.id}[of]
    query = select(plates.c.state).join(tests, tests.c.id == plates.c.test_id).where(owner == subject_id)
    states = [PlateState(state) for state in await connection.scalars(query)]
    going = [state for state in states if state is not PlateState.VOID]
    return bool(going) and all(state in _READY for state in going)


async def latest(connection: AsyncConnection, rule_id: str, subject_id: str) -> Row[Any] | None:
    """The newest revision of this subject by this rule."""
    query = (
        select(deliveries)
        .where(deliveries.c.rule_id == rule_id, deliveries.c.subject_id == subject_id)
        .order_by(deliveries.c.revision.desc())
        .limit(1)
    )
    return (await connection.execute(query)).one_or_none()


async def supersede(connection: AsyncConnection, before: Row[Any]) -> None:
    """What a newer one stands for; what was taken already stays so, and what is being placed is finished first."""
    try:
        state = after(DeliveryState(before.state), DeliveryEvent.SUPERSEDE)
    except DeliveryStateError:
        return
    seen = (deliveries.c.id == before.id, deliveries.c.state == before.state)
    await connection.execute(update(deliveries).where(*seen).values(state=state.value, leased_until=None))
