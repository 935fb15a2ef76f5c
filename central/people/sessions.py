"""Where people are signed in: a row per browser or program, looked up at every request, ended one by one or all.

A page's session ends after 12 hours in which nobody used it, and after 7 days in any case; a program's after 7 days
without a refresh, and after 30. What ends one counts at the next request.
"""

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Literal

import msgspec
from sqlalchemy import ColumnElement, Row, bindparam, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from central.db import reading, transaction
from central.people.callers import NotSignedInError, Origin, Person, Proof
from central.people.permissions import ROLES, Role
from central.people.sites import EVERY_SITE, Sites
from central.people.tokens import SESSION_LIFE, Claims
from central.tables import memberships, sessions, users

Kind = Literal["pages", "api"]
Why = Literal["signed_out", "revoked", "reused", "password_changed", "disabled", "role_changed", "erased", "expired"]

IDLE: Final[dict[Kind, timedelta]] = {"pages": timedelta(hours=12), "api": timedelta(days=7)}
LIFE: Final[dict[Kind, timedelta]] = {"pages": SESSION_LIFE, "api": timedelta(days=30)}
# So often at most is it written that a session was used.
SEEN_EVERY: Final = timedelta(minutes=1)
# Who signed in from an address in this time is known there.
KNOWN_FOR: Final = timedelta(days=90)

# Made once, as it is asked at every request.
_OF_SESSION: Final = (
    select(
        *(sessions.c[name] for name in ("user_id", "kind", "last_seen_at", "expires_at", "ended_at")),
        *(users.c[name] for name in ("name", "role", "disabled_at", "totp_confirmed_at", "password_hash")),
        memberships.c.site_id,
    )
    .join(users, users.c.id == sessions.c.user_id)
    .outerjoin(memberships, memberships.c.user_id == users.c.id)
    .where(sessions.c.id == bindparam("session_id"))
)


class SessionRow(msgspec.Struct, frozen=True):
    """A session as the person whose it is sees it."""

    id: str
    kind: Kind
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime
    address: str
    agent: str
    proved: Proof


async def begin(
    connection: AsyncConnection, user_id: str, kind: Kind, *, proved: Proof, origin: Origin, now: datetime
) -> str:
    """A new session; its id."""
    session_id = str(uuid.uuid4())
    row = {"id": session_id, "user_id": user_id, "kind": kind, "proved": proved, "created_at": now}
    row |= {"last_seen_at": now, "expires_at": now + LIFE[kind]}
    row |= {"address": origin.address[:64], "agent": _printable(origin.agent)}
    await connection.execute(insert(sessions).values(row))
    return session_id


async def person_of_session(
    engine: AsyncEngine, claims: Claims, kind: Kind, now: datetime, *, seen: bool = True
) -> Person:
    """Whom a session speaks for, with the role and sites of this moment: one query. NotSignedInError if it is over.

    `seen` counts as a use of it; an open stream that looks whether it may go on is none.
    """
    async with reading(engine) as connection:
        rows = (await connection.execute(_OF_SESSION, {"session_id": claims.session_id})).all()
    if not rows or rows[0].user_id != claims.user_id or rows[0].kind != kind:
        raise NotSignedInError("the sign-in is not valid or has expired")
    row = rows[0]
    if row.ended_at is not None or row.disabled_at is not None:
        raise NotSignedInError("signed out")
    if now >= min(row.expires_at, row.last_seen_at + IDLE[kind]):
        raise NotSignedInError("the sign-in has expired")
    if seen and now - row.last_seen_at >= SEEN_EVERY:
        await _seen(engine, claims.session_id, now)
    return Person(
        id=row.user_id,
        name=row.name,
        role=role_of(row),
        sites=EVERY_SITE if row.role == "admin" else Sites.of(each.site_id for each in rows if each.site_id),
        session=claims if kind == "pages" else None,
        session_id=claims.session_id,
        has_code=row.totp_confirmed_at is not None,
        has_password=row.password_hash is not None,
    )


def role_of(row: Row[Any]) -> Role:
    """The role of a user's row; the least one for a word that is none."""
    return next((role for role in ROLES if role == row.role), ROLES[0])


async def _seen(engine: AsyncEngine, session_id: str, now: datetime) -> None:
    async with transaction(engine) as connection:
        later = (sessions.c.id == session_id) & (sessions.c.last_seen_at < now)
        await connection.execute(update(sessions).where(later).values(last_seen_at=now))


async def live_sessions(connection: AsyncConnection, user_id: str, now: datetime) -> tuple[SessionRow, ...]:
    """Where this person is signed in, the last used first."""
    columns = [sessions.c[name] for name in SessionRow.__struct_fields__]
    query = select(*columns).where(sessions.c.user_id == user_id, sessions.c.ended_at.is_(None))
    rows = await connection.execute(query.order_by(sessions.c.last_seen_at.desc(), sessions.c.id))
    found = [SessionRow(**row._mapping) for row in rows]
    return tuple(one for one in found if now < min(one.expires_at, one.last_seen_at + IDLE[one.kind]))


async def end(connection: AsyncConnection, which: ColumnElement[bool], why: Why, now: datetime) -> Sequence[str]:
    """End the sessions among these that go on; their ids."""
    ending = update(sessions).where(which, sessions.c.ended_at.is_(None)).values(ended_at=now, ended_why=why)
    return list((await connection.scalars(ending.returning(sessions.c.id))).all())


async def end_all(connection: AsyncConnection, user_id: str, why: Why, now: datetime) -> Sequence[str]:
    """End every session of this person."""
    return await end(connection, sessions.c.user_id == user_id, why, now)


async def was_here(connection: AsyncConnection, user_id: str, address: str, now: datetime) -> bool:
    """Whether this person signed in from this address lately."""
    query = select(func.count()).where(
        sessions.c.user_id == user_id, sessions.c.address == address[:64], sessions.c.created_at > now - KNOWN_FOR
    )
    return bool(await connection.scalar(query))


def _printable(agent: str) -> str:
    return "".join(sign for sign in agent if sign.isprintable())[:200]
