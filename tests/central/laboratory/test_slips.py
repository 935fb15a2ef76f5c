"""No run slips between a plate and its registration, at a site where runs of unknown plates wait: whoever is first."""

import asyncio
import random
from typing import Any

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from central.audit.chain import COMMAND
from central.db import reading, transaction
from central.intake.ingest import ingest
from central.laboratory import importing, matching
from central.laboratory.worklist import PlatePlan
from central.tables import run_records, sites
from tests.central.wire import enrol, make_delivery
from tests.make import NOON, make_code

pytestmark = pytest.mark.anyio

# Long enough for the other to be done meanwhile, if nothing holds it.
HELD_UP_S = 0.4


async def read(engine: AsyncEngine, number: int) -> None:
    """Reading `number`, of plate 1 of a submission of that number."""
    delivery = make_delivery(number, code=make_code(submission=f"S-{number}"))
    outcome = await ingest(engine, [delivery], now=NOON)
    assert len(outcome.new) == 1, outcome


async def planned(engine: AsyncEngine, number: int) -> None:
    """That plate, planned."""
    wanted = importing.one(f"S-{number}", test="NDV", plates_=[PlatePlan("1", 1, {}, {})])
    await importing.put(engine, "main", wanted, actor=COMMAND, origin="worklist", now=NOON)


async def waiting(engine: AsyncEngine) -> int:
    """How many runs are of no plate."""
    async with reading(engine) as connection:
        query = select(func.count()).select_from(run_records).where(run_records.c.plate_id.is_(None))
        return int(await connection.scalar(query) or 0)


@pytest.fixture
async def site(engine: AsyncEngine) -> None:
    """A site where runs wait, and its device."""
    await enrol(engine)
    async with transaction(engine) as connection:
        await connection.execute(update(sites).values(unregistered="wait"))


def held_up(monkeypatch: pytest.MonkeyPatch, holder: Any, name: str) -> asyncio.Event:
    """After this look into the database the one that looked is held up; the event is set when it has looked."""
    looked, sound = asyncio.Event(), getattr(holder, name)

    async def slow(*arguments: Any) -> Any:
        found = await sound(*arguments)
        if not looked.is_set():
            looked.set()
            await asyncio.sleep(HELD_UP_S)
        return found

    monkeypatch.setattr(holder, name, slow)
    return looked


@pytest.mark.usefixtures("site")
@pytest.mark.parametrize("ingest_looks_first", [True, False])
async def test_a_run_and_its_plate_that_come_at_once_find_each_other(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch, ingest_looks_first: bool
) -> None:
    holder, name = (matching, "_plates_of") if ingest_looks_first else (importing, "known")
    first, second = (read, planned) if ingest_looks_first else (planned, read)
    looked = held_up(monkeypatch, holder, name)
    going = asyncio.create_task(first(engine, 1))
    await looked.wait()
    await second(engine, 1)
    await going
    assert await waiting(engine) == 0


@pytest.mark.usefixtures("site")
async def test_many_runs_and_plates_that_come_in_any_order_find_each_other(engine: AsyncEngine) -> None:
    chance, numbers = random.Random(31), range(1, 13)
    work = [act(engine, number) for act in (read, planned) for number in numbers]
    chance.shuffle(work)
    await asyncio.wait_for(asyncio.gather(*work), 120)
    assert await waiting(engine) == 0
