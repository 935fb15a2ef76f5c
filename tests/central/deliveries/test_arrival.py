"""Plates become delivered once every file that their site's rules ask for has arrived; the feed tells each step."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Row, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from central.audit.chain import COMMAND
from central.db import reading, transaction
from central.deliveries import editing
from central.deliveries.changes import changes_after
from central.deliveries.outbox import Worker, work
from central.deliveries.rules import generate, raise_one, valid
from central.deliveries.targets.folder import Folder
from central.deliveries.targets.target import Outgoing, Place, Target, TargetError
from central.people.sites import EVERY_SITE
from central.settings import Settings
from central.tables import audit_entries, deliveries, delivery_rules
from tests.central.deliveries.test_rules import rule
from tests.central.review.reviews import accept, dossier, override, people, plate_state, read_plate, say, sign
from tests.central.web import Clock, bearer, central
from tests.central.web import people as people_of_pages
from tests.make import NOON, make_wells

pytestmark = pytest.mark.anyio


async def approved_plate(engine: AsyncEngine) -> str:
    """A plate that Rita approved; her id."""
    rita = (await people(engine))["rita"]
    await read_plate(engine, wells=make_wells(6))
    await say(engine, rita, accept())
    await sign(engine, rita)
    return rita


async def ids(engine: AsyncEngine) -> dict[str, str]:
    """Delivery by rule, of the newest revision."""
    async with reading(engine) as connection:
        rows = await connection.execute(select(deliveries).order_by(deliveries.c.revision))
        return {row.rule_id: row.id for row in rows}


async def place_all(engine: AsyncEngine) -> None:
    """Every delivery that goes anywhere waits to be taken."""
    async with transaction(engine) as connection:
        going = deliveries.c.state.in_(["pending", "generated"])
        await connection.execute(update(deliveries).where(going).values(state="placed", due_at=NOON, place={}))


async def arrive(engine: AsyncEngine, delivery_id: str) -> None:
    """Somebody says that it has arrived."""
    await editing.acknowledge(engine, delivery_id, sites=EVERY_SITE, actor=COMMAND, now=NOON)


async def kinds(engine: AsyncEngine) -> list[str]:
    """What the feed tells."""
    async with reading(engine) as connection:
        return [each.kind for each in await changes_after(connection, EVERY_SITE, 0, 100)]


async def moves(engine: AsyncEngine) -> int:
    """How often the trail says that a plate was delivered."""
    async with reading(engine) as connection:
        query = select(audit_entries.c.number).where(audit_entries.c.action == "plate.deliver")
        return len((await connection.execute(query)).all())


async def test_a_plate_is_delivered_once_the_last_of_its_files_arrived(engine: AsyncEngine) -> None:
    for name in ("one", "other"):
        await rule(engine, id=name)
    await approved_plate(engine)
    await place_all(engine)
    found = await ids(engine)
    await arrive(engine, found["one"])
    assert await plate_state(engine) == "approved"
    for _ in range(2):  # saying it again changes nothing
        await arrive(engine, found["other"])
    assert (await plate_state(engine), await moves(engine)) == ("delivered", 1)
    assert await kinds(engine) == [
        "run.accepted", "run.changed", "run.approved", "delivery.acknowledged", "delivery.acknowledged",
        "plate.delivered",
    ]  # fmt: skip


async def test_two_files_that_arrive_at_once_see_each_other(engine: AsyncEngine) -> None:
    for name in ("one", "other"):
        await rule(engine, id=name)
    await approved_plate(engine)
    await place_all(engine)
    await asyncio.gather(*(arrive(engine, each) for each in (await ids(engine)).values()))
    assert (await plate_state(engine), await moves(engine)) == ("delivered", 1)


async def test_a_correction_is_amended_and_delivered_again_when_its_own_file_arrived(engine: AsyncEngine) -> None:
    await rule(engine)
    rita = await approved_plate(engine)
    await place_all(engine)
    await arrive(engine, (await ids(engine))["rule"])
    await say(engine, rita, override("A6"))
    assert await plate_state(engine) == "amended"
    await say(engine, rita, accept())
    await sign(engine, rita)
    assert await plate_state(engine) == "approved"
    await place_all(engine)
    await arrive(engine, (await ids(engine))["rule"])
    assert (await plate_state(engine), await moves(engine)) == ("delivered", 2)


async def test_a_file_that_arrives_after_its_plate_was_changed_delivers_nothing(engine: AsyncEngine) -> None:
    await rule(engine)
    rita = await approved_plate(engine)
    await place_all(engine)
    await say(engine, rita, override("A6"))
    await arrive(engine, (await ids(engine))["rule"])
    assert (await plate_state(engine), await moves(engine)) == ("amended", 0)


async def test_a_site_without_rules_moves_nothing_by_itself_and_a_file_by_hand_counts(engine: AsyncEngine) -> None:
    await approved_plate(engine)
    assert await plate_state(engine) == "approved"
    found = await rule(engine, when="by_hand", in_force_since=NOON + timedelta(days=1))
    one = await dossier(engine)
    assert one.test_id is not None
    async with transaction(engine) as connection:
        await raise_one(connection, found, one.test_id, by="anna", now=NOON)
    await place_all(engine)
    await arrive(engine, (await ids(engine))["rule"])
    assert await plate_state(engine) == "delivered"


@pytest.mark.parametrize(
    "other", [{"in_force_since": NOON + timedelta(hours=1)}, {"enabled": False}, {"when": "by_hand"}]
)
async def test_a_rule_that_asked_for_nothing_is_not_waited_for(engine: AsyncEngine, other: dict[str, Any]) -> None:
    await rule(engine)
    await rule(engine, id="other", enabled=False)
    await approved_plate(engine)
    async with transaction(engine) as connection:
        await connection.execute(
            update(delivery_rules).where(delivery_rules.c.id == "other").values({"enabled": True} | other)
        )
    await place_all(engine)
    await arrive(engine, (await ids(engine))["rule"])
    assert await plate_state(engine) == "delivered"


async def test_a_rule_that_is_turned_off_lets_its_plates_go(engine: AsyncEngine, settings: Settings) -> None:
    await people_of_pages(engine)
    folder = {"path": str(settings.data_dir.resolve() / "deliveries")}
    wanted = {"title": "LIMS", "dialect": "titres", "target_kind": "folder", "target": folder}
    async with central(settings) as client:
        headers = await bearer(client, "admin")
        urls = [(await client.post("/api/v1/delivery-rules", json=wanted, headers=headers)).json() for _ in range(2)]
        await approved_plate(engine)
        await place_all(engine)
        await arrive(engine, (await ids(engine))[urls[0]["id"]])
        assert await plate_state(engine) == "approved"
        off = wanted | {"enabled": False}
        answer = await client.put(urls[1]["url"], json=off, headers=headers | {"if-match": '"1"'})
    assert answer.status_code == 204, answer.text
    assert (await plate_state(engine), await moves(engine)) == ("delivered", 1)
    assert (await kinds(engine))[-1] == "plate.delivered"


class Refusing(Folder):
    """Takes nothing, for ever."""

    async def prepare(self, file: Outgoing) -> Place:
        """No."""
        raise TargetError("no room", "make room", final=True)


@pytest.mark.parametrize("refuses", [False, True])
async def test_the_feed_tells_of_each_step_once(engine: AsyncEngine, tmp_path: Path, refuses: bool) -> None:
    await rule(engine)
    await approved_plate(engine)
    clock = Clock()

    async def where(_: Row[Any]) -> Target:
        return Refusing(tmp_path) if refuses else Folder(tmp_path)

    async def step() -> None:
        clock.tick(200)
        await work(engine, Worker(f"w{clock.at}", clock, lambda: 0.5, generate, where, valid))

    await step()
    for file in tmp_path.glob("titres*"):
        file.unlink()
    await step()
    told = (await kinds(engine))[3:]
    assert told == (["delivery.failed"] if refuses else ["delivery.placed", "delivery.acknowledged", "plate.delivered"])
    async with reading(engine) as connection:
        (first, *_) = await changes_after(connection, EVERY_SITE, 3, 1)
    assert first.delivery_id == (await ids(engine))["rule"]
    assert first.submission_id is not None


async def test_a_rule_that_asks_anew_keeps_nothing_back_that_was_approved_before(
    engine: AsyncEngine, settings: Settings
) -> None:
    clock = Clock()
    await rule(engine, id="d0000001-0000-4000-8000-000000000000", enabled=False)
    await people_of_pages(engine, "admin")
    body = {
        "title": "LIMS", "of": "test", "dialect": "titres", "target_kind": "folder",
        "target": {"path": str(settings.data_dir.resolve() / "deliveries" / "lims")},
    }  # fmt: skip
    clock.tick(3600)
    async with central(settings, clock) as client:
        headers = await bearer(client, "admin") | {"if-match": '"1"'}
        path = "/api/v1/delivery-rules/d0000001-0000-4000-8000-000000000000"
        assert (await client.put(path, json=body, headers=headers)).status_code == 204
    async with reading(engine) as connection:
        assert await connection.scalar(select(delivery_rules.c.in_force_since)) == clock.at
