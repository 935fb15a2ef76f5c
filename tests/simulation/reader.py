"""A bench: its card, its clocks, and the agent's own conversation, which may die between any two steps.

The line is kept as `edge_agent.link.sync` keeps it, without threads and sockets: a new session for each connection, the
next broker of the list where one cannot be reached, and a look at the outbox when something was heard or time has gone
by.
"""

import sqlite3
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, Final

import msgspec

from edge_agent.clock import BootClock, Moment, reading_id
from edge_agent.link.conversation import Conversation, Message
from edge_agent.link.sync import LONGEST_RECONNECT_S, LOOK_EVERY_S
from edge_agent.outbox.rows import PictureState
from protocol import codec, topics
from protocol.delivery import State, retry_delay_s
from protocol.messages import PlateReading
from tests.make import make_code, make_reading
from tests.simulation.broker import Broker, Line
from tests.simulation.card import Card
from tests.simulation.frail import Frail, Frailty, KilledError, OpenOutbox, Outbox
from tests.simulation.oracle import InvariantError, Oracle, Promise
from tests.simulation.world import World

KEEP: Final = timedelta(days=35)
_TEMPLATE: Final = make_reading(0)
_EARLIEST, _LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)


class Reader:
    """One bench and its card. `agent` is None while nothing runs on it."""

    def __init__(
        self,
        world: World,
        oracle: Oracle,
        device_id: str,
        card: Card,
        *,
        brokers: Sequence[Broker],
        idle_s: float,
        open_outbox: OpenOutbox,
    ) -> None:
        """`idle_s`: how long it may take to look at its outbox when nothing happens."""
        self.world, self.oracle, self.device_id, self.brokers = world, oracle, device_id, brokers
        self.idle_s, self._open, self.card = idle_s, open_outbox, card
        self.frailty = Frailty()
        self.clock_error_s, self.boots, self.booted_s, self.lives = 0.0, 1, 0.0, 0
        self.is_full = self.is_off = False
        self.agent: Agent | None = None

    def clocks(self) -> Moment:
        """What its two clocks show. One without a battery may be decades off; no date is out of its range."""
        try:
            at = self.world.now + timedelta(seconds=self.clock_error_s)
        except OverflowError:
            at = _LATEST
        return Moment(min(max(at, _EARLIEST), _LATEST), int((self.world.now_s - self.booted_s + 10) * 1e9))

    def start(self) -> None:
        """The agent starts, if it is not running."""
        if self.agent is None and not self.is_off:
            self.lives += 1
            self.agent = Agent(self, f"{self.device_id}-{self.card.number}-{self.lives}")
            self.agent.guarded(self.agent.connect)

    def stop(self) -> None:
        """The agent ends without a word: a kill. The broker will notice."""
        if self.agent is not None:
            self.world.tell(self.device_id, "stops")
            self.agent.die()
            self.agent = None

    def power_cut(self) -> None:
        """The machine goes dark: its monotonic clock begins anew, and without a battery so does its date."""
        self.stop()
        self.boots += 1
        self.booted_s = self.world.now_s

    def open_outbox(self, session: str, clock: BootClock) -> Outbox:
        """The outbox on its card."""
        return self._open(self.card, session, clock)

    def capture(self, *, unreadable: bool = False) -> None:
        """Photograph a plate, if the agent runs and there is room."""
        if self.agent is not None and not self.is_full:
            agent = self.agent
            agent.guarded(lambda: agent.capture(unreadable=unreadable))

    def may_die(self) -> None:
        """Between two steps."""
        if self.world.chance(self.frailty.kill):
            self.oracle.faults["agent killed between two steps"] += 1
            raise KilledError

    def may_fail(self) -> None:
        """The disk, at one step."""
        if self.world.chance(self.frailty.disk_error):
            self.oracle.faults["disk error"] += 1
            raise sqlite3.OperationalError("disk I/O error")

    def after_step(self, name: str, values: tuple[Any, ...], result: Any) -> None:
        """The oracle looks at what the outbox just did."""
        if name == "send":
            for outgoing in result:
                self.oracle.sent(outgoing.id, outgoing.document)
        elif name == "settle":
            for one in values[0]:
                if one in self.oracle.promises:
                    self.oracle.settled(one, self.oracle.promises[one].digest)
        elif name == "prune":
            self.oracle.forgotten(result, KEEP.total_seconds(), self.world.now_s)
        elif name == "reconcile":
            self.oracle.missed += getattr(result, "missed", 0)
            for row in self.card.rows.values():
                if row.state is State.SETTLED:
                    self.oracle.settled(row.id, row.digest)


