"""What was sent and is void since: it stands on a list until the other side has taken it back.

A file that is out cannot be taken back, and no blank, zero or sign stands for "this was wrong". Where the rule's
dialect says how (`withdrawal`), its place gets a file that names the plates and sera without any result; once that
has arrived the entry is settled. Everywhere else a person tells the other side, and says here that it was done.
"""

import hashlib
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import Row, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from central.audit.chain import Actor, Change, record
from central.db import transaction
from central.deliveries.collect import Subject, dossiers_of
from central.deliveries.dialect import Dialect
from central.deliveries.differences import Said, SaidOfPlate
from central.deliveries.rules import add_delivery, latest, raise_one, supersede
from central.deliveries.states import DeliveryState
from central.people.sites import Sites
from central.tables import deliveries, delivery_rules, plates, run_records, submissions, tests, withdrawals

# Nothing of these is at their place: what is corrected makes them fail, so nothing is lost with them.
_NOT_OUT: Final = frozenset({DeliveryState.PENDING, DeliveryState.GENERATED, DeliveryState.FAILED})


class UnknownWithdrawalError(LookupError):
    """No such withdrawal among what the caller sees."""


async def withdraw(
    connection: AsyncConnection, run_ids: Sequence[str], *, actor: Actor, now: datetime
) -> tuple[Change, ...]:
    """These runs are void: note each file that is out and says something of them. What the trail says of it.

    Call it in the transaction that voids them. Plates beside them that are still approved whole go out anew.
    """
    changes = []
    subjects = await _subjects_of(connection, run_ids)
    files = await _files_out(
        connection, {each for row in subjects for each in (row.plate_id, row.test_id, row.submission_id)}
    )
    known = await _known(connection, [out.id for out in files])
    for out in files:
        gone = _gone(msgspec.convert(out.said, Said), {each for each in run_ids if (out.id, each) not in known})
        if gone:
            told = await _tell(connection, out, gone, actor, now)
            await connection.execute(insert(withdrawals), [_row(out, each, told, actor, now) for each in gone])
            new = {"runs": sorted({one.run_id for _, one in gone}), "by": told}
            changes.append(Change("delivery.withdraw", "delivery", out.id, out.site_id, new=new))
    for site_id, test_id, submission_id in sorted({(row.site_id, row.test_id, row.submission_id) for row in subjects}):
        await _raise_rest(connection, site_id, {"test": test_id, "submission": submission_id}, actor, now)
    return tuple(changes)


async def settle(engine: AsyncEngine, withdrawal_id: str, *, sites: Sites, actor: Actor, now: datetime) -> None:
    """The other side took it back: somebody saw to it. Once or again."""
    async with transaction(engine) as connection:
        query = select(withdrawals).where(withdrawals.c.id == withdrawal_id, sites.having(withdrawals.c.site_id))
        row = (await connection.execute(query.with_for_update())).one_or_none()
        if row is None:
            raise UnknownWithdrawalError(f"no withdrawal {withdrawal_id!r} here")
        if row.settled_at is None:
            await record(connection, actor, await _settle(connection, [row], actor.id, now), now)


async def settled_by(connection: AsyncConnection, delivery_id: str, *, actor: Actor, now: datetime) -> list[Change]:
    """A file that withdraws has arrived: what it withdraws is settled. What the trail says of it."""
    query = select(withdrawals).where(withdrawals.c.told_id == delivery_id, withdrawals.c.settled_at.is_(None))
    rows = (await connection.execute(query.order_by(withdrawals.c.id).with_for_update())).all()
    return await _settle(connection, rows, actor.id, now)


async def _settle(connection: AsyncConnection, rows: Sequence[Row[Any]], by: str, now: datetime) -> list[Change]:
    ids = [row.id for row in rows]
    if ids:
        mine = update(withdrawals).where(withdrawals.c.id.in_(ids))
        await connection.execute(mine.values(settled_at=now, settled_by=by))
    return [
        Change("delivery.settle", "delivery", row.delivery_id, row.site_id, new={"withdrawal": row.id}) for row in rows
    ]


async def _subjects_of(connection: AsyncConnection, run_ids: Sequence[str]) -> Sequence[Row[Any]]:
    """Site, plate, test and submission of each run that is of a plate."""
    names = plates.c.id.label("plate_id"), tests.c.id.label("test_id"), tests.c.submission_id, submissions.c.site_id
    query = (
        select(*names)
        .join(tests, tests.c.id == plates.c.test_id)
        .join(submissions, submissions.c.id == tests.c.submission_id)
        .where(plates.c.id.in_(select(run_records.c.plate_id).where(run_records.c.run_id.in_(run_ids))))
        .order_by(plates.c.id)
    )
    return (await connection.execute(query)).all()


