"""`/api/v1/tokens` and `/api/v1/users/me`: a name and a password become an access token for 15 minutes."""

from typing import Annotated, Literal

import msgspec
from litestar import get, post
from litestar.params import JSONBody

from central.parts import CentralRequest, Wired, person_of
from central.people.permissions import ANYONE, VIEWERS
from central.people.tokens import API_LIFE


class SignInIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who wants a token."""

    name: Annotated[str, msgspec.Meta(max_length=64, examples=["anna"])]
    password: Annotated[str, msgspec.Meta(max_length=256, examples=["a horse that reads plates"])]


class TokenOut(msgspec.Struct, frozen=True):
    """An access token; send it as `Authorization: Bearer …`."""

    access_token: str
    expires_in: int
    token_type: Literal["Bearer"] = "Bearer"


class MeOut(msgspec.Struct, frozen=True):
    """Who the caller is."""

    name: str
    role: str


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
    person = await parts.people.sign_in(name=data.name, password=data.password, address=address_of(request))
    return TokenOut(parts.people.issue(person, "api"), int(API_LIFE.total_seconds()))


@get("/users/me", access=VIEWERS, summary="Who am I")
async def get_me(request: CentralRequest) -> MeOut:
    """The caller."""
    person = person_of(request)
    return MeOut(person.name, person.role)


def address_of(request: CentralRequest) -> str:
    """The caller's network address, as the socket has it: a header can be written by anyone."""
    return request.client.host if request.client else "unknown"
