"""What sign-ins leave behind goes at night: sessions that ran out are ended, and what is long over is forgotten.

A session's row says from where somebody signed in, so it is kept only as long as that makes the address a known one
(`sessions.KNOWN_FOR`); a link or an answer of a provider that is over opens nothing, and goes as well. One entry of the
trail says how many went. Nothing here opens or shuts anything: what has run out is refused without it.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

import structlog
from sqlalchemy import delete, or_, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from central.audit.chain import SYSTEM, Change, record
from central.db import DATABASE_ERRORS, transaction
from central.people.sessions import IDLE, KNOWN_FOR
from central.tables import invitations, refresh_tokens, sessions, used_states

# A link that is over is kept so long, for whoever asks what became of it.
LINKS_FOR: Final = timedelta(days=30)
EVERY_S: Final = 86_400.0
# Central that just started has better things to do.
FIRST_S: Final = 600.0

log: Final = structlog.get_logger(__name__)


async def sweep(engine: AsyncEngine, now: datetime) -> dict[str, int]:
    """How many went, of each kind."""
    old = sessions.c.created_at < now - KNOWN_FOR
    gone = select(sessions.c.id).where(old, sessions.c.ended_at < now - KNOWN_FOR)
    counts = {}
    async with transaction(engine) as connection:
        ran_out = or_(
            sessions.c.expires_at <= now,
            *((sessions.c.kind == kind) & (sessions.c.last_seen_at <= now - idle) for kind, idle in IDLE.items()),
        )
        over = update(sessions).where(sessions.c.ended_at.is_(None), ran_out)
        counts["ran_out"] = (await connection.execute(over.values(ended_at=now, ended_why="expired"))).rowcount
        await connection.execute(delete(refresh_tokens).where(refresh_tokens.c.session_id.in_(gone)))
        for name, forgotten in (
            ("sessions", delete(sessions).where(sessions.c.id.in_(gone))),
            ("links", delete(invitations).where(invitations.c.expires_at < now - LINKS_FOR)),
            ("answers", delete(used_states).where(used_states.c.expires_at < now)),
        ):
            counts[name] = (await connection.execute(forgotten)).rowcount
        swept = Change("sessions.sweep", "central", "sessions", new=counts)
        await record(connection, SYSTEM, [swept] if any(counts.values()) else [], now)
    return counts


async def kept_swept(
    engine: AsyncEngine, now: Callable[[], datetime], first_s: float = FIRST_S, every_s: float = EVERY_S
) -> None:
    """Sweep once a day, for ever."""
    await asyncio.sleep(first_s)
    while True:
        try:
            await sweep(engine, now())
        except DATABASE_ERRORS as error:
            log.warning("sessions_not_swept", reason=type(error).__name__)
        await asyncio.sleep(every_s)
