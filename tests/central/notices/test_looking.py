"""Looking: what is found becomes one notice, on both databases, however many look; who is told gets one letter."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from sqlalchemy import Row, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncEngine

from central.audit.chain import COMMAND
from central.db import reading, transaction
from central.fleet.devices import record_status
from central.intake.ingest import ingest
from central.intake.plan import Delivery
from central.notices.defaults import first_rules
from central.notices.looking import EVERY, look
from central.people.laboratories import add_site
from central.results.figures import follow
from central.tables import (
    alarms,
    deliveries,
    delivery_rules,
    devices,
    notice_letters,
    notice_rules,
    notice_silences,
    notices,
    run_figures,
    run_records,
)
from protocol.messages import CalibrationUsed, Clock, DeviceStatus, OutboxDepth, Trouble
from protocol.profiles import PROFILES
from tests.central.web import people
from tests.central.wire import enrol, make_delivery
from tests.make import NOON, make_reading_id, make_well, make_wells

pytestmark = pytest.mark.anyio
CONTROLLED = PROFILES["hi-96-serum-control"]
URL = "https://central.example"


class Watcher:
    """Looks every half minute by a clock of its own."""

    def __init__(self, engine: AsyncEngine, at: datetime = NOON) -> None:
        self.engine, self.now = engine, at

    async def look(self, times: int = 1, **options: Any) -> int:
        done = 0
        for _ in range(times):
            done += await look(self.engine, "central-1", self.now, url=URL, **options)
            self.now += EVERY
        return done

    async def shown(self) -> list[Row[Any]]:
        """Notices that were opened, by kind."""
        query = select(notices).where(notices.c.opened_at.is_not(None)).order_by(notices.c.kind, notices.c.opened_at)
        async with reading(self.engine) as connection:
            return list(await connection.execute(query))

    async def states(self) -> list[tuple[str, str, str]]:
        """(kind, thing, state) of each."""
        return [(row.kind, row.object_id, row.state) for row in await self.shown()]


async def letters(engine: AsyncEngine) -> list[tuple[str, str, str]]:
    """(event, channel, recipient) of each, in order."""
    query = select(notice_letters).order_by(notice_letters.c.created_at, notice_letters.c.recipient)
    async with reading(engine) as connection:
        return [(row.event, row.channel, row.recipient) for row in await connection.execute(query)]


async def only(engine: AsyncEngine, kind: str, **values: Any) -> str:
    """The site's rule of this kind, changed so; every other is off."""
    async with transaction(engine) as connection:
        await connection.execute(update(notice_rules).where(notice_rules.c.kind != kind).values(enabled=False))
        if values:
            await connection.execute(update(notice_rules).where(notice_rules.c.kind == kind).values(values))
        return str(await connection.scalar(select(notice_rules.c.id).where(notice_rules.c.kind == kind)))


async def say(engine: AsyncEngine, at: datetime, *, online: bool = True, **fields: Any) -> None:
    """What `bench-1` says of itself."""
    status = DeviceStatus(1, "bench-1", online=online, session=f"{at:%H%M%S}", at=at, **fields)
    async with transaction(engine) as connection:
        assert await record_status(connection, status, now=at)


async def test_a_site_that_is_there_already_has_the_rules_that_a_new_one_gets(engine: AsyncEngine) -> None:
    await add_site(engine, "other", "Other", actor=COMMAND, now=NOON)
    names = [name for name in first_rules("main", NOON)[0] if name not in ("id", "site_id", "created_at")]
    async with reading(engine) as connection:
        query = select(*(notice_rules.c[name] for name in names)).order_by(notice_rules.c.kind)
        main, other = [
            [tuple(row) for row in await connection.execute(query.where(notice_rules.c.site_id == site))]
            for site in ("main", "other")
        ]
    assert main == other
    assert len(main) == 14


async def test_a_device_that_falls_silent_opens_one_notice_which_closes_when_it_is_back(engine: AsyncEngine) -> None:
    await enrol(engine)
    await people(engine, "viewer", "admin")
    async with reading(engine) as connection:
        anna = await connection.scalar(text("SELECT id FROM users WHERE name = 'admin'"))
    await only(engine, "device_offline", recipients=[anna])
    await say(engine, NOON)
    watcher = Watcher(engine)
    await watcher.look(60)  # half an hour
    assert await watcher.states() == []
    await watcher.look(10)
    (notice,) = await watcher.shown()
    assert (notice.state, notice.object_id) == ("open", "bench-1")
    assert notice.detail == "Bench bench-1: last heard of at 2026-11-20 12:00 UTC"
    assert await letters(engine) == [("opened", "email", anna)]
    await say(engine, watcher.now)
    await watcher.look(8)
    assert await watcher.states() == [("device_offline", "bench-1", "closed")]
    assert [event for event, *_ in await letters(engine)] == ["opened", "closed"]
    (closed,) = await watcher.shown()
    assert closed.closed_at > closed.opened_at


