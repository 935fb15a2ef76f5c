"""When a device accounts for what it holds, and what central's answer changes."""

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from edge_agent.clock import BootClock
from edge_agent.link.conversation import LEDGER_AT_MOST_EVERY_S, LEDGER_EVERY_S, LEDGER_SPREAD_S, Conversation, Message
from edge_agent.link.sync import LONGEST_RECONNECT_S, reconnect_delay_s
from edge_agent.outbox.outbox import Outbox
from protocol import codec, topics
from protocol.ledger import Entry, compare
from protocol.messages import VERSION, Ack, CentralStatus, DeviceStatus, Held, Ledger, ReadingEnvelope, Trouble
from tests.edge_agent.bench import kept, open_outbox, put, states
from tests.make import NOON
from tests.standins import ManualClock, readings

DAY = "2026-03-01"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def outbox(tmp_path: Path, clock: ManualClock) -> Iterator[Outbox]:
    with closing(open_outbox(tmp_path, clock)) as opened:
        yield opened


@pytest.fixture
def conversation(outbox: Outbox, clock: ManualClock) -> Conversation:
    return Conversation(
        outbox, "bench-1", "hi-wells-v1", clocks=clock, jitter=lambda: 1.0, boot_clock=BootClock("boot-1")
    )


def central(conversation: Conversation, instance: str = "central-1", *, online: bool = True) -> None:
    conversation.received(topics.CENTRAL_STATE, codec.encode(CentralStatus(VERSION, online, instance)))


def answer(conversation: Conversation, **fields: object) -> None:
    ack = Ack(VERSION, "epoch-1", **fields)  # type: ignore[arg-type]
    conversation.received(topics.topic("bench-1", "ack"), codec.encode(ack))


def ledgers(messages: list[Message]) -> list[Ledger]:
    return [codec.decode(one.payload, Ledger) for one in messages if one.topic.endswith("/ledger")]


def sent(messages: list[Message]) -> list[Entry]:
    envelopes = [codec.decode(one.payload, ReadingEnvelope) for one in messages if one.reading_ids]
    return [Entry(one.seq, one.digest) for one in envelopes]


def test_a_device_accounts_once_it_knows_that_central_is_there(outbox: Outbox, conversation: Conversation) -> None:
    put(outbox, 1, 2)
    assert ledgers(conversation.connected("s-1")) == []
    assert ledgers(conversation.due()) == []
    central(conversation)
    (ledger,) = ledgers(conversation.due())
    assert [(day.ranges, day.unsettled) for day in ledger.days] == [(((1, 2),), 2)]
    central(conversation)
    assert ledgers(conversation.due()) == []


def test_a_device_accounts_soon_after_its_birth_although_it_hears_nothing_of_central(
    conversation: Conversation, clock: ManualClock
) -> None:
    """A broker that forgot central's retained state: found by the simulation, seeds 70 and 137."""
    conversation.connected("s-1")
    clock.advance(LEDGER_SPREAD_S - 1)
    assert ledgers(conversation.due()) == []
    clock.advance(LEDGER_SPREAD_S + 2)
    assert len(ledgers(conversation.due())) == 1
    clock.advance(LEDGER_EVERY_S + 1)
    assert len(ledgers(conversation.due())) == 1


def test_another_central_is_accounted_to_anew_but_not_by_the_whole_fleet_at_once(
    conversation: Conversation, clock: ManualClock
) -> None:
    conversation.connected("s-1")
    central(conversation)
    assert len(ledgers(conversation.due())) == 1
    clock.advance(LEDGER_AT_MOST_EVERY_S)
    central(conversation, "restored-from-a-backup")
    clock.advance(LEDGER_SPREAD_S - 1)
    assert ledgers(conversation.due()) == []
    clock.advance(2)
    assert len(ledgers(conversation.due())) == 1


def test_a_new_connection_accounts_anew(conversation: Conversation) -> None:
    for session in ("s-1", "s-2"):
        conversation.connected(session)
        central(conversation)
        assert len(ledgers(conversation.due())) == 1


