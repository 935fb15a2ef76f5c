"""`/api/v1/dead-letters`: messages that could not become runs, for the person who finds out why."""

import msgspec
from litestar import Response, get

from central.api.paths import After, DeviceFilter, LetterPath, Limit, missing, with_query
from central.db import reading
from central.fleet.queries import DeadLetter, dead_letter_payload, list_dead_letters
from central.parts import Wired
from central.people.permissions import ADMINS
from central.web.headers import attachment
from central.web.problems import ProblemError


class DeadLettersOut(msgspec.Struct, frozen=True):
    """A page of dead letters, newest first."""

    items: tuple[DeadLetter, ...]
    next: str | None


@get(
    "/dead-letters",
    access=ADMINS,
    summary="List dead letters",
    description="What was refused, why, and how often it came.",
)
async def get_dead_letters(
    parts: Wired, after: After = None, limit: Limit = 50, device: DeviceFilter = None
) -> Response[DeadLettersOut]:
    """A page of dead letters."""
    async with reading(parts.engine) as connection:
        found = await list_dead_letters(connection, after=after, limit=limit, device=device)
    following = None
    if len(found) == limit:
        following = with_query("/api/v1/dead-letters", after=found[-1].number, limit=limit, device=device)
    links = {"link": f'<{following}>; rel="next"'} if following else {}
    return Response(DeadLettersOut(found, following), headers=links)


@get(
    "/dead-letters/{number:int}/payload",
    access=ADMINS,
    media_type="application/octet-stream",
    summary="The bytes of a dead letter",
    description="As they came. 410 where they had to make room for newer ones; the list keeps their digest.",
)
async def get_dead_letter_payload(parts: Wired, number: LetterPath) -> Response[bytes]:
    """A message that could not be accepted."""
    async with reading(parts.engine) as connection:
        found = await dead_letter_payload(connection, number)
    if found is None:
        raise missing("dead letter", str(number))
    digest, payload = found
    if not payload:
        raise ProblemError(410, f"the bytes of dead letter {number} had to make room (its SHA-256 was {digest})")
    headers = {"content-disposition": attachment(f"dead-letter-{number}.bin"), "x-content-type-options": "nosniff"}
    return Response(payload, media_type="application/octet-stream", headers=headers)
