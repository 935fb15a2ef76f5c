"""A bench's life, over and over: capture, save, send, be answered, upload, prune. What is killed and starved here.

The outbox and the conversation are the real ones; central is a stand-in across a socket pair, whose table is the
oracle's `arrived` lines: it commits by writing one, and answers only then. The oracle hears `begun` before the outbox
is asked and `saved` where a bench would show it.
"""

import os
import socket
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from edge_agent.clock import BootClock, Moment, read_clocks, reading_id
from edge_agent.link.conversation import Conversation
from edge_agent.outbox.outbox import Outbox
from protocol import codec, topics
from protocol.ledger import Entry, by_day, compare
from protocol.messages import VERSION, Ack, CentralStatus, Ledger, Picture, ReadingEnvelope, Rejection
from tests.faults.oracle import Fact, Oracle
from tests.make import make_code, make_document

DEVICE: Final = "bench-1"
PICTURE_BYTES: Final = 3000

# Every so many plates: what a bench does now and then, often enough for a short life to meet it.
SEND_EVERY, UPLOAD_EVERY, PRUNE_EVERY, RETRY_EVERY = 3, 5, 7, 11
# Every so many readings central refuses one at first, so that setting aside and sending again are lived through too.
REFUSE_EVERY: Final = 17


@dataclass
class Table:
    """What the stand-in central has committed: reading id → fact."""

    held: dict[str, Fact] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)

    def entries(self) -> Iterator[tuple[str, Entry]]:
        """Everything held, for an account."""
        for fact in self.held.values():
            yield fact.day, Entry(fact.seq, fact.digest)


class StandIn:
    """Central's side of the pair: takes what comes, commits, answers."""

    def __init__(self, wire: socket.socket, oracle: Oracle, table: Table) -> None:
        self._wire, self._oracle, self._table = wire, oracle, table

    def serve(self, answer: Callable[[str, bytes], None]) -> None:
        """Take one message and answer it."""
        topic, _, payload = self._wire.recv(codec.MAX_WIRE_BYTES + 200).partition(b"\n")
        _, channel = topics.parse_topic(topic.decode())
        if channel == "reading":
            answer(topics.topic(DEVICE, "ack"), codec.encode(self._commit(codec.decode(payload, ReadingEnvelope))))
        elif channel == "ledger":
            answer(topics.topic(DEVICE, "ack"), codec.encode(self._account(codec.decode(payload, Ledger))))

    def _commit(self, envelope: ReadingEnvelope) -> Ack:
        reading, document = codec.open_envelope(envelope)
        if envelope.seq % REFUSE_EVERY == 0 and reading.id not in self._table.refused | self._table.held.keys():
            self._table.refused.add(reading.id)
            return Ack(VERSION, envelope.epoch, rejected=(Rejection(reading.id, envelope.seq, "conflict", "try"),))
        if reading.id not in self._table.held:
            plate = reading.code.text if reading.code else ""
            fact = Fact(
                reading.id, codec.digest(document), reading.device_id, plate, envelope.epoch, envelope.seq,
                f"{reading.captured_at:%Y-%m-%d}",
            )  # fmt: skip
            self._oracle.say("arrived", fact)
            self._table.held[reading.id] = fact
        return Ack(VERSION, envelope.epoch, accepted=(reading.id,), wanted=(reading.picture.sha256,))

    def _account(self, ledger: Ledger) -> Ack:
        days = by_day(self._table.entries())
        compared = (compare(day, days.get(day.day, ())) for day in ledger.days)
        return Ack(VERSION, ledger.epoch, held=tuple(held for held in compared if held is not None))


# The agent's loops try again after trouble; so does a life that begins with some.
_TRIES = 3


