"""The child broker, for real: known devices only, on their own topics; it comes back, and it goes with central."""

import asyncio
import base64
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from central.db import make_engine
from central.fleet.broker import Broker, parse_broker_url, running
from central.fleet.broker_child import BrokerError, end_left_over, find_mosquitto
from central.fleet.devices import revoke
from central.fleet.mosquitto import configuration, password_file, password_hash
from central.settings import Settings
from protocol.messages import BrokerAccess
from protocol.topics import CENTRAL, CENTRAL_STATE, topic
from tests.central.device import connected
from tests.central.waiting import until
from tests.central.wire import enrol
from tests.make import NOON

pytestmark = pytest.mark.anyio


@pytest.fixture
async def sqlite(tmp_path: Path, migrated_file: Path) -> AsyncIterator[AsyncEngine]:
    """An engine on a migrated SQLite database: the broker does not care which one it is."""
    shutil.copy(migrated_file, tmp_path / "central.db")
    engine = make_engine(Settings(data_dir=tmp_path).database)
    yield engine
    await engine.dispose()


def child_pid(data_dir: Path) -> int:
    """The broker's process."""
    return int((data_dir / "broker" / "pid").read_text())


def central_access(broker: Broker) -> BrokerAccess:
    """Central's own way in."""
    return BrokerAccess(broker.address.host, broker.address.port, CENTRAL, broker.password)


def accepts(port: int) -> bool:
    """Whether anything listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@asynccontextmanager
async def two_devices(engine: AsyncEngine, data_dir: Path) -> AsyncIterator[tuple[BrokerAccess, BrokerAccess, Broker]]:
    """A broker with the devices `bench-1` and `bench-2`."""
    async with running(Settings(data_dir=data_dir), engine) as broker:
        one = await enrol(engine, "bench-1", broker.address)
        two = await enrol(engine, "bench-2", broker.address)
        await broker.refresh()
        yield one.broker, two.broker, broker


async def test_a_device_never_receives_what_is_for_another(sqlite: AsyncEngine, tmp_path: Path) -> None:
    async with (
        two_devices(sqlite, tmp_path) as (one, two, broker),
        connected(one, "#", topic("bench-2", "ack"), topic("bench-1", "ack")) as curious,
        connected(two) as other,
        connected(central_access(broker), CENTRAL_STATE) as central,
    ):
        central.publish(topic("bench-2", "ack"), b"for two")
        await until(lambda: other.received, "the answer for bench-2")
        central.publish(topic("bench-1", "ack"), b"for one")
        await until(lambda: curious.received, "the answer for bench-1")
        assert {payload for _, payload in curious.received} == {b"for one"}


async def test_a_device_cannot_speak_as_another_or_as_central(sqlite: AsyncEngine, tmp_path: Path) -> None:
    async with (
        two_devices(sqlite, tmp_path) as (one, _, broker),
        connected(central_access(broker), "wellread/v1/#") as central,
        connected(one) as rogue,
    ):
        for name in (topic("bench-2", "reading"), topic("bench-2", "ack"), topic("bench-1", "ack"), CENTRAL_STATE):
            rogue.publish(name, b"forged")
        rogue.publish(topic("bench-1", "reading"), b"its own")
        await until(lambda: central.received, "the reading of bench-1")
        assert central.received == [(topic("bench-1", "reading"), b"its own")]


async def test_a_device_cannot_throw_another_off(sqlite: AsyncEngine, tmp_path: Path) -> None:
    async with two_devices(sqlite, tmp_path) as (one, two, broker), connected(two) as victim:
        async with connected(one, client_id="bench-2"), connected(central_access(broker), CENTRAL_STATE) as central:
            central.publish(topic("bench-2", "ack"), b"still there")
            await until(lambda: victim.received, "an answer for the victim")
        assert victim.connections == 1


async def test_nobody_comes_in_without_the_right_password(sqlite: AsyncEngine, tmp_path: Path) -> None:
    async with two_devices(sqlite, tmp_path) as (one, _, _broker):
        wrong = msgspec.structs.replace(one, password="wrong")
        async with connected(wrong, refused=True) as device:
            assert device.refusal == "Not authorized"


async def test_a_revoked_device_is_shut_out(sqlite: AsyncEngine, tmp_path: Path) -> None:
    async with two_devices(sqlite, tmp_path) as (one, _, broker), connected(one) as device:
        await revoke(sqlite, "bench-1", now=NOON)
        await broker.refresh()
        await until(lambda: device.refusal, "the end of the connection and of the right to another")


async def test_new_credentials_replace_the_old_ones(sqlite: AsyncEngine, tmp_path: Path) -> None:
    async with two_devices(sqlite, tmp_path) as (old, _, broker):
        new = (await enrol(sqlite, "bench-1", broker.address)).broker
        await broker.refresh()
        async with connected(old, refused=True) as device:
            assert device.refusal == "Not authorized"
        async with connected(new):
            pass


async def test_a_change_made_elsewhere_reaches_the_broker(sqlite: AsyncEngine, tmp_path: Path) -> None:
    async with running(Settings(data_dir=tmp_path), sqlite) as broker:
        enrolment = await enrol(sqlite, "bench-1", broker.address)  # and nobody calls refresh
        async with connected(enrolment.broker):
            pass


async def test_a_killed_broker_comes_back_on_its_port(sqlite: AsyncEngine, tmp_path: Path) -> None:
    async with two_devices(sqlite, tmp_path) as (one, _, broker), connected(one) as device:
        killed = child_pid(tmp_path)
        os.kill(killed, signal.SIGKILL)
        await until(lambda: not device.ready, "the loss of the connection")
        await until(lambda: device.ready, "the connection to the new broker")
        assert child_pid(tmp_path) != killed
        assert broker.address.port == one.port


async def test_the_broker_ends_with_central_and_keeps_its_port(sqlite: AsyncEngine, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    async with running(settings, sqlite) as broker:
        port = broker.address.port
        assert accepts(port)
    assert not accepts(port)
    async with running(settings, sqlite) as broker:
        assert broker.address.port == port


async def test_two_centrals_on_one_folder_are_refused(sqlite: AsyncEngine, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    async with running(settings, sqlite):
        with pytest.raises(BrokerError, match="another central runs"):
            await running(settings, sqlite).__aenter__()
        assert accepts(int((tmp_path / "broker" / "port").read_text()))


async def test_a_port_in_other_hands_is_named(sqlite: AsyncEngine, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(BrokerError, match=rf"port {port}: .*in use"):
            await running(Settings(data_dir=tmp_path, broker_port=port), sqlite).__aenter__()


CENTRAL_THAT_HANGS = """
import asyncio, sys
from pathlib import Path
from central.fleet.broker import running
from central.db import make_engine
from central.settings import Settings

