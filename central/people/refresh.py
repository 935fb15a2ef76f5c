"""Refresh tokens: opaque, 256 bits, kept as hashes, each good once (RFC 9700 §4.14.2).

A token that was used makes its successor. Used again within 10 seconds, while the successor is unused, it is taken for
a lost answer, once: a new successor replaces the one that got lost. What is refused in those 10 seconds is refused and
no more, so that of a hundred at once exactly one successor lives. Any other token that is used up means that two hold
it, and one of them stole it: its session ends, and an alarm is raised.
"""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from sqlalchemy import Row, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from central.audit.chain import Actor, Change, record
from central.people.callers import Origin
from central.people.sessions import IDLE, end
from central.people.sites import MAIN_SITE
from central.tables import alarms, memberships, refresh_tokens, sessions, users

RETRY_WITHIN: Final = timedelta(seconds=10)

Verdict = Literal["first", "retry", "too_late", "reused", "refused"]


@dataclass(frozen=True, slots=True)
class Refreshed:
    """Whose session goes on, and its new refresh token; or why not."""

    user_id: str
    session_id: str
    token: str


async def first_token(connection: AsyncConnection, session_id: str, now: datetime) -> str:
    """The refresh token of a new session; shown once."""
    token, row = _new(session_id, now)
    await connection.execute(insert(refresh_tokens).values(row))
    return token


async def rotate(connection: AsyncConnection, token: str, origin: Origin, now: datetime) -> Refreshed | None:
    """The successor of this token; None where it is refused. Call it in a transaction of its own."""
    used_sha256 = _sha256(token)
    found = await _locked(connection, used_sha256)
    if found is None:
        return None
    lost = found.successor_sha256
    successor = None if lost is None else await _row(connection, lost)
    verdict = judge(found, successor, now)
    if verdict == "reused":
        await _end_family(connection, found, origin, now)
    if verdict not in ("first", "retry"):
        return None
    fresh, row = _new(found.session_id, now)
    await connection.execute(insert(refresh_tokens).values(row))
    if verdict == "retry":  # what got lost is used up by that: whoever comes with it is not the one we answer now
        await connection.execute(_change(lost, used_at=now))
    stamp = {"retried_at": now} if verdict == "retry" else {"used_at": now}
    await connection.execute(_change(used_sha256, successor_sha256=row["token_sha256"], **stamp))
    seen = {"last_seen_at": now}
    await connection.execute(update(sessions).where(sessions.c.id == found.session_id).values(seen))
    return Refreshed(found.user_id, found.session_id, fresh)


def judge(token: Any, successor: Any, now: datetime) -> Verdict:
    """What a token is worth: its row (with its session's and its user's), and its successor's."""
    if token.ended_at is not None or token.disabled_at is not None:
        return "refused"
    if now >= min(token.expires_at, token.session_expires_at):
        return "too_late"
    if token.used_at is None:
        return "first"
    if successor is None or successor.used_at is not None or now - token.used_at > RETRY_WITHIN:
        return "reused"
    return "refused" if token.retried_at is not None else "retry"


async def _locked(connection: AsyncConnection, token_sha256: str) -> Row[Any] | None:
    """A token's row with its session's, which is held until the transaction ends: refreshes of one wait in line."""
    session_id = await connection.scalar(
        select(refresh_tokens.c.session_id).where(refresh_tokens.c.token_sha256 == token_sha256)
    )
    if session_id is None:
        return None
    await connection.execute(select(sessions.c.id).where(sessions.c.id == session_id).with_for_update())
    return await _row(connection, token_sha256)


async def _row(connection: AsyncConnection, token_sha256: str) -> Row[Any] | None:
    query = (
        select(
            *refresh_tokens.c,
            sessions.c.user_id,
            sessions.c.ended_at,
            sessions.c.expires_at.label("session_expires_at"),
            users.c.disabled_at,
        )
        .join(sessions, sessions.c.id == refresh_tokens.c.session_id)
        .join(users, users.c.id == sessions.c.user_id)
        .where(refresh_tokens.c.token_sha256 == token_sha256)
    )
    return (await connection.execute(query)).one_or_none()


async def _end_family(connection: AsyncConnection, token: Row[Any], origin: Origin, now: datetime) -> None:
    """Two hold this token: nobody goes on with it, and an administrator is told."""
    await end(connection, sessions.c.id == token.session_id, "reused", now)
    mine = select(memberships.c.site_id).where(memberships.c.user_id == token.user_id).order_by(memberships.c.site_id)
    detail = f"a refresh token that was used up came again, from {origin.address}: the session was ended"
    alarm = {"site_id": await connection.scalar(mine) or MAIN_SITE, "kind": "token_reused", "raised_at": now}
    alarm |= {"object_kind": "session", "object_id": token.session_id, "detail": detail}
    await connection.execute(insert(alarms).values(alarm))
    who = Actor("system", "nobody", origin.address, origin.request_id)
    reused = Change("session.reused", "session", token.session_id, new={"ended": True, "user": token.user_id})
    await record(connection, who, [reused], now)


def _change(token_sha256: str | None, **values: Any) -> Any:
    return update(refresh_tokens).where(refresh_tokens.c.token_sha256 == token_sha256).values(**values)


def _new(session_id: str, now: datetime) -> tuple[str, dict[str, Any]]:
    token = secrets.token_urlsafe(32)
    row = {"token_sha256": _sha256(token), "session_id": session_id, "issued_at": now}
    return token, row | {"expires_at": now + IDLE["api"]}


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