async def test_who_hears_no_broker_says_nothing_of_devices(engine: AsyncEngine) -> None:
    await enrol(engine)
    await only(engine, "device_offline")
    watcher = Watcher(engine)
    await watcher.look(100, hears=False)
    assert await watcher.states() == []
    await watcher.look(5)
    assert await watcher.states() == [("device_offline", "bench-1", "open")]
    await say(engine, watcher.now)
    await watcher.look(20, hears=False)
    assert await watcher.states() == [("device_offline", "bench-1", "open")]


async def test_a_device_that_is_shut_out_is_no_longer_looked_at(engine: AsyncEngine) -> None:
    await enrol(engine)
    await only(engine, "device_offline", hold_s=0, calm_s=0)
    watcher = Watcher(engine, NOON + timedelta(hours=1))
    await watcher.look()
    async with transaction(engine) as connection:
        await connection.execute(update(devices).values(revoked_at=watcher.now))
    await watcher.look()
    assert await watcher.states() == [("device_offline", "bench-1", "closed")]


@pytest.mark.parametrize(
    ("kind", "said", "found"),
    [
        ("backlog_count", {"outbox": OutboxDepth("e", 90, 60, 0, 0)}, "60 readings waited there"),
        (
            "backlog_age",
            {"outbox": OutboxDepth("e", 90, 1, 0, 0, oldest_at=NOON - timedelta(hours=5))},
            "the oldest from 2026-11-20 07:00 UTC",
        ),
        ("device_trouble", {"troubles": (Trouble("camera", "gone\r\nBcc: x", NOON),)}, "camera: gone  Bcc: x"),
        ("device_trouble", {"outbox": OutboxDepth("e", 9, 0, 0, 0, full=True)}, "disk: full"),
        ("disk_soon_full", {"outbox": OutboxDepth("e", 9, 0, 0, 0, hours_left=6.0)}, "room for 6 h"),
    ],
)
async def test_what_a_device_says_of_itself_is_noticed(
    engine: AsyncEngine, kind: str, said: dict[str, Any], found: str
) -> None:
    await enrol(engine)
    await only(engine, kind, hold_s=0, calm_s=0)
    await say(engine, NOON, **said)
    watcher = Watcher(engine)
    await watcher.look()
    (notice,) = await watcher.shown()
    assert (notice.kind, notice.state) == (kind, "open")
    assert found in notice.detail
    await say(engine, watcher.now)
    await watcher.look()
    assert await watcher.states() == [(kind, "bench-1", "closed")]


async def test_a_clock_that_is_off_is_noticed(engine: AsyncEngine) -> None:
    await enrol(engine)
    await only(engine, "clock_wrong", hold_s=0)
    clock = Clock("boot-1", 60_000_000_000)
    status = DeviceStatus(1, "bench-1", online=True, session="s", at=NOON + timedelta(minutes=2), clock=clock)
    async with transaction(engine) as connection:
        assert await record_status(connection, status, now=NOON)
    watcher = Watcher(engine)
    await watcher.look()
    (notice,) = await watcher.shown()
    assert "120.0 s ahead of ours" in notice.detail


async def test_a_clock_that_says_anything_keeps_nobody_from_being_noticed(engine: AsyncEngine) -> None:
    await enrol(engine)
    far = datetime(9990, 1, 1, tzinfo=UTC)
    outbox = OutboxDepth("e", 90, 60, 0, 0, oldest_at=NOON)
    status = DeviceStatus(1, "bench-1", online=True, session="s", at=far, outbox=outbox, clock=Clock("b", 1))
    async with transaction(engine) as connection:
        assert await record_status(connection, status, now=NOON)
        await connection.execute(update(notice_rules).values(hold_s=0))
    watcher = Watcher(engine)
    await watcher.look()
    assert [row.kind for row in await watcher.shown()] == ["backlog_age", "backlog_count", "clock_wrong"]