async def main():
    settings = Settings(data_dir=Path(sys.argv[1]))
    async with running(settings, make_engine(settings.database)) as broker:
        print("port", broker.address.port, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_a_killed_central_takes_its_broker_along(sqlite: AsyncEngine, tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", CENTRAL_THAT_HANGS, str(tmp_path)], stdout=subprocess.PIPE) as central:
        assert central.stdout is not None
        while not (line := await asyncio.to_thread(central.stdout.readline)).startswith(b"port "):
            assert line, "central ended"
        port = int(line.split()[1])
        assert accepts(port)
        central.kill()
    await until(lambda: not accepts(port), "the end of the broker")


async def test_a_broker_that_outlived_its_central_is_ended(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "mosquitto.conf").write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nuser root\n")
    command = [find_mosquitto(), "-c", str(tmp_path / "mosquitto.conf")]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as orphan:
        (tmp_path / "pid").write_text(str(orphan.pid))
        await until(lambda: accepts(port), "the broker that will be left over")
        end_left_over(tmp_path)
        assert orphan.wait(5) == -signal.SIGKILL


def test_a_process_that_only_has_the_old_number_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "pid").write_text(str(os.getpid()))
    end_left_over(tmp_path)


def test_a_missing_mosquitto_is_said_with_its_package(tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match="sudo apt-get install mosquitto"):
        find_mosquitto((str(tmp_path),))


async def test_the_password_file_of_a_broker_of_ones_own_is_kept(sqlite: AsyncEngine, tmp_path: Path) -> None:
    passwords = tmp_path / "passwords"
    settings = Settings(broker_url="mqtt://broker.lab", broker_password="s3cret", broker_password_file=str(passwords))
    async with running(settings, sqlite) as broker:
        await enrol(sqlite, "bench-1")
        await broker.refresh()
        users = [line.partition(":")[0] for line in passwords.read_text().splitlines()]
    assert users == ["bench-1", "central"]


def test_a_broker_url_says_host_port_and_tls() -> None:
    address = parse_broker_url("mqtts://broker.lab")
    assert (address.host, address.port, address.tls) == ("broker.lab", 8883, True)
    with pytest.raises(BrokerError, match=r"'http://broker\.lab'"):
        parse_broker_url("http://broker.lab")


def test_passwords_are_in_the_form_of_mosquitto_passwd() -> None:
    # mosquitto_passwd 2.0.11 made this one: password "wellread".
    known = (
        "$7$101$bySlnB+G3PFVCMHn$LK2t3l8/LxgxC9/rlW+vh5pfTGPTh+pIo9Ly"
        "eQ5ZWqI9QiEpxPNn7M7NAjFz9BaKNwVwX3AN6BCWt+Zwxjil5w=="
    )
    assert password_hash("wellread", base64.b64decode(known.split("$")[3])) == known


def test_the_password_file_has_a_line_for_each_user() -> None:
    assert password_file({"b": "$7$2", "a": "$7$1"}) == "a:$7$1\nb:$7$2\n"


def test_the_configuration_listens_on_loopback_for_known_users_only(tmp_path: Path) -> None:
    lines = configuration(tmp_path, 4711, user=None).splitlines()
    assert "listener 4711 127.0.0.1" in lines
    assert "allow_anonymous false" in lines
    assert "use_username_as_clientid true" in lines
