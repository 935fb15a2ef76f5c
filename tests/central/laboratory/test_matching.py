"""Which plate a run is of, where codes are registered as they stand and where they wait."""

import pytest
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from central.db import reading, transaction
from central.intake.ingest import ingest
from central.tables import plates, run_records, sites
from tests.central.wire import enrol, make_delivery
from tests.make import NOON

pytestmark = pytest.mark.anyio


async def records(engine: AsyncEngine) -> list[tuple[bool, str | None]]:
    """(matched, by what) of every run."""
    async with reading(engine) as connection:
        rows = await connection.execute(select(run_records.c.plate_id, run_records.c.matched_by))
        return [(row.plate_id is not None, row.matched_by) for row in rows]


async def test_a_code_is_registered_once_where_the_site_says_so(engine: AsyncEngine) -> None:
    await enrol(engine)
    await ingest(engine, [make_delivery(1), make_delivery(2)], now=NOON)
    await ingest(engine, [make_delivery(3)], now=NOON)
    async with reading(engine) as connection:
        assert [row.state for row in await connection.execute(select(plates.c.state))] == ["read"]
    assert await records(engine) == [(True, "code")] * 3


async def test_elsewhere_the_run_of_an_unknown_plate_waits(engine: AsyncEngine) -> None:
    await enrol(engine)
    async with transaction(engine) as connection:
        await connection.execute(update(sites).values(unregistered="wait"))
    await ingest(engine, [make_delivery(1)], now=NOON)
    assert await records(engine) == [(False, None)]


async def test_a_run_that_comes_twice_has_one_record(engine: AsyncEngine) -> None:
    await enrol(engine)
    await ingest(engine, [make_delivery(1), make_delivery(1)], now=NOON)
    await ingest(engine, [make_delivery(1)], now=NOON)
    assert len(await records(engine)) == 1
