"""The conversation over a wire that drops, doubles and reorders: everything settles once, nothing before `accepted`."""

from contextlib import closing
from pathlib import Path

import pytest

from edge_agent.clock import BootClock
from edge_agent.link.conversation import FIRST_FAILURE, HEARTBEAT_S, NO_MATCHING_SUBSCRIBERS, Conversation, Message
from edge_agent.link.window import KEPT_FOR_LIVE
from edge_agent.outbox.outbox import LIVE_S, Outbox
from protocol import codec, topics
from protocol.delivery import SEND_WINDOW
from protocol.messages import VERSION, Ack, DeviceStatus, ReadingEnvelope, Rejection
from tests.edge_agent.bench import kept, open_outbox, put, states
from tests.make import make_reading_id
from tests.standins import FakeBroker, FakeCentral, ManualClock, readings

ONLINE = FakeCentral.presence(online=True)
OFFLINE = FakeCentral.presence(online=False)


def converse(outbox: Outbox, clock: ManualClock) -> Conversation:
    return Conversation(
        outbox, "bench-1", "hi-wells-v1", clocks=clock, jitter=lambda: 0.0, boot_clock=BootClock("boot-1")
    )


def ack(*accepted: str, epoch: str = "epoch-1") -> tuple[str, bytes]:
    return topics.topic("bench-1", "ack"), codec.encode(Ack(VERSION, epoch, accepted=accepted))


def status(messages: list[Message]) -> DeviceStatus:
    (message,) = [one for one in messages if one.topic.endswith("/state")]
    assert message.retain
    return codec.decode(message.payload, DeviceStatus)


@pytest.mark.parametrize("seed", range(12))
def test_every_reading_settles_once_over_a_bad_wire(tmp_path: Path, seed: int) -> None:
    clock, broker = ManualClock(), FakeBroker(seed, drop=0.3, double=0.3)
    with closing(open_outbox(tmp_path, clock)) as outbox:
        conversation = converse(outbox, clock)
        central = FakeCentral(lambda topic, payload: broker.publish(conversation.received, topic, payload))
        conversation.connected("s-1")
        ids = put(outbox, *range(1, 41))
        for step in range(1000):
            if step % 7 == seed % 7:
                conversation.received(*(ONLINE if step % 2 else OFFLINE))
            for message in conversation.due():
                broker.publish(central.received, message.topic, message.payload)
            broker.deliver()
            settled = {name for name, state in states(tmp_path).items() if state == "settled"}
            assert settled <= set(central.committed)
            if len(settled) == len(ids):
                break
            clock.advance(5)
        assert sorted(central.committed) == sorted(ids)
        assert outbox.depth().pending == 0


def test_the_brokers_own_word_settles_nothing(tmp_path: Path) -> None:
    clock = ManualClock()
    with closing(open_outbox(tmp_path, clock)) as outbox:
        conversation = converse(outbox, clock)
        conversation.connected("s-1")
        ids = put(outbox, 1)
        assert readings(conversation.due()) == ids
        conversation.puback(ids, 0)
        assert states(tmp_path) == {ids[0]: "pending"}


def test_a_reading_that_the_broker_refuses_is_sent_again(tmp_path: Path) -> None:
    clock = ManualClock()
    with closing(open_outbox(tmp_path, clock)) as outbox:
        conversation = converse(outbox, clock)
        ids = put(outbox, 1)
        conversation.due()
        conversation.puback(ids, FIRST_FAILURE + 7)
        clock.advance(3)
        assert readings(conversation.due()) == ids


def test_at_most_a_window_is_without_an_answer(tmp_path: Path) -> None:
    clock = ManualClock()
    with closing(open_outbox(tmp_path, clock)) as outbox:
        conversation = converse(outbox, clock)
        conversation.received(*ONLINE)
        put(outbox, *range(1, 50))
        assert len(readings(conversation.due())) == SEND_WINDOW
        assert readings(conversation.due()) == []


@pytest.mark.parametrize("how", ["never heard of", "said goodbye", "nobody subscribed"])
def test_while_central_is_away_only_a_probe_goes_out(tmp_path: Path, how: str) -> None:
    clock = ManualClock()
    with closing(open_outbox(tmp_path, clock)) as outbox:
        conversation = converse(outbox, clock)
        conversation.connected("s-1")
        if how == "said goodbye":
            conversation.received(*ONLINE)
            conversation.received(*OFFLINE)
        if how == "nobody subscribed":
            conversation.received(*ONLINE)
            conversation.puback(["any"], NO_MATCHING_SUBSCRIBERS)
        put(outbox, *range(1, 10))
        assert len(readings(conversation.due())) == 1


