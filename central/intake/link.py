"""Central's end of one broker, and the only broker client here: bytes in, acks out.

Messages arrive on the client's own thread and go into a queue on the event loop. A message stays unacknowledged towards
the broker until `acknowledge`, and the broker sends no more than `RECEIVE_MAXIMUM` of those: that is the back pressure,
and the bound on memory, while the database is slow or away. What a device sends beyond its share goes no further than
that thread (`shedding`).
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec
import structlog
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from central.fleet.devices import BrokerAddress
from central.intake.plan import Delivery
from central.intake.shedding import Shares
from protocol.codec import decode, encode
from protocol.errors import RemoteProtocolError
from protocol.messages import VERSION, Ack, CentralStatus
from protocol.topics import ALL_BATCHES, ALL_LEDGERS, ALL_READINGS, ALL_STATES, CENTRAL, CENTRAL_STATE, topic

RECEIVE_MAXIMUM: Final = 400

_KEEPALIVE_S: Final = 30
_GOODBYE_S: Final = 2.0

_log: Final = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Message:
    """A message with what it takes to acknowledge it; `connection` because a number means nothing on the next one."""

    link: "Link"
    connection: int
    mid: int
    qos: int
    delivery: Delivery

    @property
    def channel(self) -> str:
        """`reading`, `readings`, `state` or `ledger`."""
        return self.delivery.topic.rpartition("/")[2]

    def answer(self, device_id: str, ack: Ack) -> None:
        """Send an ack to a device by the broker that this message came by."""
        self.link.answer(device_id, ack)

    def acknowledge(self) -> None:
        """Tell the broker that it may forget this message."""
        self.link.acknowledge(self)


class Link:
    """The client: keeps itself connected and subscribed, says when central is there, hands messages to the loop."""

    def __init__(
        self,
        address: BrokerAddress,
        password: str,
        messages: "asyncio.Queue[Message]",
        instance: str,
        now: Callable[[], datetime],
    ) -> None:
        """`instance` names this run of central on every broker; `messages` may be shared by several links."""
        self.connected = False
        self.shed = 0
        self._shares = Shares()
        self._messages, self._now = messages, now
        self._loop = asyncio.get_running_loop()
        self._connection = 0
        self._instance = instance
        self._was_announced = False
        self._others: set[str] = set()
        self._address = address
        # Two centrals on one broker must not throw each other off, where the broker lets clients name themselves.
        name = f"{CENTRAL}-{instance[:8]}"
        self._client = Client(CallbackAPIVersion.VERSION2, name, protocol=MQTTProtocolVersion.MQTTv5, manual_ack=True)
        self._client.username_pw_set(CENTRAL, password)
        self._client.will_set(CENTRAL_STATE, self._status(online=False), qos=1, retain=True)
        self._client.reconnect_delay_set(1, 5)
        self._client.max_inflight_messages_set(RECEIVE_MAXIMUM)
        # An ack that is dropped here costs one more sending of its readings; a queue without bound costs the server.
        self._client.max_queued_messages_set(10_000)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_disconnect = self._on_disconnect
        self._client.on_message = self._on_message
        if address.tls:
            self._client.tls_set()

    def open(self) -> None:
        """Connect, and go on connecting whenever the broker is away."""
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.ReceiveMaximum = RECEIVE_MAXIMUM
        host, port = self._address.host, self._address.port
        self._client.connect_async(host, port, _KEEPALIVE_S, clean_start=True, properties=properties)
        self._client.loop_start()

    def close(self) -> None:
        """Say goodbye and end the client's thread. Blocks."""
        if self._client.is_connected():
            self._client.publish(CENTRAL_STATE, self._status(online=False), 1, retain=True).wait_for_publish(_GOODBYE_S)
        self._client.disconnect()
        self._client.loop_stop()

    def answer(self, device_id: str, ack: Ack) -> None:
        """Send an ack to its device; if it does not arrive the device asks again.

        It says what time it is when it leaves: a commit may have taken long, and the device sets its clock by this.
        """
        self._client.publish(topic(device_id, "ack"), encode(msgspec.structs.replace(ack, now=self._now())), qos=1)

    def acknowledge(self, message: Message) -> None:
        """Tell the broker that it may forget this message, if it is still the broker that sent it."""
        if message.connection == self._connection and message.qos > 0:
            self._client.ack(message.mid, message.qos)

    def _status(self, *, online: bool) -> bytes:
        return encode(CentralStatus(VERSION, online, self._instance, batches=True))

    def _on_connect(self, client: Client, _data: Any, _flags: Any, reason: ReasonCode, _properties: Any) -> None:
        if reason.is_failure:
            _log.warning("broker_refused", reason=str(reason), host=self._address.host, port=self._address.port)
            return
        self._connection += 1
        self._loop.call_soon_threadsafe(self._begin_again)
        client.subscribe([(name, 1) for name in (ALL_READINGS, ALL_BATCHES, ALL_STATES, ALL_LEDGERS)])

    def _on_subscribe(self, client: Client, _data: Any, _mid: int, reasons: list[ReasonCode], _properties: Any) -> None:
        """Only now would a reading reach us, so only now is central there."""
        if any(reason.is_failure for reason in reasons):
            _log.warning("broker_refused_subscription", reasons=[str(reason) for reason in reasons])
            return
        client.publish(CENTRAL_STATE, self._status(online=True), qos=1, retain=True)
        self._was_announced = True
        self._loop.call_soon_threadsafe(self._set_connected, True)

    def _on_disconnect(self, _client: Client, _data: Any, _flags: Any, reason: ReasonCode, _properties: Any) -> None:
        _log.info("broker_disconnected", reason=str(reason))
        self._loop.call_soon_threadsafe(self._set_connected, False)

    def _on_message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        delivery = Delivery(message.topic, bytes(message.payload), retained=message.retain)
        if delivery.topic == CENTRAL_STATE:
            self._notice_another(delivery.payload)
        arrived = Message(self, self._connection, message.mid, message.qos, delivery)
        if not self._shares.take(message.topic.rpartition("/")[0], self._loop.time()):
            self._shed(arrived)
            return
        self._loop.call_soon_threadsafe(self._messages.put_nowait, arrived)

    def _notice_another(self, payload: bytes) -> None:
        """Say once that another central announced itself here after us: on most brokers there is room for one only."""
        with suppress(RemoteProtocolError):
            instance = decode(payload, CentralStatus).instance
            if self._was_announced and instance != self._instance and instance not in self._others:
                self._others.add(instance)
                expected = "one central, or a broker without use_username_as_clientid, where they throw each other off"
                _log.warning("another_central", host=self._address.host, port=self._address.port, expected=expected)

    def _shed(self, message: Message) -> None:
        """Let go of what is beyond its sender's share, here, before it costs the others anything."""
        self.acknowledge(message)
        self.shed += 1
        if self.shed & (self.shed - 1) == 0:  # the first, second, fourth, …: the log is no place for a flood
            _log.warning("device_floods", topic=message.delivery.topic, shed=self.shed)

    def _set_connected(self, connected: bool) -> None:
        self.connected = connected

    def _begin_again(self) -> None:
        """Forget what an earlier connection left unanswered: it comes again, and two of everything is no bound."""
        waiting = [self._messages.get_nowait() for _ in range(self._messages.qsize())]
        for message in waiting:
            if message.link is not self or message.connection == self._connection:
                self._messages.put_nowait(message)
