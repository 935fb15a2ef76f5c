"""`/api/v1/dead-letters`: messages that could not become runs, for the person who finds out why."""

import msgspec
from litestar import Response, get

from central.api.paths import After, Limit, with_query
from central.db import reading
from central.parts import Wired
from central.queries import DeadLetter, list_dead_letters


class DeadLettersOut(msgspec.Struct, frozen=True):
    """A page of dead letters, newest first."""

    items: tuple[DeadLetter, ...]
    next: str | None


@get("/dead-letters", summary="List dead letters", description="What was refused, why, and how often it came.")
async def get_dead_letters(parts: Wired, after: After = None, limit: Limit = 50) -> Response[DeadLettersOut]:
    """A page of dead letters."""
    async with reading(parts.engine) as connection:
        found = await list_dead_letters(connection, after=after, limit=limit)
    following = None
    if len(found) == limit:
        following = with_query("/api/v1/dead-letters", after=found[-1].number, limit=limit)
    links = {"link": f'<{following}>; rel="next"'} if following else {}
    return Response(DeadLettersOut(found, following), headers=links)
