"""What was said of a thing and what became of it: comments, and the history of a submission."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Row, insert, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from central.audit.chain import Actor, Change, Entry, record
from central.audit.queries import HISTORY, names_of
from central.db import CHUNK
from central.laboratory.queries import Planned
from central.people.sites import Sites
from central.tables import audit_entries, comments, plates, run_records, submissions, tests, users


class Comment(msgspec.Struct, frozen=True):
    """What somebody said of a thing; `author` is the name that is known today."""

    number: int
    at: datetime
    user_id: str
    author: str
    text: str


async def site_of(connection: AsyncConnection, sites: Sites, kind: str, object_id: str) -> str | None:
    """The site that a thing belongs to; None where there is no such thing, or it is another site's."""
    if kind == "run":
        column: Any = run_records.c.site_id
        query = select(column).where(run_records.c.run_id == object_id)
    else:
        column = submissions.c.site_id
        table = {"submission": submissions, "test": tests, "plate": plates}[kind]
        joined = select(column).select_from(submissions)
        if kind != "submission":
            joined = joined.join(tests, tests.c.submission_id == submissions.c.id)
        if kind == "plate":
            joined = joined.join(plates, plates.c.test_id == tests.c.id)
        query = joined.where(table.c.id == object_id)
    site: str | None = await connection.scalar(query.where(sites.having(column)))
    return site


async def comments_on(connection: AsyncConnection, sites: Sites, object_ids: Collection[str]) -> tuple[Comment, ...]:
    """What was said of these things, oldest first."""
    query = (
        select(comments.c.number, comments.c.at, comments.c.user_id, users.c.name.label("author"), comments.c.text)
        .join(users, users.c.id == comments.c.user_id)
        .where(comments.c.object_id.in_(object_ids), sites.having(comments.c.site_id))
        .order_by(comments.c.number)
    )
    return tuple(Comment(**row._mapping) for row in await connection.execute(query))


async def add_comment(
    connection: AsyncConnection, sites: Sites, kind: str, object_id: str, text: str, *, actor: Actor, now: datetime
) -> int | None:
    """Say something of a thing; its number, None where there is no such thing here."""
    site = await site_of(connection, sites, kind, object_id)
    if site is None:
        return None
    row = {"site_id": site, "object_kind": kind, "object_id": object_id, "at": now, "user_id": actor.id, "text": text}
    number: int = (await connection.execute(insert(comments).values(row).returning(comments.c.number))).scalar_one()
    said = Change("comment.create", kind, object_id, site, new={"comment": number, "text": text})
    await record(connection, actor, [said], now)
    return number


class HistoryEntry(msgspec.Struct, frozen=True):
    """One change, as those see it who may see the thing: `who` is the name that is known today, else an id."""

    number: int
    at: datetime
    who: str
    action: str
    object_kind: str
    object_id: str
    old: Any
    new: Any
    reason: str | None


async def history(connection: AsyncConnection, sites: Sites, plan: Planned) -> tuple[HistoryEntry, ...]:
    """What became of a submission, its tests and its plates, oldest first: the newest `HISTORY` changes."""
    things = [("submission", plan.submission.id)]
    for test in plan.tests:
        things += [("test", test.id), *(("plate", plate.id) for plate in test.plates)]
    rows: list[Row[Any]] = []
    for at in range(0, len(things), CHUNK):
        column = audit_entries.c
        some = tuple_(column.object_kind, column.object_id).in_(things[at : at + CHUNK])
        query = select(audit_entries).where(some, sites.having(column.site_id)).order_by(column.number.desc())
        rows += await connection.execute(query.limit(HISTORY))
    entries = [Entry(**row._mapping) for row in sorted(rows, key=lambda row: row.number)[-HISTORY:]]
    names = await names_of(connection, entries)
    return tuple(
        HistoryEntry(
            entry.number,
            entry.at,
            names.get((entry.actor_kind, entry.actor_id), entry.actor_id),
            entry.action,
            entry.object_kind,
            entry.object_id,
            None if entry.old is None else msgspec.json.decode(entry.old),
            None if entry.new is None else msgspec.json.decode(entry.new),
            entry.reason,
        )
        for entry in entries
    )