def test_a_device_accounts_once_a_day_unasked(conversation: Conversation, clock: ManualClock) -> None:
    conversation.connected("s-1")
    central(conversation)
    conversation.due()
    clock.advance(LEDGER_EVERY_S - 1)
    assert ledgers(conversation.due()) == []
    clock.advance(2)
    assert len(ledgers(conversation.due())) == 1


def test_however_often_central_asks_a_device_does_not_account_all_the_time(
    conversation: Conversation, clock: ManualClock
) -> None:
    conversation.connected("s-1")
    central(conversation)
    conversation.due()
    count = 0
    for _ in range(10 * int(LEDGER_AT_MOST_EVERY_S)):
        answer(conversation, ledger_wanted=True)
        count += len(ledgers(conversation.due()))
        clock.advance(1)
    assert 9 <= count <= 10


def test_what_central_has_is_settled_without_being_sent_again(
    tmp_path: Path, outbox: Outbox, conversation: Conversation, clock: ManualClock
) -> None:
    """The readings arrived, their answers did not, and the line came back."""
    ids = put(outbox, 1, 2, 3)
    conversation.connected("s-1")
    central(conversation)
    messages = conversation.due()
    committed = sent(messages)
    conversation.connected("s-2")
    central(conversation)
    messages = conversation.due()
    assert readings(messages) == []
    (ledger,) = ledgers(messages)
    (day,) = ledger.days
    held = compare(day, committed[:2])
    assert held is not None
    answer(conversation, held=(held,))
    assert sorted(states(tmp_path).items()) == [(ids[0], "settled"), (ids[1], "settled"), (ids[2], "pending")]
    clock.advance(30)
    assert readings(conversation.due()) == [ids[2]]


def test_what_a_restored_central_lacks_is_sent_again(
    tmp_path: Path, outbox: Outbox, conversation: Conversation, clock: ManualClock
) -> None:
    ids = put(outbox, 1, 2)
    outbox.settle(ids)
    conversation.connected("s-1")
    central(conversation)
    (ledger,) = ledgers(conversation.due())
    held = compare(ledger.days[0], [])
    assert held is not None
    answer(conversation, held=(held,))
    assert set(states(tmp_path).values()) == {"pending"}
    assert readings(conversation.due()) == ids


def test_an_account_of_another_memory_card_settles_nothing(
    tmp_path: Path, outbox: Outbox, conversation: Conversation
) -> None:
    put(outbox, 1, 2)
    held = Held(day=kept_day(), through=2, ranges=((1, 2),), digest="0" * 64)
    answer(conversation, held=(held,))
    assert set(states(tmp_path).values()) == {"pending"}


def kept_day() -> str:
    """The date of the readings that `put` keeps."""
    return codec.decode_reading(kept(1)[0]).captured_at.date().isoformat()


def test_the_distance_from_centrals_clock_is_learnt_from_its_answers(
    conversation: Conversation, clock: ManualClock
) -> None:
    answer(conversation, now=NOON)
    clock.advance(2)
    status = [one for one in conversation.due() if one.topic.endswith("/state")]
    told = codec.decode(status[-1].payload, DeviceStatus)
    assert told.clock is not None
    assert told.clock.offset_s == 0
    assert told.clock.monotonic_ns == clock.moment.monotonic_ns


def test_a_fleet_that_lost_its_broker_does_not_knock_all_at_once() -> None:
    chance = random.Random(1)
    delays = [reconnect_delay_s(chance.uniform(-1, 1)) for _ in range(1000)]
    per_second = Counter(int(delay) for delay in delays)
    assert max(delays) <= LONGEST_RECONNECT_S < 10
    assert max(per_second.values()) < 200


def test_troubles_at_the_bench_are_told_with_the_status(outbox: Outbox, clock: ManualClock) -> None:
    trouble = Trouble("camera", "no picture for 5 s: look at the cable", NOON)
    conversation = Conversation(
        outbox,
        "bench-1",
        None,
        clocks=clock,
        jitter=lambda: 0.0,
        boot_clock=BootClock("b"),
        troubles=lambda: (trouble,),
    )
    (birth,) = conversation.connected("s-1")
    assert codec.decode(birth.payload, DeviceStatus).troubles == (trouble,)
