"""Ledgers are answered with what differs, nobody but an enrolled device is told, and open holes are asked about."""

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from central.db import reading, transaction
from central.fleet.devices import record_status, revoke
from central.intake import accounts
from central.intake.accounts import ASK_AT_MOST_EVERY, HOLE_OPEN, Accounts, Hole, answers_to, asks
from central.intake.gaps import device_accounts
from central.intake.ingest import ingest
from central.intake.plan import Delivery, Refused, plan_ledger
from edge_agent.outbox.outbox import Outbox
from protocol.codec import digest, encode, envelope
from protocol.ledger import Entry, judge, ledger_day
from protocol.messages import VERSION, Ack, DeviceStatus, Held, Ledger, LedgerDay, OutboxDepth
from protocol.topics import topic
from tests.central.wire import EPOCH, enrol, make_delivery
from tests.edge_agent.bench import open_outbox
from tests.edge_agent.bench import put as keep
from tests.make import NOON, make_document

DAY = "2026-11-20"


def entries(*numbers: int) -> list[Entry]:
    """These readings as their device has them, unsettled."""
    return [Entry(number, digest(make_document(number))) for number in numbers]


async def held(engine: AsyncEngine, *days: LedgerDay, epoch: str = EPOCH) -> list[Held]:
    """What central answers to these days."""
    found = [ack async for ack in answers_to(engine, Ledger(VERSION, "bench-1", epoch, days))]
    assert found
    return [each for ack in found for each in ack.held]


async def put(engine: AsyncEngine, numbers: Iterable[int], epoch: str = EPOCH) -> None:
    """Accept these."""
    await ingest(engine, [make_delivery(number, epoch=epoch) for number in numbers], now=NOON)


@pytest.mark.anyio
async def test_the_answer_settles_what_is_here_and_calls_for_the_rest(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accounts, "_PAGE", 2)
    await enrol(engine)
    await put(engine, (1, 2, 3, 5, 9))
    own = entries(1, 2, 3, 4, 5)
    (answer,) = await held(engine, ledger_day(DAY, own))
    assert judge(own, answer).held == (1, 2, 3, 5)
    assert judge(own, answer).missed == (4,)


@pytest.mark.anyio
async def test_days_that_agree_are_not_mentioned_but_the_device_is_answered(engine: AsyncEngine) -> None:
    await enrol(engine)
    await put(engine, (1, 2))
    settled = [Entry(one.seq, one.digest, settled=True) for one in entries(1, 2)]
    assert await held(engine, ledger_day(DAY, settled)) == []


@pytest.mark.anyio
async def test_a_day_counts_only_what_was_captured_on_it(engine: AsyncEngine) -> None:
    await enrol(engine)
    await put(engine, (1,))
    await ingest(engine, [make_delivery(2, captured_at=NOON + timedelta(days=1))], now=NOON)
    (first, second) = await held(engine, ledger_day(DAY, entries(1, 2)), ledger_day("2026-11-21", [Entry(2, "0" * 64)]))
    assert (first.ranges, second.ranges) == (((1, 1),), ((2, 2),))


@pytest.mark.anyio
async def test_what_came_from_another_outbox_before_is_held_in_this_one_too(engine: AsyncEngine) -> None:
    await enrol(engine)
    await put(engine, (1, 2))
    await put(engine, (1, 2), epoch="epoch-2")
    (answer,) = await held(engine, ledger_day(DAY, entries(1, 2)), epoch="epoch-2")
    assert judge(entries(1, 2), answer).held == (1, 2)


async def send(engine: AsyncEngine, outbox: Outbox) -> None:
    """All that waits goes to central, and is settled by its answers."""
    seqs = {one.id: one.seq for one in outbox.due(9)}
    for one in outbox.send(seqs):
        sent = envelope(one.document, device_id="bench-1", epoch=outbox.epoch, seq=seqs[one.id], historical=True)
        outcome = await ingest(engine, [Delivery(topic("bench-1", "reading"), encode(sent))], now=NOON)
        outbox.settle(answered for _, ack in outcome.acks for answered in ack.accepted)


@pytest.mark.anyio
@pytest.mark.parametrize("lost", [False, True], ids=["central has them", "central was set back"])
async def test_an_outbox_that_goes_on_under_another_name_leaves_no_gap_and_is_not_asked_again(
    engine: AsyncEngine, tmp_path: Path, *, lost: bool
) -> None:
    await enrol(engine)
    with closing(open_outbox(tmp_path)) as outbox:
        keep(outbox, 1, 2)
        if lost:
            outbox.settle(one.id for one in outbox.due(9))
        else:
            await send(engine, outbox)
        keep(outbox, 3)
    with closing(sqlite3.connect(tmp_path / "outbox.db")) as connection, connection:
        connection.execute("UPDATE meta SET value = '1' WHERE name IN ('epoch', 'epoch_again')")
    with closing(open_outbox(tmp_path, new_epoch=lambda: "epoch-2")) as outbox:
        await send(engine, outbox)
        outbox.reconcile(await held(engine, *outbox.ledger(), epoch="epoch-2"))
        await send(engine, outbox)
        assert await held(engine, *outbox.ledger(), epoch="epoch-2") == []
    async with transaction(engine) as connection:
        depth = OutboxDepth("epoch-2", 3, 0, 0, 0)
        status = DeviceStatus(VERSION, "bench-1", online=True, session="s", at=NOON, outbox=depth)
        await record_status(connection, status, now=NOON)
    async with reading(engine) as connection:
        (account, *_) = (await device_accounts(connection))["bench-1"]
    assert (account.epoch, account.complete_to, account.missing) == ("epoch-2", 3, 0)