class Agent:
    """One life of the agent."""

    def __init__(self, reader: Reader, name: str) -> None:
        """It opens the outbox and has no line yet."""
        self.reader, self.name, self.world = reader, name, reader.world
        self.clock = BootClock(f"boot-{reader.device_id}-{reader.boots}", clocks=reader.clocks)
        self._outbox = reader.open_outbox(name, self.clock)
        self.outbox: Any = Frail(self._outbox, reader)
        self.conversation = Conversation(
            self.outbox, reader.device_id, "hi-wells-v2", clocks=self.clock,
            jitter=lambda: self.world.between(-1, 1), boot_clock=self.clock,
        )  # fmt: skip
        self.line: Line | None = None
        self.is_alive, self.session = True, ""
        self._failures = self._turn = self._connections = self._look = 0
        self._next_look_s, self._idle_s = 0.0, LOOK_EVERY_S

    def guarded(self, action: Callable[[], None]) -> None:
        """Do something as the agent's loop does: an error of the disk ends the line, a kill ends everything."""
        if not self.is_alive:
            return
        try:
            action()
        except KilledError:
            self.reader.stop()
            self.world.after(self.world.between(1, 30), self.reader.start)
        except sqlite3.OperationalError:
            self._drop_line(goodbye=False)
            self._connect_later()

    def die(self) -> None:
        """This life is over; nothing of it is told."""
        self.is_alive = False
        self._drop_line(goodbye=False)
        self._outbox.close()

    def connect(self) -> None:
        """Try the broker whose turn it is."""
        if not self.is_alive or self.line is not None:
            return
        broker = self.reader.brokers[self._turn % len(self.reader.brokers)]
        self._connections += 1
        self.session = f"{self.name}-{self._connections}"
        line = broker.connect(self.reader.device_id, self, self.conversation.will(self.session))
        if line is None:
            self._turn += 1
            self._failures += 1
            self._connect_later()
            return
        self._failures, self.line = 1, line
        line.subscribe(self.conversation.subscriptions)
        line.carry("connack", lambda: self.guarded(lambda: self._connected(line)))

    def received(self, topic: str, payload: bytes, *, retained: bool) -> None:
        """The line brought something."""
        self.guarded(lambda: self.conversation.received(topic, payload))
        self._look_in(LOOK_EVERY_S)

    def lost(self) -> None:
        """The line is gone."""
        if self.is_alive and self.line is not None:
            self.line = None
            self._connect_later()

    def capture(self, *, unreadable: bool) -> None:
        """Read a plate, keep the reading, show "saved"."""
        reader, world = self.reader, self.world
        moment = self.clock()
        number = len(reader.oracle.promises) + 1
        picture = b"picture %d" % number
        code = make_code(f"S-{reader.device_id}", plate_number=str(number), text=f"S-{reader.device_id},NDV,{number}")
        reading: PlateReading = msgspec.structs.replace(
            _TEMPLATE, id=reading_id(moment.at, world.random.randbytes(10)), device_id=reader.device_id,
            captured_at=moment.at, code=code, clock=self.clock.clock(moment),
            picture=msgspec.structs.replace(
                _TEMPLATE.picture, sha256=sha256(picture).hexdigest(), bytes=len(picture), name=f"{number}.jpg"
            ),
            profile="of-a-later-release" if unreadable else _TEMPLATE.profile,
        )  # fmt: skip
        document = codec.encode_reading(reading)
        promise = Promise(reading.id, codec.digest(document), reader.device_id, code.text, is_unreadable=unreadable)
        reader.oracle.begun(promise)
        self._keep(promise.id, document, picture)

    def put_again(self, document: bytes) -> None:
        """Take over a reading from another card, as from an archive."""
        seen = codec.decode_reading(document)
        number = seen.picture.name.removesuffix(".jpg")
        self._keep(seen.id, document, b"picture %d" % int(number))

    def upload(self, *, to: Callable[[str], bool]) -> None:
        """Give central the pictures that it asked for; `to` says whether it has one now."""
        for picture in self.outbox.wanted_pictures():
            if not to(picture):
                return
            self.outbox.mark_uploaded(picture)

    def requeue(self) -> None:
        """A person wants what was set aside sent again."""
        self.outbox.requeue(["all"])
        self._look_in(LOOK_EVERY_S)

    def prune(self) -> None:
        """Forget what may be forgotten."""
        card = self.reader.card
        needed = [
            row.seq
            for row in card.rows.values()
            if row.picture_state is PictureState.WANTED
            or (row.state is not State.SETTLED and row.picture_state is not PictureState.NONE)
        ]
        self.outbox.prune(KEEP, self.world.random.choice((0, 1 << 40)))
        for seq in needed:
            if seq not in card.rows or card.rows[seq].picture_state is PictureState.NONE:
                raise InvariantError(f"I1: {self.reader.device_id} forgot a picture that central has not: {seq}")

    def _keep(self, reading_id: str, document: bytes, picture: bytes) -> None:
        reader = self.reader
        try:
            seq = self.outbox.put(document, picture)
        except KilledError:
            seq = reader.card.places.get(reading_id, 0)
            if seq:
                reader.oracle.kept(reading_id, (reader.device_id, reader.card.epoch, seq), reader.card.number)
            raise
        reader.oracle.saved(
            reading_id, (reader.device_id, self.outbox.epoch, seq), reader.card.number, self.world.now_s
        )
        self.world.tell(reader.device_id, "saved", seq, reading_id)
        self._look_in(LOOK_EVERY_S)

    def _connected(self, line: Line) -> None:
        if line is self.line:
            self._publish(self.conversation.connected(self.session))
            self._look_in(LOOK_EVERY_S)

    def _connect_later(self) -> None:
        delay_s = min(retry_delay_s(max(1, self._failures), self.world.between(-1, 1)), LONGEST_RECONNECT_S)
        if self._failures > 20:  # a night without a line is not worth its events
            delay_s = self.world.between(delay_s, 120)
        self.world.after(delay_s, lambda: self.guarded(self.connect))

    def _drop_line(self, *, goodbye: bool) -> None:
        line, self.line = self.line, None
        if line is not None:
            line.close(goodbye=goodbye)

    def _look_in(self, delay_s: float) -> None:
        """Look at the outbox then, or before; from then on less and less often until something happens."""
        at_s = self.world.now_s + delay_s
        self._idle_s = LOOK_EVERY_S
        if self._look and at_s >= self._next_look_s:
            return
        self._schedule(at_s)

    def _schedule(self, at_s: float) -> None:
        self._look += 1
        mine, self._next_look_s = self._look, at_s
        self.world.after(at_s - self.world.now_s, lambda: self._looked(mine))

    def _looked(self, mine: int) -> None:
        if mine != self._look or not self.is_alive:
            return
        if self.line is not None:
            self.guarded(lambda: self._publish(self.conversation.due()))
        if self.is_alive and mine == self._look:
            most_s = min(60.0, self.reader.idle_s) if self.reader.card.pending else self.reader.idle_s
            self._idle_s = min(self._idle_s * 2, most_s)
            self._schedule(self.world.now_s + self._idle_s)

    def _publish(self, messages: Sequence[Message]) -> None:
        for message in messages:
            self.reader.may_die()
            if self.line is None:
                return
            _, channel = topics.parse_topic(message.topic)
            self.world.tell(self.reader.device_id, "publishes", channel, " ".join(message.reading_ids))
            self.reader.oracle.ledgers += channel == "ledger"
            self.line.publish(message, self._answer_of(message.reading_ids))

    def _answer_of(self, reading_ids: Sequence[str]) -> Callable[[int], None]:
        def answered(code: int) -> None:
            if reading_ids:
                self.guarded(lambda: self.conversation.puback(reading_ids, code))

        return answered
