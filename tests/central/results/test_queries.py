"""The SELECTs: pages of runs, what is current, lists and counts, the same on both databases."""

import random
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from central.db import reading, transaction
from central.fleet import queries as fleet_queries
from central.fleet.devices import record_status
from central.intake.ingest import ingest
from central.intake.plan import Delivery
from central.laboratory.queries import Wanted, list_submissions
from central.laboratory.states import PlateState
from central.people.sites import EVERY_SITE
from central.results import queries
from central.results.aggregate import current_runs, summarise
from central.results.images import StoredImage, record
from central.tables import control_sera, placements, plates, run_records, runs
from protocol.messages import VERSION, DeviceStatus
from tests.central.wire import enrol, make_delivery
from tests.make import NOON, make_code, make_reading, make_reading_id, make_wells

pytestmark = pytest.mark.anyio

DEVICES = ("bench-1", "bench-2")


async def filled(engine: AsyncEngine, *deliveries: Delivery) -> None:
    """A central with the devices `bench-1` and `bench-2` and these readings."""
    for device_id in DEVICES:
        await enrol(engine, device_id)
    await ingest(engine, deliveries, now=NOON)


def plate(number: int, submission: str, test: str = "NDV", plate_number: str = "1", **fields: Any) -> Delivery:
    """Reading `number` of this plate."""
    return make_delivery(number, code=make_code(submission, test, plate_number), **fields)


async def numbers(connection: AsyncConnection, **query: Any) -> list[int]:
    """The numbers of a page of runs."""
    return [run.number for run in (await queries.list_runs(connection, **query)).runs]


async def test_runs_are_listed_newest_first_page_by_page(engine: AsyncEngine) -> None:
    await filled(engine, *(make_delivery(number) for number in range(1, 6)))
    async with reading(engine) as connection:
        first = await queries.list_runs(connection, limit=2)
        second = await queries.list_runs(connection, limit=2, after=first.next_after)
        third = await queries.list_runs(connection, limit=2, after=second.next_after)
    assert [[run.seq for run in page.runs] for page in (first, second, third)] == [[5, 4], [3, 2], [1]]
    assert third.next_after is None


async def test_a_full_last_page_says_that_it_is_the_last(engine: AsyncEngine) -> None:
    await filled(engine, make_delivery(1), make_delivery(2))
    async with reading(engine) as connection:
        assert (await queries.list_runs(connection, limit=2)).next_after is None


async def test_runs_can_be_chosen_by_submission_test_and_device(engine: AsyncEngine) -> None:
    await filled(engine, plate(1, "S-1"), plate(2, "S-1", "IBD"), plate(3, "S-2", device_id="bench-2"))
    async with reading(engine) as connection:
        assert len(await numbers(connection, submission="S-1")) == 2
        assert len(await numbers(connection, submission="S-1", test="IBD")) == 1
        assert len(await numbers(connection, device="bench-2")) == 1
        assert await numbers(connection, submission="S-9") == []


async def test_a_page_says_which_runs_are_current_although_it_does_not_show_all(engine: AsyncEngine) -> None:
    await filled(engine, plate(1, "S-1"), plate(2, "S-1"), plate(3, "S-2"), make_delivery(4, code=None))
    async with reading(engine) as connection:
        page = await queries.list_runs(connection)
        last = await queries.list_runs(connection, after=page.runs[-2].number)
    assert [(run.seq, run.current) for run in page.runs] == [(4, False), (3, True), (2, True), (1, False)]
    assert [(run.seq, run.current) for run in last.runs] == [(1, False)]


async def test_a_run_comes_back_as_the_device_made_it(engine: AsyncEngine) -> None:
    await filled(engine, make_delivery(1))
    async with reading(engine) as connection:
        detail = await queries.get_run(connection, make_reading_id(1))
    assert detail is not None
    assert detail.reading == make_reading(1)
    assert (detail.run.device_name, detail.run.current, detail.run.received_at) == ("Bench bench-1", True, NOON)
    assert detail.run.endpoints["A"].last_flowing == 6


