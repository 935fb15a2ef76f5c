"""What a correction changed is said well by well and serum by serum, old and new, and is kept with the delivery."""

from pathlib import Path

import msgspec
import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from central.db import reading
from central.deliveries.differences import Difference, Differences, differences, in_words, said_of
from central.tables import deliveries, delivery_log
from protocol.assay import Call
from tests.central.deliveries.results import make_plate, make_results, make_wells
from tests.central.deliveries.test_rules import deliver, rule
from tests.central.review.reviews import accept, override, people, read_plate, say, sign, withhold
from tests.central.web import Clock
from tests.make import make_wells as wells_of_a_reading

PLATE = "NDV, plate 1"


def test_the_same_results_differ_in_nothing() -> None:
    said = said_of(make_results())
    assert differences(said, said) == ()


def test_a_titre_and_its_wells_are_named_old_and_new() -> None:
    before = make_plate({"A": 8, "B": 8})
    after = make_plate({"A": 7, "B": 8}, wells=make_wells({"A": 7, "B": 8}))
    old, new = said_of(make_results(before)), said_of(make_results(after))
    found = differences(old, new)
    assert Difference(PLATE, "serum", "A", "FL7-A", "1:256", "1:128") in found
    assert Difference(PLATE, "well", "A8", None, "flowing", "button") in found
    assert not [each for each in found if each.where.startswith("B")]


def test_a_result_that_is_lost_is_no_result_and_never_a_number() -> None:
    old, new = said_of(make_results(make_plate({"A": 8}))), said_of(make_results(make_plate({"A": None})))
    (serum, *wells) = differences(old, new)
    assert (serum.kind, serum.old, serum.new) == ("serum", "1:256", None)
    assert {each.new for each in wells} == {None}
    assert "1:256 → no result" in in_words(Differences(1, (serum,)))


def test_another_run_and_another_serum_are_said() -> None:
    before = make_plate({"A": 8})
    row = msgspec.structs.replace(before.rows[0], serum_id="FL7-Z")
    after = msgspec.structs.replace(before, rows=(row,), run_id="019a0000-0002-76b8-86b2-73ff34fce19d")
    found = differences(said_of(make_results(before)), said_of(make_results(after)))
    assert [(each.kind, each.old, each.new) for each in found] == [
        ("run", before.run_id, after.run_id),
        ("serum_id", "FL7-A", "FL7-Z"),
    ]


def test_a_plate_that_came_and_one_that_went_are_whole_differences() -> None:
    one, other = make_plate({"A": 8}), make_plate({"A": 8}, plate_number="2")
    found = differences(said_of(make_results(one)), said_of(make_results(other)))
    assert {each.new for each in found if each.plate == PLATE} == {None}
    assert {each.old for each in found if each.plate == "NDV, plate 2"} == {None}


def test_a_long_list_is_cut_in_words_and_says_so() -> None:
    items = tuple(Difference(PLATE, "well", f"A{at}", None, "flowing", "button") for at in range(1, 13)) * 2
    assert in_words(Differences(3, items)).startswith("against r3: 24 differences: NDV, plate 1, A1: flowing → button;")
    assert in_words(Differences(3, items)).endswith("; and 4 more")


@pytest.mark.anyio
async def test_a_correction_is_kept_with_what_it_changed(engine: AsyncEngine, tmp_path: Path) -> None:
    clock = Clock()
    await rule(engine)
    rita = (await people(engine))["rita"]
    await read_plate(engine, wells=wells_of_a_reading(6))
    await say(engine, rita, accept())
    await sign(engine, rita)
    await deliver(engine, tmp_path, clock)
    await say(engine, rita, override("A6", Call.BUTTON), withhold("H"), accept())
    await sign(engine, rita)
    await deliver(engine, tmp_path, clock)
    async with reading(engine) as connection:
        kept = list(await connection.scalars(select(deliveries.c.differences).order_by(deliveries.c.revision)))
        logged = list(await connection.scalars(select(delivery_log.c.detail).where(delivery_log.c.event == "generate")))
    assert kept[0] is None
    found = msgspec.convert(kept[1], Differences)
    assert found.since_revision == 1
    assert [(each.where, each.old, each.new) for each in found.items] == [
        ("A", "1:64", "1:32"),
        ("H", "1:64", None),
        ("A6", "flowing", "button"),
    ]
    assert logged[0] is None
    assert "against r1: 3 differences" in logged[1]
