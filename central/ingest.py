"""Bytes → a run, once per reading, in batches; what cannot become one is kept as a dead letter and answered.

`plan` has decided from the bytes alone. `ingest` commits a batch and only afterwards returns the answers: a reading
that is here already is accepted again and changes nothing; the same id, or the same place in a device's outbox, with
other content is a conflict. When the database cannot be used nothing is answered, so that everything is sent again.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from central.db import DATABASE_ERRORS, insert_ignore, row_at_fault, transaction, upsert
from central.fleet import record_status
from central.plan import Delivery, Planned, Refused, plan, plan_state, refuse
from central.tables import dead_letters, devices, images, runs
from protocol.codec import digest
from protocol.messages import VERSION, Ack, Rejection


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

    acks: tuple[tuple[str, Ack], ...]
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
    refused = [each for each in plans if isinstance(each, Refused)]
    async with transaction(engine) as connection:
        enrolled = await _enrolled(connection, {each.device_id for each in planned})
        refused += [_stranger(each) for each in planned if each.device_id not in enrolled]
        planned = [each for each in planned if each.device_id in enrolled]
        new = await _insert(connection, planned)
        conflicts = await _conflicts(connection, planned)
        refused += list(conflicts.values())
        accepted = [each for each in planned if id(each) not in conflicts]
        missing = await _missing_pictures(connection, accepted)
        await _keep(connection, refused, now)
    acks = _acks(accepted, refused, missing, now)
    return Outcome(acks, new, len(accepted) - len(new), len(refused))


async def _enrolled(connection: AsyncConnection, ids: set[str]) -> set[str]:
    query = select(devices.c.id).where(devices.c.id.in_(ids), devices.c.revoked_at.is_(None))
    return set(await connection.scalars(query)) if ids else set()


def _stranger(each: Planned) -> Refused:
    detail = f"device {each.device_id!r} is not enrolled here, or was revoked (expected an enrolled device)"
    return refuse(each.delivery, "wrong_device", detail)


async def _insert(connection: AsyncConnection, planned: Sequence[Planned]) -> tuple[NewRun, ...]:
    """The runs that were not here yet, in order; whoever holds an id or a place first keeps it."""
    if not planned:
        return ()
    columns = [runs.c[name] for name in NewRun.__struct_fields__]
    put = insert_ignore(connection.dialect.name, runs).returning(*columns)
    rows = await connection.execute(put, [each.row for each in planned])
    return tuple(sorted((NewRun(**row._mapping) for row in rows), key=lambda run: run.number))


async def _conflicts(connection: AsyncConnection, planned: Sequence[Planned]) -> dict[int, Refused]:
    """Which of these, by identity, are not what central holds under their id or in their place."""
    ids = {each.row["id"] for each in planned}
    query = select(runs.c.id, runs.c.digest).where(runs.c.id.in_(ids))
    held = {row.id: row.digest for row in await connection.execute(query)} if ids else {}
    return {
        id(each): refuse(each.delivery, "conflict", _conflict_detail(each, held.get(each.row["id"])))
        for each in planned
        if held.get(each.row["id"]) != each.row["digest"]
    }


def _conflict_detail(each: Planned, held: str | None) -> str:
    row = each.row
    if held is not None:
        return f"run {row['id']} is here with digest {held} (sent now with {row['digest']})"
    return f"seq {row['seq']} of epoch {row['epoch']} is here with another reading (sent now with {row['id']})"


async def _missing_pictures(connection: AsyncConnection, accepted: Sequence[Planned]) -> set[str]:
    named = {each.row["image_sha256"] for each in accepted}
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


def _acks(
    accepted: Sequence[Planned], refused: Sequence[Refused], missing: set[str], now: datetime
) -> tuple[tuple[str, Ack], ...]:
    """One answer per device and epoch; refusals whose topic names no device have nobody to be told."""
    answers: dict[tuple[str, str], Ack] = {}
    for each in accepted:
        key = (each.device_id, str(each.row["epoch"]))
        ack = answers.get(key, Ack(VERSION, key[1], now=now))
        wanted = {each.row["image_sha256"]} & missing
        answers[key] = msgspec.structs.replace(
            ack, accepted=_with(ack.accepted, {each.row["id"]}), wanted=_with(ack.wanted, wanted)
        )
    for no in refused:
        if no.device_id is not None:
            key = (no.device_id, no.epoch)
            ack = answers.get(key, Ack(VERSION, key[1], now=now))
            rejection = Rejection(no.id, no.seq, no.code, no.detail)
            answers[key] = msgspec.structs.replace(ack, rejected=(*ack.rejected, rejection))
    return tuple((device_id, ack) for (device_id, _), ack in answers.items())


def _with(known: tuple[str, ...], more: set[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*known, *more)))


def _merge(outcomes: Sequence[Outcome]) -> Outcome:
    return Outcome(
        acks=tuple(ack for outcome in outcomes for ack in outcome.acks),
        new=tuple(run for outcome in outcomes for run in outcome.new),
        repeated=sum(outcome.repeated for outcome in outcomes),
        rejected=sum(outcome.rejected for outcome in outcomes),
    )
