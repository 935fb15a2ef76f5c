"""Who reads along is told when a waiting run is of a plate, by code or by a person, and when that is taken back."""

import pytest
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from central.audit.chain import COMMAND
from central.db import reading, transaction
from central.deliveries.changes import changes_after
from central.intake.ingest import ingest
from central.laboratory import editing, importing, unmatched
from central.laboratory.sheets import lines_of
from central.laboratory.worklist import parse
from central.people.sites import EVERY_SITE
from central.tables import plates, sites, submissions, tests
from tests.central.wire import enrol, make_delivery
from tests.make import NOON, make_reading_id

pytestmark = pytest.mark.anyio
RUN = make_reading_id(1)


async def waiting(engine: AsyncEngine) -> None:
    """A run whose plate nobody planned."""
    await enrol(engine)
    async with transaction(engine) as connection:
        await connection.execute(update(sites).values(unregistered="wait"))
    await ingest(engine, [make_delivery(1)], now=NOON)


async def plan(engine: AsyncEngine, test: str) -> str:
    """Plate 1 of S-1001 and this test; its id."""
    wanted = parse(lines_of(f"submission,test,plate,row,serum\nS-1001,{test},1,A,F1\n".encode()))
    await importing.put(engine, "main", wanted, actor=COMMAND, origin="worklist", now=NOON)
    async with reading(engine) as connection:
        return str(await connection.scalar(select(plates.c.id)))


async def told(engine: AsyncEngine) -> list[tuple[str, str | None, str | None, int | None]]:
    """(kind, run, plate, revision) of everything but the run itself."""
    async with reading(engine) as connection:
        found = await changes_after(connection, EVERY_SITE, 0, 100)
    return [(each.kind, each.run_id, each.plate_id, each.revision) for each in found[1:]]


async def test_a_plate_that_is_planned_after_its_run_is_told(engine: AsyncEngine) -> None:
    await waiting(engine)
    plate = await plan(engine, "NDV")
    assert await told(engine) == [("run.matched", RUN, plate, 2)]


async def test_a_persons_word_is_told_and_so_is_taking_it_back(engine: AsyncEngine) -> None:
    await waiting(engine)
    plate = await plan(engine, "IBV")
    assert await told(engine) == []
    why = "the label was wet"
    await unmatched.say_plate(engine, RUN, plate, sites=EVERY_SITE, actor=COMMAND, now=NOON, reason=why)
    await unmatched.take_back(engine, RUN, sites=EVERY_SITE, actor=COMMAND, now=NOON, reason=why)
    assert await told(engine) == [("run.matched", RUN, plate, 2), ("run.changed", RUN, None, 3)]


@pytest.mark.parametrize("kind", ["plate", "test", "submission"])
async def test_runs_that_count_no_more_with_their_plate_are_told(engine: AsyncEngine, kind: str) -> None:
    await enrol(engine)
    await ingest(engine, [make_delivery(1)], now=NOON)
    table = {"plate": plates, "test": tests, "submission": submissions}[kind]
    async with reading(engine) as connection:
        thing = str(await connection.scalar(select(table.c.id)))
        plate = str(await connection.scalar(select(plates.c.id)))
    await editing.void(
        engine, kind, thing, seen=1, sites=EVERY_SITE, actor=COMMAND, now=NOON, reason="the sera were mixed up"
    )
    assert await told(engine) == [("run.voided", RUN, plate, 1)]