async def test_a_rule_that_cannot_be_measured_keeps_no_other_from_looking(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    await enrol(engine)
    await say(engine, NOON, outbox=OutboxDepth("e", 90, 60, 0, 0))

    async def stumbles(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("central.notices.facts.low_shares", stumbles)
    async with transaction(engine) as connection:
        await connection.execute(update(notice_rules).values(hold_s=0))
    watcher = Watcher(engine)
    await watcher.look()
    assert [row.kind for row in await watcher.shown()] == ["backlog_count"]


def failing(number: int) -> Delivery:
    """A reading whose serum control shows a button in one row."""
    wells = make_wells(profile=CONTROLLED) | {"C12": make_well("button")}
    return make_delivery(number, profile=CONTROLLED.name, wells=wells)


async def test_a_failed_control_is_noticed_until_a_later_reading_speaks_for_the_plate(engine: AsyncEngine) -> None:
    await enrol(engine)
    await only(engine, "control_failed")
    watcher = Watcher(engine, NOON + timedelta(minutes=1))
    await ingest(engine, [failing(1)], now=NOON)
    assert await follow(engine) == 1
    await watcher.look()
    (notice,) = await watcher.shown()
    assert (notice.object_kind, notice.object_id, notice.state) == ("run", make_reading_id(1), "open")
    assert notice.detail.startswith("plate S-1001, NDV, 1: serum control A12 to H12: C12 button")
    await ingest(engine, [make_delivery(2, profile=CONTROLLED.name)], now=NOON + timedelta(minutes=2))
    await follow(engine)
    await watcher.look()
    assert [state for *_, state in await watcher.states()] == ["closed"]


async def test_a_failed_control_stays_noticed_when_its_window_has_passed(engine: AsyncEngine) -> None:
    await enrol(engine)
    await only(engine, "control_failed")
    await ingest(engine, [failing(1)], now=NOON)
    await follow(engine)
    watcher = Watcher(engine, NOON + timedelta(minutes=1))
    await watcher.look()
    watcher.now += timedelta(days=30)
    await watcher.look()
    assert [state for *_, state in await watcher.states()] == ["open"]


async def test_many_low_rows_of_a_device_are_noticed_and_few_rows_say_nothing(engine: AsyncEngine) -> None:
    await enrol(engine)
    await only(engine, "low_grades", calm_s=0)
    await ingest(engine, [make_delivery(number) for number in range(1, 5)], now=NOON)
    await follow(engine)
    async with transaction(engine) as connection:
        await connection.execute(update(run_figures).values(low=2, medium=0, high=6))
    watcher = Watcher(engine, NOON + timedelta(minutes=1))
    await watcher.look()
    assert await watcher.states() == []  # 32 rows
    await ingest(engine, [make_delivery(5)], now=NOON)
    await follow(engine)
    await watcher.look()
    (notice,) = await watcher.shown()
    assert (notice.object_id, notice.value, notice.detail) == ("bench-1", 0.2, "Bench bench-1: 8 of 40 rows are low")
    watcher.now += timedelta(days=2)
    await watcher.look()
    assert [state for *_, state in await watcher.states()] == ["closed"]


async def test_a_bench_that_drifts_and_an_old_calibration_are_noticed(engine: AsyncEngine) -> None:
    await enrol(engine)
    old = CalibrationUsed("0001-a", NOON - timedelta(days=400), ("light",))
    new = CalibrationUsed("0002-b", NOON)
    watcher = Watcher(engine, NOON + timedelta(minutes=1))
    await ingest(engine, [make_delivery(number, calibration=old) for number in (1, 2)], now=NOON)
    await follow(engine)
    await watcher.look()
    assert await watcher.states() == [("calibration_expired", "bench-1", "open")]
    await ingest(engine, [make_delivery(3, calibration=old)], now=NOON + timedelta(seconds=30))
    await follow(engine)
    await watcher.look()
    assert ("calibration_drifted", "bench-1", "open") in await watcher.states()
    await ingest(engine, [make_delivery(4, calibration=new)], now=NOON + timedelta(minutes=1))
    await follow(engine)
    await watcher.look()
    assert {state for *_, state in await watcher.states()} == {"closed"}


async def test_deliveries_that_were_given_up_alarms_and_runs_without_a_plate_are_noticed_by_number(
    engine: AsyncEngine,
) -> None:
    await enrol(engine)
    rule = {
        "id": "r" * 36, "site_id": "main", "title": "LabWare", "revision": 1, "when": "approved", "of": "test",
        "dialect": {}, "target_kind": "folder", "target": {}, "enabled": True, "in_force_since": NOON,
        "created_at": NOON, "created_by": "a",
    }  # fmt: skip
    delivery = {
        "rule_id": "r" * 36, "site_id": "main", "subject_kind": "test", "subject_id": "t", "state": "failed",
        "record_sha256": "0" * 64, "created_at": NOON, "created_by": "a", "due_at": NOON, "attempts": 9,
    }  # fmt: skip
    alarm = {"site_id": "main", "kind": "other_sera", "object_kind": "run", "detail": "d", "raised_at": NOON}
    async with transaction(engine) as connection:
        await connection.execute(insert(delivery_rules).values(rule))
        await connection.execute(insert(deliveries), [delivery | {"id": f"d{n}", "revision": n} for n in (1, 2)])
        await connection.execute(insert(alarms), [alarm | {"object_id": f"{n}"} for n in range(3)])
    await ingest(engine, [make_delivery(1, code=None)], now=NOON)
    watcher = Watcher(engine)
    await say(engine, NOON)
    await watcher.look()
    watcher.now += timedelta(hours=1)
    await say(engine, watcher.now)
    await watcher.look()
    found = {(row.kind, row.object_id): (row.value, row.detail) for row in await watcher.shown()}
    assert found["delivery_failed", "r" * 36] == (2, "LabWare: 2 given up; each says what to do")
    assert found["alarm_open", "other_sera"] == (3, "other sera: 3")
    assert found["unmatched_waiting", "main"] == (1, "1 runs wait")
    async with transaction(engine) as connection:
        await connection.execute(update(deliveries).values(state="pending"))
        await connection.execute(update(alarms).values(acknowledged_at=NOON))
        await connection.execute(update(run_records).values(voided_at=NOON))
    await watcher.look(4)
    assert {state for *_, state in await watcher.states()} == {"closed"}


async def test_of_many_centrals_one_looks(engine: AsyncEngine) -> None:
    await enrol(engine)
    names = [f"central-{number}" for number in range(6)]
    at = NOON + timedelta(hours=1)
    await asyncio.gather(*(look(engine, name, at, url=URL) for name in names))
    done = await asyncio.gather(*(look(engine, name, at + timedelta(minutes=2), url=URL) for name in names))
    assert sorted(done)[:5] == [0] * 5
    assert sum(done) >= 1


async def test_two_that_look_at_once_all_the_same_open_one_notice_and_tell_once(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    await enrol(engine)
    await only(engine, "device_offline", hold_s=0, webhook_url="https://lab.example/hook", repeat_s=600)
    at = NOON + timedelta(hours=1)
    monkeypatch.setattr("central.notices.looking.EVERY", timedelta(days=-9))  # everybody's turn, always
    await asyncio.gather(*(look(engine, f"central-{number}", at, url=URL) for number in range(6)))
    async with reading(engine) as connection:
        assert await connection.scalar(select(func.count()).select_from(notices)) == 1
    assert await letters(engine) == [("opened", "webhook", "webhook")]
    at += timedelta(minutes=10)
    await asyncio.gather(*(look(engine, f"central-{number}", at, url=URL) for number in range(6)))
    assert [event for event, *_ in await letters(engine)] == ["opened", "repeated"]


async def test_of_a_silenced_device_nobody_is_told_until_the_silence_ends(engine: AsyncEngine) -> None:
    await enrol(engine)
    rule_id = await only(engine, "device_offline", hold_s=0, webhook_url="https://lab.example/hook")
    at = NOON + timedelta(hours=1)
    silence = {
        "id": "s", "site_id": "main", "rule_id": rule_id, "device_id": "bench-1", "until": at + timedelta(minutes=5),
        "reason": "moved", "created_at": NOON, "created_by": "anna",
    }  # fmt: skip
    async with transaction(engine) as connection:
        await connection.execute(insert(notice_silences).values(silence))
    watcher = Watcher(engine, at)
    await watcher.look(10)
    assert await watcher.states() == [("device_offline", "bench-1", "open")]
    assert await letters(engine) == []
    await watcher.look(3)
    assert [event for event, *_ in await letters(engine)] == ["opened"]


async def test_what_is_told_holds_the_facts_and_no_line_of_a_devices_own(engine: AsyncEngine) -> None:
    await enrol(engine)
    await people(engine, "admin")
    async with reading(engine) as connection:
        anna = await connection.scalar(text("SELECT id FROM users"))
    rule = {"hold_s": 0, "webhook_url": "https://lab.example/hook", "recipients": [anna]}
    await only(engine, "device_trouble", **rule)
    await say(engine, NOON, troubles=(Trouble("disk", "x\nBcc: everybody@lab.example\u2028y", NOON),))
    watcher = Watcher(engine)
    await watcher.look()
    async with reading(engine) as connection:
        query = select(notice_letters.c.channel, notice_letters.c.content).order_by(notice_letters.c.channel)
        mail, call = [row.content for row in await connection.execute(query)]
    assert len(mail["subject"].splitlines()) == 1
    assert not [line for line in mail["text"].splitlines() if line.startswith("Bcc")]
    assert mail["subject"].startswith("[Main laboratory] Trouble at a device: Bench bench-1: disk: x Bcc")
    assert "https://central.example/devices/bench-1" in mail["text"]
    assert call["type"] == "notice.opened"
    assert (call["data"]["object_id"], call["data"]["closed_at"]) == ("bench-1", None)
    assert msgspec.convert(call["data"]["opened_at"], datetime) == NOON
