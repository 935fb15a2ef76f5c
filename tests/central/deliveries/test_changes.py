"""The feed: any number of writers, however slow, and a reader that stops anywhere sees every change once, in order."""

import asyncio
import random
from contextlib import suppress

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from central.db import reading, transaction
from central.deliveries.changes import News, announce, changes_after
from central.people.sites import EVERY_SITE, Sites
from tests.make import NOON

pytestmark = pytest.mark.anyio

WRITERS, EACH = 8, 12


def is_committed(at: int) -> bool:
    """Whether a writer's transaction of this number goes through."""
    return at % 4 != 3


async def write(engine: AsyncEngine, writer: int, chance: random.Random) -> None:
    """Runs of one writer, several to a transaction, some slow to commit, some undone."""
    for at in range(EACH):
        await asyncio.sleep(chance.random() * 0.01)
        with suppress(InterruptedError):
            async with transaction(engine) as connection:
                news = [News(kind="run.changed", site_id="main", run_id=f"{writer}-{at}", revision=n) for n in (1, 2)]
                await announce(connection, news, NOON)
                await asyncio.sleep(chance.random() * 0.02)
                if not is_committed(at):
                    raise InterruptedError


async def follow(engine: AsyncEngine, seen: list[tuple[int, str | None, int | None]], until: int) -> None:
    """Read along from where the last reading stopped, a few at a time."""
    chance = random.Random(7)
    while len(seen) < until:
        async with reading(engine) as connection:
            after = seen[-1][0] if seen else 0
            page = await changes_after(connection, EVERY_SITE, after, chance.randint(1, 5))
        seen += [(each.number, each.run_id, each.revision) for each in page]
        await asyncio.sleep(chance.random() * 0.005)


async def test_a_reader_beside_eight_writers_misses_none_and_sees_none_twice(engine: AsyncEngine) -> None:
    runs = [f"{writer}-{at}" for writer in range(WRITERS) for at in range(EACH) if is_committed(at)]
    committed = [(run_id, n) for run_id in runs for n in (1, 2)]
    seen: list[tuple[int, str | None, int | None]] = []
    writers = [write(engine, writer, random.Random(writer)) for writer in range(WRITERS)]
    await asyncio.wait_for(asyncio.gather(follow(engine, seen, len(committed)), *writers), 120)
    assert sorted((run_id, revision) for _, run_id, revision in seen) == sorted(committed)
    assert [number for number, _, _ in seen] == list(range(1, len(committed) + 1))
    for run_id in runs:
        assert [revision for _, run, revision in seen if run == run_id] == [1, 2]


async def test_another_site_is_not_read_along(engine: AsyncEngine) -> None:
    async with transaction(engine) as connection:
        await announce(connection, [News(kind="run.accepted", site_id=site) for site in ("main", "north")], NOON)
        assert [each.site_id for each in await changes_after(connection, Sites.of(["north"]), 0, 10)] == ["north"]
        assert await changes_after(connection, Sites.of([]), 0, 10) == ()
