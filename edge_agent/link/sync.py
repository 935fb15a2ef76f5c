"""Carries the conversation over MQTT 5. The only module that knows paho.

One thread does everything: connect, publish, receive. Each connection has a new client, so that nothing of an old one
is sent again behind the outbox's back, and its own session, so that a late will of an old connection is told apart.
"""

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator
from threading import Event
from typing import Any, Final

import structlog
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode

from edge_agent.link.conversation import Conversation, Message
from edge_agent.link.enrol import Access, EnrolmentError
from protocol.delivery import SEND_WINDOW
from protocol.messages import BrokerAccess

# A half-open line is noticed within twice this.
KEEPALIVE_S: Final = 12
# How long a new reading may wait for this thread to look.
LOOK_EVERY_S: Final = 0.1
# Longer and a healed line stays unused; shorter and a fleet's knocking is a load of its own.
LONGEST_RECONNECT_S: Final = 8.0
LOOK_FOR_ENROLMENT_S: Final = 1.0
GOODBYE_S: Final = 2.0

_log = structlog.get_logger(__name__)


def run(
    conversation: Conversation,
    load_access: Callable[[], Access | None],
    sessions: Iterator[str],
    jitter: Callable[[], float],
    stop: Event,
) -> None:
    """Keep the conversation going until `stop`: wait for an enrolment, connect, and connect again for ever.

    `sessions` names each connection, and never the same way twice. A broker that cannot be reached gives its turn to
    the next of the enrolment's list.
    """
    turn = 0
    while not stop.is_set():
        access = _access(load_access)
        if access is None:
            stop.wait(LOOK_FOR_ENROLMENT_S)
            continue
        brokers = (access.enrolment.broker, *access.enrolment.other_brokers)
        line = Line(conversation, brokers[turn % len(brokers)], access.enrolment.device_id, next(sessions))
        try:
            line.run(stop)
        except (OSError, sqlite3.OperationalError) as error:
            _log.warning("sync interrupted", error=str(error))
        finally:
            line.close()
        turn += not line.was_up
        stop.wait(reconnect_delay_s(jitter()))


def reconnect_delay_s(jitter: float) -> float:
    """Seconds to wait before connecting again; `jitter` in −1…1.

    Anything up to `LONGEST_RECONNECT_S`, evenly: a fleet that lost its broker must not knock all at once, and a line
    that healed must be used within ten seconds, however long it was away. So the wait does not grow.
    """
    return LONGEST_RECONNECT_S * (1 + jitter) / 2


class Line:
    """One connection to the broker, from connecting to its loss."""

    def __init__(self, conversation: Conversation, broker: BrokerAccess, device_id: str, session: str) -> None:
        """The client's id and user name are the device's id; the last will belongs to `session`."""
        self._conversation, self._broker, self._session = conversation, broker, session
        self._readings: dict[int, tuple[str, ...]] = {}
        self.was_up = self._heard = False
        self._client = client = Client(
            CallbackAPIVersion.VERSION2, client_id=device_id, protocol=MQTTProtocolVersion.MQTTv5,
            reconnect_on_failure=False,
        )  # fmt: skip
        client.max_inflight_messages_set(2 * SEND_WINDOW)
        client.username_pw_set(broker.username, broker.password)
        if broker.tls:
            client.tls_set()
        will = conversation.will(session)
        client.will_set(will.topic, will.payload, qos=1, retain=will.retain)
        client.on_connect, client.on_message = self._on_connect, self._on_message
        client.on_publish, client.on_subscribe = self._on_publish, self._on_subscribe

    def run(self, stop: Event) -> None:
        """Talk until the line is lost or `stop` is set."""
        self._client.connect(self._broker.host, self._broker.port, keepalive=KEEPALIVE_S, clean_start=True)
        looked_s = 0.0
        while not stop.is_set():
            code = self._client.loop(LOOK_EVERY_S)
            if code != MQTTErrorCode.MQTT_ERR_SUCCESS:
                _log.warning("broker connection lost", reason=code.name, host=self._broker.host)
                return
            # The loop returns for every packet, and most of them are the broker's own word, which makes no room.
            if self.was_up and (self._heard or time.monotonic() - looked_s >= LOOK_EVERY_S):
                self._heard, looked_s = False, time.monotonic()
                self._publish(self._conversation.due())
        if self.was_up:
            self._goodbye()

    def close(self) -> None:
        """Close the socket, whatever state it is in."""
        self._client.disconnect()
        with contextlib.suppress(OSError):
            self._client.loop(0)

    def _goodbye(self) -> None:
        leaving = self._conversation.leaving()
        info = self._client.publish(leaving.topic, leaving.payload, qos=1, retain=True)
        for _ in range(int(GOODBYE_S / LOOK_EVERY_S)):
            if info.is_published() or self._client.loop(LOOK_EVERY_S) != MQTTErrorCode.MQTT_ERR_SUCCESS:
                return

    def _publish(self, messages: list[Message]) -> None:
        for message in messages:
            info = self._client.publish(message.topic, message.payload, qos=1, retain=message.retain)
            if message.reading_ids:
                self._readings[info.mid] = message.reading_ids

    def _on_connect(self, client: Client, userdata: Any, flags: Any, reason: ReasonCode, properties: Any) -> None:
        if reason.is_failure:
            _log.error("broker refused this device", reason=str(reason), host=self._broker.host)
            return
        _log.info("connected to broker", host=self._broker.host, port=self._broker.port)
        client.subscribe([(topic, 1) for topic in self._conversation.subscriptions])
        self._publish(self._conversation.connected(self._session))
        self.was_up = True

    def _on_message(self, client: Client, userdata: Any, message: MQTTMessage) -> None:
        self._heard = True
        self._conversation.received(message.topic, bytes(message.payload))

    def _on_publish(self, client: Client, userdata: Any, mid: int, reason: ReasonCode, properties: Any) -> None:
        reading_ids = self._readings.pop(mid, None)
        if reading_ids is not None:
            self._conversation.puback(reading_ids, reason.value)

    def _on_subscribe(
        self, client: Client, userdata: Any, mid: int, reasons: list[ReasonCode], properties: Any
    ) -> None:
        for reason in reasons:
            if reason.is_failure:
                _log.error("broker refused a subscription", reason=str(reason))


def _access(load_access: Callable[[], Access | None]) -> Access | None:
    try:
        return load_access()
    except (EnrolmentError, OSError) as error:
        _log.error("enrolment not usable", error=str(error))
        return None
