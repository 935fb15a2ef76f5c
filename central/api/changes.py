"""`/api/v1/changes`: what changed, in order, for a system that reads along and remembers where it stopped."""

import asyncio
from typing import Annotated, Final

import msgspec
from litestar import Response, get
from litestar.params import QueryParameter

from central.api.paths import with_query
from central.db import reading
from central.deliveries.changes import Numbered, changes_after
from central.parts import CentralRequest, Wired, caller_sites
from central.people.permissions import VIEWERS

# How often a waiting reader's question is asked again; an answer comes about so late.
LOOK_S: Final = 0.5

Cursor = Annotated[int, QueryParameter(ge=0, le=2**53, description="`next` of the answer before; 0 from the start.")]
Wait = Annotated[int, QueryParameter(ge=0, le=30, description="Seconds to wait for something new (long poll).")]
Most = Annotated[int, QueryParameter(ge=1, le=500, description="At most so many items.")]


class ChangesOut(msgspec.Struct, frozen=True):
    """Changes, oldest first. Ask again with `next`: no change is skipped and none comes twice."""

    items: tuple[Numbered, ...]
    next: int
    has_more: bool


@get(
    "/changes",
    access=VIEWERS.with_key("results:read"),
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
