"""Accounts: added, invited, given a password, changed, disabled, forgotten; each with its entry in the audit trail.

Whatever changes what a person may do ends every sign-in of theirs. There is always an administrator left. A person who
is forgotten leaves a pseudonym: records go on saying that it was one and the same, and nobody's name.
"""

import secrets
import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import anyio
import msgspec
from sqlalchemy import Row, delete, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from central.audit.chain import COMMAND, Actor, Change, record
from central.db import transaction
from central.people.callers import Person
from central.people.names import PSEUDONYM, email_address, user_name
from central.people.passwords import check_password, hash_password
from central.people.permissions import ROLES, Role
from central.people.sessions import Why, end_all
from central.people.sites import EVERY_SITE, MAIN_SITE, Sites
from central.tables import identities, invitations, memberships, sites, users


class UnknownUserError(LookupError):
    """No user of this id or name."""


class LastAdminError(ValueError):
    """Then nobody could administrate central any more."""


async def add_user(
    engine: AsyncEngine,
    *,
    name: str,
    password: str | None,
    role: Role,
    now: datetime,
    site_ids: Sequence[str] = (MAIN_SITE,),
    email: str | None = None,
    actor: Actor = COMMAND,
) -> Person:
    """A new user of these sites; without a password a link lets them in. ValueError says what is wrong."""
    name = user_name(name)
    _check_role(role)
    email = None if not email else email_address(email)
    hashed = None
    if password is not None:
        check_password(password, name)
        hashed = await anyio.to_thread.run_sync(hash_password, password)
    person = Person(str(uuid.uuid4()), name, role, EVERY_SITE if role == "admin" else Sites.of(site_ids))
    row = {"id": person.id, "name": name, "email": email, "password_hash": hashed, "role": role, "created_at": now}
    added = Change("user.add", "user", person.id, new={"role": role, "sites": sorted(set(site_ids))})
    try:
        async with transaction(engine) as connection:
            await _check_sites(connection, site_ids)
            await connection.execute(insert(users).values(row))
            await _join(connection, person.id, site_ids)
            await record(connection, actor, [added], now)
    except IntegrityError as error:
        raise ValueError(f"user {name!r} exists (expected a new name)") from error
    return person


