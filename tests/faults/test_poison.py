"""C6: nothing that a message may hold stops central, is believed by mistake, or holds up the good ones behind it."""

import asyncio
import random
import resource
import shutil
import time
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import select

from central.db import make_engine, migrate, reading
from central.intake.ingest import ingest
from central.intake.plan import Delivery, Planned, plan
from central.settings import Settings
from central.tables import dead_letters, runs
from protocol.codec import digest
from tests.central.wire import enrol
from tests.faults.poison import spoil
from tests.faults.record import PATIENCE, Result, is_full_run, record, times
from tests.faults.wire import delivery
from tests.make import NOON

SEED = 61
BATCH = 50
# Goals: a message is planned, and a good one behind poison answered, within these times.
LONGEST_PLAN_S = 0.1
ANSWERED_S = 2.0

pytestmark = [pytest.mark.system, pytest.mark.proof("C6")]


def test_no_spoilt_message_stops_the_plan(tmp_path: Path) -> None:
    number, chance, started_s = times(20_000, 1_000_000), random.Random(SEED), time.monotonic()
    good = [delivery(n) for n in range(1, 21)]
    found: Counter[str] = Counter()
    worst_s, before_kb = 0.0, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(number):
        spoilt = spoil(chance.choice(good), chance)
        begun_s = time.thread_time()
        planned = plan(spoilt, NOON)
        worst_s = max(worst_s, time.thread_time() - begun_s)
        found["still readings" if isinstance(planned, Planned) else planned.code] += 1
    grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb) / 1024
    record(
        Result(
            id="C6", part="plan", title="Spoilt messages through central's plan", counts=dict(found), seeds=f"{SEED}",
            faults={"spoilt messages": number}, acked=0, lost=0, doubled=0, altered=0, worst_latency_s=worst_s,
            latency_of="for one", seconds=time.monotonic() - started_s, notes=f"memory grew by {grown_mb:.0f} MB",
            full=is_full_run(),
        )
    )  # fmt: skip
    assert worst_s <= PATIENCE * LONGEST_PLAN_S
    assert grown_mb <= 200


async def _through_ingest(folder: Path, batches: int, chance: random.Random) -> tuple[list[float], Counter[str], int]:
    """Seconds per batch, how each message ended, and how many good ones were accepted."""
    await migrate(Settings(data_dir=folder))
    url = f"sqlite+aiosqlite:///{folder / 'central.db'}"
    engine, found, accepted = make_engine(url), Counter[str](), 0
    took: list[float] = []
    sent: list[Delivery] = []
    await enrol(engine)
    for number in range(1, batches + 1):
        good, base = delivery(number), delivery(number + batches)
        poison = [spoil(base, chance) for _ in range(BATCH)]
        begun_s = time.monotonic()
        outcome = await ingest(engine, [*poison, good], now=NOON)
        took.append(time.monotonic() - begun_s)
        accepted += any(_id(good) in ack.accepted for _, ack in outcome.acks)
        sent += poison
    async with reading(engine) as connection:
        letters = set((await connection.execute(select(dead_letters.c.topic, dead_letters.c.digest))).tuples())
        held = set(await connection.scalars(select(runs.c.digest)))
    await engine.dispose()
    found["in dead letters"], found["runs of them"] = len(letters), len(held) - accepted
    for each in sent:
        if (each.topic, digest(each.payload)) not in letters:
            planned = plan(each, NOON)
            found["unaccounted for"] += not (isinstance(planned, Planned) and planned.row["digest"] in held)
    return took, found, accepted


def _id(good: Delivery) -> str:
    planned = plan(good, NOON)
    assert isinstance(planned, Planned)
    return str(planned.row["id"])


def test_a_good_reading_behind_poison_is_answered_at_once(tmp_path: Path, memory_folder: Path) -> None:
    batches, chance, started_s = times(25, 2_000), random.Random(SEED + 1), time.monotonic()
    took, found, accepted = asyncio.run(_through_ingest(memory_folder, batches, chance))
    shutil.rmtree(memory_folder, ignore_errors=True)
    record(
        Result(
            id="C6", part="ingest", title=f"A good reading behind {BATCH} spoilt ones, again and again",
            counts=dict(found), faults={"spoilt messages": batches * BATCH}, seeds=f"{SEED + 1}", acked=accepted,
            lost=batches - accepted, doubled=0, altered=0, worst_latency_s=max(took), latency_of="to the answer",
            seconds=time.monotonic() - started_s, full=is_full_run(),
        )
    )  # fmt: skip
    assert accepted == batches
    assert found["unaccounted for"] == 0
    assert max(took) <= PATIENCE * ANSWERED_S
