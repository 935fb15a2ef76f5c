"""Who there is, and all that is held about one person."""

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from central.people.permissions import Role
from central.tables import audit_entries, comments, identities, invitations, memberships, sessions, users

# So many of a person's entries are exported; the trail itself is searched without an end.
MAX_ENTRIES = 10_000


class UserRow(msgspec.Struct, frozen=True):
    """An account, without anything secret; `elsewhere` where a provider signs the person in."""

    id: str
    name: str
    email: str | None
    role: Role
    created_at: datetime
    disabled_at: datetime | None
    erased_at: datetime | None
    site_ids: tuple[str, ...]
    has_password: bool
    second_factor: bool
    elsewhere: bool


async def list_users(connection: AsyncConnection, user_id: str | None = None) -> tuple[UserRow, ...]:
    """Everybody by name, or this one."""
    belonging: dict[str, list[str]] = {}
    for row in await connection.execute(select(memberships).order_by(memberships.c.site_id)):
        belonging.setdefault(row.user_id, []).append(row.site_id)
    linked = set(await connection.scalars(select(identities.c.user_id)))
    query = select(users).order_by(users.c.name)
    if user_id is not None:
        query = query.where(users.c.id == user_id)
    names = ("id", "name", "email", "role", "created_at", "disabled_at", "erased_at")
    return tuple(
        UserRow(
            **{name: row._mapping[name] for name in names},
            site_ids=tuple(belonging.get(row.id, ())),
            has_password=row.password_hash is not None,
            second_factor=row.totp_confirmed_at is not None,
            elsewhere=row.id in linked,
        )
        for row in await connection.execute(query)
    )


async def held_about(connection: AsyncConnection, user_id: str) -> dict[str, Any] | None:
    """Everything that is held about a person but hashes and secrets; None where there is nobody."""
    found = await list_users(connection, user_id)
    if not found:
        return None
    tables: dict[str, tuple[Any, tuple[str, ...]]] = {
        "sessions": (sessions, ("created_at", "last_seen_at", "ended_at", "ended_why", "kind", "address", "agent")),
        "identities": (identities, ("issuer", "subject", "linked_at")),
        "links": (invitations, ("kind", "created_at", "expires_at", "used_at")),
        "comments": (comments, ("at", "object_kind", "object_id", "text")),
    }
    held: dict[str, Any] = {"account": found[0]}
    for name, (table, columns) in tables.items():
        rows = await connection.execute(select(*(table.c[c] for c in columns)).where(table.c.user_id == user_id))
        held[name] = [dict(row._mapping) for row in rows]
    mine = ("number", "at", "action", "object_kind", "object_id", "address")
    query = select(*(audit_entries.c[name] for name in mine)).where(audit_entries.c.actor_id == user_id)
    rows = await connection.execute(query.order_by(audit_entries.c.number.desc()).limit(MAX_ENTRIES))
    held["done"] = [dict(row._mapping) for row in rows]
    return held
