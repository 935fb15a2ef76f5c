"""C3: one of several centrals on one database, as a process that can be killed: the real ingest, nothing of the broker.

    python -m tests.faults.ingester DATABASE_URL ORACLE --readings N --seed S

It takes the same readings as the others, in its own order and half of them twice, and tells the oracle what it
answered. Started again after a kill it goes on with what has no answer yet.
"""

import argparse
import asyncio
import random
from pathlib import Path
from typing import Final

from central.db import make_engine
from central.intake.ingest import DatabaseUnavailableError, ingest
from tests.faults.oracle import Oracle, facts
from tests.faults.wire import delivery, fact_of
from tests.make import NOON, make_reading_id

BATCH: Final = 40


async def work(url: str, oracle: Oracle, readings: int, seed: str) -> None:
    """Ingest everything that nobody has answered yet."""
    answered = {fact.id for fact in facts(oracle.path, "saved")}
    numbers = [number for number in range(1, readings + 1) if make_reading_id(number) not in answered]
    chance = random.Random(seed)
    numbers += chance.sample(numbers, len(numbers) // 2)
    chance.shuffle(numbers)
    engine = make_engine(url)
    for start in range(0, len(numbers), BATCH):
        batch = [delivery(number) for number in numbers[start : start + BATCH]]
        known = {fact.id: fact for fact in map(fact_of, batch)}
        while True:
            try:
                outcome = await ingest(engine, batch, now=NOON)
                break
            except DatabaseUnavailableError:
                await asyncio.sleep(0.1)
        for _, ack in outcome.acks:
            if ack.rejected:
                raise RuntimeError(f"rejected: {ack.rejected}")
            for reading_id in ack.accepted:
                oracle.say("saved", known[reading_id])
    await engine.dispose()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("oracle", type=Path)
    parser.add_argument("--readings", type=int, required=True)
    parser.add_argument("--seed", required=True)
    given = parser.parse_args()
    asyncio.run(work(given.url, Oracle(given.oracle), given.readings, given.seed))


if __name__ == "__main__":
    main()
