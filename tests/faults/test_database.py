"""C1, C3, C4, C5: PostgreSQL crashes, is shared by two centrals, is locked, has no disk left. What central acknowledged
is there, once, as it was sent."""

import asyncio
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from central.db import make_engine, migrate
from central.intake.ingest import DatabaseUnavailableError, ingest
from central.intake.plan import Delivery
from central.settings import Settings
from tests.central.wire import enrol
from tests.faults.database import CRASHES, Postgres, postgres
from tests.faults.disks import disk, fill
from tests.faults.oracle import Oracle
from tests.faults.record import PATIENCE, Result, is_full_run, record, times
from tests.faults.wire import delivery, fact_of, verdict_of
from tests.make import NOON, make_reading_id

BATCH = 20
# More than a line of the oracle takes: what was answered is rather too few than too many.
EVENT_BYTES = 400
# Goals: from a crash, and from room on the disk, to the next answer.
SERVING_S, ROOM_S = 10.0, 30.0

_databases = count(1)

pytestmark = pytest.mark.system


class Sender:
    """A device that sends until it is answered, and some of it twice."""

    def __init__(self, oracle: Oracle, chance: random.Random) -> None:
        self._oracle, self._chance, self._numbers = oracle, chance, count(1)
        self._waiting: dict[str, Delivery] = {}
        self._answered: list[Delivery] = []
        self.acked = 0
        self.answered_s = time.monotonic()

    async def send(self, engine: AsyncEngine) -> None:
        """One batch: what waits, something new, something that was answered already; the answers are heard."""
        while len(self._waiting) < BATCH:
            new = delivery(next(self._numbers))
            fact = fact_of(new)
            self._oracle.say("begun", fact)
            self._waiting[fact.id] = new
        batch = list(self._waiting.values()) + self._chance.sample(self._answered, min(5, len(self._answered)))
        self._chance.shuffle(batch)
        outcome = await ingest(engine, batch, now=NOON)
        self.answered_s = time.monotonic()
        for _, ack in outcome.acks:
            assert not ack.rejected
            for reading_id in ack.accepted:
                if (answered := self._waiting.pop(reading_id, None)) is not None:
                    self._oracle.say("saved", fact_of(answered))
                    self._answered.append(answered)
                    self.acked += 1


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with postgres() as running:
        yield running


@pytest.fixture
def url(server: Postgres) -> str:
    """A database of this test's own."""
    name = f"wellread_{next(_databases)}"
    server.wait_until_serving()
    server.execute(f"CREATE DATABASE {name}")
    asyncio.run(migrate(Settings(database_url=server.url(name))))
    return server.url(name)


async def _crash_again_and_again(
    server: Postgres, url: str, sender: Sender, crashes: int, chance: random.Random
) -> list[float]:
    """Seconds from each crash to the next answer."""
    engine, gaps = make_engine(url), []
    await enrol(engine)
    await sender.send(engine)

    async def go_on_sending() -> None:
        while True:
            try:
                await sender.send(engine)
            except DatabaseUnavailableError:
                await asyncio.sleep(0.05)

    sending = asyncio.create_task(go_on_sending())
    for number in range(crashes):
        await asyncio.sleep(chance.uniform(0.0, 0.3))
        crashed_s = time.monotonic()
        kind = CRASHES[number % len(CRASHES)]
        await asyncio.to_thread(server.crash, kind, chance)
        if kind != "SIGKILL of a backend":
            server.start()
        while sender.answered_s < crashed_s + 0.02:
            assert not sending.done(), sending.exception()
            assert time.monotonic() < crashed_s + 60, f"no answer within 60 s of {kind}"
            await asyncio.sleep(0.02)
        gaps.append(sender.answered_s - crashed_s)
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    await engine.dispose()
    return gaps


@pytest.mark.proof("C1")
def test_what_was_acknowledged_outlives_every_crash_of_the_database(server: Postgres, url: str, tmp_path: Path) -> None:
    crashes, started_s, chance = times(10, 500), time.monotonic(), random.Random(11)
    oracle = Oracle(tmp_path / "oracle")
    sender = Sender(oracle, chance)
    gaps = asyncio.run(_crash_again_and_again(server, url, sender, crashes, chance))
    server.wait_until_serving()
    verdict = asyncio.run(verdict_of(url, oracle.path))
    kinds = Counter(str(CRASHES[number % len(CRASHES)]) for number in range(crashes))
    record(
        Result(
            id="C1", title="PostgreSQL crashes in the middle of ingest", faults=dict(kinds), acked=verdict.saved,
            lost=len(verdict.lost), doubled=len(verdict.doubled), altered=len(verdict.altered) + len(verdict.strange),
            misattributed=len(verdict.misattributed), worst_latency_s=max(gaps), latency_of="to the next answer",
            seconds=time.monotonic() - started_s, seeds="11", full=is_full_run(),
        )
    )  # fmt: skip
    assert verdict.clean
    assert verdict.saved == sender.acked >= BATCH * crashes
    assert max(gaps) <= PATIENCE * SERVING_S


