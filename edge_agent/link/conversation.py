"""The agent's side of the conversation with central, without a socket: what arrives, what is due, what to publish.

A reading leaves the outbox's care only by central's `Ack`. What the broker says about a publish is logged and never
believed further than that. Whenever the two meet anew (a connection, another central, a day gone by) the device
accounts for what it holds, and central's answer settles what it has and calls for what it lacks. `sync` carries the
messages; the simulator carries them over a wire that drops, doubles, delays and forgets.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

import msgspec
import structlog

from edge_agent import AGENT_VERSION
from edge_agent.clock import BootClock, Moment
from edge_agent.link.window import PROBE_WINDOW, Waiting, Window
from protocol import codec, topics
from protocol.delivery import MOST_BATCH_BYTES, MOST_IN_BATCH, SEND_WINDOW, SENT_TOGETHER, WIDEST_WINDOW
from protocol.errors import RemoteProtocolError
from protocol.messages import (
    VERSION,
    Ack,
    CentralStatus,
    DeviceStatus,
    Held,
    Ledger,
    LedgerDay,
    OutboxDepth,
    ReadingEnvelope,
    Refusal,
    Trouble,
)

# Longer and a reader that died shows as alive for a minute; shorter and a fleet's heartbeats are the broker's work.
HEARTBEAT_S: Final = 30.0
# A burst of plates must not become a burst of status messages.
STATUS_EVERY_S: Final = 1.0
# Unasked, so that a difference nobody knows of is found within a day.
LEDGER_EVERY_S: Final = 24 * 3600.0
# A fleet that sees central come back must not account all at once; a device at its birth is alone.
LEDGER_SPREAD_S: Final = 30.0
# However often central asks.
LEDGER_AT_MOST_EVERY_S: Final = 30.0

NO_MATCHING_SUBSCRIBERS: Final = 0x10
FIRST_FAILURE: Final = 0x80

# A reading's id, and the envelope that it leaves in.
_Ready: TypeAlias = tuple[str, ReadingEnvelope]

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Message:
    """Something to publish. `reading_ids` are those of the readings in it."""

    topic: str
    payload: bytes
    retain: bool = False
    reading_ids: tuple[str, ...] = ()


class Outgoing(Protocol):
    """A reading to be sent: its bytes are those that were hashed at capture."""

    @property
    def id(self) -> str:
        """The reading's id."""

    @property
    def document(self) -> bytes:
        """Its canonical JSON."""

    @property
    def digest(self) -> str:
        """The digest that was made at capture, and that `document` was just found to have."""


class Store(Protocol):
    """What the conversation needs of an outbox: `edge_agent.outbox.outbox.Outbox`, or the simulator's."""

    @property
    def epoch(self) -> str:
        """Names this outbox; another one begins its sequence anew."""

    def due(self, count: int, beside: Collection[str] = ()) -> Sequence[Waiting]:
        """Up to `count` new and `count` older readings that wait, without those of `beside`, each in order."""

    def send(self, ids: Iterable[str]) -> Sequence[Outgoing]:
        """The bytes of these readings; without those that are damaged (set aside) or answered already."""

    def settle(self, ids: Iterable[str]) -> None:
        """Central has committed these."""

    def quarantine(self, reading_id: str, code: str, detail: str) -> None:
        """Central will never accept this one."""

    def id_of(self, seq: int) -> str | None:
        """The reading with this sequence number."""

    def want(self, pictures: Iterable[str]) -> None:
        """Central lacks these pictures."""

    def depth(self) -> OutboxDepth:
        """How much is here that central lacks."""

    def last_refusal(self) -> Refusal | None:
        """The newest photograph that could not be read."""

    def ledger(self) -> Sequence[LedgerDay]:
        """The account of everything here, day by day."""

    def reconcile(self, held: Sequence[Held]) -> object:
        """Settle what central provably has, let wait again what it lacks; says how many of each."""


