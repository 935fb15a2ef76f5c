"""C1: PostgreSQL crashes in the middle of ingest. What central acknowledged is there, once, as it was sent."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from central.db import make_engine, migrate, reading
from central.ingest import DatabaseUnavailableError, ingest
from central.plan import Delivery
from central.settings import Settings
from central.tables import runs
from protocol.codec import decode, open_envelope
from protocol.messages import ReadingEnvelope
from tests.central.wire import enrol, make_delivery
from tests.faults.database import CRASHES, Postgres, postgres
from tests.faults.oracle import Fact, Oracle, Verdict, facts, judge
from tests.faults.record import Result, is_full_run, record, times
from tests.make import NOON, make_code

BATCH = 20

pytestmark = pytest.mark.system


def plate_text(number: int) -> str:
    return f"S-1001,NDV,{number}"


def delivery(number: int) -> Delivery:
    return make_delivery(number, code=make_code(plate_number=str(number), text=plate_text(number)))


def fact_of(sent: Delivery) -> Fact:
    envelope = decode(sent.payload, ReadingEnvelope)
    found, _ = open_envelope(envelope)
    plate = found.code.text if found.code else ""
    return Fact(found.id, envelope.digest, envelope.device_id, plate, envelope.epoch, envelope.seq)


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


async def arrived(url: str) -> list[Fact]:
    """What is in the database."""
    engine = make_engine(url)
    columns = (runs.c.id, runs.c.digest, runs.c.device_id, runs.c.submission, runs.c.test, runs.c.plate_number)
    try:
        async with reading(engine) as connection:
            rows = (await connection.execute(select(*columns, runs.c.epoch, runs.c.seq))).all()
    finally:
        await engine.dispose()
    return [Fact(row[0], row[1], row[2], ",".join(row[3:6]), row[6], row[7]) for row in rows]


async def verdict_of(url: str, oracle: Path) -> Verdict:
    return judge(facts(oracle, "begun"), facts(oracle, "saved"), await arrived(url))


@pytest.fixture
def server() -> Iterator[Postgres]:
    with postgres() as running:
        asyncio.run(migrate(Settings(database_url=running.url())))
        yield running


async def _crash_again_and_again(server: Postgres, sender: Sender, crashes: int, chance: random.Random) -> list[float]:
    """Seconds from each crash to the next answer."""
    engine, gaps = make_engine(server.url()), []
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


def test_what_was_acknowledged_outlives_every_crash_of_the_database(server: Postgres, tmp_path: Path) -> None:
    crashes, started_s, chance = times(10, 500), time.monotonic(), random.Random(11)
    oracle = Oracle(tmp_path / "oracle")
    sender = Sender(oracle, chance)
    gaps = asyncio.run(_crash_again_and_again(server, sender, crashes, chance))
    server.wait_until_serving()
    verdict = asyncio.run(verdict_of(server.url(), oracle.path))
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
    assert max(gaps) <= 10
