"""Three ways of bringing readings from a bench to a central database, each killed twice on the way.

ours      outbox → Mosquitto without persistence → central; "saved" is the outbox's commit
bridge    a Mosquitto with persistence at the bench, bridged to central's; "saved" is the local broker's PUBACK; the
          subscriber has a session that the broker keeps, and writes each reading to the database
consumer  QoS 1 to central's Mosquitto with persistence, and the usual consumer: aiomqtt and an SQLAlchemy ORM session
          per message; "saved" is the broker's PUBACK

Every way carries the same documents into SQLite on the same disk. After a third of the readings the bench's side is
killed with SIGKILL (the agent; the local broker; the consumer, which has no bench side), after two thirds the broker in
the middle; both are started again at once. What counts: readings that were called saved and never arrived, readings
that arrived twice, and saved readings per second until the last has arrived or nothing has for ten seconds.
"""

import asyncio
import itertools
import json
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Semaphore, Thread
from typing import Any

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from protocol import codec
from provisioning.processes import module_command, running, running_central, wait_for
from tests.benchmarks.drain import photograph, readings
from tests.make import NOON
from tests.system.conftest import Bench, add_admin

MOSQUITTO = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/sbin")
QUIET_S = 10.0
TOPIC = "plates/bench-1"


@dataclass(frozen=True)
class Result:
    """What became of one way's readings."""

    saved: int
    lost: int
    doubled: int
    seconds: float

    @property
    def per_second(self) -> float:
        """Saved readings that arrived, per second."""
        return (self.saved - self.lost) / self.seconds


def verdict(saved: list[str], arrived: list[str], seconds: float) -> Result:
    """Set algebra over what the bench was told and what the database holds."""
    times = Counter(arrived)
    return Result(len(saved), len(set(saved) - set(times)), sum(n - 1 for n in times.values()), seconds)