def test_an_answer_to_the_probe_opens_the_window(tmp_path: Path) -> None:
    clock = ManualClock()
    with closing(open_outbox(tmp_path, clock)) as outbox:
        conversation = converse(outbox, clock)
        put(outbox, *range(1, 10))
        (probe,) = readings(conversation.due())
        conversation.received(*ack(probe))
        assert len(readings(conversation.due())) == 8


def test_an_answer_makes_room_at_once(tmp_path: Path) -> None:
    clock = ManualClock()
    with closing(open_outbox(tmp_path, clock)) as outbox:
        conversation = converse(outbox, clock)
        conversation.received(*ONLINE)
        put(outbox, *range(1, SEND_WINDOW + 4))
        first = readings(conversation.due())
        conversation.received(*ack(*first[:2]))
        assert len(readings(conversation.due())) == 2


def test_an_acknowledgement_for_another_outbox_settles_nothing(tmp_path: Path) -> None:
    clock = ManualClock()
    with closing(open_outbox(tmp_path, clock)) as outbox:
        ids = put(outbox, 1)
        converse(outbox, clock).received(*ack(*ids, epoch="of-another-card"))
        assert states(tmp_path) == {ids[0]: "pending"}


@pytest.mark.parametrize("payload", [b"", b"nonsense", codec.compress(b'{"v":9}'), codec.compress(b'{"v":1}')])
def test_nonsense_on_the_ack_topic_changes_nothing(tmp_path: Path, payload: bytes) -> None:
    clock = ManualClock()
    with closing(open_outbox(tmp_path, clock)) as outbox:
        ids = put(outbox, 1)
        converse(outbox, clock).received(topics.topic("bench-1", "ack"), payload)
        assert states(tmp_path) == {ids[0]: "pending"}


def test_a_rejected_reading_is_set_aside_with_centrals_words(tmp_path: Path) -> None:
    clock, broker = ManualClock(), FakeBroker(1)
    with closing(open_outbox(tmp_path, clock)) as outbox:
        conversation = converse(outbox, clock)
        answers = FakeCentral(conversation.received, reject=frozenset({make_reading_id(1)}))
        ids = put(outbox, 1)
        for message in conversation.due():
            broker.publish(answers.received, message.topic, message.payload)
        broker.deliver()
        clock.advance(1000)
        assert readings(conversation.due()) == []
    assert states(tmp_path) == {ids[0]: "quarantined"}


def test_pictures_that_central_wants_are_noted(tmp_path: Path) -> None:
    clock, picture = ManualClock(), codec.digest(kept(1)[1])
    with closing(open_outbox(tmp_path, clock)) as outbox:
        conversation = converse(outbox, clock)
        central = FakeCentral(conversation.received, wanted=(picture,))
        put(outbox, 1)
        for message in conversation.due():
            central.received(message.topic, message.payload)
        assert [one.sha256 for one in outbox.wanted()] == [picture]


def test_what_waited_long_is_marked_as_history(tmp_path: Path) -> None:
    clock = ManualClock()
    with closing(open_outbox(tmp_path, clock)) as outbox:
        conversation = converse(outbox, clock)
        conversation.received(*ONLINE)
        put(outbox, 1)
        clock.advance(LIVE_S + 1)
        put(outbox, 2)
        sent = [codec.decode(m.payload, ReadingEnvelope) for m in conversation.due() if m.reading_ids]
    assert [(one.seq, one.historical) for one in sent] == [(2, False), (1, True)]


def test_birth_and_will_carry_the_same_session(tmp_path: Path) -> None:
    clock = ManualClock()
    with closing(open_outbox(tmp_path, clock)) as outbox:
        conversation = converse(outbox, clock)
        will = codec.decode(conversation.will("s-7").payload, DeviceStatus)
        birth = status(conversation.connected("s-7"))
    assert (will.online, birth.online, will.session, birth.session) == (False, True, "s-7", "s-7")
    assert birth.outbox is not None
    assert birth.outbox.epoch == "epoch-1"


def test_status_goes_out_on_change_and_as_a_heartbeat(tmp_path: Path) -> None:
    clock = ManualClock()
    with closing(open_outbox(tmp_path, clock)) as outbox:
        conversation = converse(outbox, clock)
        conversation.connected("s-1")
        clock.advance(2)
        assert conversation.due() == []
        put(outbox, 1)
        clock.advance(2)
        changed = status(conversation.due()).outbox
        assert changed is not None
        assert changed.pending == 1
        outbox.settle([make_reading_id(1)])
        clock.advance(2)
        conversation.due()
        clock.advance(HEARTBEAT_S - 2)
        assert conversation.due() == []
        clock.advance(3)
        assert status(conversation.due()).online


