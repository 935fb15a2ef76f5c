"""The chain of changes: numbered without a gap by any number of writers, each entry bound to the one before."""

import asyncio

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from central.audit.chain import BEFORE_THE_FIRST, COMMAND, Change, Entry, entry_hash, record
from central.db import reading, transaction
from central.tables import audit_entries
from tests.make import NOON

pytestmark = pytest.mark.anyio


async def entries(engine: AsyncEngine) -> list[Entry]:
    """Every entry, in order."""
    async with reading(engine) as connection:
        rows = await connection.execute(select(audit_entries).order_by(audit_entries.c.number))
        return [Entry(**row._mapping) for row in rows]


async def test_eight_writers_make_one_chain(engine: AsyncEngine) -> None:
    async def write(number: int) -> None:
        async with transaction(engine) as connection:
            await record(connection, COMMAND, [Change("site.change", "site", f"{number}")] * 2, NOON)

    await asyncio.gather(*(write(number) for number in range(8)))
    found = await entries(engine)
    assert [entry.number for entry in found] == list(range(1, 17))
    assert [entry.previous for entry in found] == [BEFORE_THE_FIRST, *(entry.hash for entry in found[:-1])]
    assert [entry_hash(entry) for entry in found] == [entry.hash for entry in found]


async def test_a_change_that_is_undone_leaves_no_entry(engine: AsyncEngine) -> None:
    async def fail() -> None:
        async with transaction(engine) as connection:
            await record(connection, COMMAND, [Change("site.change", "site", "main")], NOON)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    assert await entries(engine) == []