async def test_a_run_that_is_not_here_is_none(engine: AsyncEngine) -> None:
    async with reading(engine) as connection:
        assert await queries.get_run(connection, make_reading_id(9)) is None


async def test_submissions_are_listed_with_their_tests_plates_and_runs(engine: AsyncEngine) -> None:
    await filled(engine, plate(3, "S-2"))
    await ingest(engine, [plate(1, "S-1"), plate(2, "S-1"), plate(4, "S-1", "IBD")], now=NOON + timedelta(minutes=1))
    await ingest(engine, [plate(5, "S-1", plate_number="2")], now=NOON + timedelta(hours=1))
    async with reading(engine) as connection:
        first, second = await list_submissions(connection, EVERY_SITE, Wanted())
        (only,) = await list_submissions(connection, EVERY_SITE, Wanted(), limit=1)
    assert (first.submission, first.tests, first.plates, first.runs) == ("S-1", ("IBD", "NDV"), 3, 4)
    assert first.last_received_at == NOON + timedelta(hours=1)
    assert (second.submission, second.runs) == ("S-2", 1)
    assert only == first


async def test_a_summary_comes_from_the_runs_of_a_submission(engine: AsyncEngine) -> None:
    await filled(engine, plate(1, "S-1", wells=make_wells(2)), plate(2, "S-1", wells=make_wells(8)), plate(3, "S-2"))
    async with reading(engine) as connection:
        runs = await queries.submission_runs(connection, "S-1")
        assert await queries.submission_runs(connection, "S-1", "IBD") == ()
    assert [(run.seq, run.current) for run in runs] == [(2, True), (1, False)]
    assert summarise("S-1", None, runs).distribution[8] == 8


async def test_a_run_knows_whether_its_picture_is_here(engine: AsyncEngine) -> None:
    await filled(engine, make_delivery(1), make_delivery(2))
    sha256 = make_reading(1).picture.sha256
    async with transaction(engine) as connection:
        await record(connection, StoredImage(sha256, 1000, "image/jpeg"), device_id="bench-1", now=NOON)
        page = await queries.list_runs(connection)
    assert [(run.seq, run.image_stored) for run in page.runs] == [(2, False), (1, True)]


async def test_only_the_device_of_a_run_may_bring_its_picture(engine: AsyncEngine) -> None:
    await filled(engine, make_delivery(1))
    sha256 = make_reading(1).picture.sha256
    async with reading(engine) as connection:
        assert await queries.picture_of_device(connection, sha256, "bench-1") == 1000
        assert await queries.picture_of_device(connection, sha256, "bench-2") is None


async def test_devices_are_listed_with_their_status_and_runs(engine: AsyncEngine) -> None:
    await filled(engine, make_delivery(1), make_delivery(2))
    status = DeviceStatus(VERSION, "bench-1", True, "session-1", at=NOON)
    async with transaction(engine) as connection:
        await record_status(connection, status, now=NOON)
        first, second = await fleet_queries.list_devices(connection)
    assert (first.id, first.name, first.status, first.status_at, first.runs) == (
        "bench-1",
        "Bench bench-1",
        status,
        NOON,
        2,
    )
    assert (second.id, second.status, second.runs) == ("bench-2", None, 0)


async def test_dead_letters_are_listed_newest_first(engine: AsyncEngine) -> None:
    poison = [Delivery("wellread/v1/bench-1/reading", f"poison {number}".encode()) for number in (1, 2)]
    await filled(engine, *poison, poison[0])
    async with reading(engine) as connection:
        letters = await fleet_queries.list_dead_letters(connection)
        older = await fleet_queries.list_dead_letters(connection, after=letters[0].number)
    assert [(letter.code, letter.device_id, letter.times, letter.bytes) for letter in letters] == [
        ("undecodable", "bench-1", 1, 8),
        ("undecodable", "bench-1", 2, 8),
    ]
    assert older == letters[1:]


