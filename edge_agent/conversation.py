"""The agent's side of the conversation with central, without a socket: what arrives, what is due, what to publish.

A reading leaves the outbox's care only by central's `Ack`. What the broker says about a publish is logged and never
believed further than that. `sync` carries the messages; tests carry them over a wire that drops, doubles and reorders.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import msgspec
import structlog

from edge_agent import AGENT_VERSION
from edge_agent.clock import Moment
from edge_agent.outbox import Outbox
from edge_agent.window import PROBE_WINDOW, Waiting, Window
from protocol import codec, topics
from protocol.delivery import SEND_WINDOW
from protocol.errors import RemoteProtocolError
from protocol.messages import VERSION, Ack, CentralStatus, DeviceStatus

# Longer and a reader that died shows as alive for a minute; shorter and a fleet's heartbeats are the broker's work.
HEARTBEAT_S: Final = 30.0
# A burst of plates must not become a burst of status messages.
STATUS_EVERY_S: Final = 1.0

NO_MATCHING_SUBSCRIBERS: Final = 0x10
FIRST_FAILURE: Final = 0x80

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Message:
    """Something to publish. `reading_id` is set for readings only."""

    topic: str
    payload: bytes
    retain: bool = False
    reading_id: str | None = None


class Conversation:
    """What this device says and hears. One per start of the agent; `connected` begins it anew on each connection."""

    def __init__(
        self,
        outbox: Outbox,
        device_id: str,
        model: str | None,
        *,
        clocks: Callable[[], Moment],
        jitter: Callable[[], float],
    ) -> None:
        """`jitter` gives a number in −1…1 each time it is called."""
        self._outbox, self._device_id, self._model = outbox, device_id, model
        self._clocks, self._jitter = clocks, jitter
        self._window = Window(PROBE_WINDOW)
        self._session = ""
        self._status_sent_s = self._status_looked_s = 0.0
        self._last_status: DeviceStatus | None = None
        self.subscriptions: Final = (topics.topic(device_id, "ack"), topics.CENTRAL_STATE)

    def will(self, session: str) -> Message:
        """What the broker is to say when this connection dies."""
        status = DeviceStatus(VERSION, self._device_id, online=False, session=session)
        return Message(topics.topic(self._device_id, "state"), codec.encode(status), retain=True)

    def connected(self, session: str) -> list[Message]:
        """The line is up: the birth that belongs to `will(session)`. Whether central is there is not known yet."""
        self._session = session
        self._last_status = None
        self._presence(online=False)
        return self._status(self._now_s())

    def leaving(self) -> Message:
        """Goodbye on purpose: the broker sends no will after it."""
        return self.will(self._session)

    def due(self) -> list[Message]:
        """Everything to publish now; call it often."""
        now_s = self._now_s()
        messages = []
        chosen = {one.id: one for one in self._window.choose(self._outbox.due(SEND_WINDOW), now_s)}
        if chosen:
            for outgoing in self._outbox.send(chosen):
                one = chosen.pop(outgoing.id)
                self._window = self._window.sent(one, now_s, self._jitter())
                messages.append(self._reading_message(one, outgoing.document))
            for not_sent in chosen:
                self._window = self._window.answered(not_sent)
                _log.warning("reading not sent: damaged here, or answered meanwhile", id=not_sent)
        return messages + self._status(now_s)

    def received(self, topic: str, payload: bytes) -> None:
        """A message came on one of `subscriptions`."""
        try:
            if topic == topics.CENTRAL_STATE:
                self._presence(online=codec.decode(payload, CentralStatus).online)
            elif topics.parse_topic(topic) == (self._device_id, "ack"):
                self._acknowledged(codec.decode(payload, Ack))
        except RemoteProtocolError as error:
            _log.warning("message not understood", topic=topic, error=str(error))

    def puback(self, reading_id: str, code: int) -> None:
        """The broker's own word on a reading: it settles nothing. A failure is retried by the window's clock."""
        if code == NO_MATCHING_SUBSCRIBERS:
            self._presence(online=False)
        elif code >= FIRST_FAILURE:
            _log.warning("broker refused a reading", id=reading_id, reason_code=code)

    def _acknowledged(self, ack: Ack) -> None:
        if ack.epoch != self._outbox.epoch:
            _log.warning("acknowledgement for another outbox", epoch=ack.epoch, expected=self._outbox.epoch)
            return
        self._presence(online=True)
        self._outbox.settle(ack.accepted)
        for rejection in ack.rejected:
            reading_id = rejection.id or (self._outbox.id_of(rejection.seq) if rejection.seq else None)
            _log.error("central rejected a reading", id=reading_id, code=rejection.code, detail=rejection.detail)
            if reading_id is not None:
                self._outbox.quarantine(reading_id, rejection.code, rejection.detail)
                self._answered([reading_id])
        self._answered(ack.accepted)
        self._outbox.want(ack.wanted)

    def _answered(self, ids: Iterable[str]) -> None:
        for reading_id in ids:
            self._window = self._window.answered(reading_id)

    def _presence(self, *, online: bool) -> None:
        size = SEND_WINDOW if online else PROBE_WINDOW
        if size != self._window.size:
            _log.info("central is there" if online else "central is away")
            self._window = self._window.restarted(size, self._now_s(), self._jitter())

    def _reading_message(self, one: Waiting, document: bytes) -> Message:
        envelope = codec.envelope(
            document, device_id=self._device_id, epoch=self._outbox.epoch, seq=one.seq, historical=one.historical
        )
        return Message(topics.topic(self._device_id, "reading"), codec.encode(envelope), reading_id=one.id)

    def _status(self, now_s: float) -> list[Message]:
        """The device's state: at birth, on change, and as a heartbeat."""
        if self._last_status is not None and now_s - self._status_looked_s < STATUS_EVERY_S:
            return []
        self._status_looked_s = now_s
        status = DeviceStatus(
            VERSION, self._device_id, online=True, session=self._session, agent=AGENT_VERSION, model=self._model,
            outbox=self._outbox.depth(), last_refusal=self._outbox.last_refusal(),
        )  # fmt: skip
        if status == self._last_status and now_s - self._status_sent_s < HEARTBEAT_S:
            return []
        self._last_status, self._status_sent_s = status, now_s
        payload = codec.encode(msgspec.structs.replace(status, at=self._clocks().at))
        return [Message(topics.topic(self._device_id, "state"), payload, retain=True)]

    def _now_s(self) -> float:
        return self._clocks().monotonic_ns / 1e9
