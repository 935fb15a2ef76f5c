"""Stand-ins for what a test cannot have: a clock that stands still, a bad wire, a bare central."""

import random
from collections.abc import Callable
from datetime import timedelta

from edge_agent.clock import Moment
from edge_agent.link.conversation import Message
from protocol import codec, topics
from protocol.messages import VERSION, Ack, CentralStatus, ReadingBatch, ReadingEnvelope, Rejection
from tests.make import NOON

Receiver = Callable[[str, bytes], None]


class ManualClock:
    """Both clocks of a device, moved by the test only."""

    def __init__(self) -> None:
        self.moment = Moment(NOON, 1_000_000_000_000)

    def __call__(self) -> Moment:
        return self.moment

    def advance(self, seconds: float) -> None:
        """Time passes."""
        self.moment = Moment(
            self.moment.at + timedelta(seconds=seconds), self.moment.monotonic_ns + int(seconds * 1_000_000_000)
        )


class FakeBroker:
    """Carries messages badly: each may be dropped or doubled, and all that wait are delivered in any order."""

    def __init__(self, seed: int, *, drop: float = 0.0, double: float = 0.0) -> None:
        self._random, self._drop, self._double = random.Random(seed), drop, double
        self._waiting: list[tuple[Receiver, str, bytes]] = []

    def publish(self, to: Receiver, topic: str, payload: bytes) -> None:
        """Take a message for a receiver; whether it ever arrives is another matter."""
        copies = 0 if self._random.random() < self._drop else 2 if self._random.random() < self._double else 1
        self._waiting += [(to, topic, payload)] * copies

    def deliver(self) -> None:
        """Hand over everything that waits now."""
        waiting, self._waiting = self._waiting, []
        self._random.shuffle(waiting)
        for to, topic, payload in waiting:
            to(topic, payload)


class FakeCentral:
    """Commits each reading once, by id, and answers for it every time; rejects what `reject` names."""

    def __init__(self, answer: Receiver, *, reject: frozenset[str] = frozenset(), wanted: tuple[str, ...] = ()) -> None:
        self._answer, self._reject, self._wanted = answer, reject, wanted
        self.committed: dict[str, str] = {}

    def received(self, topic: str, payload: bytes) -> None:
        """A message of a device; all but readings are ignored."""
        device, channel = topics.parse_topic(topic)
        if channel == "reading":
            self._take(device, codec.decode(payload, ReadingEnvelope))
        if channel == "readings":
            for enclosed in codec.decode(payload, ReadingBatch).envelopes:
                self._take(device, codec.decode_document(enclosed, ReadingEnvelope))

    def _take(self, device: str, envelope: ReadingEnvelope) -> None:
        reading, _ = codec.open_envelope(envelope)
        ack = Ack(VERSION, envelope.epoch, rejected=(Rejection(reading.id, envelope.seq, "conflict", "other content"),))
        if reading.id not in self._reject:
            self.committed[reading.id] = envelope.digest
            ack = Ack(VERSION, envelope.epoch, accepted=(reading.id,), wanted=self._wanted)
        self._answer(topics.topic(device, "ack"), codec.encode(ack))

    @staticmethod
    def presence(*, online: bool, batches: bool = False) -> tuple[str, bytes]:
        """Central's retained state."""
        return topics.CENTRAL_STATE, codec.encode(CentralStatus(VERSION, online, "central-1", batches=batches))


def readings(messages: list[Message]) -> list[str]:
    """The ids of the readings among messages to publish."""
    return [one for message in messages for one in message.reading_ids]
