"""The same conversation over the real broker: paho, MQTT 5, a last will, a broker that is killed."""

import itertools
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from edge_agent.clock import BootClock, read_clocks
from edge_agent.link import sync
from edge_agent.link.conversation import Conversation
from edge_agent.link.enrol import Access
from edge_agent.outbox.outbox import Outbox
from protocol import codec, topics
from protocol.messages import BrokerAccess, DeviceStatus, Enrolment
from tests.edge_agent.bench import open_outbox, put, states
from tests.standins import FakeCentral

MOSQUITTO = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/sbin")

pytestmark = pytest.mark.skipif(MOSQUITTO is None, reason="the mosquitto program is not installed")


def wait_for(what: str, ready: Callable[[], bool], timeout_s: float = 20) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not ready():
        assert time.monotonic() < deadline_s, f"{what} did not happen within {timeout_s} s"
        Event().wait(0.02)


class Broker:
    """Mosquitto as a child process on one port of loopback; it keeps nothing when it dies."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._config = folder / "mosquitto.conf"
        self._config.write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\n")
        self.start()

    def start(self) -> None:
        assert MOSQUITTO is not None
        self._process = subprocess.Popen([MOSQUITTO, "-c", str(self._config)], stderr=subprocess.DEVNULL)
        wait_for("the broker's start", self._answers)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def _answers(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False


class ActingCentral:
    """A client that subscribes as central does and acks what it keeps in memory."""

    def __init__(self, port: int) -> None:
        self.statuses: list[DeviceStatus] = []
        self._client = Client(CallbackAPIVersion.VERSION2, client_id="central", protocol=MQTTProtocolVersion.MQTTv5)
        self.kept = FakeCentral(lambda topic, payload: self._client.publish(topic, payload, qos=1) and None)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect, self._client.on_message = self._on_connect, self._on_message
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(self, client: Client, *args: Any) -> None:
        client.subscribe([(topics.ALL_READINGS, 1), (topics.ALL_STATES, 1)])
        topic, payload = FakeCentral.presence(online=True)
        client.publish(topic, payload, qos=1, retain=True)

    def _on_message(self, client: Client, userdata: Any, message: MQTTMessage) -> None:
        if message.topic == topics.topic("bench-1", "state"):
            self.statuses.append(codec.decode(message.payload, DeviceStatus))
        elif message.topic != topics.CENTRAL_STATE:
            self.kept.received(message.topic, message.payload)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    running = Broker(tmp_path)
    yield running
    running.kill()


@contextmanager
def syncing(outbox: Outbox, port: int, enrolled: Event) -> Iterator[Thread]:
    """The agent's sync thread, with access once `enrolled` is set."""
    stop = Event()
    access = Access("", Enrolment("bench-1", "Bench", BrokerAccess("127.0.0.1", port, "bench-1", "secret"), "t"))
    conversation = Conversation(
        outbox, "bench-1", "hi-wells-v1", clocks=read_clocks, jitter=lambda: 0.0,
        boot_clock=BootClock("boot-1"),
    )  # fmt: skip
    thread = Thread(
        target=sync.run,
        args=(
            conversation,
            lambda: access if enrolled.is_set() else None,
            (f"s-{n}" for n in itertools.count(1)),
            lambda: 0.0,
            stop,
        ),
    )
    thread.start()
    try:
        yield thread
    finally:
        stop.set()
        thread.join(10)
        assert not thread.is_alive()


def all_settled(folder: Path, count: int) -> Callable[[], bool]:
    return lambda: sum(state == "settled" for state in states(folder).values()) == count


def test_readings_settle_though_the_broker_is_killed_on_the_way(tmp_path: Path, broker: Broker) -> None:
    enrolled = Event()
    enrolled.set()
    with (
        closing(open_outbox(tmp_path, read_clocks)) as outbox,
        closing(ActingCentral(broker.port)) as central,
        syncing(outbox, broker.port, enrolled),
    ):
        ids = put(outbox, *range(1, 31))
        wait_for("the first answers", lambda: len(central.kept.committed) >= 5)
        broker.kill()
        ids += put(outbox, *range(31, 61))
        broker.start()
        wait_for("all answers", all_settled(tmp_path, 60))
        assert sorted(central.kept.committed) == sorted(ids)


def test_an_enrolment_that_comes_later_starts_the_sync(tmp_path: Path, broker: Broker) -> None:
    enrolled = Event()
    with (
        closing(open_outbox(tmp_path, read_clocks)) as outbox,
        closing(ActingCentral(broker.port)),
        syncing(outbox, broker.port, enrolled),
    ):
        (own,) = put(outbox, 1)
        assert states(tmp_path) == {own: "pending"}
        enrolled.set()
        wait_for("the answer", all_settled(tmp_path, 1))


def test_central_sees_a_birth_and_a_goodbye_of_the_same_session(tmp_path: Path, broker: Broker) -> None:
    enrolled = Event()
    enrolled.set()
    with closing(open_outbox(tmp_path, read_clocks)) as outbox, closing(ActingCentral(broker.port)) as central:
        with syncing(outbox, broker.port, enrolled):
            wait_for("a birth", lambda: bool(central.statuses))
        wait_for("a goodbye", lambda: not central.statuses[-1].online)
    assert {status.session for status in central.statuses} == {"s-1"}
    assert central.statuses[0].online
