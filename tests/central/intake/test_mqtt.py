"""Ingest over a real broker: an answer only after the commit, poison put aside, nothing lost when a part is away."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import msgspec
import pytest
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncEngine
from structlog.testing import capture_logs

from central.db import reading, transaction
from central.fleet.broker import Broker, running
from central.fleet.broker_child import BrokerChild, find_mosquitto
from central.fleet.devices import BrokerAddress
from central.intake.ingest import NewRun
from central.intake.mqtt import Ingest, run_ingest
from central.settings import Settings
from central.tables import dead_letters, devices, runs
from protocol.codec import digest, encode
from protocol.ledger import Entry, ledger_day
from protocol.messages import VERSION, DeviceStatus, Held, Ledger
from protocol.topics import topic
from tests.central.device import Device, connected
from tests.central.waiting import until
from tests.central.wire import EPOCH, enrol, make_delivery
from tests.make import NOON, make_document, make_reading_id

pytestmark = pytest.mark.anyio


@dataclass
class Central:
    """The running parts and one connected device, `bench-1`."""

    engine: AsyncEngine
    broker: Broker
    ingest: Ingest
    device: Device
    heard: list[NewRun] = field(default_factory=list)

    async def answered(self, *numbers: int) -> None:
        """Send these readings and wait until all of them are accepted."""
        sent = send(self.device, *numbers)
        await until(lambda: sent <= self.device.accepted(), f"the answers to {sorted(sent)}")


@asynccontextmanager
async def central_running(settings: Settings, engine: AsyncEngine) -> AsyncIterator[Central]:
    """A broker, ingest and one enrolled device that has seen central come online."""
    heard: list[NewRun] = []

    def on_runs(new: Sequence[NewRun]) -> None:
        heard.extend(new)

    async with running(settings, engine) as broker:
        enrolment = await enrol(engine, "bench-1", broker.address)
        await broker.refresh()
        async with (
            run_ingest(engine, broker, now=lambda: NOON, on_runs=on_runs) as ingest,
            connected(enrolment.broker) as device,
        ):
            await until(device.central_online, "central's retained state")
            yield Central(engine, broker, ingest, device, heard)


async def count_runs(engine: AsyncEngine) -> int:
    """How many runs there are."""
    async with reading(engine) as connection:
        return await connection.scalar(select(func.count()).select_from(runs)) or 0


async def rename_runs(engine: AsyncEngine, old: str, new: str) -> None:
    """Take the table of runs away from under central, or give it back."""
    async with transaction(engine) as connection:
        await connection.execute(text(f"ALTER TABLE {old} RENAME TO {new}"))


def send(device: Device, *numbers: int) -> set[str]:
    """Send these readings; their ids."""
    for number in numbers:
        delivery = make_delivery(number)
        device.publish(delivery.topic, delivery.payload)
    return {make_reading_id(number) for number in numbers}


async def test_an_answer_names_readings_that_are_committed(settings: Settings, engine: AsyncEngine) -> None:
    async with central_running(settings, engine) as central:
        await central.answered(*range(1, 41))
        assert await count_runs(engine) == 40
        assert {run.id for run in central.heard} == {make_reading_id(number) for number in range(1, 41)}
        assert central.ingest.accepted == 40


async def test_nothing_is_answered_while_the_database_is_away(settings: Settings, engine: AsyncEngine) -> None:
    async with central_running(settings, engine) as central:
        await rename_runs(engine, "runs", "away")
        sent = send(central.device, *range(1, 501))  # more than the broker may hand over unacknowledged
        await until(lambda: central.ingest.database_failures >= 2, "two failed tries")
        assert central.device.acks() == []
        await rename_runs(engine, "away", "runs")
        await until(lambda: central.device.accepted() == sent, "all answers")
        assert await count_runs(engine) == 500


async def test_poison_is_put_aside_once_and_the_good_one_behind_it_answered(
    settings: Settings, engine: AsyncEngine
) -> None:
    async with central_running(settings, engine) as central:
        for _ in range(3):
            central.device.publish(topic("bench-1", "reading"), b"poison")
        sent = send(central.device, 1)
        await until(lambda: central.device.accepted() == sent, "the answer to the good one", within_s=2)

        def refused() -> list[str]:
            return [no.code for ack in central.device.acks() for no in ack.rejected]

        # They may be answered in a batch of their own, after the good one.
        await until(lambda: len(refused()) == 3, "the answers to the poison", within_s=5)
        assert refused() == ["undecodable"] * 3
        async with reading(engine) as connection:
            kept = (await connection.execute(select(dead_letters.c.times))).scalars().all()
        assert kept == [3]


async def test_a_killed_broker_loses_nothing_that_is_sent_again(settings: Settings, engine: AsyncEngine) -> None:
    async with central_running(settings, engine) as central:
        await central.answered(*range(1, 21))
        os.kill(int((settings.data_dir / "broker" / "pid").read_text()), signal.SIGKILL)
        await until(lambda: not central.ingest.connected, "the loss of the broker")
        await until(lambda: central.device.connections == 2 and central.ingest.connected, "both connections")
        await central.answered(*range(11, 31))
        assert await count_runs(engine) == 30


async def test_a_status_and_a_will_reach_the_devices_table(settings: Settings, engine: AsyncEngine) -> None:
    async def status() -> DeviceStatus | None:
        async with reading(engine) as connection:
            found = await connection.scalar(select(devices.c.status))
        return msgspec.convert(found, DeviceStatus | None)

    async with central_running(settings, engine) as central:
        for online in (True, False):
            said = DeviceStatus(VERSION, "bench-1", online, "session-1", agent="0.1.0")
            central.device.publish(topic("bench-1", "state"), encode(said), retain=True)
            await central.answered(1 + online)  # behind the status: once answered, the status was taken
            assert await status() == said


async def test_central_says_goodbye(settings: Settings, engine: AsyncEngine) -> None:
    async with running(settings, engine) as broker:
        enrolment = await enrol(engine, "bench-1", broker.address)
        await broker.refresh()
        async with connected(enrolment.broker) as device:
            async with run_ingest(engine, broker, now=lambda: NOON, on_runs=lambda _: None):
                await until(device.central_online, "central online")
            await until(lambda: not device.central_online(), "central offline")


async def test_readings_of_a_revoked_device_are_refused_although_it_is_connected(
    settings: Settings, engine: AsyncEngine
) -> None:
    async with central_running(settings, engine) as central:
        async with transaction(engine) as connection:
            await connection.execute(devices.update().values(revoked_at=NOON))
        send(central.device, 1)
        await until(lambda: central.device.acks() or central.device.refusal, "the refusal")
        assert await count_runs(engine) == 0


async def test_a_ledger_is_answered_with_what_is_here(settings: Settings, engine: AsyncEngine) -> None:
    async with central_running(settings, engine) as central:
        await central.answered(1, 2, 4)
        here = [Entry(number, digest(make_document(number))) for number in (1, 2, 4)]
        asked = ledger_day("2026-11-20", [*here, Entry(3, "0" * 64), Entry(5, "0" * 64)])
        central.device.publish(topic("bench-1", "ledger"), encode(Ledger(VERSION, "bench-1", EPOCH, (asked,))))
        await until(lambda: [each for ack in central.device.acks() for each in ack.held], "the answer")
        (held,) = [each for ack in central.device.acks() for each in ack.held]
        assert held == Held("2026-11-20", 5, ((1, 2), (4, 4)), ledger_day("2026-11-20", here).digest)


async def test_a_reading_is_not_kept_waiting_by_a_ledger(settings: Settings, engine: AsyncEngine) -> None:
    async with central_running(settings, engine) as central:
        begun = asyncio.Event()

        async def never(*_: object) -> None:
            begun.set()
            await asyncio.Event().wait()

        central.ingest.accounts.answer_one = never  # type: ignore[method-assign]
        central.device.publish(topic("bench-1", "ledger"), encode(Ledger(VERSION, "bench-1", EPOCH)))
        await asyncio.wait_for(begun.wait(), 10)
        await central.answered(1)


async def test_a_ledger_that_is_none_is_a_dead_letter(settings: Settings, engine: AsyncEngine) -> None:
    async with central_running(settings, engine) as central:
        central.device.publish(topic("bench-1", "ledger"), b"rubble")
        await central.answered(1)
        async with reading(engine) as connection:
            kept = (await connection.execute(select(dead_letters.c.topic))).scalars().all()
        assert kept == [topic("bench-1", "ledger")]


async def test_a_device_is_answered_by_whichever_broker_it_came(settings: Settings, engine: AsyncEngine) -> None:
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(running(settings, engine))
        folder = settings.data_dir / "second"
        folder.mkdir()
        address = BrokerAddress("127.0.0.1", free_port())
        child = BrokerChild(folder, address.port, find_mosquitto())
        second = Broker(engine, address, first.password, folder / "passwords", child)
        enrolment = await enrol(engine, "bench-1", first.address)
        await first.refresh()
        await second.refresh()
        await stack.enter_async_context(child.kept_running())
        both = Broker(engine, first.address, first.password, None, None, others=(second.address,))
        ingest = await stack.enter_async_context(run_ingest(engine, both, now=lambda: NOON, on_runs=lambda _: None))
        await until(lambda: all(link.connected for link in ingest.links), "both connections")
        for number, host in enumerate((first.address, second.address), 1):
            access = msgspec.structs.replace(enrolment.broker, port=host.port)
            async with connected(access) as device:
                sent = send(device, number)
                await until(lambda sent=sent, device=device: device.accepted() == sent, f"the answer on {host.port}")
        assert await count_runs(engine) == 2


async def test_two_centrals_that_throw_each_other_off_a_broker_say_so(settings: Settings, engine: AsyncEngine) -> None:
    with capture_logs() as said:
        async with running(settings, engine) as broker:
            one, other = (run_ingest(engine, broker, now=lambda: NOON, on_runs=lambda _: None) for _ in range(2))
            async with one, other:
                await until(
                    lambda: any(entry["event"] == "another_central" for entry in said), "a word about the other"
                )
    (port,) = {entry["port"] for entry in said if entry["event"] == "another_central"}
    assert port == broker.address.port


async def test_two_centrals_share_a_broker_that_lets_clients_name_themselves(
    settings: Settings, engine: AsyncEngine
) -> None:
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(running(settings, engine))
        folder = settings.data_dir / "open"
        folder.mkdir()
        (folder / "passwords").write_text("")
        port = free_port()
        configuration = f"listener {port} 127.0.0.1\nallow_anonymous true\nuser root\n"
        (folder / "mosquitto.conf").write_text(configuration)
        process = await asyncio.create_subprocess_exec(find_mosquitto(), "-c", str(folder / "mosquitto.conf"))
        stack.callback(process.kill)
        there = Broker(engine, BrokerAddress("127.0.0.1", port), first.password, None, None)
        both = [
            await stack.enter_async_context(run_ingest(engine, there, now=lambda: NOON, on_runs=lambda _: None))
            for _ in range(2)
        ]
        await until(lambda: all(one.connected for one in both), "both centrals")
        with pytest.raises(AssertionError, match="one thrown off"):
            await until(lambda: not all(one.connected for one in both), "one thrown off", within_s=0.5)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
