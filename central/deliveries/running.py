"""The worker beside the web server: looks for what is due, for ever, and a trouble of one delivery is nobody else's."""

import asyncio
import random
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final

import structlog
from sqlalchemy import Row, select
from sqlalchemy.ext.asyncio import AsyncEngine

from central.db import DATABASE_ERRORS, reading
from central.deliveries.editing import Desk
from central.deliveries.outbox import Worker, work
from central.deliveries.places import PlaceError, target_of
from central.deliveries.rules import generate, valid
from central.deliveries.targets.target import Target, TargetError
from central.fleet.broker_child import cancelled
from central.seal import SealError
from central.tables import delivery_rules

log: Final = structlog.get_logger(__name__)

# Between looks when nothing was due; an approval is placed about so soon.
LOOK_S: Final = 1.0
# After the database did not answer.
WAIT_S: Final = 5.0


@asynccontextmanager
async def deliveries_running(desk: Desk, now: Callable[[], datetime]) -> AsyncIterator[None]:
    """Deliver while this lasts."""
    worker = Worker(
        name=f"central-{secrets.token_hex(6)}",
        now=now,
        chance=random.random,
        generate=generate,
        target=lambda row: _target(desk, row),
        check=valid,
    )
    task = asyncio.create_task(_deliver(desk.engine, worker), name="deliveries")
    try:
        yield
    finally:
        await cancelled(task)


async def _deliver(engine: AsyncEngine, worker: Worker) -> None:
    while True:
        try:
            looked = await work(engine, worker)
        except DATABASE_ERRORS as error:
            log.warning("deliveries_wait", reason=str(error).splitlines()[0])
            await asyncio.sleep(WAIT_S)
            continue
        if not looked:
            await asyncio.sleep(LOOK_S)


async def _target(desk: Desk, row: Row[Any]) -> Target:
    """Where the delivery's rule sends files; what is wrong with the rule stops only its own deliveries."""
    async with reading(desk.engine) as connection:
        rule = (await connection.execute(select(delivery_rules).where(delivery_rules.c.id == row.rule_id))).one()
    try:
        secret = None if rule.secret is None else desk.seal.open(rule.secret, rule.id).decode()
        return target_of(rule.target_kind, rule.target, secret, desk.bounds)
    except PlaceError as error:
        raise TargetError(str(error), "change the rule and send again", final=True) from error
    except SealError as error:
        raise TargetError(str(error), "give the rule its secret again", final=True) from error
