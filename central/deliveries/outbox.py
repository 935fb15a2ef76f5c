"""The outbox of deliveries: which is due, who works on it, and each step in a transaction of its own.

Several centrals share the work: a delivery is leased for a while, and a lease that ran out is anybody's again. A step
that a slow worker does after his lease ran out changes nothing that another did: it asks for the state that it saw.

What is due goes side by side, and each rule in its turn: a place that hangs, with a thousand files waiting for it,
holds up its own files and no other's.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import reduce
from typing import Any, Final

import msgspec
import structlog
from sqlalchemy import ColumnElement, Row, and_, exists, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from central.audit.chain import SYSTEM
from central.db import DATABASE_ERRORS, reading, transaction
from central.deliveries.arrival import follow
from central.deliveries.differences import Made, in_words
from central.deliveries.queries import was_corrected
from central.deliveries.render import RenderError
from central.deliveries.states import (
    MOST_ATTEMPTS,
    MOST_ATTEMPTS_CORRECTED,
    OPEN,
    DeliveryEvent,
    DeliveryState,
    after,
    retry_delay_s,
)
from central.deliveries.targets.target import Outgoing, Place, Target, TargetError
from central.laboratory.known import hold_site
from central.tables import deliveries, delivery_log

log: Final = structlog.get_logger(__name__)

# Longer than any one step may take at a place that answers; shorter than people wait.
LEASE: Final = timedelta(seconds=90)
# How often a place is asked whether a file was taken.
LOOK_AGAIN: Final = timedelta(seconds=20)
# Where nobody but a person or a system itself can say so.
NEVER: Final = timedelta(days=36500)
_AT_ONCE: Final = 8

_WORK: Final = (*OPEN, DeliveryState.PLACED)

# A delivery's file from the database: in the transaction that keeps it.
Generate = Callable[[AsyncConnection, Row[Any]], Awaitable[Made]]
# Whether what it was made of still holds: RenderError where it does not.
Check = Callable[[AsyncConnection, Row[Any]], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Worker:
    """Who works: its name, which is new at every start, its clock, chance from 0 to 1, and what it works with."""

    name: str
    now: Callable[[], datetime]
    chance: Callable[[], float]
    generate: Generate
    target: Callable[[Row[Any]], Awaitable[Target]]
    check: Check


async def work(engine: AsyncEngine, worker: Worker) -> int:
    """Bring what is due one step further, as far as it goes; how many deliveries were looked at."""
    leased = await _lease(engine, worker)
    # Whatever one of them ends in, the others go on to their end.
    ended = await asyncio.gather(*(_bring_on(engine, worker, each) for each in leased), return_exceptions=True)
    for error in ended:
        if error is not None:
            raise error
    return len(leased)


async def _lease(engine: AsyncEngine, worker: Worker) -> list[str]:
    now = worker.now()
    free = or_(deliveries.c.leased_until.is_(None), deliveries.c.leased_until < now)
    is_due = (deliveries.c.state.in_([state.value for state in _WORK]), deliveries.c.due_at <= now, free, _in_turn())
    order = deliveries.c.due_at, deliveries.c.id
    turn = func.row_number().over(partition_by=deliveries.c.rule_id, order_by=order).label("turn")
    queue = select(deliveries.c.id, deliveries.c.due_at, turn).where(*is_due).subquery()
    chosen = select(queue.c.id).order_by(queue.c.turn, queue.c.due_at, queue.c.id).limit(_AT_ONCE)
    async with transaction(engine) as connection:
        # Who was quicker with one of these has leased it: it is asked again whether it is due.
        wanted = deliveries.c.id.in_(list(await connection.scalars(chosen)))
        held = select(deliveries.c.id).where(wanted, *is_due).order_by(*order).with_for_update(skip_locked=True)
        ids = list(await connection.scalars(held))
        lease = {"leased_by": worker.name, "leased_until": now + LEASE}
        await connection.execute(update(deliveries).where(deliveries.c.id.in_(ids)).values(lease))
    return ids


def _in_turn() -> ColumnElement[bool]:
    """No earlier revision is being placed, and none that withdraws waits: they must not come after a correction."""
    earlier = deliveries.alias("earlier")
    return ~exists().where(
        earlier.c.rule_id == deliveries.c.rule_id,
        earlier.c.subject_id == deliveries.c.subject_id,
        earlier.c.revision < deliveries.c.revision,
        or_(
            earlier.c.state == DeliveryState.PLACING.value,
            and_(
                earlier.c.withdraws.is_not(None),
                earlier.c.state.in_([DeliveryState.PENDING.value, DeliveryState.GENERATED.value]),
            ),
        ),
    )


async def _bring_on(engine: AsyncEngine, worker: Worker, delivery_id: str) -> None:
    """Step after step until it rests: placed, taken, failed, or to be tried again later."""
    while True:
        async with transaction(engine) as connection:
            row = (await connection.execute(select(deliveries).where(deliveries.c.id == delivery_id))).one()
        if row.leased_by != worker.name or DeliveryState(row.state) not in _WORK:
            return
        try:
            if not await _step(engine, worker, row):
                return
        except (TargetError, RenderError) as error:
            await _failed(engine, worker, row, error)
            return
        except DATABASE_ERRORS:
            raise
        except Exception as error:
            # Our bug: said, and tried again later. It must not hold up the deliveries behind this one.
            log.exception("delivery_failed", delivery=delivery_id)
            await _failed(engine, worker, row, error)
            return


async def _step(engine: AsyncEngine, worker: Worker, row: Row[Any]) -> bool:
    """One step; whether there may be another at once."""
    match DeliveryState(row.state):
        case DeliveryState.PENDING:
            return await _generated(engine, worker, row)
        case DeliveryState.GENERATED:
            # A place may have been away for hours since the file was made.
            async with reading(engine) as connection:
                await worker.check(connection, row)
            place = await (await worker.target(row)).prepare(_file(row))
            return await _begun(engine, worker, row, place)
        case DeliveryState.PLACING:
            has_it = await (await worker.target(row)).finish(_file(row), row.place)
            placed = await _moved(engine, worker, row, DeliveryEvent.PLACE, placed_at=worker.now(), attempts=0)
            return placed and (not has_it or await _acknowledged(engine, worker, row, "the place answered"))
        case _:
            taken = await (await worker.target(row)).taken(_file(row), row.place)
            if taken:
                return await _acknowledged(engine, worker, row, "taken from its place")
            await _rest(engine, worker, row, worker.now() + (LOOK_AGAIN if taken is False else NEVER))
            return False


async def _generated(engine: AsyncEngine, worker: Worker, row: Row[Any]) -> bool:
    async with transaction(engine) as connection:
        made = await worker.generate(connection, row)
        file = made.file
        values = {
            "name": file.name,
            "media_type": file.media_type,
            "content": file.content,
            "content_sha256": hashlib.sha256(file.content).hexdigest(),
            "left_out": list(file.left_out),
            "said": msgspec.to_builtins(made.said),
            "differences": msgspec.to_builtins(made.differences),
        }
        words = None if made.differences is None else in_words(made.differences)
        return await _move(connection, worker, row, DeliveryEvent.GENERATE, values, detail=words)


async def _begun(engine: AsyncEngine, worker: Worker, row: Row[Any], place: Place) -> bool:
    """From here on the file may be there. Asked once more, with the delivery held, whether what it says still stands.

    Who voids what it says waits for the delivery, and finds then that it is begun.
    """
    async with transaction(engine) as connection:
        begun = await _move(connection, worker, row, DeliveryEvent.BEGIN, {"place": place})
        if begun:
            await worker.check(connection, row)
        return begun


async def _acknowledged(engine: AsyncEngine, worker: Worker, row: Row[Any], how: str) -> bool:
    values = {"acknowledged_at": worker.now(), "acknowledged_how": how}
    async with transaction(engine) as connection:
        await hold_site(connection, row.site_id)  # before the delivery, as who voids a plate does
        now_placed = (await connection.execute(select(deliveries).where(deliveries.c.id == row.id))).one()
        if now_placed.state != DeliveryState.PLACED.value:
            return False  # the other side said so itself meanwhile, or a newer one stands for it
        await _move(connection, worker, now_placed, DeliveryEvent.ACKNOWLEDGE, values, detail=how)
    return False


async def _moved(engine: AsyncEngine, worker: Worker, row: Row[Any], event: DeliveryEvent, **values: Any) -> bool:
    async with transaction(engine) as connection:
        return await _move(connection, worker, row, event, values)


async def _move(
    connection: AsyncConnection,
    worker: Worker,
    row: Row[Any],
    event: DeliveryEvent,
    values: dict[str, Any],
    *,
    detail: str | None = None,
) -> bool:
    """To the next state, if the delivery is still in the one that was seen; False where another was quicker."""
    state = after(DeliveryState(row.state), event)
    now = worker.now()
    ends = state not in _WORK
    step = {"state": state.value, "last_error": None, "leased_until": None if ends else now + LEASE}
    seen = (deliveries.c.id == row.id, deliveries.c.state == row.state)
    done = await connection.execute(update(deliveries).where(*seen).values(values | step))
    if done.rowcount != 1:
        return False
    await _log(connection, row.id, event.value, now, detail)
    await follow(connection, row, event, actor=SYSTEM, now=now)
    return True


async def _failed(engine: AsyncEngine, worker: Worker, row: Row[Any], error: Exception) -> None:
    """Later again, or for a person; what was placed already only waits to be asked again."""
    now, attempts = worker.now(), row.attempts + 1
    final = isinstance(error, RenderError) or (isinstance(error, TargetError) and error.final)
    given_up = final or attempts >= MOST_ATTEMPTS
    values: dict[str, Any] = {"attempts": attempts, "last_error": _said(error), "leased_until": None}
    async with transaction(engine) as connection:
        corrected = attempts >= MOST_ATTEMPTS_CORRECTED and await was_corrected(connection, row)
        events = _ends(row, given_up=given_up, corrected=corrected)
        if events:
            values["state"] = reduce(after, events, DeliveryState(row.state)).value
        else:
            values["due_at"] = now + timedelta(seconds=retry_delay_s(attempts, worker.chance()))
        seen = (deliveries.c.id == row.id, deliveries.c.state == row.state, deliveries.c.leased_by == worker.name)
        done = await connection.execute(update(deliveries).where(*seen).values(values))
        if not done.rowcount:
            return
        await _log(connection, row.id, "fail" if events else "try", now, _said(error))
        if DeliveryEvent.SUPERSEDE in events:
            await _log(connection, row.id, DeliveryEvent.SUPERSEDE.value, now, "its correction waited long enough")
        elif events:
            await follow(connection, row, DeliveryEvent.FAIL, actor=SYSTEM, now=now)


def _ends(row: Row[Any], *, given_up: bool, corrected: bool) -> tuple[DeliveryEvent, ...]:
    """What a failed try leads to: nothing where it is tried again, which a file that is placed is for ever.

    One that hangs in its placing lets its correction go after a while. It is never taken up again, so that it cannot
    come after what corrects it; whether it came before is as unknown as it was.
    """
    if row.state == DeliveryState.PLACED.value:
        return ()
    if row.state == DeliveryState.PLACING.value and corrected:
        return DeliveryEvent.FAIL, DeliveryEvent.SUPERSEDE
    return (DeliveryEvent.FAIL,) if given_up else ()


def _said(error: Exception) -> str:
    """What people are told: our own bug by its name only, for its text may hold anything."""
    return str(error) if isinstance(error, TargetError | RenderError) else f"an error of ours, {type(error).__name__}"


async def _rest(engine: AsyncEngine, worker: Worker, row: Row[Any], until: datetime) -> None:
    async with transaction(engine) as connection:
        mine = (deliveries.c.id == row.id, deliveries.c.leased_by == worker.name)
        values = {"due_at": until, "leased_until": None, "last_error": None}
        await connection.execute(update(deliveries).where(*mine).values(values))


async def _log(connection: AsyncConnection, delivery_id: str, event: str, at: datetime, detail: str | None) -> None:
    row = {"delivery_id": delivery_id, "at": at, "event": event, "detail": detail}
    await connection.execute(insert(delivery_log).values(row))


def _file(row: Row[Any]) -> Outgoing:
    return Outgoing(row.id, row.name, row.media_type, row.content, withdraws=row.withdraws is not None)
