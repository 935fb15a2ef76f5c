"""`/api/v1/password-links/forgotten`: a letter to who forgot a password; nobody else learns whether there is one."""

from typing import Annotated

import msgspec
from litestar import Response, post
from litestar.background_tasks import BackgroundTask
from litestar.params import JSONBody

from central.api.users import mailed
from central.db import reading
from central.parts import CentralRequest, Parts, Wired, origin_of
from central.people.callers import Origin
from central.people.directory import list_users
from central.people.forgotten import forgotten
from central.people.permissions import ANYONE
from central.web.problems import ProblemError


class ForgottenIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who forgot a password."""

    name: Annotated[str, msgspec.Meta(max_length=64, examples=["anna"])]


@post(
    "/password-links/forgotten",
    access=ANYONE,
    status_code=204,
    summary="I forgot my password",
    description=(
        "The same answer for every name, before anybody is looked for. Where there is such a person with an address, a "
        "link goes there, at most every 15 minutes. 409 where this central sends no letters: ask an administrator."
    ),
    security=[],
)
async def post_forgotten(request: CentralRequest, parts: Wired, data: JSONBody[ForgottenIn]) -> Response[None]:
    """Taken, and answered before it is looked at."""
    return Response(None, status_code=204, background=letter_for(request, parts, data.name))


def letter_for(request: CentralRequest, parts: Parts, name: str) -> BackgroundTask:
    """What is done after the answer; 409 where there is no mail server, whoever asks."""
    if parts.mailer is None:
        raise ProblemError(409, "this central sends no letters (expected that you ask an administrator for a link)")
    return BackgroundTask(_send, parts, name, origin_of(request))


async def _send(parts: Parts, name: str, origin: Origin) -> None:
    found = await forgotten(parts.engine, name, origin=origin, now=parts.now())
    if found is None:
        return
    user_id, link = found
    async with reading(parts.engine) as connection:
        (row,) = await list_users(connection, user_id)
    assert parts.mailer is not None
    if row.email is not None:
        await mailed(parts.mailer, user_id, row.email, link, f"{parts.public_url}/join/{link.code}")
