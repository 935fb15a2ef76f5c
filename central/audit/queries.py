"""The SELECTs over the audit trail: what was searched for, one thing's history, and the names to show for ids.

The trail itself holds ids alone: a name is looked up when a page or a list is made, so who was forgotten stays so.
"""

from collections.abc import AsyncIterator, Iterable
from datetime import datetime
from typing import Final

import msgspec
from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from central.audit.chain import Entry
from central.db import reading
from central.people.sites import Sites
from central.tables import api_keys, audit_entries, devices, users

# Entries in memory at a time while all of them are written to a file.
CHUNK: Final = 1000
# One object's history on a page: the newest so many of its entries.
HISTORY: Final = 500

_SEARCHED: Final = ("object_id", "old", "new", "reason")


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries: every condition that is set must hold. `text` is looked for in id, old, new and reason."""

    actor: str | None = None
    object_kind: str | None = None
    object_id: str | None = None
    action: str | None = None
    site: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    text: str | None = None


def conditions(wanted: Wanted, sites: Sites) -> list[ColumnElement[bool]]:
    """For a WHERE. What is of no single site is seen by those alone who see every site."""
    column = audit_entries.c
    found = [sites.having(column.site_id)]
    equal = {
        "actor_id": wanted.actor,
        "object_kind": wanted.object_kind,
        "object_id": wanted.object_id,
        "site_id": wanted.site,
    }
    found += [column[name] == value for name, value in equal.items() if value is not None]
    if wanted.action is not None:
        # `run` finds run.void and run.accept, `run.void` itself only.
        found.append(
            or_(column.action == wanted.action, column.action.startswith(f"{wanted.action}.", autoescape=True))
        )
    if wanted.since is not None:
        found.append(column.at >= wanted.since)
    if wanted.until is not None:
        found.append(column.at < wanted.until)
    if wanted.text is not None:
        found.append(or_(*(column[name].icontains(wanted.text, autoescape=True) for name in _SEARCHED)))
    return found


async def search(
    connection: AsyncConnection, wanted: Wanted, sites: Sites, *, after: int | None = None, limit: int = 50
) -> tuple[Entry, ...]:
    """Entries, newest first; `after` is the number of the last one that was seen."""
    query = select(audit_entries).where(*conditions(wanted, sites))
    if after is not None:
        query = query.where(audit_entries.c.number < after)
    rows = await connection.execute(query.order_by(audit_entries.c.number.desc()).limit(limit))
    return tuple(Entry(**row._mapping) for row in rows)


async def history_of(connection: AsyncConnection, kind: str, object_id: str, sites: Sites) -> tuple[Entry, ...]:
    """What became of one thing, oldest first; at most its newest `HISTORY` entries."""
    wanted = Wanted(object_kind=kind, object_id=object_id)
    return (await search(connection, wanted, sites, limit=HISTORY))[::-1]


async def walk(engine: AsyncEngine, wanted: Wanted, sites: Sites, last: int) -> AsyncIterator[tuple[Entry, ...]]:
    """All entries up to number `last`, oldest first, in chunks; each chunk is a transaction of its own."""
    seen = 0
    while True:
        among = (audit_entries.c.number > seen, audit_entries.c.number <= last)
        query = select(audit_entries).where(*conditions(wanted, sites), *among)
        async with reading(engine) as connection:
            rows = await connection.execute(query.order_by(audit_entries.c.number).limit(CHUNK))
            found = tuple(Entry(**row._mapping) for row in rows)
        if not found:
            return
        yield found
        seen = found[-1].number


async def last_number(connection: AsyncConnection) -> int:
    """The number of the newest entry; 0 where there is none."""
    return await connection.scalar(select(func.max(audit_entries.c.number))) or 0


async def names_of(connection: AsyncConnection, entries: Iterable[Entry]) -> dict[tuple[str, str], str]:
    """(actor kind, actor id) → the name that is known today; who is not known (any more) is left out."""
    actors = {(entry.actor_kind, entry.actor_id) for entry in entries}
    named = {"person": (users, users.c.name), "device": (devices, devices.c.name), "key": (api_keys, api_keys.c.title)}
    found: dict[tuple[str, str], str] = {}
    for kind, (table, name) in named.items():
        ids = [actor_id for of_kind, actor_id in actors if of_kind == kind]
        if ids:
            rows = await connection.execute(select(table.c.id, name.label("name")).where(table.c.id.in_(ids)))
            found |= {(kind, row.id): row.name for row in rows}
    return found