class Conversation:
    """What this device says and hears. One per start of the agent; `connected` begins it anew on each connection."""

    def __init__(
        self,
        outbox: Store,
        device_id: str,
        model: str | None,
        *,
        clocks: Callable[[], Moment],
        jitter: Callable[[], float],
        boot_clock: BootClock,
        troubles: Callable[[], tuple[Trouble, ...]] = tuple,
    ) -> None:
        """`jitter` gives a number in −1…1 each time it is called; `troubles` what a person must mend at the bench."""
        self._outbox, self._device_id, self._model = outbox, device_id, model
        self._clocks, self._jitter, self._boot_clock, self._troubles = clocks, jitter, boot_clock, troubles
        self._window, self._batches = Window(PROBE_WINDOW), False
        self._session, self._instance = "", ""
        self._status_sent_s = self._status_looked_s = 0.0
        self._last_status: DeviceStatus | None = None
        self._ledger_due_s: float | None = None
        self._ledger_sent_s = -LEDGER_AT_MOST_EVERY_S
        self.subscriptions: Final = (topics.topic(device_id, "ack"), topics.CENTRAL_STATE)

    def reads_with(self, model: str | None) -> None:
        """The model release that reads now; None while nothing is read."""
        self._model = model

    def will(self, session: str) -> Message:
        """What the broker is to say when this connection dies."""
        status = DeviceStatus(VERSION, self._device_id, online=False, session=session)
        return Message(topics.topic(self._device_id, "state"), codec.encode(status), retain=True)

    def connected(self, session: str) -> list[Message]:
        """The line is up: the birth that belongs to `will(session)`. Whether central is there is not known yet."""
        self._session, self._instance = session, ""
        self._last_status = self._ledger_due_s = None
        self._ledger_sent_s = -LEDGER_AT_MOST_EVERY_S
        self._presence(online=False)
        # Sooner once central is known to be there; but where its retained state is lost nobody would ever say so.
        self._account_in(LEDGER_SPREAD_S * (3 + self._jitter()) / 2)
        return self._status(self._now_s())

    def leaving(self) -> Message:
        """Goodbye on purpose: the broker sends no will after it."""
        return self.will(self._session)

    def due(self) -> list[Message]:
        """Everything to publish now; call it often."""
        now_s = self._now_s()
        waiting = self._outbox.due(self._window.free, self._window.in_flight) if self._window.free else ()
        chosen = {one.id: one for one in self._window.choose(waiting, now_s)}
        messages = self._reading_messages(chosen, now_s) if chosen else []
        return messages + self._ledger(now_s) + self._status(now_s)

    def received(self, topic: str, payload: bytes) -> None:
        """A message came on one of `subscriptions`."""
        try:
            if topic == topics.CENTRAL_STATE:
                self._central_is(codec.decode(payload, CentralStatus))
            elif topics.parse_topic(topic) == (self._device_id, "ack"):
                self._acknowledged(codec.decode(payload, Ack))
        except RemoteProtocolError as error:
            _log.warning("message not understood", topic=topic, error=str(error))

    def puback(self, reading_ids: Sequence[str], code: int) -> None:
        """The broker's own word on readings: it settles nothing. A failure is retried by the window's clock."""
        if code == NO_MATCHING_SUBSCRIBERS:
            self._presence(online=False)
        elif code >= FIRST_FAILURE:
            _log.warning("broker refused a reading", ids=reading_ids, reason_code=code)
        if code and len(reading_ids) > 1:
            # A central, or a broker's access list, of before there were batches.
            self._takes_batches(yes=False)

    def _acknowledged(self, ack: Ack) -> None:
        if ack.epoch != self._outbox.epoch:
            _log.warning("acknowledgement for another outbox", epoch=ack.epoch, expected=self._outbox.epoch)
            return
        if ack.now is not None:
            self._boot_clock.heard(ack.now, self._clocks())
        self._presence(online=True)
        self._outbox.settle(ack.accepted)
        answered = list(ack.accepted)
        for rejection in ack.rejected:
            reading_id = rejection.id or (self._outbox.id_of(rejection.seq) if rejection.seq else None)
            _log.error("central rejected a reading", id=reading_id, code=rejection.code, detail=rejection.detail)
            if reading_id is not None:
                self._outbox.quarantine(reading_id, rejection.code, rejection.detail)
                answered.append(reading_id)
        if answered:
            self._window = self._window.answered(answered, self._now_s())
        self._outbox.want(ack.wanted)
        if ack.held:
            _log.info("accounts compared", days=len(ack.held), result=str(self._outbox.reconcile(ack.held)))
        if ack.ledger_wanted:
            self._account_in(0.0)

    def _central_is(self, status: CentralStatus) -> None:
        """Central came, went, or is another one than before: one that may know less."""
        self._presence(online=status.online)
        if status.online and status.instance != self._instance:
            spread_s = LEDGER_SPREAD_S if self._instance else 0.0
            self._instance = status.instance
            self._account_in(spread_s * (1 + self._jitter()) / 2)
        if status.online:
            self._takes_batches(yes=status.batches)

    def _account_in(self, delay_s: float) -> None:
        due_s = max(self._now_s() + delay_s, self._ledger_sent_s + LEDGER_AT_MOST_EVERY_S)
        self._ledger_due_s = due_s if self._ledger_due_s is None else min(due_s, self._ledger_due_s)

    def _ledger(self, now_s: float) -> list[Message]:
        if self._ledger_due_s is None or now_s < self._ledger_due_s:
            return []
        self._ledger_sent_s = now_s
        self._ledger_due_s = now_s + LEDGER_EVERY_S
        ledger = Ledger(VERSION, self._device_id, self._outbox.epoch, tuple(self._outbox.ledger()))
        return [Message(topics.topic(self._device_id, "ledger"), codec.encode(ledger))]

    def _presence(self, *, online: bool) -> None:
        size = SEND_WINDOW if online else PROBE_WINDOW
        if (size == PROBE_WINDOW) != (self._window.size == PROBE_WINDOW):
            _log.info("central is there" if online else "central is away")
            self._window = self._window.restarted(size, self._now_s(), self._jitter())

    def _takes_batches(self, *, yes: bool) -> None:
        self._batches = yes
        self._window = self._window.widening_to(WIDEST_WINDOW if yes else SEND_WINDOW)

    def _reading_messages(self, chosen: dict[str, Waiting], now_s: float) -> list[Message]:
        """The chosen readings: each alone, but those of a backlog in batches, until they got no answer twice."""
        # One for all: what was sent together and lost is sent together again.
        epoch, jitter = self._outbox.epoch, self._jitter()
        alone: list[_Ready] = []
        together: list[_Ready] = []
        for outgoing in self._outbox.send(chosen):
            one = chosen.pop(outgoing.id)
            may_join = self._batches and one.historical and self._window.attempts(one.id) < SENT_TOGETHER
            self._window = self._window.sent(one, now_s, jitter)
            envelope = codec.envelope(
                outgoing.document, device_id=self._device_id, epoch=epoch, seq=one.seq, historical=one.historical,
                known_digest=outgoing.digest,
            )  # fmt: skip
            (together if may_join else alone).append((one.id, envelope))
        if chosen:
            _log.warning("readings not sent: damaged here, or answered meanwhile", ids=list(chosen))
            self._window = self._window.without(chosen)
        return [self._message(batch) for batch in ([[one] for one in alone] + _batches(together))]

    def _message(self, readings: Sequence[_Ready]) -> Message:
        ids, envelopes = zip(*readings, strict=True)
        if len(ids) == 1:
            return Message(topics.topic(self._device_id, "reading"), codec.encode(envelopes[0]), reading_ids=ids)
        return Message(topics.topic(self._device_id, "readings"), codec.encode_batch(envelopes), reading_ids=ids)

    def _status(self, now_s: float) -> list[Message]:
        """The device's state: at birth, on change, and as a heartbeat."""
        if self._last_status is not None and now_s - self._status_looked_s < STATUS_EVERY_S:
            return []
        self._status_looked_s = now_s
        status = DeviceStatus(
            VERSION, self._device_id, online=True, session=self._session, agent=AGENT_VERSION, model=self._model,
            outbox=self._outbox.depth(), last_refusal=self._outbox.last_refusal(), troubles=self._troubles(),
        )  # fmt: skip
        if _news(status) == self._last_status and now_s - self._status_sent_s < HEARTBEAT_S:
            return []
        self._last_status, self._status_sent_s = _news(status), now_s
        moment = self._clocks()
        clock = self._boot_clock.clock(moment)
        payload = codec.encode(msgspec.structs.replace(status, at=moment.at, clock=clock))
        return [Message(topics.topic(self._device_id, "state"), payload, retain=True)]

    def _now_s(self) -> float:
        return self._clocks().monotonic_ns / 1e9


def _batches(readings: Sequence[_Ready]) -> list[list[_Ready]]:
    """In order, each of as many as a message may hold."""
    batches: list[list[_Ready]] = []
    size = 0
    for one, envelope in readings:
        size += len(bytes(envelope.reading))
        if not batches or len(batches[-1]) == MOST_IN_BATCH or size > MOST_BATCH_BYTES:
            batches.append([])
            size = len(bytes(envelope.reading))
        batches[-1].append((one, envelope))
    return batches


def _news(status: DeviceStatus) -> DeviceStatus:
    """A status without what changes by the second and is no news by itself."""
    depth = status.outbox and msgspec.structs.replace(status.outbox, bytes=0, hours_left=None)
    return msgspec.structs.replace(status, outbox=depth)
