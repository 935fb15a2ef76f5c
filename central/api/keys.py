"""`/api/v1/keys`: what a laboratory system or a script shows instead of a person's sign-in; for administrators."""

from datetime import datetime
from typing import Annotated

import msgspec
from litestar import get, post
from litestar.params import JSONBody, PathParameter

from central.api.paths import missing
from central.db import reading
from central.parts import CentralRequest, Parts, Wired, actor_of
from central.people.keys import Key, create_key, list_keys, revoke_key
from central.people.permissions import ADMINS, SCOPES, Scope
from central.web.problems import ProblemError

KeyPath = Annotated[str, PathParameter(pattern=r"^[0-9a-f]{12}$", description="Key.")]


class KeysOut(msgspec.Struct, frozen=True):
    """Every key, the newest first; never its secret."""

    items: tuple[Key, ...]


class KeyIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a key is for, at which site, what it may do and until when."""

    title: Annotated[str, msgspec.Meta(max_length=200, examples=["LIMS"])]
    site_id: Annotated[str, msgspec.Meta(max_length=64, examples=["main"])]
    scopes: Annotated[tuple[Scope, ...], msgspec.Meta(min_length=1, max_length=len(SCOPES))]
    expires_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


class KeyOut(msgspec.Struct, frozen=True):
    """A new key, shown once; send it as `Authorization: Bearer wr_…`."""

    id: str
    key: str


@get("/keys", access=ADMINS, summary="List keys")
async def get_keys(parts: Wired) -> KeysOut:
    """Every key."""
    async with reading(parts.engine) as connection:
        return KeysOut(await list_keys(connection))


@post("/keys", access=ADMINS, status_code=201, summary="Make a key", description="Shown once.")
async def post_key(request: CentralRequest, parts: Wired, data: JSONBody[KeyIn]) -> KeyOut:
    """A new key."""
    return await new_key(request, parts, data)


async def new_key(request: CentralRequest, parts: Parts, data: KeyIn) -> KeyOut:
    """422 where its title, site, scopes or end is wrong."""
    try:
        made = await create_key(
            parts.engine,
            title=data.title,
            site_id=data.site_id,
            scopes=data.scopes,
            expires_at=data.expires_at,
            actor=actor_of(request),
            now=parts.now(),
        )
    except ValueError as error:
        raise ProblemError(422, str(error)) from error
    return KeyOut(*made)


@post("/keys/{key_id:str}/revoke", access=ADMINS, status_code=204, summary="Revoke a key")
async def post_key_revoke(request: CentralRequest, parts: Wired, key_id: KeyPath) -> None:
    """Nobody gets in with it any more."""
    if not await revoke_key(parts.engine, key_id, actor=actor_of(request), now=parts.now()):
        raise missing("key", key_id)


HANDLERS = (get_keys, post_key, post_key_revoke)
