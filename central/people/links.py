"""One-time links by which somebody sets a password: to join, or because the old one was forgotten.

256 random bits, kept as a hash, used up by one conditional UPDATE. A link that is used makes every other one of the
same person void; so does a new password, and a new address, for a letter may lie where the old one was.
"""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal

import anyio
from sqlalchemy import Row, select, update
from sqlalchemy import insert as insert_into
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from central.audit.chain import Actor, Change, record
from central.db import transaction
from central.people.callers import Origin
from central.people.passwords import check_password, hash_password
from central.people.users import UnknownUserError, set_password
from central.tables import invitations, users

Kind = Literal["invite", "reset"]
GOOD_FOR: Final[dict[Kind, timedelta]] = {"invite": timedelta(days=7), "reset": timedelta(hours=24)}


class LinkError(ValueError):
    """A link that opens nothing (any more)."""

    def __init__(self) -> None:
        """Whether it was used, ran out or never was is nobody's business."""
        super().__init__("this link was used or is no longer good (expected a new one from an administrator)")


@dataclass(frozen=True, slots=True)
class Link:
    """A new link's code, shown once."""

    code: str
    kind: Kind
    expires_at: datetime


async def make_link(engine: AsyncEngine, user_id: str, *, actor: Actor, now: datetime) -> Link:
    """A link for this person: to join where there is no password yet, else to set a new one."""
    async with transaction(engine) as connection:
        row = (await connection.execute(select(users).where(users.c.id == user_id))).one_or_none()
        if row is None or row.erased_at is not None:
            raise UnknownUserError(f"no user {user_id!r} here")
        return await put_link(connection, row, actor=actor, now=now)


async def put_link(connection: AsyncConnection, row: Row[Any], *, actor: Actor, now: datetime) -> Link:
    """A link for the person of this row; last in the caller's transaction."""
    kind: Kind = "invite" if row.password_hash is None else "reset"
    link = Link(secrets.token_urlsafe(32), kind, now + GOOD_FOR[kind])
    values = {"code_sha256": _sha256(link.code), "kind": kind, "user_id": row.id, "created_by": actor.id}
    made = insert_into(invitations).values(values | {"created_at": now, "expires_at": link.expires_at})
    await connection.execute(made)
    entry = Change(f"user.{kind}", "user", row.id, new={"link_until": link.expires_at})
    await record(connection, actor, [entry], now)
    return link


async def whose_link(connection: AsyncConnection, code: str, now: datetime) -> Row[Any]:
    """The user's row of a link that is good; LinkError otherwise."""
    query = (
        select(users.c.id, users.c.name, invitations.c.kind)
        .join(invitations, invitations.c.user_id == users.c.id)
        .where(invitations.c.code_sha256 == _sha256(code), invitations.c.used_at.is_(None))
        .where(invitations.c.expires_at > now, users.c.erased_at.is_(None), users.c.disabled_at.is_(None))
    )
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        raise LinkError
    return row


async def use_link(engine: AsyncEngine, code: str, password: str, *, origin: Origin, now: datetime) -> str:
    """Set a password by a link and use it up; the person's id. LinkError, or ValueError for the password."""
    async with transaction(engine) as connection:
        row = await whose_link(connection, code, now)
    check_password(password, row.name)
    hashed = await anyio.to_thread.run_sync(hash_password, password)
    async with transaction(engine) as connection:
        good = (invitations.c.code_sha256 == _sha256(code)) & invitations.c.used_at.is_(None)
        used = await connection.execute(update(invitations).where(good).values(used_at=now))
        if used.rowcount != 1:
            raise LinkError
        who = Actor("person", row.id, origin.address, origin.request_id)
        await set_password(connection, row.id, hashed, actor=who, action="user.password_by_link", now=now)
    return str(row.id)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
