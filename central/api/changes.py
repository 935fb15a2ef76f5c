"""`/api/v1/changes`: what changed, in order, for a system that reads along and remembers where it stopped.

It asks, or waits for the answer (long poll), or is told: by server-sent events, or by a socket. The number is the same
everywhere, so it may change from one to another.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Annotated, Any, Final

import msgspec
from litestar import Response, WebSocket, get, websocket
from litestar.connection import ASGIConnection
from litestar.exceptions import WebSocketDisconnect
from litestar.params import HeaderParameter, QueryParameter
from litestar.response import ServerSentEvent
from litestar.response.sse import ServerSentEventMessage

from central.api.paths import with_query
from central.db import reading
from central.deliveries.changes import Numbered, changes_after
from central.parts import CentralRequest, Parts, Wired, caller_sites
from central.people.access import caller_name, still_may
from central.people.callers import KeyCaller, Person
from central.people.permissions import VIEWERS
from central.results.followers import Follower
from central.results.live import RETRY_MS, TooManyListenersError
from central.web.problems import ProblemError

READERS: Final = VIEWERS.with_key("results:read")

# A listener that takes nothing for so long is let go; it comes back with the number that it has.
PATIENCE_S: Final = 30.0
TRY_LATER: Final = 1013
NOTHING_EXPECTED: Final = 1008

# How often a waiting reader's question is asked again; an answer comes about so late.
LOOK_S: Final = 0.5

Cursor = Annotated[int, QueryParameter(ge=0, le=2**53, description="`next` of the answer before; 0 from the start.")]
Wait = Annotated[int, QueryParameter(ge=0, le=30, description="Seconds to wait for something new (long poll).")]
Most = Annotated[int, QueryParameter(ge=1, le=500, description="At most so many items.")]


Since = Annotated[
    int | None, QueryParameter(ge=0, le=2**53, description="Tell what came after this number; from now on if not said.")
]
LastEventId = Annotated[
    str | None, HeaderParameter(name="last-event-id", pattern=r"^\d{1,18}$", description="As `after`, and before it.")
]


class ChangesOut(msgspec.Struct, frozen=True):
    """Changes, oldest first. Ask again with `next`: no change is skipped and none comes twice."""

    items: tuple[Numbered, ...]
    next: int
    has_more: bool


@get(
    "/changes",
    access=READERS,
    summary="What changed",
    description="In the order in which it was committed. Remember `next` once everything was worked on.",
)
async def get_changes(
    *, request: CentralRequest, parts: Wired, after: Cursor = 0, limit: Most = 500, wait: Wait = 0
) -> Response[ChangesOut]:
    """The changes after a number; where there are none, whatever comes while the caller waits."""
    waited = 0.0
    while True:
        async with reading(parts.engine) as connection:
            found = await changes_after(connection, caller_sites(request), after, limit + 1)
        if found or waited >= wait:
            break
        await asyncio.sleep(LOOK_S)
        waited += LOOK_S
    page = found[:limit]
    following = page[-1].number if page else after
    more = len(found) > limit
    links = {"link": f'<{with_query("/api/v1/changes", after=following, limit=limit)}>; rel="next"'} if more else {}
    return Response(ChangesOut(page, following, more), headers=links)


@get(
    "/changes/events",
    access=READERS,
    summary="Changes as they happen",
    description="`text/event-stream`: the id of an event is its number, its name the kind. Ends after ten minutes at"
    " most, and when the caller may not listen any more: come back with `Last-Event-ID`, and nothing is skipped.",
)
async def get_change_events(
    request: CentralRequest, parts: Wired, after: Since = None, last_event_id: LastEventId = None
) -> ServerSentEvent:
    """A stream of changes."""
    who = await _follower(request, parts, after if last_event_id is None else int(last_event_id))
    try:
        parts.followers.refuse_where_full(who.name)
    except TooManyListenersError as error:
        raise ProblemError(503, str(error), {"retry-after": "30"}) from error
    return ServerSentEvent(_events(parts, who))


async def _events(parts: Parts, who: Follower) -> AsyncIterator[ServerSentEventMessage]:
    yield ServerSentEventMessage(comment="listening", retry=RETRY_MS, data=None)
    async for page in parts.followers.follow(parts.engine, who, lambda: parts.live.closed):
        for change in page:
            text = msgspec.json.encode(change).decode()
            yield ServerSentEventMessage(event=change.kind, id=change.number, data=text)
        if not page:
            yield ServerSentEventMessage(comment="still here", data=None)


@websocket("/changes/socket", access=READERS)
async def follow_changes(socket: WebSocket[Any, Any, Any], parts: Wired, after: Since = None) -> None:
    """The same by a socket: one JSON object for each change. It takes nothing but the goodbye."""
    who = await _follower(socket, parts, after)
    await socket.accept()
    try:
        parts.followers.refuse_where_full(who.name)
    except TooManyListenersError as error:
        await socket.close(TRY_LATER, str(error)[:120])
        return
    telling, hearing = asyncio.create_task(_tell(socket, parts, who)), asyncio.create_task(_hear(socket))
    try:
        await asyncio.wait((telling, hearing), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (telling, hearing):
            task.cancel()
            with suppress(asyncio.CancelledError, WebSocketDisconnect, TimeoutError):
                await task
    with suppress(WebSocketDisconnect, RuntimeError):
        await socket.close(NOTHING_EXPECTED if hearing.done() and not hearing.cancelled() else 1000)


async def _tell(socket: WebSocket[Any, Any, Any], parts: Parts, who: Follower) -> None:
    async for page in parts.followers.follow(parts.engine, who, lambda: parts.live.closed):
        for change in page:
            async with asyncio.timeout(PATIENCE_S):
                await socket.send_data(msgspec.json.encode(change).decode())


async def _hear(socket: WebSocket[Any, Any, Any]) -> None:
    """Returns once the other side says anything: a goodbye, or what nobody asked for."""
    await socket.receive()


async def _follower(connection: ASGIConnection[Any, Any, Any, Any], parts: Parts, after: int | None) -> Follower:
    caller = connection.scope["user"]
    assert isinstance(caller, Person | KeyCaller), f"a route for people and keys was reached by {caller!r}"
    since = await parts.followers.tip(parts.engine) if after is None else after
    return Follower(caller_name(caller), caller.sites, since, lambda: still_may(connection, READERS))