@pytest.mark.anyio
async def test_a_clone_that_wrote_other_readings_at_the_same_places_settles_nothing(engine: AsyncEngine) -> None:
    await enrol(engine)
    await put(engine, (1, 2))
    own = [Entry(1, "1" * 64), Entry(2, "2" * 64)]
    (answer,) = await held(engine, ledger_day(DAY, own))
    assert judge(own, answer).held == ()


@pytest.mark.anyio
async def test_nobody_but_an_enrolled_device_is_told_what_is_here(engine: AsyncEngine) -> None:
    ledger = Ledger(VERSION, "bench-1", EPOCH, (ledger_day(DAY, entries(1)),))
    assert [ack async for ack in answers_to(engine, ledger)] == []
    await enrol(engine)
    await revoke(engine, "bench-1", now=NOON)
    assert [ack async for ack in answers_to(engine, ledger)] == []


def one_day(**fields: object) -> Delivery:
    """A ledger of one day, with some fields of that day as given."""
    day = {"day": DAY, "ranges": ((1, 2),), "unsettled": 0, "digest": "0" * 64} | fields
    return Delivery(topic("bench-1", "ledger"), encode(Ledger(VERSION, "bench-1", EPOCH, (LedgerDay(**day),))))


@pytest.mark.parametrize(
    ("delivery", "code", "detail"),
    [
        (Delivery(topic("bench-1", "ledger"), b"rubble"), "undecodable", "zstd"),
        (Delivery(topic("bench-2", "ledger"), one_day().payload), "wrong_device", "'bench-1'"),
        (one_day(day="2026-02-30"), "undecodable", "'2026-02-30'"),
        (one_day(ranges=()), "undecodable", "in order"),
        (one_day(ranges=((5, 4),)), "undecodable", "in order"),
        (one_day(ranges=((3, 4), (1, 2))), "undecodable", "in order"),
        (one_day(ranges=((1, 2**63),)), "undecodable", "in order"),
        (one_day(ranges=tuple((2 * n, 2 * n) for n in range(1, 1002))), "too_large", "1001 ranges"),
        (
            Delivery(topic("bench-1", "ledger"), encode(Ledger(VERSION, "bench-1", "e" * 37))),
            "undecodable",
            "36 printable",
        ),
    ],
)
def test_what_is_no_ledger_is_refused_by_name(delivery: Delivery, code: str, detail: str) -> None:
    found = plan_ledger(delivery)
    assert isinstance(found, Refused)
    assert (found.code, detail in found.detail) == (code, True)


def test_the_first_and_the_last_day_there_are_can_be_asked_about() -> None:
    for day in ("0001-01-01", "9999-12-31"):
        assert not isinstance(plan_ledger(one_day(day=day)), Refused)


@pytest.mark.anyio
async def test_the_last_day_there_is_is_compared(engine: AsyncEngine) -> None:
    await enrol(engine)
    assert [each.ranges for each in await held(engine, ledger_day("9999-12-31", entries(1)))] == [()]


LOWEST = {"bench-1": (EPOCH, 3)}


def test_a_hole_that_stays_open_is_asked_about_once_an_hour() -> None:
    asked, known = asks({}, LOWEST, NOON)
    assert (asked, known) == ({}, {"bench-1": Hole(EPOCH, 3, NOON)})
    asked, known = asks(known, LOWEST, NOON + HOLE_OPEN)
    assert asked == {"bench-1": EPOCH}
    asked, known = asks(known, LOWEST, NOON + HOLE_OPEN + ASK_AT_MOST_EVERY / 2)
    assert asked == {}
    asked, known = asks(known, LOWEST, NOON + HOLE_OPEN + ASK_AT_MOST_EVERY)
    assert asked == {"bench-1": EPOCH}


def test_a_hole_that_moves_is_a_backlog_that_drains() -> None:
    _, known = asks({}, LOWEST, NOON)
    asked, known = asks(known, {"bench-1": (EPOCH, 4)}, NOON + HOLE_OPEN)
    assert (asked, known["bench-1"].since) == ({}, NOON + HOLE_OPEN)


def test_a_device_that_went_away_begins_anew() -> None:
    _, known = asks({}, LOWEST, NOON)
    _, known = asks(known, {}, NOON + HOLE_OPEN / 2)
    assert asks(known, LOWEST, NOON + HOLE_OPEN)[0] == {}


@pytest.mark.anyio
async def test_central_asks_an_online_device_that_owes_a_reading(engine: AsyncEngine) -> None:
    await enrol(engine)
    await put(engine, (1, 3))
    status = DeviceStatus(VERSION, "bench-1", True, "s", outbox=OutboxDepth(EPOCH, 3, 0, 0, 0))
    async with transaction(engine) as connection:
        await record_status(connection, status, now=NOON)
    sent: list[tuple[str, Ack]] = []
    at = [NOON]
    watching = Accounts(engine, lambda: at[0], lambda device_id, ack: sent.append((device_id, ack)))
    await watching.look()
    assert sent == []
    at[0] += HOLE_OPEN
    await watching.look()
    assert sent == [("bench-1", Ack(VERSION, EPOCH, ledger_wanted=True))]
    async with transaction(engine) as connection:
        await record_status(connection, DeviceStatus(VERSION, "bench-1", False, "s"), now=NOON)
    at[0] += ASK_AT_MOST_EVERY
    await watching.look()
    assert len(sent) == 1
