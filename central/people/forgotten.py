"""A forgotten password: a link to set a new one goes to the address of the account, and whoever asked learns nothing.

The answer is given before anybody is looked for, so that it is the same, and as quick, for every name. An account gets
one letter in a quarter of an hour, however often somebody asks.
"""

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from central.audit.chain import Actor
from central.db import transaction
from central.people.callers import Origin
from central.people.links import Link, put_link
from central.people.names import is_user_name
from central.tables import invitations, users

AGAIN_AFTER: Final = timedelta(minutes=15)
# Who such a link is made by.
NOBODY: Final = "nobody"


async def forgotten(engine: AsyncEngine, name: str, *, origin: Origin, now: datetime) -> tuple[str, Link] | None:
    """A user's id and a new link for them; None where nobody of this name gets one now."""
    account = name.strip().lower()[:64]
    if not is_user_name(account):
        return None
    async with transaction(engine) as connection:
        asked = select(users).where(users.c.name == account, users.c.email.is_not(None), users.c.disabled_at.is_(None))
        row = (await connection.execute(asked.with_for_update())).one_or_none()
        if row is None:
            return None
        lately = (invitations.c.created_by == NOBODY) & (invitations.c.created_at > now - AGAIN_AFTER)
        sent = select(invitations.c.created_at).where(invitations.c.user_id == row.id, lately).limit(1)
        if await connection.scalar(sent) is not None:
            return None
        actor = Actor("system", NOBODY, origin.address, origin.request_id)
        return row.id, await put_link(connection, row, actor=actor, now=now)
