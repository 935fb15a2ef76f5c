"""Tells open dashboards that runs came in: server-sent events whose id is the run's number.

Nothing is queued for a listener: a wake-up is one flag, and each listener reads the database from the last number
that it has seen. So a slow one costs nothing, one that was away resumes with `Last-Event-ID` by the same path, and a
run that another process accepted is found at the next heartbeat.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final

import msgspec
from litestar.response.sse import ServerSentEventMessage

# Longer and a proxy closes an idle line (60 s is common); shorter and a thousand tablets ask the database for nothing.
HEARTBEAT_S: Final = 15.0
# A stream ends after ten minutes and the browser comes back: no connection is for ever.
LIFE_S: Final = 600.0
# So soon after somebody signed out, was shut out, or lost a site, their streams end.
CHECK_S: Final = 3.0
RETRY_MS: Final = 2000
MAX_LISTENERS: Final = 500


class RunEvent(msgspec.Struct, frozen=True):
    """A run as it is announced: enough to show a line about it. `historical`: it waited, and nobody waits for it."""

    number: int
    id: str
    device_id: str
    submission: str | None
    test: str | None
    plate_number: str | None
    historical: bool = False


class TooManyListenersError(Exception):
    """Every place is taken."""


async def _always() -> bool:
    return True


class Live:
    """The listeners of one process."""

    def __init__(self) -> None:
        """Starts with nobody listening."""
        self._wakers: set[asyncio.Event] = set()
        self._closed = False

    def announce(self) -> None:
        """Runs were committed. Called on the event loop."""
        for waker in self._wakers:
            waker.set()

    def close(self) -> None:
        """End every stream, so that the server can stop."""
        self._closed = True
        self.announce()

    @property
    def closed(self) -> bool:
        """Whether the server is about to stop."""
        return self._closed

    @property
    def listeners(self) -> int:
        """How many streams are open."""
        return len(self._wakers)

    @contextmanager
    def _listening(self) -> Iterator[asyncio.Event]:
        waker = asyncio.Event()
        self._wakers.add(waker)
        try:
            yield waker
        finally:
            self._wakers.discard(waker)

    def open(
        self,
        last_number: int,
        runs_after: Callable[[int], Awaitable[Sequence[RunEvent]]],
        heartbeat_s: float = HEARTBEAT_S,
        still: Callable[[], Awaitable[bool]] = _always,
        check_s: float = CHECK_S,
    ) -> AsyncIterator[ServerSentEventMessage]:
        """The stream for one listener, or TooManyListenersError. It ends once `still`, asked often, says no."""
        if len(self._wakers) >= MAX_LISTENERS:
            raise TooManyListenersError(f"{MAX_LISTENERS} listeners are connected (expected fewer)")
        return self._stream(last_number, runs_after, heartbeat_s, still, check_s)

    async def _stream(
        self,
        last_number: int,
        runs_after: Callable[[int], Awaitable[Sequence[RunEvent]]],
        heartbeat_s: float,
        still: Callable[[], Awaitable[bool]],
        check_s: float,
    ) -> AsyncIterator[ServerSentEventMessage]:
        """Every run after `last_number`, in order, as it comes; comments in between keep the line open."""
        loop = asyncio.get_running_loop()
        ends = loop.time() + LIFE_S
        with self._listening() as waker:
            yield ServerSentEventMessage(comment="listening", retry=RETRY_MS, data=None)
            while loop.time() < ends:
                waker.clear()
                found = await runs_after(last_number)
                for run in found:
                    last_number = run.number
                    yield ServerSentEventMessage(event="run", id=run.number, data=msgspec.json.encode(run).decode())
                if self._closed and not found:
                    return
                until = loop.time() + (0 if found else heartbeat_s)
                while not waker.is_set() and loop.time() < until:
                    await _woken(waker, min(check_s, until - loop.time()))
                    if not await still():
                        return
                if not found and not waker.is_set():
                    yield ServerSentEventMessage(comment="still here", data=None)


async def _woken(waker: asyncio.Event, timeout_s: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(waker.wait(), timeout_s)
