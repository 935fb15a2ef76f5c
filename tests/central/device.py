"""A device's end of the broker, with nothing of the agent's: publishes what it is told and keeps what it receives."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from protocol.codec import decode
from protocol.messages import Ack, BrokerAccess, CentralStatus
from protocol.topics import CENTRAL_STATE, topic
from tests.central.waiting import until


class Device:
    """A connected client."""

    def __init__(self, access: BrokerAccess, subscriptions: tuple[str, ...], client_id: str) -> None:
        """`subscriptions` are topic filters, allowed or not."""
        self.received: list[tuple[str, bytes]] = []
        self.refusal = ""
        self.ready = False
        self.connections = 0
        self._access = access
        self._subscriptions = subscriptions
        self.client = Client(
            CallbackAPIVersion.VERSION2, client_id, protocol=MQTTProtocolVersion.MQTTv5, reconnect_on_failure=True
        )
        self.client.username_pw_set(access.username, access.password)
        self.client.reconnect_delay_set(1, 1)
        self.client.on_connect = self._on_connect
        self.client.on_subscribe = lambda *_: setattr(self, "ready", True)
        self.client.on_disconnect = lambda *_: setattr(self, "ready", False)
        self.client.on_message = self._on_message

    def acks(self) -> list[Ack]:
        """Answers so far."""
        mine = topic(self._access.username, "ack")
        return [decode(payload, Ack) for name, payload in self.received if name == mine]

    def accepted(self) -> set[str]:
        """Reading ids that central has accepted."""
        return {run_id for ack in self.acks() for run_id in ack.accepted}

    def central_online(self) -> bool:
        """What central's retained state said last."""
        said = [decode(payload, CentralStatus).online for name, payload in self.received if name == CENTRAL_STATE]
        return bool(said) and said[-1]

    def publish(self, name: str, payload: bytes, *, retain: bool = False) -> None:
        """Send at QoS 1."""
        self.client.publish(name, payload, qos=1, retain=retain)

    def _on_connect(self, client: Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        self.refusal = str(reason) if reason.is_failure else ""
        if not self.refusal:
            self.connections += 1
            client.subscribe([(name, 1) for name in self._subscriptions])

    def _on_message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        self.received.append((message.topic, bytes(message.payload)))


@asynccontextmanager
async def connected(
    access: BrokerAccess, *subscriptions: str, refused: bool = False, client_id: str = ""
) -> AsyncIterator[Device]:
    """A device that is connected and subscribed (to its answers and central's state, unless told otherwise)."""
    wanted = subscriptions or (topic(access.username, "ack"), CENTRAL_STATE)
    device = Device(access, wanted, client_id or access.username)
    device.client.connect_async(access.host, access.port, keepalive=10)
    device.client.loop_start()
    try:
        await until(lambda: device.refusal if refused else device.ready, "the device's connection")
        yield device
    finally:
        device.client.disconnect()
        await asyncio.to_thread(device.client.loop_stop)
