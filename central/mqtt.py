"""The only broker client of central: bytes in, acks out. Nothing is acknowledged before its commit.

Messages arrive on the client's own thread and go through a queue to the one loop that commits them in batches. A
message stays unacknowledged towards the broker until then, and the broker sends no more than `_RECEIVE_MAXIMUM` of
those: that is the back pressure, and the bound on memory, while the database is slow or away.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import structlog
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from sqlalchemy.ext.asyncio import AsyncEngine

from central.broker import Broker
from central.broker_child import cancelled
from central.ingest import DatabaseUnavailableError, NewRun, ingest, record_states
from central.plan import Delivery
from protocol.codec import encode
from protocol.messages import VERSION, Ack, CentralStatus
from protocol.topics import ALL_READINGS, ALL_STATES, CENTRAL, CENTRAL_STATE, topic

# A batch is what arrives within this time, up to this many: one synced commit for all of them.
_BATCH_S: Final = 0.015
_BATCH: Final = 200
_RECEIVE_MAXIMUM: Final = 2 * _BATCH

_FIRST_RETRY_S: Final = 0.2
_LONGEST_RETRY_S: Final = 5.0
_KEEPALIVE_S: Final = 30
_GOODBYE_S: Final = 2.0

_log: Final = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Message:
    """A message with what it takes to acknowledge it; `connection` because a number means nothing on the next one."""

    connection: int
    mid: int
    qos: int
    delivery: Delivery

    @property
    def is_state(self) -> bool:
        return self.delivery.topic.endswith("/state")


class _Link:
    """The client: keeps itself connected and subscribed, says when central is there, hands messages to the loop."""

    def __init__(self, broker: Broker) -> None:
        self.messages: asyncio.Queue[_Message] = asyncio.Queue()
        self.connected = False
        self._loop = asyncio.get_running_loop()
        self._connection = 0
        self._instance = uuid.uuid4().hex
        self._address = broker.address
        self._client = Client(
            CallbackAPIVersion.VERSION2, CENTRAL, protocol=MQTTProtocolVersion.MQTTv5, manual_ack=True
        )
        self._client.username_pw_set(CENTRAL, broker.password)
        self._client.will_set(CENTRAL_STATE, self._status(online=False), qos=1, retain=True)
        self._client.reconnect_delay_set(1, 5)
        self._client.max_inflight_messages_set(_RECEIVE_MAXIMUM)
        # An ack that is dropped here costs one more sending of its readings; a queue without bound costs the server.
        self._client.max_queued_messages_set(10_000)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_disconnect = self._on_disconnect
        self._client.on_message = self._on_message
        if broker.address.tls:
            self._client.tls_set()

    def open(self) -> None:
        """Connect, and go on connecting whenever the broker is away."""
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.ReceiveMaximum = _RECEIVE_MAXIMUM
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
        """Send an ack to its device; if it does not arrive the device asks again."""
        self._client.publish(topic(device_id, "ack"), encode(ack), qos=1)

    def acknowledge(self, message: _Message) -> None:
        """Tell the broker that it may forget this message, if it is still the broker that sent it."""
        if message.connection == self._connection and message.qos > 0:
            self._client.ack(message.mid, message.qos)

    def _status(self, *, online: bool) -> bytes:
        return encode(CentralStatus(VERSION, online, self._instance))

    def _on_connect(self, client: Client, _data: Any, _flags: Any, reason: ReasonCode, _properties: Any) -> None:
        if reason.is_failure:
            _log.warning("broker_refused", reason=str(reason), host=self._address.host, port=self._address.port)
            return
        self._connection += 1
        self._loop.call_soon_threadsafe(self._begin_again)
        client.subscribe([(ALL_READINGS, 1), (ALL_STATES, 1)])

    def _on_subscribe(self, client: Client, _data: Any, _mid: int, reasons: list[ReasonCode], _properties: Any) -> None:
        """Only now would a reading reach us, so only now is central there."""
        if any(reason.is_failure for reason in reasons):
            _log.warning("broker_refused_subscription", reasons=[str(reason) for reason in reasons])
            return
        client.publish(CENTRAL_STATE, self._status(online=True), qos=1, retain=True)
        self._loop.call_soon_threadsafe(self._set_connected, True)

    def _on_disconnect(self, _client: Client, _data: Any, _flags: Any, reason: ReasonCode, _properties: Any) -> None:
        _log.info("broker_disconnected", reason=str(reason))
        self._loop.call_soon_threadsafe(self._set_connected, False)

    def _on_message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        delivery = Delivery(message.topic, bytes(message.payload))
        arrived = _Message(self._connection, message.mid, message.qos, delivery)
        self._loop.call_soon_threadsafe(self.messages.put_nowait, arrived)

    def _set_connected(self, connected: bool) -> None:
        self.connected = connected

    def _begin_again(self) -> None:
        """Forget what an earlier connection left unanswered: it comes again, and two of everything is no bound."""
        while not self.messages.empty():
            self.messages.get_nowait()


class Ingest:
    """The running ingest, with its counts for readiness and metrics."""

    def __init__(
        self,
        link: _Link,
        engine: AsyncEngine,
        now: Callable[[], datetime],
        on_runs: Callable[[Sequence[NewRun]], None],
    ) -> None:
        """Counts start at 0."""
        self.accepted = 0
        self.repeated = 0
        self.rejected = 0
        self.database_failures = 0
        self._link = link
        self._engine = engine
        self._now = now
        self._on_runs = on_runs

    @property
    def connected(self) -> bool:
        """Whether readings can arrive: connected to the broker and subscribed."""
        return self._link.connected

    async def run(self) -> None:
        """Commit batch after batch, for ever."""
        while True:
            await self._take(await self._next_batch())

    async def _next_batch(self) -> list[_Message]:
        batch = [await self._link.messages.get()]
        try:
            async with asyncio.timeout(_BATCH_S):
                while len(batch) < _BATCH:
                    batch.append(await self._link.messages.get())
        except TimeoutError:
            pass
        return batch

    async def _take(self, batch: Sequence[_Message]) -> None:
        """Commit and answer a batch; wait for the database as long as it takes."""
        delay_s = _FIRST_RETRY_S
        while True:
            try:
                await self._commit(batch)
                break
            except DatabaseUnavailableError as error:
                self.database_failures += 1
                _log.warning("database_unavailable", error=str(error), messages=len(batch), again_in_s=delay_s)
                await asyncio.sleep(delay_s)
                delay_s = min(2 * delay_s, _LONGEST_RETRY_S)
            except Exception:  # noqa: BLE001  the main loop: a bug met by one message must not stop the others
                if len(batch) > 1:
                    for message in batch:
                        await self._take([message])
                    return
                # Unanswered, the device keeps its reading and sends it again, to a central that has been mended.
                _log.exception("ingest_failed", topic=batch[0].delivery.topic)
                break
        for message in batch:
            self._link.acknowledge(message)

    async def _commit(self, batch: Sequence[_Message]) -> None:
        states = [m.delivery for m in batch if m.is_state and m.delivery.payload and m.delivery.topic != CENTRAL_STATE]
        readings = [m.delivery for m in batch if not m.is_state]
        if states:
            await record_states(self._engine, states, now=self._now())
        if not readings:
            return
        outcome = await ingest(self._engine, readings, now=self._now())
        for device_id, ack in outcome.acks:
            self._link.answer(device_id, ack)
        self.accepted += len(outcome.new)
        self.repeated += outcome.repeated
        self.rejected += outcome.rejected
        if outcome.new:
            self._on_runs(outcome.new)


@asynccontextmanager
async def run_ingest(
    engine: AsyncEngine,
    broker: Broker,
    *,
    now: Callable[[], datetime],
    on_runs: Callable[[Sequence[NewRun]], None],
) -> AsyncIterator[Ingest]:
    """Ingest from the broker for as long as this context is open; `on_runs` hears of new runs after their commit."""
    link = _Link(broker)
    working = Ingest(link, engine, now, on_runs)
    link.open()
    task = asyncio.create_task(working.run())
    try:
        yield working
    finally:
        try:
            await cancelled(task)
        finally:
            await asyncio.to_thread(link.close)
