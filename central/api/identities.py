"""`/api/v1/users/{user_id}/identities`: who a person is at the laboratory's OpenID provider; for administrators."""

from typing import Annotated

import msgspec
from litestar import delete, get, post
from litestar.params import JSONBody, QueryParameter

from central.api.paths import missing
from central.api.users import Reason, UserPath
from central.db import reading
from central.parts import CentralRequest, Wired, actor_of
from central.people.identities import IdentityRow, NotLinkedError, identities_of, link_by_hand, unlink
from central.people.permissions import ADMINS
from central.people.users import UnknownUserError
from central.web.problems import ProblemError

Subject = Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=r"^[\x21-\x7e]+$", examples=["8f1c-22"])]
Why = Annotated[str | None, QueryParameter(pattern=r"^[^\x00-\x1f\x7f]{1,500}$", description="Why.")]


class IdentitiesOut(msgspec.Struct, frozen=True):
    """Who a person is elsewhere."""

    items: tuple[IdentityRow, ...]


class IdentityIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the provider calls the person (`sub`), and why that is known."""

    subject: Subject
    reason: Reason


@get("/users/{user_id:str}/identities", access=ADMINS, summary="Who a user is elsewhere")
async def get_identities(parts: Wired, user_id: UserPath) -> IdentitiesOut:
    """Nobody where there are none."""
    async with reading(parts.engine) as connection:
        return IdentitiesOut(await identities_of(connection, user_id))


@post(
    "/users/{user_id:str}/identities",
    access=ADMINS,
    status_code=204,
    summary="Link a user to the provider",
    description="Where the provider proves no address. 409 where there is no provider, or one of the two has a link.",
)
async def post_identity(request: CentralRequest, parts: Wired, user_id: UserPath, data: JSONBody[IdentityIn]) -> None:
    """From now on the provider signs this person in."""
    if parts.provider is None:
        raise ProblemError(409, "no provider is set (expected WELLREAD_OIDC_ISSUER)")
    try:
        await link_by_hand(
            parts.engine, user_id, parts.provider.issuer, data.subject,
            actor=actor_of(request), now=parts.now(), reason=data.reason,
        )  # fmt: skip
    except UnknownUserError as error:
        raise missing("user", user_id) from error
    except NotLinkedError as error:
        raise ProblemError(409, str(error)) from error


@delete("/users/{user_id:str}/identities", access=ADMINS, summary="Unlink a user from every provider")
async def delete_identities(request: CentralRequest, parts: Wired, user_id: UserPath, reason: Why = None) -> None:
    """No provider signs this person in any more, and no session goes on that one began."""
    if not await unlink(parts.engine, user_id, actor=actor_of(request), now=parts.now(), reason=reason):
        raise missing("link of a user", user_id)


HANDLERS = (get_identities, post_identity, delete_identities)