@pytest.mark.proof("C3")
def test_two_centrals_on_one_database_take_each_reading_once(url: str, tmp_path: Path) -> None:
    """C3. Both take the same readings, half of them twice, in orders of their own; now and then one is killed."""
    readings, started_s, chance, kills = times(400, 400_000), time.monotonic(), random.Random(12), 0
    wanted = max(2, readings // 2_000)
    oracle = Oracle(tmp_path / "oracle")
    asyncio.run(_enrol_bench(url))

    def start(number: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.faults.ingester", url, str(oracle.path)]
        return subprocess.Popen([*command, "--readings", str(readings), "--seed", f"{number}"])

    working = {number: start(number) for number in (1, 2)}
    try:
        while working:
            time.sleep(0.02)
            for number, process in list(working.items()):
                if process.poll() is not None:
                    assert process.returncode == 0
                    del working[number]
            # By what was answered, not by the clock: a fast machine would be done before it is killed at all.
            answered = oracle.path.stat().st_size / EVENT_BYTES
            if working and kills < wanted and answered > readings * (kills + 1) / (2 * wanted):
                number = chance.choice(list(working))
                working[number].kill()
                working[number].wait()
                kills += 1
                working[number] = start(number + 2 * kills)
    finally:
        for process in working.values():
            process.kill()
            process.wait()
    verdict = asyncio.run(verdict_of(url, oracle.path))
    record(
        Result(
            id="C3", title="Two centrals on one PostgreSQL: the same readings to both, half of them twice, shuffled",
            counts={"answers": verdict.saved}, faults={"centrals killed": kills}, seeds="12", acked=verdict.arrived,
            lost=len(verdict.lost), doubled=len(verdict.doubled), altered=len(verdict.altered) + len(verdict.strange),
            misattributed=len(verdict.misattributed), seconds=time.monotonic() - started_s, full=is_full_run(),
        )
    )  # fmt: skip
    assert verdict.clean
    assert verdict.arrived == readings
    assert kills >= 2


async def _enrol_bench(url: str) -> None:
    engine = make_engine(url)
    await enrol(engine)
    await engine.dispose()


async def _answered_after(engine: AsyncEngine, number: int, gate: asyncio.Event) -> bool:
    """Whether a reading's answer came only after the gate was opened."""
    outcome = await ingest(engine, [delivery(number)], now=NOON)
    assert [ack.accepted for _, ack in outcome.acks] == [(make_reading_id(number),)]
    return gate.is_set()


@pytest.mark.proof("C4")
def test_a_locked_database_is_waited_for_and_answers_nothing_early(url: str) -> None:
    """C4, in part: the table of runs is locked for some seconds, with every connection of the pool waiting for it."""
    readings, locked_s = 12, times(3, 5)

    async def drill() -> list[bool]:
        engine, gate = make_engine(url), asyncio.Event()
        await enrol(engine)
        async with engine.connect() as other:
            await other.execute(text("LOCK TABLE runs IN ACCESS EXCLUSIVE MODE"))
            waiting = [asyncio.create_task(_answered_after(engine, n, gate)) for n in range(1, readings + 1)]
            await asyncio.sleep(locked_s)
            gate.set()
            await other.rollback()
        after = await asyncio.gather(*waiting)
        await engine.dispose()
        return after

    started_s = time.monotonic()
    assert all(asyncio.run(drill()))
    record(
        Result(
            id="C4", title=f"The table of runs locked for {locked_s} s, the pool full of waiting batches",
            faults={"locks": 1}, acked=readings, lost=0, doubled=0, altered=0, full=is_full_run(),
            seconds=time.monotonic() - started_s,
        )
    )  # fmt: skip


@pytest.mark.proof("C5")
def test_a_database_on_a_full_disk_takes_nothing_falsely_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    """C5: nobody but a supervisor that starts PostgreSQL again when it has ended, as systemd does."""
    rounds, started_s, chance = times(2, 20), time.monotonic(), random.Random(13)
    oracle = Oracle(tmp_path / "oracle")
    with disk("ext4", 256) as small, postgres(small.folder) as server:
        asyncio.run(migrate(Settings(database_url=server.url())))
        sender = Sender(oracle, chance)
        gaps = asyncio.run(_fill_again_and_again(server, sender, small.folder, rounds))
        server.wait_until_serving()
        verdict = asyncio.run(verdict_of(server.url(), oracle.path))
    record(
        Result(
            id="C5", title="PostgreSQL's disk (256 MiB ext4) filled to the last byte during ingest, and freed",
            faults={"full disks": rounds}, seeds="13", acked=verdict.saved, lost=len(verdict.lost),
            doubled=len(verdict.doubled), altered=len(verdict.altered) + len(verdict.strange),
            misattributed=len(verdict.misattributed), worst_latency_s=max(gaps), latency_of="from room to an answer",
            seconds=time.monotonic() - started_s, full=is_full_run(),
        )
    )  # fmt: skip
    assert verdict.clean
    assert verdict.saved > 0
    assert max(gaps) <= PATIENCE * ROOM_S


async def _fill_again_and_again(server: Postgres, sender: Sender, folder: Path, rounds: int) -> list[float]:
    """Seconds from the disk's having room again to the next answer."""
    engine, gaps = make_engine(server.url()), []
    await enrol(engine)
    for _ in range(rounds):
        ballast = await asyncio.to_thread(fill, folder)
        refused = False
        until_s = time.monotonic() + 20
        while not refused and time.monotonic() < until_s:
            refused = not await _try(sender, engine)
        assert refused, "a database on a full disk went on for 20 s"
        ballast.unlink()
        room_s = time.monotonic()
        while not await _try(sender, engine):
            server.keep_running()
            await asyncio.sleep(0.1)
        gaps.append(time.monotonic() - room_s)
    await engine.dispose()
    return gaps


async def _try(sender: Sender, engine: AsyncEngine) -> bool:
    try:
        await sender.send(engine)
    except DatabaseUnavailableError:
        return False
    return True
