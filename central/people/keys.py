"""Machines' keys, `wr_<id>_<secret>`: the id finds one, the hash of the secret proves it.

A key belongs to one site and does what its scopes say, until it expires or is revoked. The secret has 256 bits and is
shown once.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec
from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from central.audit.chain import Actor, Change, record
from central.db import reading, transaction
from central.people.callers import KeyCaller, NotSignedInError
from central.people.permissions import SCOPES, Scope
from central.people.sites import Sites
from central.tables import api_keys, sites

PREFIX: Final = "wr_"
_KEY: Final = re.compile(r"wr_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
# So often at most is it written that a key was used.
USED_EVERY: Final = timedelta(minutes=1)
_REFUSED: Final = "the key is not valid (any more)"
_NO_SECRET: Final = "0" * 64
# Made once, as it is asked at every request.
_OF_KEY: Final = select(
    *(api_keys.c[name] for name in ("secret_sha256", "site_id", "scopes", "expires_at", "last_used_at", "revoked_at"))
).where(api_keys.c.id == bindparam("key_id"))


class Key(msgspec.Struct, frozen=True):
    """A key without its secret."""

    id: str
    title: str
    site_id: str
    scopes: tuple[Scope, ...]
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


async def create_key(
    engine: AsyncEngine,
    *,
    title: str,
    site_id: str,
    scopes: Sequence[Scope],
    expires_at: datetime | None,
    actor: Actor,
    now: datetime,
) -> tuple[str, str]:
    """(id, whole key) of a new key; ValueError says what is wrong."""
    title = title.strip()
    if not 1 <= len(title) <= 200 or not title.isprintable():
        raise ValueError(f"not a title for a key: {title[:80]!r} (expected 1 to 200 printable characters)")
    granted = [scope for scope in SCOPES if scope in scopes]
    if not granted or len(granted) != len(set(scopes)):
        raise ValueError(f"scopes {list(scopes)} (expected one or more of {', '.join(SCOPES)})")
    if expires_at is not None and expires_at <= now:
        raise ValueError(f"expires at {expires_at.isoformat()} (expected a time to come)")
    key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    row = {"id": key_id, "secret_sha256": _sha256(secret), "title": title, "site_id": site_id, "scopes": granted}
    when = {"created_by": actor.id, "created_at": now, "expires_at": expires_at}
    made = Change("key.make", "key", key_id, site_id, new={"scopes": granted, "expires_at": expires_at})
    async with transaction(engine) as connection:
        if await connection.scalar(select(sites.c.id).where(sites.c.id == site_id)) is None:
            raise ValueError(f"no site {site_id[:80]!r} (expected one that is here)")
        await connection.execute(insert(api_keys).values(row | when))
        await record(connection, actor, [made], now)
    return key_id, f"{PREFIX}{key_id}_{secret}"


async def list_keys(connection: AsyncConnection) -> tuple[Key, ...]:
    """Every key, the newest first."""
    columns = [api_keys.c[name] for name in Key.__struct_fields__]
    rows = await connection.execute(select(*columns).order_by(api_keys.c.created_at.desc(), api_keys.c.id))
    return tuple(Key(**dict(row._mapping) | {"scopes": tuple(row.scopes)}) for row in rows)


async def revoke_key(engine: AsyncEngine, key_id: str, *, actor: Actor, now: datetime) -> bool:
    """Nobody gets in with it from now on; False where there is no such key."""
    async with transaction(engine) as connection:
        site_id: str | None = await connection.scalar(select(api_keys.c.site_id).where(api_keys.c.id == key_id))
        ended = update(api_keys).where(api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None)).values(revoked_at=now)
        if (await connection.execute(ended)).rowcount:
            was, new = {"revoked_at": None}, {"revoked_at": now}
            await record(connection, actor, [Change("key.revoke", "key", key_id, site_id, was, new)], now)
    return site_id is not None


async def caller_of(engine: AsyncEngine, key: str, now: datetime) -> KeyCaller:
    """What a key may; NotSignedInError where it is none of ours, expired or revoked."""
    parts = _KEY.fullmatch(key)
    if parts is None:
        raise NotSignedInError(_REFUSED)
    key_id, secret = parts.groups()
    async with reading(engine) as connection:
        row = (await connection.execute(_OF_KEY, {"key_id": key_id})).one_or_none()
    good = hmac.compare_digest(_NO_SECRET if row is None else row.secret_sha256, _sha256(secret))
    if row is None or not good or row.revoked_at is not None or (row.expires_at is not None and now >= row.expires_at):
        raise NotSignedInError(_REFUSED)
    if row.last_used_at is None or now - row.last_used_at >= USED_EVERY:
        async with transaction(engine) as connection:
            await connection.execute(update(api_keys).where(api_keys.c.id == key_id).values(last_used_at=now))
    return KeyCaller(key_id, frozenset(scope for scope in SCOPES if scope in row.scopes), Sites.of([row.site_id]))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
