"""Looking into the audit trail: filters, one thing's history, whose site it is, names looked up and never kept."""

from datetime import timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from central.audit import queries
from central.audit.chain import COMMAND, Actor, Change, record
from central.audit.queries import Wanted, history_of, names_of, search, walk
from central.db import reading, transaction
from central.people.sites import EVERY_SITE, Sites
from central.people.users import add_user
from tests.make import NOON

pytestmark = pytest.mark.anyio

ANNA = Actor("person", "p-1", "10.0.0.7", "r-1")
CHANGES = (
    (
        ANNA,
        Change("run.void", "run", "r1", "main", old={"voided": False}, new={"voided": True}, reason="Spilt 100% of B"),
    ),
    (COMMAND, Change("runs.count", "run", "r1", "main")),
    (ANNA, Change("run.void", "run", "r2", "north", reason="other_site")),
    (ANNA, Change("site.add", "site", "north", None, new={"title": "North"})),
)


async def write(engine: AsyncEngine) -> None:
    """The four changes above, a minute apart."""
    for minute, (actor, change) in enumerate(CHANGES):
        async with transaction(engine) as connection:
            await record(connection, actor, [change], NOON + timedelta(minutes=minute))


async def numbers(connection: AsyncConnection, sites: Sites = EVERY_SITE, **wanted: object) -> list[int]:
    return [entry.number for entry in await search(connection, Wanted(**wanted), sites)]  # type: ignore[arg-type]


async def test_every_filter_narrows_and_newest_comes_first(engine: AsyncEngine) -> None:
    await write(engine)
    async with reading(engine) as connection:
        assert await numbers(connection) == [4, 3, 2, 1]
        assert await numbers(connection, actor="p-1", object_id="r1") == [1]
        assert await numbers(connection, action="run") == [3, 1]  # and not `runs.count`
        assert await numbers(connection, action="run.void", site="north") == [3]
        assert await numbers(connection, since=NOON + timedelta(minutes=1), until=NOON + timedelta(minutes=3)) == [3, 2]
        assert await numbers(connection, text="SPILT 100%") == [1]
        assert await numbers(connection, text="%") == [1]  # a sign, not "anything"
        assert await numbers(connection, text="other_site") == [3]


async def test_who_belongs_to_one_site_sees_its_entries_and_no_others(engine: AsyncEngine) -> None:
    await write(engine)
    async with reading(engine) as connection:
        assert await numbers(connection, Sites.of(["main"])) == [2, 1]
        assert await numbers(connection, Sites.of(["main"]), site="north") == []
        assert await history_of(connection, "run", "r2", Sites.of(["main"])) == ()
        assert await numbers(connection, Sites.of([])) == []


async def test_a_history_is_told_from_the_beginning(engine: AsyncEngine) -> None:
    await write(engine)
    async with reading(engine) as connection:
        found = await history_of(connection, "run", "r1", EVERY_SITE)
    assert [(entry.number, entry.action) for entry in found] == [(1, "run.void"), (2, "runs.count")]


async def test_a_walk_meets_every_entry_once_across_chunks(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    await write(engine)
    monkeypatch.setattr(queries, "CHUNK", 2)
    found = [entry.number async for chunk in walk(engine, Wanted(), EVERY_SITE, 3) for entry in chunk]
    assert found == [1, 2, 3]


async def test_a_name_is_looked_up_and_never_kept(engine: AsyncEngine) -> None:
    anna = await add_user(engine, name="anna", password="a horse that reads plates", role="viewer", now=NOON)
    async with transaction(engine) as connection:
        await record(connection, Actor("person", anna.id), [Change("site.change", "site", "main")], NOON)
    async with reading(engine) as connection:
        entries = await search(connection, Wanted(), EVERY_SITE)
        assert await names_of(connection, entries) == {("person", anna.id): "anna"}
    assert "anna" not in repr(entries)