class UserChange(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be different; what is None stays."""

    role: Role | None = None
    site_ids: tuple[str, ...] | None = None
    disabled: bool | None = None
    email: str | None = None


async def change_user(
    engine: AsyncEngine, user_id: str, change: UserChange, *, actor: Actor, now: datetime, reason: str | None = None
) -> None:
    """Change an account; UnknownUserError, LastAdminError or ValueError where that cannot be."""
    async with transaction(engine) as connection:
        row = await _held(connection, user_id)
        before = await _as_it_is(connection, row)
        wanted = {name: value for name, value in msgspec.structs.asdict(change).items() if value is not None}
        after = before | wanted
        if after["site_ids"] != before["site_ids"]:
            await _check_sites(connection, after["site_ids"])
            await connection.execute(delete(memberships).where(memberships.c.user_id == user_id))
            await _join(connection, user_id, after["site_ids"])
        after["site_ids"] = tuple(sorted(set(after["site_ids"])))
        _check_role(after["role"])
        if before["role"] == "admin" and not before["disabled"] and (after["role"] != "admin" or after["disabled"]):
            await _check_another_admin(connection, user_id)
        values = {"role": after["role"], "disabled_at": (row.disabled_at or now) if after["disabled"] else None}
        if change.email is not None:
            values["email"] = email_address(change.email) if change.email else None
            if values["email"] != row.email:
                await void_links(connection, user_id, now)
        await connection.execute(update(users).where(users.c.id == user_id).values(values))
        if (after["role"], after["disabled"]) != (before["role"], before["disabled"]):
            why: Why = "disabled" if after["disabled"] else "role_changed"
            await end_all(connection, user_id, why, now)
        entries = changes_of(user_id, before, after, reason)
        await record(connection, actor, entries, now)


def changes_of(user_id: str, before: dict[str, Any], after: dict[str, Any], reason: str | None) -> list[Change]:
    """The entries for what differs. Of an address only that it was changed: it is as personal as a name."""
    verbs = {"role": "user.role", "site_ids": "user.sites", "disabled": "user.disable", "email": "user.email"}
    found = []
    for name, action in verbs.items():
        if before[name] == after[name]:
            continue
        old, new = ({name: before[name]}, {name: after[name]}) if name != "email" else (None, {"email": "changed"})
        verb = "user.enable" if name == "disabled" and not after[name] else action
        found.append(Change(verb, "user", user_id, old=old, new=new, reason=reason))
    return found


async def set_password(
    connection: AsyncConnection, user_id: str, hashed: str, *, actor: Actor, action: str, now: datetime
) -> None:
    """Keep a new password's hash, end every sign-in, and make every link void; in the caller's transaction, last."""
    values = {"password_hash": hashed, "password_changed_at": now}
    await connection.execute(update(users).where(users.c.id == user_id).values(values))
    await void_links(connection, user_id, now)
    await end_all(connection, user_id, "password_changed", now)
    await record(connection, actor, [Change(action, "user", user_id, new={"password": "set"})], now)


async def void_links(connection: AsyncConnection, user_id: str, now: datetime) -> None:
    """No link of this person opens anything any more, wherever it lies."""
    unused = (invitations.c.user_id == user_id) & invitations.c.used_at.is_(None)
    await connection.execute(update(invitations).where(unused).values(used_at=now))


async def change_password(engine: AsyncEngine, person: Person, password: str, *, actor: Actor, now: datetime) -> None:
    """A new password for somebody who has just proved who it is; ends every sign-in, this one too."""
    check_password(password, person.name)
    hashed = await anyio.to_thread.run_sync(hash_password, password)
    async with transaction(engine) as connection:
        await set_password(connection, person.id, hashed, actor=actor, action="user.password", now=now)


async def erase_user(engine: AsyncEngine, user_id: str, *, actor: Actor, now: datetime, reason: str) -> str:
    """Forget who somebody was: name, address, password, second factor, identities elsewhere. The pseudonym."""
    pseudonym = f"{PSEUDONYM}{secrets.token_hex(4)}"
    async with transaction(engine) as connection:
        row = await _held(connection, user_id)
        if row.role == "admin" and row.disabled_at is None:
            await _check_another_admin(connection, user_id)
        gone = {"name": pseudonym, "email": None, "password_hash": None, "erased_at": now}
        gone |= {"totp_secret": None, "totp_confirmed_at": None, "disabled_at": row.disabled_at or now}
        await connection.execute(update(users).where(users.c.id == user_id).values(gone))
        await end_all(connection, user_id, "erased", now)
        for table in (identities, invitations, memberships):
            await connection.execute(delete(table).where(table.c.user_id == user_id))
        erased = Change("user.erase", "user", user_id, None, {"erased_at": None}, {"erased_at": now}, reason)
        await record(connection, actor, [erased], now)
    return pseudonym


async def user_id_of(connection: AsyncConnection, name: str) -> str:
    """The id of the user of this name; UnknownUserError where there is none."""
    found: str | None = await connection.scalar(select(users.c.id).where(users.c.name == name.strip().lower()[:64]))
    if found is None:
        raise UnknownUserError(f"no user {name[:80]!r} (expected one of `wellread-central user list`)")
    return found


async def _held(connection: AsyncConnection, user_id: str) -> Row[Any]:
    """A user's row, held until the end, and every administrator's, so that two cannot remove each other."""
    admins = select(users.c.id).where(users.c.role == "admin").order_by(users.c.id).with_for_update()
    await connection.execute(admins)
    row = (await connection.execute(select(users).where(users.c.id == user_id).with_for_update())).one_or_none()
    if row is None or row.erased_at is not None:
        raise UnknownUserError(f"no user {user_id!r} here")
    return row


async def _as_it_is(connection: AsyncConnection, row: Row[Any]) -> dict[str, Any]:
    mine = select(memberships.c.site_id).where(memberships.c.user_id == row.id).order_by(memberships.c.site_id)
    site_ids = tuple(await connection.scalars(mine))
    return {"role": row.role, "site_ids": site_ids, "disabled": row.disabled_at is not None, "email": row.email or ""}


async def _check_another_admin(connection: AsyncConnection, user_id: str) -> None:
    others = select(users.c.id).where(users.c.role == "admin", users.c.disabled_at.is_(None), users.c.id != user_id)
    if await connection.scalar(others.limit(1)) is None:
        raise LastAdminError("this is the last administrator (expected another one to be there first)")


async def _check_sites(connection: AsyncConnection, site_ids: Sequence[str]) -> None:
    known = set(await connection.scalars(select(sites.c.id).where(sites.c.id.in_(site_ids))))
    for site_id in site_ids:
        if site_id not in known:
            raise ValueError(f"no site {site_id[:80]!r} (expected one that is here)")


def _check_role(role: str) -> None:
    if role not in ROLES:
        raise ValueError(f"not a role: {role!r} (expected {' or '.join(ROLES)})")


async def _join(connection: AsyncConnection, user_id: str, site_ids: Sequence[str]) -> None:
    if site_ids:
        rows = [{"user_id": user_id, "site_id": site_id} for site_id in sorted(set(site_ids))]
        await connection.execute(insert(memberships), rows)
