"""Bytes → a run, once per reading, in batches; what cannot become one is kept as a dead letter and answered.

`plan` decides what a message may become from its bytes alone, `decide` what it does become given what is held; here a
batch is committed, and only afterwards its answers are returned. When the database cannot be used nothing is answered,
so that everything is sent again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

import msgspec
from sqlalchemy import select, union_all
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from central.db import DATABASE_ERRORS, row_at_fault, transaction
from central.deliveries.changes import News, announce
from central.fleet.devices import record_status
from central.intake.decide import Answers, HeldRun, answers, decide
from central.intake.gaps import record_places
from central.intake.letters import keep_letters
from central.intake.plan import Delivery, Place, Planned, Refused, plan_message, plan_state, refuse
from central.laboratory.matching import record_runs
from central.many import one_of, put_many
from central.tables import devices, images, other_places, runs


class DatabaseUnavailableError(Exception):
    """Nothing was committed and nothing may be acknowledged; try the same batch again."""


class NewRun(msgspec.Struct, frozen=True):
    """A run that was just committed."""

    number: int
    id: str
    device_id: str
    epoch: str
    seq: int
    submission: str | None
    test: str | None
    historical: bool

    @property
    def place(self) -> Place:
        """Where it stands in its device's outbox."""
        return self.device_id, self.epoch, self.seq


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was committed, and the answers that may now be sent: (device, Ack)."""

    acks: Answers
    new: tuple[NewRun, ...]
    repeated: int
    rejected: int


async def ingest(engine: AsyncEngine, deliveries: Sequence[Delivery], *, now: datetime) -> Outcome:
    """Plan and commit a batch and say what to answer."""
    return await commit(engine, [each for delivery in deliveries for each in plan_message(delivery, now)], now)


async def commit(engine: AsyncEngine, plans: Sequence[Planned | Refused], now: datetime) -> Outcome:
    """Commit a batch and say what to answer; DatabaseUnavailableError if it could not be committed.

    A batch that fails because of one row is committed row by row, so that a bad one cannot hold up the others.
    """
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
                    await keep_letters(connection, [state], now)
                else:
                    await record_status(connection, state, now=now, retained=delivery.retained)
    except DATABASE_ERRORS as error:
        raise DatabaseUnavailableError(_brief(error)) from error


async def keep_refused(engine: AsyncEngine, refused: Sequence[Refused], *, now: datetime) -> None:
    """Keep messages that are neither readings nor states, and cannot be taken, as dead letters."""
    try:
        async with transaction(engine) as connection:
            await keep_letters(connection, refused, now)
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
        news = await _record(connection, decision.new, new, now)
        if len(new) < len(decision.new):  # another central was quicker with some of them
            decision = decide(plans, await _held(connection, planned), enrolled)
        await _put_elsewhere(connection, decision.elsewhere)
        places = [run.place for run in new] + [each.place for each in decision.elsewhere]
        await record_places(connection, places)
        missing = await _missing_pictures(connection, decision.accepted)
        await keep_letters(connection, decision.refused, now)
        # Last, because whoever does it next waits for us.
        await announce(connection, [news[run.id] for run in new], now)
    repeated = len(decision.accepted) - len(new)
    return Outcome(answers(decision, missing, now), new, repeated, len(decision.refused))


async def _enrolled(connection: AsyncConnection, ids: set[str]) -> set[str]:
    query = select(devices.c.id).where(one_of(connection, devices.c.id, ids), devices.c.revoked_at.is_(None))
    return set(await connection.scalars(query)) if ids else set()


async def _held(connection: AsyncConnection, planned: Sequence[Planned]) -> list[HeldRun]:
    """The runs that have an id or a place of this batch."""
    if not planned:
        return []
    columns = runs.c.id, runs.c.device_id, runs.c.epoch, runs.c.seq, runs.c.digest
    queries = [select(*columns).where(one_of(connection, runs.c.id, {each.id for each in planned}))]
    for (device_id, epoch), some in groupby(sorted(each.place for each in planned), key=lambda place: place[:2]):
        seqs = {seq for _, _, seq in some}
        too = select(runs.c.id, *other_places.c[("device_id", "epoch", "seq")], runs.c.digest)
        for table, query in (
            (runs, select(*columns)),
            (other_places, too.join(runs, runs.c.id == other_places.c.run_id)),
        ):
            mine = table.c.device_id == device_id, table.c.epoch == epoch
            queries.append(query.where(*mine, one_of(connection, table.c.seq, seqs)))
    rows = await connection.execute(union_all(*queries))
    return [HeldRun(row.id, (row.device_id, row.epoch, row.seq), row.digest) for row in rows]


async def _put_elsewhere(connection: AsyncConnection, some: Sequence[Planned]) -> None:
    if some:
        names = ("device_id", "epoch", "seq")
        rows = [dict(zip(names, each.place, strict=True)) | {"run_id": each.id} for each in some]
        await put_many(connection, other_places, rows)


async def _insert(connection: AsyncConnection, planned: Sequence[Planned]) -> tuple[NewRun, ...]:
    """The runs that were not here yet, in order; whoever holds an id or a place first keeps it."""
    if not planned:
        return ()
    # Two centrals that insert the same runs in the same order wait for one another instead of for ever.
    ordered = [each.row for each in sorted(planned, key=lambda each: each.place)]
    rows = await put_many(connection, runs, ordered, returning=NewRun.__struct_fields__)
    return tuple(sorted((NewRun(**row._mapping) for row in rows), key=lambda run: run.number))


async def _record(
    connection: AsyncConnection, planned: Sequence[Planned], new: Sequence[NewRun], now: datetime
) -> dict[str, News]:
    """What the laboratory is to make of the new runs begins with its record of them; the news of each, by its id."""
    ids = {run.id for run in new}
    records = await record_runs(connection, [each.row for each in planned if each.id in ids], now)
    told = ("run_id", "site_id", "plate_id", "revision")
    return {record["run_id"]: News(kind="run.accepted", **{name: record[name] for name in told}) for record in records}


async def _missing_pictures(connection: AsyncConnection, accepted: Sequence[Planned]) -> set[str]:
    named = {each.picture for each in accepted}
    query = select(images.c.sha256).where(one_of(connection, images.c.sha256, named))
    return named - set(await connection.scalars(query)) if named else set()


def _merge(outcomes: Sequence[Outcome]) -> Outcome:
    return Outcome(
        acks=tuple(ack for outcome in outcomes for ack in outcome.acks),
        new=tuple(run for outcome in outcomes for run in outcome.new),
        repeated=sum(outcome.repeated for outcome in outcomes),
        rejected=sum(outcome.rejected for outcome in outcomes),
    )
