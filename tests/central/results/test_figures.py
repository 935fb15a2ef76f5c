"""A run's figures follow from it and are behind it by one look at the feed; a device's are theirs added up."""

import asyncio
from datetime import date, datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.ext.asyncio import AsyncEngine

from central.assays.sera import NewSerum, add_serum
from central.audit.chain import COMMAND
from central.db import reading, transaction
from central.intake.ingest import ingest
from central.laboratory import editing, importing
from central.laboratory.sheets import lines_of
from central.laboratory.worklist import parse
from central.people.sites import EVERY_SITE, Sites
from central.results.figures import catch_up, follow, quality_of
from central.results.quality import Figures, Letter, figures_of, periods, start_of
from central.review.corrections import Action, Step
from central.tables import figures_tip, plates, run_figures
from protocol.messages import CalibrationUsed
from tests.central.review.reviews import RUN, override, people, read_plate, say, withhold
from tests.central.wire import enrol, make_delivery
from tests.make import NOON, make_reading_id, make_well, make_wells

pytestmark = pytest.mark.anyio


def make_figures(number: int = 1, **fields: Any) -> Figures:
    """The figures of a clean run."""
    values: dict[str, Any] = {
        "run_id": make_reading_id(number), "site_id": "main", "device_id": "bench-1", "model": "m", "read_at": NOON,
        "high": 8, "medium": 0, "low": 0, "calls": {"flowing": 96}, "quality": {"blur_pitch": 0.1}, "drifted": 0,
        "calibrated_at": None, "controls_failed": None, "judged": 0, "exact": 0, "within_one": 0, "withheld": 0,
    }  # fmt: skip
    return Figures(**(values | fields))


async def rows(engine: AsyncEngine) -> dict[str, Any]:
    """Run → its figures."""
    async with reading(engine) as connection:
        return {row.run_id: row for row in await connection.execute(select(run_figures))}


async def test_a_run_has_its_figures_after_the_next_look_at_the_feed(engine: AsyncEngine) -> None:
    await enrol(engine)
    wells = make_wells() | {"A1": make_well("obscured")}
    calibration = CalibrationUsed("0001-a", NOON, ("light", "place"))
    quality = {"blur_pitch": 0.12, "glare": 0.01, "something_else": 7.0}
    await ingest(engine, [make_delivery(1, wells=wells, calibration=calibration, quality=quality)], now=NOON)
    assert await follow(engine) == 1
    found = (await rows(engine))[make_reading_id(1)]
    assert (found.device_id, found.site_id, found.drifted, found.calibrated_at) == ("bench-1", "main", 2, NOON)
    assert found.quality == {"blur_pitch": 0.12, "glare": 0.01, "residual_pitch": 0.02}
    assert sum(found.calls.values()) == 96
    assert found.calls["obscured"] == 1
    assert found.high + found.medium + found.low == 8
    assert await follow(engine) == 0


async def test_of_several_that_follow_at_once_nothing_is_lost(engine: AsyncEngine) -> None:
    await enrol(engine)
    await ingest(engine, [make_delivery(number) for number in range(1, 31)], now=NOON)

    async def until_none() -> None:
        while await follow(engine, 7):
            pass

    await asyncio.gather(*(until_none() for _ in range(3)))
    assert len(await rows(engine)) == 30


async def test_runs_from_before_there_were_figures_get_theirs_a_batch_at_a_time(engine: AsyncEngine) -> None:
    await enrol(engine)
    await ingest(engine, [make_delivery(number) for number in range(1, 8)], now=NOON)
    async with transaction(engine) as connection:
        tip = await connection.scalar(text("SELECT number FROM changes_tip"))
        highest = await connection.scalar(text("SELECT max(number) FROM runs"))
        await connection.execute(update(figures_tip).values(followed=tip, below=highest + 1))
    assert await follow(engine) == 0
    looked = [await catch_up(engine, 3) for _ in range(4)]
    assert looked == [3, 3, 1, 0]
    assert len(await rows(engine)) == 7


async def test_what_changed_while_old_runs_were_caught_up_with_keeps_its_newer_figures(engine: AsyncEngine) -> None:
    await enrol(engine)
    await ingest(engine, [make_delivery(1), make_delivery(2)], now=NOON)
    await follow(engine)
    async with transaction(engine) as connection:
        await connection.execute(update(run_figures).values(judged=5))
        await connection.execute(update(figures_tip).values(below=100))
    await catch_up(engine)
    assert {row.judged for row in (await rows(engine)).values()} == {5}


