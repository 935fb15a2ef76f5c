"""What is void after its file went out is taken back by a file, or by a person; never by a blank, never by a zero."""

import asyncio
import csv
import io
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from central.audit.chain import COMMAND
from central.db import make_engine, reading, transaction
from central.deliveries import arrival, editing
from central.deliveries.dialect import DialectError, load, shipped
from central.deliveries.outbox import Worker, work
from central.deliveries.queries import WithdrawalRow, list_withdrawals
from central.deliveries.rules import generate, valid
from central.deliveries.states import DeliveryStateError
from central.deliveries.targets.folder import Folder
from central.deliveries.targets.target import Outgoing, Place, Target
from central.laboratory import editing as planning
from central.notices.facts import ground_of
from central.people.sites import EVERY_SITE
from central.settings import Settings
from central.tables import audit_entries, deliveries, delivery_rules, plates, submissions
from central.tables import changes as feed
from tests.central.deliveries.test_rules import deliver, rule, states
from tests.central.review.reviews import RUN, VOID, accept, dossier, people, read_plate, say, sign, withhold
from tests.central.web import Clock, bearer, central, csrf_token, sign_in
from tests.central.web import people as people_of_pages
from tests.make import NOON, make_code, make_reading_id, make_wells

pytestmark = pytest.mark.anyio
LONG_ENOUGH_S = 0.6
MUTE = msgspec.to_builtins(msgspec.structs.replace(shipped()["titres"], withdrawal=()))


async def sent(engine: AsyncEngine, drop: Path, clock: Clock, *, plates_of_it: int = 1, **fields: Any) -> str:
    """A test that was approved and whose file is out; who approved it."""
    await rule(engine, **fields)
    rita = (await people(engine))["rita"]
    runs = [await read_plate(engine, wells=make_wells(6))]
    for number in range(2, plates_of_it + 1):
        code = make_code(plate_number=str(number))
        runs.append(await read_plate(engine, number, enrolled=True, code=code, wells=make_wells(4)))
    for run_id in runs:
        await say(engine, rita, accept(), run_id=run_id)
    await sign(engine, rita, *runs)
    drop.mkdir(exist_ok=True)
    await deliver(engine, drop, clock)
    return rita


async def withdrawn(engine: AsyncEngine, *, settled: bool = False) -> tuple[WithdrawalRow, ...]:
    """The list."""
    async with reading(engine) as connection:
        return await list_withdrawals(connection, EVERY_SITE, limit=100, settled=settled)


def lines(file: Path) -> list[dict[str, str]]:
    """Its lines by column."""
    return list(csv.DictReader(io.StringIO(file.read_text())))


