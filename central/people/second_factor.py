"""Setting up one-time codes: a secret is offered, one code proves that the app has it, and from then on it is asked."""

from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from central.audit.chain import Actor, Change, record
from central.db import transaction
from central.people.callers import Person
from central.people.sessions import end_all
from central.people.totp import good_step, new_secret
from central.seal import Seal
from central.tables import users


class SecondFactorError(ValueError):
    """It cannot be set up like this; the message says what is expected."""


async def offer(engine: AsyncEngine, seal: Seal, person: Person) -> bytes:
    """A new secret for who has none that is confirmed; shown until one of its codes was typed in."""
    secret = new_secret()
    values = {"totp_secret": seal.close(secret, person.id), "totp_last_step": None}
    async with transaction(engine) as connection:
        unconfirmed = (users.c.id == person.id) & users.c.totp_confirmed_at.is_(None)
        done = await connection.execute(update(users).where(unconfirmed).values(values))
    if done.rowcount != 1:
        raise SecondFactorError("one-time codes are set up already (expected them to be removed first)")
    return secret


async def confirm(engine: AsyncEngine, seal: Seal, person: Person, code: str, *, actor: Actor, now: datetime) -> None:
    """From now on a code is asked for."""
    async with transaction(engine) as connection:
        row = (await connection.execute(select(users).where(users.c.id == person.id).with_for_update())).one()
        if row.totp_secret is None or row.totp_confirmed_at is not None:
            raise SecondFactorError("nothing to confirm (expected one-time codes that are being set up)")
        step = good_step(seal.open(row.totp_secret, person.id), code, now, None)
        if step is None:
            raise SecondFactorError("the code is not right (expected the one that the app shows now)")
        values = {"totp_confirmed_at": now, "totp_last_step": step}
        await connection.execute(update(users).where(users.c.id == person.id).values(values))
        await record(connection, actor, [Change("user.second_factor", "user", person.id, new={"set_up": True})], now)


async def remove(engine: AsyncEngine, user_id: str, *, actor: Actor, now: datetime, reason: str | None = None) -> None:
    """No code is asked for any more; every sign-in ends."""
    values = {"totp_secret": None, "totp_confirmed_at": None, "totp_last_step": None}
    async with transaction(engine) as connection:
        had = (users.c.id == user_id) & users.c.totp_secret.is_not(None)
        done = await connection.execute(update(users).where(had).values(values))
        if done.rowcount:
            await end_all(connection, user_id, "role_changed", now)
            gone = Change("user.second_factor", "user", user_id, old={"set_up": True}, reason=reason)
            await record(connection, actor, [gone], now)