async def _files_out(connection: AsyncConnection, subject_ids: Iterable[str]) -> list[Row[Any]]:
    """Of each rule and subject the newest revision whose file is out, and newer ones that may be; none that withdraws.

    One that is being begun at this moment is waited for: it is out then, or is given up.
    """
    wanted = deliveries.c.subject_id.in_(list(subject_ids))
    going = deliveries.c.state.in_([DeliveryState.PENDING.value, DeliveryState.GENERATED.value])
    await connection.execute(select(deliveries.c.id).where(wanted, going).order_by(deliveries.c.id).with_for_update())
    names = ("id", "rule_id", "site_id", "subject_kind", "subject_id", "said", "place", "placed_at")
    query = (
        select(*(deliveries.c[name] for name in names))
        .where(wanted, deliveries.c.content_sha256.is_not(None), deliveries.c.withdraws.is_(None))
        .order_by(deliveries.c.rule_id, deliveries.c.subject_id, deliveries.c.revision.desc())
    )
    found: list[Row[Any]] = []
    certain: set[tuple[str, str]] = set()
    for row in await connection.execute(query):
        of = row.rule_id, row.subject_id
        if row.place is not None and row.said is not None and of not in certain:
            found.append(row)
            if row.placed_at is not None:
                certain.add(of)
    return found


async def _known(connection: AsyncConnection, delivery_ids: Sequence[str]) -> set[tuple[str, str]]:
    """(delivery, run) of what was withdrawn from these files before."""
    query = select(withdrawals.c.delivery_id, withdrawals.c.run_id).where(withdrawals.c.delivery_id.in_(delivery_ids))
    return {(row.delivery_id, row.run_id) for row in await connection.execute(query)}


def _gone(said: Mapping[str, SaidOfPlate], run_ids: Iterable[str]) -> list[tuple[str, SaidOfPlate]]:
    """What a file says of these runs, by plate."""
    wanted = frozenset(run_ids)
    return sorted((of, one) for of, one in said.items() if one.run_id in wanted)


def _row(out: Row[Any], gone: tuple[str, SaidOfPlate], told: str | None, actor: Actor, now: datetime) -> dict[str, Any]:
    of, one = gone
    return {
        "id": str(uuid.uuid4()),
        "site_id": out.site_id,
        "delivery_id": out.id,
        "run_id": one.run_id,
        "plate": of,
        "told_id": told,
        "opened_at": now,
        "opened_by": actor.id,
    }


async def _tell(
    connection: AsyncConnection, out: Row[Any], gone: Sequence[tuple[str, SaidOfPlate]], actor: Actor, now: datetime
) -> str | None:
    """A file that withdraws, to where the wrong one went; None where the rule's dialect cannot say it, or it is off."""
    rule = (await connection.execute(select(delivery_rules).where(delivery_rules.c.id == out.rule_id))).one()
    if not rule.enabled or not msgspec.convert(rule.dialect, Dialect).withdrawal:
        return None
    before = await latest(connection, rule.id, out.subject_id)
    run_ids = sorted({one.run_id for _, one in gone})
    sha256 = hashlib.sha256("\n".join(["withdrawn", *run_ids]).encode()).hexdigest()
    made = await add_delivery(
        connection, rule, out.subject_id, before, sha256, of=out.subject_kind, by=actor.id, now=now,
        withdraws=" ".join(run_ids),
    )  # fmt: skip
    if before is not None and before.withdraws is None and DeliveryState(before.state) in _NOT_OUT:
        await supersede(connection, before)
    return made


async def _raise_rest(
    connection: AsyncConnection, site_id: str, subjects: Mapping[Subject, str], actor: Actor, now: datetime
) -> None:
    """What is left of a test or submission, where all of that is approved and its rules ask for it."""
    query = select(delivery_rules).where(
        delivery_rules.c.site_id == site_id,
        delivery_rules.c.enabled.is_(True),
        delivery_rules.c.when == "approved",
        delivery_rules.c.of.in_(list(subjects)),
    )
    for rule in (await connection.execute(query.order_by(delivery_rules.c.id))).all():
        subject_id = subjects[rule.of]
        if await latest(connection, rule.id, subject_id) is not None or await _asks(connection, rule, subject_id):
            await raise_one(connection, rule, subject_id, by=actor.id, now=now)


async def _asks(connection: AsyncConnection, rule: Row[Any], subject_id: str) -> bool:
    """Whether something of it was approved since the rule asks for it: nothing older is ever sent by itself."""
    approved = [one.run.approved_at for one in await dossiers_of(connection, rule.of, subject_id)]
    return any(at is not None and at >= rule.in_force_since for at in approved)