class Progress:
    """Ids called saved, one per line in a file that outlives whoever writes it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    def ids(self) -> list[str]:
        """Whole lines only."""
        return self.path.read_text().split("\n")[:-1]

    def wait(self, count: int) -> None:
        """Until so many are saved."""
        wait_for(f"{count} saved readings", lambda: True if len(self.ids()) >= count else None, 600)


def settled(count: Callable[[], int], goal: int) -> float:
    """The moment (monotonic) of the last arrival: the goal is reached, or nothing has come for a while."""
    best, at = count(), time.monotonic()
    while best < goal and time.monotonic() - at < QUIET_S:
        time.sleep(0.2)
        if (now := count()) > best:
            best, at = now, time.monotonic()
    return at


def ours(folder: Path, total: int) -> Result:
    """The agent's outbox and conversation, and central, as they are."""
    bench = Bench(folder)
    with running_central(folder / "central") as central:
        add_admin(folder / "central")
        bench.enrol(central)
        progress = Progress(folder / "saved")
        begun = time.monotonic()
        command = module_command("tests.benchmarks.paths", "agent", str(bench.state), str(total), str(progress.path))
        with running(command, folder / "agent-1.log") as agent:
            progress.wait(total // 3)
            agent.send_signal(signal.SIGKILL)
        with running(command, folder / "agent-2.log"):
            progress.wait(2 * total // 3)
            children = Path(f"/proc/{central.process.pid}/task/{central.process.pid}/children").read_text().split()
            broker = next(pid for pid in children if Path(f"/proc/{pid}/comm").read_text().strip() == "mosquitto")
            subprocess.run(["kill", "-9", broker], check=True)
            progress.wait(total)
            database = folder / "central" / "central.db"
            ended = settled(lambda: len(_ids(database, "runs")), total)
        return verdict(progress.ids(), _ids(database, "runs"), ended - begun)


def agent(state: Path, total: int, saved: Path) -> None:
    """The bench: puts readings one after the other, going on from where an earlier life was killed, and sends them."""
    from edge_agent.clock import BootClock, read_clocks
    from edge_agent.link import sync
    from edge_agent.link.conversation import Conversation
    from edge_agent.link.enrol import load_access
    from edge_agent.outbox.outbox import Outbox

    access = load_access(state, "")
    assert access is not None
    device_id = access.enrolment.device_id
    outbox = Outbox(state, session=str(time.monotonic_ns()))
    conversation = Conversation(
        outbox, device_id, None, clocks=read_clocks, jitter=lambda: 0.0, boot_clock=BootClock("boot")
    )
    sessions = (f"{time.monotonic_ns()}-{number}" for number in itertools.count())
    arguments = (conversation, lambda: access, sessions, lambda: 0.0, Event())
    Thread(target=sync.run, args=arguments, daemon=True).start()
    done = set(saved.read_text().split("\n"))
    with saved.open("a") as file:
        for number, reading in enumerate(readings(total, device_id, NOON), 1):
            if reading.id in done or outbox.was_captured(reading.id):
                if reading.id not in done:
                    file.write(f"{reading.id}\n")
                    file.flush()
                continue
            outbox.put(codec.encode_reading(reading), photograph(number), reading.id)
            file.write(f"{reading.id}\n")
            file.flush()
    while True:
        time.sleep(1)


def bridge(folder: Path, total: int) -> Result:
    """The bench's own Mosquitto keeps what central's cannot take."""
    far = Mosquitto(folder / "far", "persistence true")
    lines = ("persistence true", "connection up", f"address 127.0.0.1:{far.port}", f"topic {TOPIC} out 1",
             "cleansession false", "bridge_protocol_version mqttv50", "restart_timeout 1")  # fmt: skip
    with far.kept_running(), Mosquitto(folder / "near", *lines).kept_running() as near:
        return _published(folder, total, near, kill_first=near.kill, kill_second=far.kill, database_from=far)


def consumer(folder: Path, total: int) -> Result:
    """The consumer of most tutorials."""
    broker = Mosquitto(folder / "broker", "persistence true")
    with broker.kept_running():
        return _published(folder, total, broker, kill_first=None, kill_second=broker.kill, database_from=broker)


def _published(
    folder: Path,
    total: int,
    to: "Mosquitto",
    *,
    kill_first: Callable[[], None] | None,
    kill_second: Callable[[], None],
    database_from: "Mosquitto",
) -> Result:
    database = folder / "runs.db"
    command = module_command("tests.benchmarks.paths", "consume", str(database), str(database_from.port))
    progress = Progress(folder / "saved")
    with _restarting(command, folder / "consumer.log") as kill_consumer:
        wait_for("the consumer's table", lambda: True if database.is_file() and _ids_or_none(database) else None)
        begun = time.monotonic()
        publisher = Thread(target=_publish, args=(to, total, progress.path))
        publisher.start()
        progress.wait(total // 3)
        (kill_first or kill_consumer)()
        progress.wait(2 * total // 3)
        kill_second()
        publisher.join()
        ended = settled(lambda: len(set(_ids(database, "runs"))), total)
    return verdict(progress.ids(), _ids(database, "runs"), ended - begun)


def _publish(to: "Mosquitto", total: int, saved: Path) -> None:
    """QoS 1, at most 32 without a PUBACK; after a loss of the line paho sends again what has none."""
    room, mids = Semaphore(32), itertools.count(1)
    with saved.open("a") as file:
        names: dict[int, str] = {}

        def published(_client: Any, _data: Any, mid: int, _reason: Any, _properties: Any) -> None:
            file.write(f"{names.pop(mid)}\n")
            file.flush()
            room.release()

        client = Client(CallbackAPIVersion.VERSION2, "bench-1", protocol=MQTTProtocolVersion.MQTTv5)
        client.on_publish = published
        client.max_inflight_messages_set(32)
        client.reconnect_delay_set(1, 1)
        client.connect("127.0.0.1", to.port)
        client.loop_start()
        for reading in readings(total, "bench-1", NOON):
            assert room.acquire(timeout=120), "no acknowledgement in two minutes"
            # paho counts its message ids up from 1, so the name is there before any answer can be.
            names[next(mids)] = reading.id
            client.publish(TOPIC, codec.compress(codec.encode_reading(reading)), qos=1)
        for _ in range(32):
            assert room.acquire(timeout=120), "no acknowledgement in two minutes"
        client.disconnect()
        client.loop_stop()


def consume(database: Path, port: int) -> None:
    """aiomqtt and SQLAlchemy's ORM, as tutorials have it: a message, a session, a commit; the client acknowledges."""
    import aiomqtt
    from sqlalchemy import LargeBinary, String
    from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
    from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

    class Base(DeclarativeBase):
        pass

    class Run(Base):
        __tablename__ = "runs"
        number: Mapped[int] = mapped_column(primary_key=True)
        id: Mapped[str] = mapped_column(String(36))
        document: Mapped[bytes] = mapped_column(LargeBinary)

    async def run() -> None:
        engine = create_async_engine(f"sqlite+aiosqlite:///{database}")
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        sessions: async_sessionmaker[AsyncSession] = async_sessionmaker(engine)
        while True:
            try:
                async with aiomqtt.Client(
                    "127.0.0.1", port, identifier="central", protocol=aiomqtt.ProtocolVersion.V311, clean_session=False
                ) as client:
                    await client.subscribe(TOPIC, qos=1)
                    async for message in client.messages:
                        document = codec.decompress(bytes(message.payload))
                        async with sessions() as session:
                            session.add(Run(id=json.loads(document)["id"], document=document))
                            await session.commit()
            except aiomqtt.MqttError:
                await asyncio.sleep(1)

    asyncio.run(run())


class Mosquitto:
    """A broker on a port of its own that is started again whenever it is killed."""

    def __init__(self, folder: Path, *lines: str) -> None:
        folder.mkdir(parents=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self._folder = folder
        options = ("user root", "allow_anonymous true", "set_tcp_nodelay true", f"persistence_location {folder}/")
        (folder / "mosquitto.conf").write_text("\n".join([f"listener {self.port} 127.0.0.1", *options, *lines, ""]))
        self._process: subprocess.Popen[bytes] | None = None

    @contextmanager
    def kept_running(self) -> Iterator["Mosquitto"]:
        """Started now, killed at the end."""
        self._start()
        try:
            yield self
        finally:
            assert self._process is not None
            self._process.kill()
            self._process.wait()

    def kill(self) -> None:
        """SIGKILL, and a new one at once in the same place."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._start()

    def _start(self) -> None:
        assert MOSQUITTO is not None
        command = [MOSQUITTO, "-c", str(self._folder / "mosquitto.conf")]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stderr=log, stdout=log)
        wait_for("the broker's start", self._answers)

    def _answers(self) -> bool | None:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return None
        return True


@contextmanager
def _restarting(command: list[str], log: Path) -> Iterator[Callable[[], None]]:
    """A program, and the way to kill it with SIGKILL and start it again at once."""
    with log.open("ab") as output:
        processes = [subprocess.Popen(command, stderr=output, stdout=output)]

        def kill() -> None:
            processes[-1].kill()
            processes[-1].wait()
            processes.append(subprocess.Popen(command, stderr=output, stdout=output))

        try:
            yield kill
        finally:
            processes[-1].kill()
            processes[-1].wait()


def _ids(database: Path, table: str) -> list[str]:
    connection = sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True, timeout=10)
    try:
        return [row[0] for row in connection.execute(f"SELECT id FROM {table}")]
    finally:
        connection.close()


def _ids_or_none(database: Path) -> bool:
    try:
        return _ids(database, "runs") is not None
    except sqlite3.OperationalError:
        return False


if __name__ == "__main__":
    if sys.argv[1] == "agent":
        agent(Path(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
    else:
        consume(Path(sys.argv[2]), int(sys.argv[3]))