async def test_everything_is_counted(engine: AsyncEngine) -> None:
    await filled(engine, make_delivery(1), make_delivery(2), Delivery("wellread/v1/bench-1/reading", b"poison"))
    async with reading(engine) as connection:
        assert await queries.counts(connection) == queries.Counts(2, 2, 0, 1, 0)


@pytest.mark.parametrize("seed", range(5))
async def test_the_database_says_of_every_run_what_the_rule_says(engine: AsyncEngine, seed: int) -> None:
    chance = random.Random(seed)
    some = [
        plate(n, "S-1", plate_number=chance.choice("123"), device_id=chance.choice(DEVICES), seq=place, epoch=epoch)
        for n, (place, epoch) in enumerate(
            zip(chance.sample(range(1, 41), 40), chance.choices("ab", k=40), strict=True), 1
        )
    ]
    await filled(engine, *some)
    async with transaction(engine) as connection:
        for number in chance.sample(range(1, 41), 12):
            change = update(run_records).where(run_records.c.run_id == make_reading_id(number))
            await connection.execute(change.values(voided_at=NOON))
        third = select(plates.c.id).where(plates.c.number == "3").limit(1).scalar_subquery()
        await connection.execute(update(plates).where(plates.c.id == third).values(state=PlateState.VOID.value))
        found = await queries.runs_of(connection, queries.select_runs())
        current = {run.id for run in current_runs(found)}
        assert await queries.speaking(connection, {run.plate_id for run in found if run.plate_id}) == current
        assert {run.id for run in await queries.marked(connection, found) if run.current} == current
    assert 0 < len(current) <= 2
    async with reading(engine) as connection:
        shown = [await queries.get_run(connection, run.id) for run in found]
    assert {detail.run.id for detail in shown if detail and detail.run.current} == current


async def test_one_run_is_what_the_list_says_of_it(engine: AsyncEngine) -> None:
    await filled(engine, plate(1, "S-1"), plate(2, "S-1", plate_number="2"))
    async with transaction(engine) as connection:
        first = select(plates.c.id).where(plates.c.number == "1").scalar_subquery()
        control = {
            "id": "c1", "site_id": "main", "name": "NDV positive", "lot": "7", "kind": "positive", "profile": "hi-96",
            "expected_log2": 6, "tolerance_log2": 1, "revision": 1,
        }  # fmt: skip
        await connection.execute(insert(control_sera).values(control))
        for row in "HA":
            await connection.execute(insert(placements).values(plate_id=first, row=row, control_serum_id="c1"))
    async with reading(engine) as connection:
        listed = (await queries.list_runs(connection)).runs
        details = [await queries.get_run(connection, run.id) for run in listed]
    assert [detail and detail.run for detail in details] == list(listed)
    assert [run.control_rows for run in listed] == [(), ("A", "H")]


async def test_of_the_other_runs_of_its_plate_nothing_is_read_to_show_one(engine: AsyncEngine) -> None:
    await filled(engine, plate(1, "S-1"), plate(2, "S-1"))
    async with transaction(engine) as connection:
        other = dict((await connection.execute(select(runs).where(runs.c.id == make_reading_id(1)))).one()._mapping)
        unreadable = {"number": 77, "id": make_reading_id(77), "epoch": "former", "endpoints": {"A": "unreadable"}}
        await connection.execute(insert(runs), other | unreadable)
        record_of = dict((await connection.execute(select(run_records).limit(1))).one()._mapping)
        await connection.execute(insert(run_records), record_of | {"run_id": make_reading_id(77)})
        detail = await queries.get_run(connection, make_reading_id(2))
        page = await queries.list_runs(connection, after=77)
    assert detail is not None
    assert [detail.run.current, *(run.current for run in page.runs)] == [False, False, False]
