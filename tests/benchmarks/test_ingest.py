"""Readings per second into central, bytes to committed run, against a bare batch insert of the same rows."""

import asyncio
import itertools
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from central.db import make_engine, migrate, transaction
from central.intake.ingest import ingest
from central.intake.plan import Delivery, Planned, plan
from central.settings import Settings
from central.tables import devices, runs
from protocol import codec
from protocol.topics import topic
from tests.benchmarks.rounds import side_by_side
from tests.central.postgres import postgres_server
from tests.make import NOON, make_document

pytestmark = pytest.mark.benchmark

BATCHES, BATCH = 5, 100
_numbers = itertools.count(1)


def deliveries() -> list[Delivery]:
    found = []
    for number in itertools.islice(_numbers, BATCH):
        envelope = codec.envelope(make_document(number), device_id="bench-1", epoch="e", seq=number, historical=False)
        found.append(Delivery(topic("bench-1", "reading"), codec.encode(envelope)))
    return found


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database."""
    if request.param == "sqlite":
        yield f"sqlite+aiosqlite:///{tmp_path / 'central.db'}"
        return
    with postgres_server() as server:
        yield server.new_database()


async def prepare(settings: Settings) -> AsyncEngine:
    await migrate(settings)
    engine = make_engine(settings.database)
    row = {
        "id": "bench-1", "name": "Bench", "enrolled_at": NOON, "broker_password_hash": "", "upload_token_sha256": "",
    }  # fmt: skip
    async with transaction(engine) as connection:
        await connection.execute(insert(devices), [row])
    return engine


async def insert_rows(engine: AsyncEngine, rows: list[dict]) -> None:
    async with transaction(engine) as connection:
        await connection.execute(insert(runs), rows)


def test_ingested_readings_per_second(url: str, tmp_path: Path) -> None:
    with asyncio.Runner() as runner:
        engine = runner.run(prepare(Settings(data_dir=tmp_path, database_url=url)))
        now = datetime.now(UTC)

        def ingested(batches: list[list[Delivery]]) -> int:
            for batch in batches:
                runner.run(ingest(engine, batch, now=now))
            return len(batches) * BATCH

        def inserted(batches: list[list[dict]]) -> int:
            for batch in batches:
                runner.run(insert_rows(engine, batch))
            return len(batches) * BATCH

        def planned() -> list[dict]:
            return [each.row for each in (plan(one, now) for one in deliveries()) if isinstance(each, Planned)]

        rounds = 3
        wire = iter([[deliveries() for _ in range(BATCHES)] for _ in range(rounds)])
        rows = iter([[planned() for _ in range(BATCHES)] for _ in range(rounds)])
        side_by_side(
            f"ingest of 96-well readings in batches of {BATCH}, {engine.dialect.name} (ceiling: insert of ready rows)",
            {
                "ingest, bytes to commit": lambda: ingested(next(wire)),
                "bare batch insert": lambda: inserted(next(rows)),
            },
            rounds=rounds,
        )
        runner.run(engine.dispose())
