"""Who follows the feed of changes live: each reads the database from the number that he saw last; nothing is queued.

So a slow one costs nothing but his place, one that was away goes on where he stopped, and what another process wrote is
found as well. All of a process ask together, twice in a second, what the newest number is. A stream ends when its
caller may not listen any more, and after ten minutes in any case: who follows comes back with the number he has.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from central.db import reading
from central.deliveries.changes import Numbered, changes_after
from central.people.sites import Sites
from central.results.live import HEARTBEAT_S, LIFE_S, TooManyListenersError
from central.tables import changes_tip

# A change is told about so late at most.
LOOK_S: Final = 0.5
# How often it is asked whether the caller may still listen.
RECHECK_S: Final = 5.0
MAX_FOLLOWERS: Final = 200
MAX_OF_ONE: Final = 10
PAGE: Final = 200


@dataclass(frozen=True, slots=True)
class Follower:
    """Who follows: a name for him, whose changes he sees, from which number on; whether he still may."""

    name: str
    sites: Sites
    after: int
    still: Callable[[], Awaitable[bool]]


class Followers:
    """Those of one process."""

    def __init__(
        self, *, look_s: float = LOOK_S, recheck_s: float = RECHECK_S, heartbeat_s: float = HEARTBEAT_S
    ) -> None:
        """Starts with nobody."""
        self._look_s, self._recheck_s, self._heartbeat_s = look_s, recheck_s, heartbeat_s
        self._places: Counter[str] = Counter()
        self._tip, self._asked_at = 0, float("-inf")
        self._asking = asyncio.Lock()

    @property
    def many(self) -> int:
        """How many streams are open."""
        return self._places.total()

    def refuse_where_full(self, name: str) -> None:
        """TooManyListenersError where this caller has enough streams, or all places are taken."""
        if self.many >= MAX_FOLLOWERS or self._places[name] >= MAX_OF_ONE:
            raise TooManyListenersError(
                f"{self._places[name]} of your {MAX_OF_ONE} streams are open, {self.many} of {MAX_FOLLOWERS} of all"
            )

    @contextmanager
    def _place(self, name: str) -> Iterator[None]:
        self._places[name] += 1
        try:
            yield
        finally:
            self._places[name] -= 1
            self._places += Counter()  # nothing is kept of who left

    async def tip(self, engine: AsyncEngine) -> int:
        """The newest number, as of `LOOK_S` ago at most."""
        loop = asyncio.get_running_loop()
        async with self._asking:
            if loop.time() - self._asked_at >= self._look_s:
                async with reading(engine) as connection:
                    self._tip = await connection.scalar(select(changes_tip.c.number)) or 0
                self._asked_at = loop.time()
        return self._tip

    async def follow(
        self, engine: AsyncEngine, who: Follower, closed: Callable[[], bool]
    ) -> AsyncIterator[Sequence[Numbered]]:
        """Changes after his number, in order, a page at a time; an empty one in between says that the line is open."""
        with self._place(who.name):
            async for page in self._pages(engine, who, closed):
                yield page

    async def _pages(
        self, engine: AsyncEngine, who: Follower, closed: Callable[[], bool]
    ) -> AsyncIterator[Sequence[Numbered]]:
        loop = asyncio.get_running_loop()
        ends, checked_at, told_at = loop.time() + LIFE_S, loop.time(), loop.time()
        last = looked = who.after
        yield ()
        while loop.time() < ends and not closed():
            if loop.time() - checked_at >= self._recheck_s:
                if not await who.still():
                    return
                checked_at = loop.time()
            tip = await self.tip(engine)
            page: Sequence[Numbered] = ()
            if tip > looked:
                async with reading(engine) as connection:
                    page = await changes_after(connection, who.sites, last, PAGE)
                looked = page[-1].number if len(page) == PAGE else tip
            if page:
                last = page[-1].number
            if page or loop.time() - told_at >= self._heartbeat_s:
                told_at = loop.time()
                yield page
            if len(page) < PAGE:
                await asyncio.sleep(self._look_s)