async def test_a_run_that_cannot_be_worked_out_holds_up_no_other(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    await enrol(engine)
    await ingest(engine, [make_delivery(number) for number in (1, 2, 3)], now=NOON)

    def stumbles(run: Any, *rest: Any) -> Figures:
        if run.id == make_reading_id(2):
            raise ValueError("a reading that our own rules stumble over")
        return figures_of(run, *rest)

    monkeypatch.setattr("central.results.figures.figures_of", stumbles)
    assert await follow(engine) == 3
    assert set(await rows(engine)) == {make_reading_id(1), make_reading_id(3)}


@pytest.mark.parametrize("zone", [None, timezone(timedelta(hours=14))], ids=["no zone", "before all time"])
async def test_a_calibration_at_a_moment_that_cannot_be_stops_no_figures(
    engine: AsyncEngine, zone: timezone | None
) -> None:
    await enrol(engine)
    made_up = CalibrationUsed("0001-a", datetime(1, 1, 1, tzinfo=zone))
    outcome = await ingest(engine, [make_delivery(1, calibration=made_up), make_delivery(2)], now=NOON)
    assert len(outcome.new) == 2, outcome
    await follow(engine)
    assert {row.calibrated_at for row in (await rows(engine)).values()} == {None}
    assert len(await rows(engine)) == 2


async def test_a_device_is_answered_only_to_who_sees_it_and_from_when_is_asked(engine: AsyncEngine) -> None:
    await enrol(engine)
    for day in range(3):
        at = NOON + timedelta(days=day)
        await ingest(engine, [make_delivery(day + 1)], now=at)
    await ingest(engine, [make_delivery(9, device_id="bench-9")], now=NOON)  # refused: no such device
    while await follow(engine):
        pass
    async with reading(engine) as connection:
        since = NOON + timedelta(days=1)
        found = await quality_of(connection, "bench-1", EVERY_SITE, by="day", since=since)
        assert found is not None
        assert [each.start for each in found.periods] == [date(2026, 11, 21), date(2026, 11, 22)]
        assert await quality_of(connection, "bench-1", Sites.of(["other"]), by="day", since=since) is None
        assert await quality_of(connection, "bench-9", EVERY_SITE, by="day", since=since) is None


def test_a_week_begins_on_its_monday() -> None:
    sunday, monday = NOON + timedelta(days=2), NOON + timedelta(days=3)
    assert [start_of(at, "week") for at in (sunday, monday)] == [date(2026, 11, 16), date(2026, 11, 23)]


def test_figures_are_added_up_and_measures_are_medians() -> None:
    some = [
        make_figures(1, quality={"blur_pitch": 0.1}, low=2, high=6, judged=4, exact=3, within_one=4, drifted=1),
        make_figures(2, quality={"blur_pitch": 0.9}, controls_failed="x", withheld=1),
        make_figures(3, quality={"blur_pitch": 0.2, "glare": 0.5}, calls={"button": 90, "obscured": 6}),
    ]
    letters = [Letter(NOON, "conflict", 2), Letter(NOON, "conflict", 1), Letter(NOON + timedelta(days=1), "x", 1)]
    today, tomorrow = periods(some, letters, "day")
    assert (today.readings, today.high, today.low, today.wells) == (3, 22, 2, 288)
    assert today.low_share == 2 / 24
    assert today.medians == {"blur_pitch": 0.2, "glare": 0.5}
    assert today.calls == {"flowing": 192, "button": 90, "obscured": 6}
    assert (today.exact_share, today.within_one_share, today.withheld) == (0.75, 1.0, 1)
    assert (today.drifted, today.controls_failed, today.refused) == (1, 1, {"conflict": 3})
    assert (tomorrow.readings, tomorrow.low_share, tomorrow.exact_share, tomorrow.refused) == (0, None, None, {"x": 1})


async def test_what_reviewers_make_of_a_run_is_in_its_figures_and_a_void_run_says_nothing_of_it(
    engine: AsyncEngine,
) -> None:
    rita = (await people(engine))["rita"]
    await read_plate(engine)
    await follow(engine)
    assert (await rows(engine))[RUN].judged == 0
    await say(engine, rita, override("A6"), override("B6"), withhold("H"))
    await follow(engine)
    found = (await rows(engine))[RUN]
    assert (found.judged, found.exact, found.within_one, found.withheld) == (2, 0, 2, 1)
    assert (found.high, found.low) == (8, 0)  # of the machine's own calls
    await say(engine, rita, Step(Action.VOID, reason_code="wrong_plate"))
    await follow(engine)
    found = (await rows(engine))[RUN]
    assert (found.judged, found.withheld, found.high) == (0, 0, 8)


async def test_a_control_that_is_named_after_the_plate_was_read_is_judged(engine: AsyncEngine) -> None:
    await read_plate(engine)
    await follow(engine)
    assert (await rows(engine))[RUN].controls_failed is None
    serum = NewSerum(site_id="main", name="POS", lot="L1", kind="positive", profile="hi-96", expected_log2=2)
    await add_serum(engine, serum, sites_seen=EVERY_SITE, actor=COMMAND, now=NOON)
    wanted = parse(lines_of(b"submission,test,plate,row,control,control_lot\nS-1001,NDV,1,A,POS,L1\n"))
    await importing.put(engine, "main", wanted, actor=COMMAND, origin="worklist", now=NOON)
    await follow(engine)
    assert "POS" in ((await rows(engine))[RUN].controls_failed or "")
    async with reading(engine) as connection:
        plate = (await connection.execute(select(plates))).one()
    await editing.place(engine, plate.id, {"A": None}, seen=plate.revision, sites=EVERY_SITE, actor=COMMAND, now=NOON)
    await follow(engine)
    assert (await rows(engine))[RUN].controls_failed is None