def backlog(outbox: Outbox, clock: ManualClock, count: int) -> list[str]:
    ids = put(outbox, *range(1, count + 1))
    clock.advance(LIVE_S + 1)
    return ids


def test_a_backlog_goes_in_batches_to_a_central_that_takes_them(tmp_path: Path) -> None:
    clock = ManualClock()
    with closing(open_outbox(tmp_path, clock)) as outbox:
        conversation = converse(outbox, clock)
        ids = backlog(outbox, clock, 20)
        (live,) = put(outbox, 21)
        conversation.received(*FakeCentral.presence(online=True, batches=True))
        sent = [message for message in conversation.due() if message.reading_ids]
        assert [(message.topic.rpartition("/")[2], message.reading_ids) for message in sent] == [
            ("reading", (live,)),
            ("readings", tuple(ids)),
        ]
        answers: list[tuple[str, bytes]] = []
        central = FakeCentral(lambda topic, payload: answers.append((topic, payload)))
        for message in sent:
            central.received(message.topic, message.payload)
        for answer in answers:
            conversation.received(*answer)
        assert sorted(central.committed) == sorted([*ids, live])
        assert set(states(tmp_path).values()) == {"settled"}


def test_what_got_no_answer_twice_goes_alone(tmp_path: Path) -> None:
    clock = ManualClock()
    with closing(open_outbox(tmp_path, clock)) as outbox:
        conversation = converse(outbox, clock)
        ids = backlog(outbox, clock, 3)
        conversation.received(*FakeCentral.presence(online=True, batches=True))
        shapes = []
        for _ in range(3):
            shapes.append([message.reading_ids for message in conversation.due() if message.reading_ids])
            clock.advance(20)
        assert shapes == [[tuple(ids)], [tuple(ids)], [(one,) for one in ids]]


def test_a_broker_that_refuses_a_batch_gets_no_more_of_them(tmp_path: Path) -> None:
    clock = ManualClock()
    with closing(open_outbox(tmp_path, clock)) as outbox:
        conversation = converse(outbox, clock)
        ids = backlog(outbox, clock, 3)
        conversation.received(*FakeCentral.presence(online=True, batches=True))
        conversation.due()
        conversation.puback(ids, FIRST_FAILURE + 7)
        clock.advance(3)
        assert [message.reading_ids for message in conversation.due() if message.reading_ids] == [(i,) for i in ids]


def test_a_batch_is_bounded_in_number_and_in_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = ManualClock()
    with closing(open_outbox(tmp_path, clock)) as outbox:
        conversation = converse(outbox, clock)
        backlog(outbox, clock, SEND_WINDOW)
        size = len(outbox.send([next(iter(states(tmp_path)))])[0].document)
        monkeypatch.setattr("edge_agent.link.conversation.MOST_BATCH_BYTES", 5 * size + 50)
        monkeypatch.setattr("edge_agent.link.conversation.MOST_IN_BATCH", 4)
        conversation.received(*FakeCentral.presence(online=True, batches=True))
        sizes = [len(message.reading_ids) for message in conversation.due() if message.reading_ids]
        assert sizes == [4] * ((SEND_WINDOW - KEPT_FOR_LIVE) // 4)


def test_of_a_batch_each_reading_has_an_answer_of_its_own(tmp_path: Path) -> None:
    clock = ManualClock()
    with closing(open_outbox(tmp_path, clock)) as outbox:
        conversation = converse(outbox, clock)
        first, second, bad, fourth = backlog(outbox, clock, 4)
        conversation.received(*FakeCentral.presence(online=True, batches=True))
        assert [message.reading_ids for message in conversation.due() if message.reading_ids] == [
            (first, second, bad, fourth)
        ]
        no = Rejection(bad, 3, "conflict", "another reading is here")
        answer = Ack(VERSION, "epoch-1", accepted=(first, second), rejected=(no,))
        conversation.received(topics.topic("bench-1", "ack"), codec.encode(answer))
        assert [outbox.state(one) for one in (first, second, bad, fourth)] == [
            "settled", "settled", "quarantined", "pending",
        ]  # fmt: skip
        assert [message for message in conversation.due() if message.reading_ids] == []
        clock.advance(3)
        assert [message.reading_ids for message in conversation.due() if message.reading_ids] == [(fourth,)]


def test_a_central_that_says_nothing_of_batches_gets_none(tmp_path: Path) -> None:
    clock = ManualClock()
    with closing(open_outbox(tmp_path, clock)) as outbox:
        conversation = converse(outbox, clock)
        ids = backlog(outbox, clock, 3)
        conversation.received(*ONLINE)
        assert [message.reading_ids for message in conversation.due() if message.reading_ids] == [(i,) for i in ids]
