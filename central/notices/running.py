"""The workers beside the web server: one follows the feed and looks, one sends letters; neither waits for the other."""

import asyncio
import random
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import structlog

from central.db import DATABASE_ERRORS
from central.deliveries.editing import Desk
from central.fleet.broker_child import cancelled
from central.mail import Mailer
from central.notices.letters import Postman, post, sender
from central.notices.looking import look
from central.notices.standing import OpenCounts
from central.results.figures import catch_up, follow

log: Final = structlog.get_logger(__name__)

# Between two rounds when there was nothing to do.
ROUND_S: Final = 5.0
# Between batches of runs from before there were figures: they take a tenth of one processor.
BREATH_S: Final = 1.0
# While many changes come, as in the drain of a reader that was away for weeks, readings go first: between two stretches
# of the feed this rests so many times as long as the last one took.
RESTS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Watch:
    """What the workers work with. `hears`: whether the broker is connected, so that devices can be heard."""

    desk: Desk
    mailer: Mailer | None
    counts: OpenCounts
    url: str
    now: Callable[[], datetime]
    hears: Callable[[], bool]


@asynccontextmanager
async def notices_running(watch: Watch) -> AsyncIterator[None]:
    """Look and tell while this lasts."""
    name = f"central-{secrets.token_hex(6)}"
    postman = Postman(name, watch.now, random.random, sender(watch.desk, watch.mailer))
    rounds: list[Callable[[], Awaitable[int]]] = [lambda: _look(watch, name), lambda: post(watch.desk.engine, postman)]
    tasks = [asyncio.create_task(_for_ever(each), name="notices") for each in rounds]
    try:
        yield
    finally:
        for task in tasks:
            await cancelled(task)


async def _for_ever(each: Callable[[], Awaitable[int]]) -> None:
    while True:
        try:
            done = await each()
        except DATABASE_ERRORS as error:
            log.warning("notices_wait", reason=str(error).partition("\n")[0])
            done = 0
        except Exception:
            # Our bug: said at every round, and tried again. A worker that ended here would tell nobody of anything.
            log.exception("notices_failed")
            done = 0
        if not done:
            await asyncio.sleep(ROUND_S)


async def _look(watch: Watch, name: str) -> int:
    """One round: figures first, so that what is looked at is new; last, and while it is quiet, those of old runs."""
    engine, clock = watch.desk.engine, asyncio.get_running_loop().time
    began_s = clock()
    followed = await follow(engine)
    if followed:
        await asyncio.sleep(RESTS * (clock() - began_s))
    await look(engine, name, watch.now(), url=watch.url, hears=watch.hears())
    await watch.counts.refresh(engine)
    if not followed and await catch_up(engine):
        await asyncio.sleep(BREATH_S)
        return 1
    return followed
