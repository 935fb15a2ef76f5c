"""`/api/v1/tokens` and `/api/v1/users/me`: a name and a password become an access token for 15 minutes.

A refresh token, good once, makes the next. One kind of token for programs: a page's cookie is none, and the other way
round.
"""

from typing import Annotated, Literal

import msgspec
from litestar import delete, get, post
from litestar.params import JSONBody

from central.parts import CentralRequest, Wired, actor_of, origin_of, person_of
from central.people.auth import SignedIn
from central.people.permissions import ANYONE, VIEWERS
from central.people.tokens import API_LIFE


class SignInIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who wants a token; `code` where a one-time code is asked for."""

    name: Annotated[str, msgspec.Meta(max_length=64, examples=["anna"])]
    password: Annotated[str, msgspec.Meta(max_length=256, examples=["a horse that reads plates"])]
    code: Annotated[str, msgspec.Meta(max_length=16, examples=["123456"])] | None = None


class RefreshIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The refresh token that came last."""

    refresh_token: Annotated[str, msgspec.Meta(max_length=100)]


class TokenOut(msgspec.Struct, frozen=True):
    """An access token, to be sent as `Authorization: Bearer …`, and the refresh token that makes the next one, once."""

    access_token: str
    expires_in: int
    refresh_token: str
    session_id: str
    token_type: Literal["Bearer"] = "Bearer"


class MeOut(msgspec.Struct, frozen=True):
    """Who the caller is. `site_ids` is null for who sees every site."""

    id: str
    name: str
    role: str
    site_ids: tuple[str, ...] | None
    second_factor: bool


@post(
    "/tokens",
    access=ANYONE,
    status_code=201,
    summary="Sign in",
    description="An access token for 15 minutes. 401 for a wrong name or password, 429 while sign-in is delayed.",
    security=[],
)
async def post_token(request: CentralRequest, parts: Wired, data: JSONBody[SignInIn]) -> TokenOut:
    """A token for this name and password."""
    signed_in = await parts.people.sign_in(
        name=data.name, password=data.password, code=data.code, origin=origin_of(request)
    )
    return _token_out(signed_in)


@post(
    "/tokens/refresh",
    access=ANYONE,
    status_code=201,
    summary="Refresh",
    description=(
        "A new access and a new refresh token; the old one is used up. After a lost answer the old one may be sent "
        "again once, within 10 seconds. Used later, it ends the session: somebody else has it."
    ),
    security=[],
)
async def post_refresh(request: CentralRequest, parts: Wired, data: JSONBody[RefreshIn]) -> TokenOut:
    """The next token of a session."""
    return _token_out(await parts.people.refresh(data.refresh_token, origin_of(request)))


@delete("/tokens", access=VIEWERS, summary="Sign out", description="Ends the session that the caller speaks through.")
async def delete_token(request: CentralRequest, parts: Wired) -> None:
    """End this session."""
    await parts.people.sign_out(person_of(request), actor_of(request))


@get("/users/me", access=VIEWERS, summary="Who am I")
async def get_me(request: CentralRequest) -> MeOut:
    """The caller."""
    person = person_of(request)
    site_ids = None if person.sites.ids is None else tuple(sorted(person.sites.ids))
    return MeOut(person.id, person.name, person.role, site_ids, person.has_code)


def _token_out(signed_in: SignedIn) -> TokenOut:
    life_s = int(API_LIFE.total_seconds())
    return TokenOut(signed_in.token, life_s, signed_in.refresh_token, signed_in.session_id)


def address_of(request: CentralRequest) -> str:
    """The caller's network address."""
    return origin_of(request).address
