"""What two do at once, or what is said while a file is on its way, sends nothing wrong and loses nothing."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Row, insert, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from central.audit.chain import COMMAND, record
from central.db import make_engine, reading, transaction
from central.deliveries import editing
from central.deliveries.dialect import shipped
from central.deliveries.outbox import Worker, work
from central.deliveries.preview import preview
from central.deliveries.queries import awaited_by, get_delivery
from central.deliveries.rules import generate, valid
from central.deliveries.states import DeliveryStateError
from central.deliveries.targets.folder import Folder
from central.deliveries.targets.target import Outgoing, Place, Target, TargetError
from central.laboratory import matching
from central.people.sites import EVERY_SITE
from central.results.queries import speakers
from central.review import signing
from central.settings import Settings
from central.tables import control_sera, deliveries, placements, plates
from tests.central.deliveries.test_outbox import make_delivery, worker
from tests.central.deliveries.test_outbox import states as outbox_states
from tests.central.deliveries.test_rules import deliver, rule, states
from tests.central.review.reviews import RUN, accept, dossier, override, people, plate_state, read_plate, say, sign
from tests.central.web import Clock
from tests.make import NOON, make_code, make_wells

pytestmark = pytest.mark.anyio
LONG_ENOUGH_S = 0.6


@pytest.fixture
async def another(settings: Settings) -> AsyncIterator[AsyncEngine]:
    """A second central on the same database."""
    engine = make_engine(settings.database)
    yield engine
    await engine.dispose()


async def with_control(engine: AsyncEngine) -> None:
    """A plate of endpoints 6 with a control serum of expected 6 in row A, approved."""
    rita = (await people(engine))["rita"]
    await read_plate(engine, wells=make_wells(6))
    serum = {
        "id": "c1", "site_id": "main", "name": "NDV positive", "lot": "7", "kind": "positive", "profile": "hi-96",
        "expected_log2": 6, "tolerance_log2": 1, "revision": 1,
    }  # fmt: skip
    async with transaction(engine) as connection:
        plate_id = await connection.scalar(select(plates.c.id))
        await connection.execute(insert(control_sera).values(serum))
        await connection.execute(insert(placements).values(plate_id=plate_id, row="A", control_serum_id="c1"))
    await say(engine, rita, accept())
    await sign(engine, rita)


async def set_expected(engine: AsyncEngine, expected: int) -> None:
    """The lot is expected to be something else from now on."""
    async with transaction(engine) as connection:
        await connection.execute(update(control_sera).values(expected_log2=expected))


async def test_titres_of_a_plate_whose_controls_fail_by_now_are_not_sent(engine: AsyncEngine, tmp_path: Path) -> None:
    found = await rule(engine)
    await with_control(engine)
    await set_expected(engine, 9)
    one = await dossier(engine)
    assert one.validity.failed
    assert one.test_id is not None
    await deliver(engine, tmp_path, Clock())
    assert await states(engine) == [(1, "failed")]
    await editing.send(engine, found.id, one.test_id, sites=EVERY_SITE, actor=COMMAND, now=NOON)
    await deliver(engine, tmp_path, Clock())
    assert [state for _, state in await states(engine)] == ["superseded", "failed"]
    assert not list(tmp_path.glob("*.csv"))
    await set_expected(engine, 6)
    await editing.send(engine, found.id, one.test_id, sites=EVERY_SITE, actor=COMMAND, now=NOON)
    await deliver(engine, tmp_path, Clock())
    assert len(list(tmp_path.glob("*.csv"))) == 1


async def test_two_reviewers_who_approve_the_last_two_plates_at_once_make_one_delivery(
    engine: AsyncEngine, another: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rule(engine)
    both = await people(engine, "rita", "ruth")
    await read_plate(engine, wells=make_wells(6))
    second = await read_plate(engine, 2, enrolled=True, code=make_code(plate_number="2"), wells=make_wells(6))
    for run_id in (RUN, second):
        await say(engine, both["rita"], accept(), run_id=run_id)
    here = 0

    async def together(*given: Any) -> None:
        nonlocal here
        here += 1
        for _ in range(int(LONG_ENOUGH_S / 0.02)):
            if here == 2:
                break
            await asyncio.sleep(0.02)
        await record(*given)

    monkeypatch.setattr(signing, "record", together)
    await asyncio.gather(sign(engine, both["rita"], RUN), sign(another, both["ruth"], second))
    assert [await plate_state(engine, number) for number in "12"] == ["approved", "approved"]
    assert await states(engine) == [(1, "pending")]


async def test_a_reading_that_comes_while_its_plate_is_approved_is_not_taken_for_what_was_approved(
    engine: AsyncEngine, another: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    rita = (await people(engine))["rita"]
    await read_plate(engine, wells=make_wells(6))
    await say(engine, rita, accept())
    signs: list[asyncio.Task[None]] = []
    move = matching._move

    async def meanwhile(*given: Any) -> None:
        signs.append(asyncio.create_task(sign(another, rita, RUN)))
        await asyncio.wait(signs, timeout=LONG_ENOUGH_S)
        await move(*given)

    monkeypatch.setattr(matching, "_move", meanwhile)
    second = await read_plate(engine, 2, enrolled=True, wells=make_wells(9))
    await asyncio.gather(*signs, return_exceptions=True)
    async with reading(engine) as connection:
        (speaks,) = await speakers(connection, list(await connection.scalars(select(plates.c.id))))
    assert speaks.id == second
    assert await plate_state(engine) in ("read", "amended", "in_review")


async def test_what_is_changed_while_its_file_waits_for_the_place_is_not_placed(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    clock, drop = Clock(), tmp_path / "drop"
    await rule(engine)
    rita = (await people(engine))["rita"]
    await read_plate(engine, wells=make_wells(6))
    await say(engine, rita, accept())
    await sign(engine, rita)
    await deliver(engine, drop, clock)
    assert await states(engine) == [(1, "generated")]
    await say(engine, rita, override("A6"))
    drop.mkdir()
    await deliver(engine, drop, clock)
    assert await states(engine) == [(1, "failed")]
    assert not list(drop.iterdir())


class Locked(Folder):
    """A folder that lets nothing be given its name while it is locked."""

    locked = True

    async def finish(self, file: Outgoing, place: Place) -> bool:
        """Not now."""
        if self.locked:
            raise TargetError("locked", "it is tried again")
        return await super().finish(file, place)


async def test_a_correction_waits_until_the_file_that_it_corrects_is_out(engine: AsyncEngine, tmp_path: Path) -> None:
    clock, target = Clock(), Locked(tmp_path)
    await rule(engine)
    rita = (await people(engine))["rita"]
    await read_plate(engine, wells=make_wells(6))

    async def where(_: Row[Any]) -> Target:
        return target

    async def step(seconds: float) -> None:
        clock.tick(seconds)
        await work(engine, Worker(f"w{clock.at}", clock, lambda: 0.5, generate, where, valid))

    for steps in ((accept(),), (override("A6"), accept())):
        await say(engine, rita, *steps)
        await sign(engine, rita)
        await step(0.5)
    assert await states(engine) == [(1, "placing"), (2, "pending")]
    target.locked = False
    await step(700)
    await step(1)
    assert await states(engine) == [(1, "placed"), (2, "placed")]


async def test_a_file_whose_place_is_lost_holds_up_its_correction_for_a_quarter_of_an_hour_and_never_comes_after_it(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    clock, old, new = Clock(), Locked(tmp_path / "old"), tmp_path / "new"
    tmp_path.joinpath("old").mkdir()
    new.mkdir()
    await make_delivery(engine)

    async def step(target: Target, seconds: float) -> None:
        clock.tick(seconds)
        await work(engine, worker(clock, target))

    await step(old, 0)
    await make_delivery(engine, "d0000002", revision=2)
    async with reading(engine) as connection:
        held = await get_delivery(connection, "d0000002", EVERY_SITE)
        assert held is not None
        awaited = await awaited_by(connection, held)
    assert awaited is not None
    assert (awaited.revision, awaited.last_error) == (1, "locked (it is tried again)")
    for _ in range(4):
        await step(Folder(new), 700)
        assert [state for state, _ in await outbox_states(engine)] == ["placing", "pending"]
    await step(Folder(new), 700)
    await step(Folder(new), 1)
    assert [state for state, _ in await outbox_states(engine)] == ["superseded", "placed"]
    old.locked = False
    await step(old, 7000)
    assert [path.name for path in tmp_path.glob("*/*.csv")] == [path.name for path in new.glob("*_r2.csv")]


async def test_a_preview_says_that_a_control_failed_and_shows_no_titre(engine: AsyncEngine) -> None:
    await with_control(engine)
    await set_expected(engine, 9)
    one = await dossier(engine)
    async with reading(engine) as connection:
        found = await preview(connection, "run", one.run.id, shipped()["titres"], sites=EVERY_SITE, now=NOON)
    assert found.against == (
        "a control of NDV, plate 1 failed: positive control serum NDV positive, lot 7 (row A): "
        "log₂ 6, expected log₂ 8 to 10",
    )
    assert len(found.file.content.splitlines()) == 1
    assert {each.why for each in found.left_out} == {"it holds a control serum", "a control of the plate failed"}


async def test_plates_that_are_approved_together_have_a_file_each(engine: AsyncEngine, tmp_path: Path) -> None:
    await rule(engine, of="plate")
    rita = (await people(engine))["rita"]
    await read_plate(engine, wells=make_wells(6))
    second = await read_plate(engine, 2, enrolled=True, code=make_code(plate_number="2"), wells=make_wells(6))
    for run_id in (RUN, second):
        await say(engine, rita, accept(), run_id=run_id)
    await sign(engine, rita, RUN, second)
    await deliver(engine, tmp_path, Clock())
    assert await states(engine) == [(1, "placed"), (1, "placed")]
    assert len([each for each in tmp_path.iterdir() if each.suffix == ".csv"]) == 2


async def test_what_was_given_up_is_not_tried_again_once_a_correction_is_out(engine: AsyncEngine) -> None:
    await make_delivery(engine)
    await make_delivery(engine, "d0000002", revision=2)
    async with transaction(engine) as connection:
        older = deliveries.c.id == "d0000001"
        await connection.execute(update(deliveries).where(older).values(state="failed", place={"part": "x"}))
        await connection.execute(update(deliveries).where(~older).values(state="placed"))
    with pytest.raises(DeliveryStateError, match="a newer revision"):
        await editing.retry(engine, "d0000001", sites=EVERY_SITE, actor=COMMAND, now=NOON)
    assert await states(engine) == [(1, "failed"), (2, "placed")]