class Bench:
    """One life of a bench on its state folder, from opening the outbox to `close`."""

    def __init__(self, folder: Path, oracle: Oracle, table: Table, session: str, **limits: Any) -> None:
        """`limits` are the outbox's: `keep`, `ballast_bytes`."""
        self.oracle = oracle
        self.outbox = Outbox(folder, session=session, **limits)
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._wire, self._far, self._central = here, there, StandIn(there, oracle, table)
        for tries_left in range(_TRIES - 1, -1, -1):
            try:
                self._begin(session)
                break
            except BaseException as error:
                # As the agent's loop does: what is damaged is mended when the outbox is next used.
                if not tries_left or not isinstance(error, sqlite3.OperationalError):
                    self.close()
                    raise

    def _begin(self, session: str) -> None:
        self._conversation = Conversation(
            self.outbox, DEVICE, "hi-wells-v1", clocks=read_clocks, jitter=lambda: -1.0, boot_clock=BootClock("boot-1")
        )
        self._conversation.connected(session)
        online = codec.encode(CentralStatus(VERSION, online=True, instance=session))
        self._conversation.received(topics.CENTRAL_STATE, online)

    def close(self) -> None:
        """Give everything back, as at a clean stop."""
        self.outbox.close()
        self._wire.close()
        self._far.close()

    def live(self, numbers: Iterable[int]) -> None:
        """Work through these plates."""
        for number in numbers:
            self.capture(number)
            if number % SEND_EVERY == 0:
                self.send()
            if number % UPLOAD_EVERY == 0:
                self.upload()
            if number % RETRY_EVERY == 0:
                self.outbox.requeue(["all"])
            if number % PRUNE_EVERY == 0:
                self.outbox.prune(timedelta(0), 0)

    def capture(self, number: int) -> None:
        """Read plate `number` and keep the reading, unless an earlier life did."""
        key = f"plate-{number}.jpg"
        if self.outbox.was_captured(key):
            return
        document, picture = read_plate(number, read_clocks())
        fact = Fact(
            codec.decode_reading(document).id, codec.digest(document), DEVICE, plate_text(number), self.outbox.epoch
        )
        self.oracle.say("begun", fact)
        seq = self.outbox.put(document, picture, key)
        self.oracle.say("saved", Fact(fact.id, fact.digest, fact.device, fact.plate, fact.epoch, seq))

    def send(self) -> None:
        """Send what is due and hear the answers."""
        for message in self._conversation.due():
            if not message.topic.endswith("/state"):
                self._wire.send(message.topic.encode() + b"\n" + message.payload)
                self._central.serve(self._conversation.received)

    def waits(self) -> int:
        """Readings that central has not answered."""
        depth = self.outbox.depth()
        return depth.pending + depth.quarantined

    def upload(self) -> None:
        """Give central the pictures that it asked for."""
        for wanted in self.outbox.wanted():
            if sha256(wanted.path.read_bytes()).hexdigest() != wanted.sha256:
                raise AssertionError(f"picture {wanted.path} is not what its reading says")
            self.outbox.mark_uploaded(wanted.sha256)


def plate_text(number: int) -> str:
    """The code on plate `number`."""
    return f"S-1001,NDV,{number}"


def read_plate(number: int, moment: Moment) -> tuple[bytes, bytes]:
    """A new reading of plate `number` (canonical JSON), and its photograph."""
    picture = picture_of(number)
    described = Picture(sha256(picture).hexdigest(), len(picture), 1600, 1200, "image/jpeg", f"plate-{number}.jpg")
    document = make_document(
        number, id=reading_id(moment.at, os.urandom(10)), captured_at=moment.at, device_id=DEVICE, picture=described,
        code=make_code(plate_number=str(number), text=plate_text(number)),
    )  # fmt: skip
    return document, picture


def picture_of(number: int) -> bytes:
    """Stands for plate `number`'s photograph: bytes of its own."""
    seed = sha256(f"picture {number}".encode()).digest()
    return (seed * (PICTURE_BYTES // len(seed) + 1))[:PICTURE_BYTES]


def sendable(outbox: Outbox) -> dict[str, str]:
    """Reading id → digest of everything that this outbox can still send, also what was set aside."""
    outbox.requeue(["all"])
    ids = [one.id for one in outbox.due(1_000_000)]
    return {one.id: codec.digest(one.document) for one in outbox.send(ids)}