async def test_a_run_that_is_voided_after_its_file_went_out_is_taken_back_by_a_file_without_a_result(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    clock, drop = Clock(), tmp_path / "drop"
    rita = await sent(engine, drop, clock)
    (first,) = drop.iterdir()
    await say(engine, rita, VOID)
    (one,) = await withdrawn(engine)
    assert (one.plate, one.run_id, one.file, one.settled_at) == ("NDV, plate 1", RUN, first.name, None)
    await deliver(engine, drop, clock)
    (second,) = [path for path in drop.iterdir() if path != first]
    assert second.name == first.name.replace(".csv", "_withdrawn_r2.csv")
    found = lines(second)
    assert [line["row"] for line in found] == list("ABCDEFGH")
    assert {(line["status"], line["run_id"], line["file"]) for line in found} == {("withdrawn", RUN, first.name)}
    assert not {"titre", "titre_log2", "censor"} & set(found[0])
    assert await states(engine) == [(1, "placed"), (2, "placed")]
    assert len(await withdrawn(engine)) == 1  # until it has arrived
    second.unlink()
    await deliver(engine, drop, clock)
    assert await withdrawn(engine) == ()
    assert [each.settled_by for each in await withdrawn(engine, settled=True)] == ["central"]


async def test_a_plate_that_is_voided_is_taken_back_and_the_rest_of_its_test_goes_out_after_that(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    clock, drop = Clock(), tmp_path / "drop"
    await sent(engine, drop, clock, plates_of_it=2)
    async with reading(engine) as connection:
        query = select(plates.c.id, plates.c.revision).where(plates.c.number == "1")
        plate = (await connection.execute(query)).one()
    await planning.void(
        engine, "plate", plate.id, seen=plate.revision, sites=EVERY_SITE, actor=COMMAND, now=NOON, reason="a mix-up"
    )
    await deliver(engine, drop, clock)
    await deliver(engine, drop, clock)
    assert await states(engine) == [(1, "placed"), (2, "placed"), (3, "placed")]
    files = {path.stem.rpartition("_")[2]: lines(path) for path in drop.iterdir()}
    assert {line["plate"] for line in files["r2"]} == {"1"}
    assert {line["plate"] for line in files["r3"]} == {"2"}
    assert {line["titre_log2"] for line in files["r3"]} == {"4"}


async def test_where_no_file_can_say_it_it_is_shown_until_somebody_says_that_it_was_taken_back(
    engine: AsyncEngine, settings: Settings, tmp_path: Path
) -> None:
    clock, drop = Clock(), tmp_path / "drop"
    rita = await sent(engine, drop, clock, dialect=MUTE)
    await say(engine, rita, VOID)
    await deliver(engine, drop, clock)
    assert len(list(drop.iterdir())) == 1
    async with reading(engine) as connection:
        found = (await ground_of(connection, clock.at)).counts["result_withdrawn", "main"]
    assert [(each.object_id, each.value) for each in found] == [("rule", 1)]
    await people_of_pages(engine, "admin", "operator", "viewer")
    (one,) = await withdrawn(engine)
    async with central(settings, clock) as client:
        viewer = await bearer(client, "viewer")
        listed = (await client.get("/api/v1/withdrawals", headers=viewer)).json()["items"]
        assert [(each["id"], each["told_id"]) for each in listed] == [(one.id, None)]
        path = f"/api/v1/withdrawals/{one.id}/settle"
        assert (await client.post(path, headers=viewer)).status_code == 403
        await sign_in(client, "operator")
        page = (await client.get("/deliveries")).text
        assert "NDV, plate 1" in page
        assert "They took it back" in page
        form = {"csrf_token": await csrf_token(client)}
        done = await client.post(f"/deliveries/withdrawals/{one.id}/settle", data=form, follow_redirects=False)
        assert done.status_code == 303
        assert "They took it back" not in (await client.get("/deliveries")).text
        assert (await client.post(path, headers=await bearer(client, "admin"))).status_code == 204  # once or again
        unknown = f"/api/v1/withdrawals/{RUN}/settle"
        assert (await client.post(unknown, headers=await bearer(client, "admin"))).status_code == 404
    async with reading(engine) as connection:
        query = select(audit_entries.c.action).where(
            audit_entries.c.action.in_(["delivery.withdraw", "delivery.settle"])
        )
        assert list(await connection.scalars(query.order_by(audit_entries.c.number))) == [
            "delivery.withdraw", "delivery.settle",
        ]  # fmt: skip


async def test_what_is_voided_while_its_file_is_brought_near_does_not_go_out(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    await rule(engine)
    rita = (await people(engine))["rita"]
    await read_plate(engine, wells=make_wells(6))
    await say(engine, rita, accept())
    await sign(engine, rita)

    class Slow(Folder):
        async def prepare(self, file: Outgoing) -> Place:
            place = await super().prepare(file)
            await say(engine, rita, VOID)
            return place

    async def where(_: Any) -> Target:
        return Slow(tmp_path)

    await work(engine, Worker("w", Clock(), lambda: 0.5, generate, where, valid))
    assert await states(engine) == [(1, "failed")]
    assert not list(tmp_path.glob("*.csv"))
    assert await withdrawn(engine) == ()


async def test_what_was_never_out_is_not_withdrawn(engine: AsyncEngine, tmp_path: Path) -> None:
    await rule(engine)
    rita = (await people(engine))["rita"]
    await read_plate(engine, wells=make_wells(6))
    await say(engine, rita, accept())
    await sign(engine, rita)
    await say(engine, rita, VOID)
    await deliver(engine, tmp_path, Clock())
    assert await withdrawn(engine) == ()
    assert await states(engine) == [(1, "failed")]


async def test_a_test_whose_last_plate_is_voided_instead_of_approved_goes_out_without_it(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    await rule(engine)
    rita = (await people(engine))["rita"]
    await read_plate(engine, wells=make_wells(6))
    await read_plate(engine, 2, enrolled=True, code=make_code(plate_number="2"), wells=make_wells(4))
    await say(engine, rita, accept())
    await sign(engine, rita)
    assert await states(engine) == []
    async with reading(engine) as connection:
        plate = (await connection.execute(select(plates).where(plates.c.number == "2"))).one()
    await planning.void(
        engine, "plate", plate.id, seen=plate.revision, sites=EVERY_SITE, actor=COMMAND, now=NOON, reason="broken"
    )
    await deliver(engine, tmp_path, Clock())
    assert await states(engine) == [(1, "placed")]
    assert (await dossier(engine)).run.approved_at is not None


async def void_plate(engine: AsyncEngine, number: str) -> None:
    """This plate is void, with everything that was read of it."""
    async with reading(engine) as connection:
        query = select(plates.c.id, plates.c.revision).where(plates.c.number == number)
        plate = (await connection.execute(query)).one()
    await planning.void(
        engine, "plate", plate.id, seen=plate.revision, sites=EVERY_SITE, actor=COMMAND, now=NOON, reason="a mix-up"
    )


@pytest.mark.parametrize("between", [False, True])
async def test_two_that_are_voided_one_after_the_other_are_both_taken_back_by_the_name_of_the_file_that_said_them(
    engine: AsyncEngine, tmp_path: Path, *, between: bool
) -> None:
    clock, drop = Clock(), tmp_path / "drop"
    rita = await sent(engine, drop, clock, plates_of_it=2)
    (first,) = drop.iterdir()
    await say(engine, rita, VOID)
    if between:
        await deliver(engine, drop, clock)
    await say(engine, rita, VOID, run_id=make_reading_id(2))
    for _ in range(2):
        await deliver(engine, drop, clock)
    found = [line for path in drop.iterdir() if path != first for line in lines(path)]
    assert {(line["plate"], line["run_id"]) for line in found} == {("1", RUN), ("2", make_reading_id(2))}
    assert {line["file"] for line in found} == {first.name}
    assert {each.file for each in await withdrawn(engine)} == {first.name}


async def test_a_run_that_is_void_with_its_plate_is_not_withdrawn_a_second_time_by_itself(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    clock, drop = Clock(), tmp_path / "drop"
    rita = await sent(engine, drop, clock)
    await void_plate(engine, "1")
    await say(engine, rita, VOID)
    assert len(await withdrawn(engine)) == 1


async def test_what_the_file_that_is_out_says_is_taken_back_and_not_what_its_correction_would_have_said(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    clock, drop = Clock(), tmp_path / "drop"
    rita = await sent(engine, drop, clock)
    (first,) = drop.iterdir()
    await say(engine, rita, withhold("A"))
    await say(engine, rita, accept())
    await sign(engine, rita)
    await deliver(engine, tmp_path / "away", clock)
    assert await states(engine) == [(1, "superseded"), (2, "generated")]
    await say(engine, rita, VOID)
    await deliver(engine, drop, clock)
    (second,) = [path for path in drop.iterdir() if path != first]
    assert [line["row"] for line in lines(second)] == list("ABCDEFGH")
    assert {line["file"] for line in lines(second)} == {first.name}


async def test_a_plate_that_was_read_again_is_taken_back_where_only_its_first_reading_is_out(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    clock, drop = Clock(), tmp_path / "drop"
    rita = await sent(engine, drop, clock)
    (first,) = drop.iterdir()
    again = await read_plate(engine, 2, enrolled=True, wells=make_wells(4))
    await say(engine, rita, accept(), run_id=again)
    await sign(engine, rita, again)
    await deliver(engine, tmp_path / "away", clock)
    await void_plate(engine, "1")
    await deliver(engine, drop, clock)
    (second,) = [path for path in drop.iterdir() if path != first]
    assert {(line["run_id"], line["file"]) for line in lines(second)} == {(RUN, first.name)}


async def test_what_is_out_is_taken_back_also_where_nobody_knows_whether_its_correction_is(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    clock, drop = Clock(), tmp_path / "drop"
    rita = await sent(engine, drop, clock)
    again = await read_plate(engine, 2, enrolled=True, wells=make_wells(4))
    await say(engine, rita, accept(), run_id=again)
    await sign(engine, rita, again)
    await deliver(engine, tmp_path / "away", clock)
    async with transaction(engine) as connection:
        lost = update(deliveries).where(deliveries.c.revision == 2)
        await connection.execute(lost.values(state="failed", place={"part": "gone"}))
    await void_plate(engine, "1")
    assert {each.run_id for each in await withdrawn(engine)} == {RUN, again}
    for _ in range(2):
        await deliver(engine, drop, clock)
    found = [line for path in drop.glob("*_withdrawn_*") for line in lines(path)]
    assert {line["run_id"] for line in found} == {RUN, again}


async def test_a_file_that_was_given_up_in_its_placing_is_not_tried_again_once_it_is_void(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    clock, drop = Clock(), tmp_path / "drop"
    rita = await sent(engine, drop, clock, dialect=MUTE)
    async with transaction(engine) as connection:
        await connection.execute(update(deliveries).values(state="failed"))
        delivery_id = await connection.scalar(select(deliveries.c.id))
    await say(engine, rita, VOID)
    with pytest.raises(DeliveryStateError, match="void since"):
        await editing.retry(engine, str(delivery_id), sites=EVERY_SITE, actor=COMMAND, now=NOON)
    assert await states(engine) == [(1, "failed")]


async def test_a_rule_that_makes_other_files_by_now_takes_back_what_it_sent_before(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    clock, drop = Clock(), tmp_path / "drop"
    rita = await sent(engine, drop, clock)
    async with transaction(engine) as connection:
        await connection.execute(update(delivery_rules).values(of="plate"))
    await say(engine, rita, VOID)
    await deliver(engine, drop, clock)
    async with reading(engine) as connection:
        query = select(deliveries.c.subject_kind, deliveries.c.state).order_by(deliveries.c.revision)
        assert [tuple(row) for row in await connection.execute(query)] == [("test", "placed"), ("test", "placed")]
        news = select(feed.c.submission_id, feed.c.plate_id).where(feed.c.kind == "delivery.placed")
        told = (await connection.execute(news)).all()
        assert {tuple(each) for each in told} == {(await connection.scalar(select(submissions.c.id)), None)}


async def test_a_dialect_that_says_no_withdrawal_by_now_sends_none(engine: AsyncEngine, tmp_path: Path) -> None:
    clock, drop = Clock(), tmp_path / "drop"
    rita = await sent(engine, drop, clock)
    await say(engine, rita, VOID)
    async with transaction(engine) as connection:
        await connection.execute(update(delivery_rules).values(dialect=MUTE))
    await deliver(engine, drop, clock)
    assert await states(engine) == [(1, "placed"), (2, "failed")]
    assert len(list(drop.iterdir())) == 1
    assert len(await withdrawn(engine)) == 1


async def test_a_plate_that_is_voided_while_its_file_is_said_to_have_arrived_waits_for_that_and_nobody_for_ever(
    engine: AsyncEngine, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, drop = Clock(), tmp_path / "drop"
    await sent(engine, drop, clock, plates_of_it=2, dialect=MUTE)
    another, voids = make_engine(settings.database), []
    hold = arrival.hold_site

    async def meanwhile(connection: AsyncConnection, site_id: str) -> bool:
        voids.append(asyncio.create_task(void_plate(another, "1")))
        await asyncio.wait(voids, timeout=LONG_ENOUGH_S)
        return await hold(connection, site_id)

    monkeypatch.setattr(arrival, "hold_site", meanwhile)
    async with reading(engine) as connection:
        delivery_id = str(await connection.scalar(select(deliveries.c.id)))
    await editing.acknowledge(engine, delivery_id, sites=EVERY_SITE, actor=COMMAND, now=NOON)
    await asyncio.gather(*voids)
    await another.dispose()
    assert await states(engine) == [(1, "acknowledged"), (2, "pending")]
    assert len(await withdrawn(engine)) == 1


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ('[{ field = "run_id" }]', "without status or run_id"),
        ('[{ field = "run_id" }, { field = "status" }, { field = "titre" }]', "no field 'titre'"),
    ],
)
def test_a_withdrawal_that_could_be_taken_for_results_is_refused(wanted: str, said: str) -> None:
    text = 'name = "x"\nversion = 1\ntitle = "X"\nshape = "table"\nsource = "titres"\ncolumns = [{ field = "row" }]\n'
    with pytest.raises(DialectError, match=said) as caught:
        load(f"{text}withdrawal = {wanted}\n")
    assert caught.value.findings[0].line == 7
