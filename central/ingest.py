"""Bytes → a run, once per reading, in batches; what cannot become one is kept as a dead letter and answered.

`plan` decides what a message may become from its bytes alone, `decide` what it does become given what is held; here a
batch is committed, and only afterwards its answers are returned. When the database cannot be used nothing is answered,
so that everything is sent again.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec
from sqlalchemy import and_, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from central.db import DATABASE_ERRORS, insert_ignore, row_at_fault, transaction, upsert
from central.decide import Answers, HeldRun, answers, decide
from central.fleet import record_status
from central.plan import Delivery, Planned, Refused, plan, plan_state, refuse
from central.tables import dead_letters, devices, images, runs
from protocol.codec import digest


class DatabaseUnavailableError(Exception):
    """Nothing was committed and nothing may be acknowledged; try the same batch again."""


class NewRun(msgspec.Struct, frozen=True):
    """A run that was just committed."""

    number: int
    id: str
    device_id: str
    submission: str | None
    test: str | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was committed, and the answers that may now be sent: (device, Ack)."""

    acks: Answers
    new: tuple[NewRun, ...]
    repeated: int
    rejected: int


async def ingest(engine: AsyncEngine, deliveries: Sequence[Delivery], *, now: datetime) -> Outcome:
    """Commit a batch and say what to answer; DatabaseUnavailableError if it could not be committed.

    A batch that fails because of one row is committed row by row, so that a bad one cannot hold up the others.
    """
    plans = [plan(delivery, now) for delivery in deliveries]
    try:
        return await _commit(engine, plans, now)
    except DATABASE_ERRORS as error:
        if not row_at_fault(error):
            raise DatabaseUnavailableError(_brief(error)) from error
    return _merge([await _commit_alone(engine, each, now) for each in plans])


async def record_states(engine: AsyncEngine, deliveries: Sequence[Delivery], *, now: datetime) -> None:
    """Keep the presence that these state messages tell of; what cannot be read is a dead letter, like a reading."""
    try:
        async with transaction(engine) as connection:
            for delivery in deliveries:
                state = plan_state(delivery)
                if isinstance(state, Refused):
                    await _keep(connection, [state], now)
                else:
                    await record_status(connection, state, now=now)
    except DATABASE_ERRORS as error:
        raise DatabaseUnavailableError(_brief(error)) from error


async def _commit_alone(engine: AsyncEngine, each: Planned | Refused, now: datetime) -> Outcome:
    try:
        return await _commit(engine, [each], now)
    except DATABASE_ERRORS as error:
        if isinstance(each, Refused) or not row_at_fault(error):
            raise DatabaseUnavailableError(_brief(error)) from error
        refused = refuse(each.delivery, "undecodable", f"the database does not take it: {_brief(error)}")
    return await _commit_alone(engine, refused, now)


def _brief(error: BaseException) -> str:
    return str(getattr(error, "orig", None) or error).splitlines()[0][:200] if str(error) else type(error).__name__


async def _commit(engine: AsyncEngine, plans: Sequence[Planned | Refused], now: datetime) -> Outcome:
    """One transaction: new runs, dead letters; the answers are made from what it saw."""
    planned = [each for each in plans if isinstance(each, Planned)]
    async with transaction(engine) as connection:
        enrolled = await _enrolled(connection, {each.device_id for each in planned})
        decision = decide(plans, await _held(connection, planned), enrolled)
        new = await _insert(connection, decision.new)
        if len(new) < len(decision.new):  # another central was quicker with some of them
            decision = decide(plans, await _held(connection, planned), enrolled)
        missing = await _missing_pictures(connection, decision.accepted)
        await _keep(connection, decision.refused, now)
    repeated = len(decision.accepted) - len(new)
    return Outcome(answers(decision, missing, now), new, repeated, len(decision.refused))


async def _enrolled(connection: AsyncConnection, ids: set[str]) -> set[str]:
    query = select(devices.c.id).where(devices.c.id.in_(ids), devices.c.revoked_at.is_(None))
    return set(await connection.scalars(query)) if ids else set()


async def _held(connection: AsyncConnection, planned: Sequence[Planned]) -> list[HeldRun]:
    """The runs that have an id or a place of this batch."""
    if not planned:
        return []
    seqs: dict[tuple[str, str], set[int]] = {}
    for each in planned:
        device_id, epoch, seq = each.place
        seqs.setdefault((device_id, epoch), set()).add(seq)
    here = [
        and_(runs.c.device_id == device_id, runs.c.epoch == epoch, runs.c.seq.in_(some))
        for (device_id, epoch), some in seqs.items()
    ]
    columns = runs.c.id, runs.c.device_id, runs.c.epoch, runs.c.seq, runs.c.digest
    found = []
    for condition in (runs.c.id.in_({each.id for each in planned}), *here):
        rows = await connection.execute(select(*columns).where(condition))
        found += [HeldRun(row.id, (row.device_id, row.epoch, row.seq), row.digest) for row in rows]
    return found


async def _insert(connection: AsyncConnection, planned: Sequence[Planned]) -> tuple[NewRun, ...]:
    """The runs that were not here yet, in order; whoever holds an id or a place first keeps it."""
    if not planned:
        return ()
    columns = [runs.c[name] for name in NewRun.__struct_fields__]
    put = insert_ignore(connection.dialect.name, runs).returning(*columns)
    # Two centrals that insert the same runs in the same order wait for one another instead of for ever.
    rows = await connection.execute(put, [each.row for each in sorted(planned, key=lambda each: each.place)])
    return tuple(sorted((NewRun(**row._mapping) for row in rows), key=lambda run: run.number))


async def _missing_pictures(connection: AsyncConnection, accepted: Sequence[Planned]) -> set[str]:
    named = {each.picture for each in accepted}
    query = select(images.c.sha256).where(images.c.sha256.in_(named))
    return named - set(await connection.scalars(query)) if named else set()


async def _keep(connection: AsyncConnection, refused: Sequence[Refused], now: datetime) -> None:
    """Dead letters, each kept once however often it comes."""
    digests = {id(each): digest(each.delivery.payload) for each in refused}
    times = Counter((each.delivery.topic, digests[id(each)]) for each in refused)
    for each in {(each.delivery.topic, digests[id(each)]): each for each in refused}.values():
        count = times[each.delivery.topic, digests[id(each)]]
        row = {
            "received_at": now,
            "topic": each.delivery.topic,
            "device_id": each.device_id,
            "code": each.code,
            "detail": each.detail,
            "digest": digests[id(each)],
            "times": count,
            "payload": each.delivery.payload,
        }
        put = upsert(connection.dialect.name, dead_letters).values(row)
        again = {"times": dead_letters.c.times + count}
        await connection.execute(put.on_conflict_do_update(index_elements=["topic", "digest"], set_=again))


def _merge(outcomes: Sequence[Outcome]) -> Outcome:
    return Outcome(
        acks=tuple(ack for outcome in outcomes for ack in outcome.acks),
        new=tuple(run for outcome in outcomes for run in outcome.new),
        repeated=sum(outcome.repeated for outcome in outcomes),
        rejected=sum(outcome.rejected for outcome in outcomes),
    )
