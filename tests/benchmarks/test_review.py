"""The review page, the queue and a submission's summary in PostgreSQL as runs become many, against the same with few.

`REVIEW_RUNS=1000000` takes the larger database to a million runs (filling it takes some minutes and 2 GB).
"""

import asyncio
import os
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from central.db import make_engine, migrate, transaction
from central.settings import Settings
from tests.central.postgres import postgres_server
from tests.central.review.reviews import RUN, doubtful, read_plate
from tests.central.web import Client, bearer, central, people
from tests.make import make_code

pytestmark = pytest.mark.benchmark

FEW, MANY = 10_000, int(os.environ.get("REVIEW_RUNS", "30000"))
PER_SUBMISSION, ROUNDS = 100, 15
# Every 50th run waits for a reviewer, as on a bench that reads well; the others are copies of a clean one.
FILL = """
    INSERT INTO submissions (id, site_id, name, revision, created_at, created_by, origin)
    SELECT 'sub-' || n, 'main', 'B-' || n, 1, now(), 'system', 'code' FROM generate_series({first}, {last}) n
    WHERE n % {per} = 0;
    INSERT INTO tests (id, submission_id, name, revision)
    SELECT 'test-' || n, 'sub-' || n, 'NDV', 1 FROM generate_series({first}, {last}) n WHERE n % {per} = 0;
    INSERT INTO plates (id, test_id, number, revision, state)
    SELECT 'plate-' || n, 'test-' || (n - n % {per}), n::text, 1, 'read' FROM generate_series({first}, {last}) n;
    INSERT INTO runs (id, device_id, epoch, seq, digest, document, historical, captured_at, received_at, submission,
        test, plate_number, profile, profile_version, plate_format, endpoints, model, image_sha256, boot_id,
        monotonic_ns, clock_quality)
    SELECT 'run-' || n, device_id, 'filled', n, digest, document, historical, captured_at, received_at,
        'B-' || (n - n % {per}), 'NDV', n::text, profile, profile_version, plate_format, endpoints, model, image_sha256,
        boot_id, monotonic_ns, clock_quality
    FROM generate_series({first}, {last}) n JOIN runs r
    ON r.seq = CASE WHEN n % 50 = 0 THEN 1 ELSE 2 END AND r.epoch <> 'filled';
    INSERT INTO run_records (run_id, site_id, plate_id, matched_by, revision, assay_version, worst_grade, flagged)
    SELECT 'run-' || n, 'main', 'plate-' || n, 'code', 1, 1, CASE WHEN n % 50 = 0 THEN 'low' ELSE 'high' END, false
    FROM generate_series({first}, {last}) n;
"""


@pytest.fixture
def url() -> Iterator[str]:
    """An empty PostgreSQL database."""
    with postgres_server() as server:
        yield server.new_database()


async def fill(engine: AsyncEngine, first: int, last: int) -> None:
    """Runs of these numbers, each the one reading of its plate."""
    async with transaction(engine) as connection:
        for statement in FILL.format(first=first, last=last, per=PER_SUBMISSION).split(";"):
            if statement.strip():
                await connection.execute(text(statement))
    async with engine.connect() as connection:
        autocommit = await connection.execution_options(isolation_level="AUTOCOMMIT")
        await autocommit.execute(text("ANALYZE"))


async def milliseconds(ask: Callable[[], Awaitable[object]]) -> float:
    """Median over some rounds, after two to warm up."""
    taken = []
    for _ in range(ROUNDS + 2):
        began = time.perf_counter()
        await ask()
        taken.append((time.perf_counter() - began) * 1000)
    return statistics.median(taken[2:])


async def timed(client: Client, headers: dict[str, str]) -> dict[str, float]:
    """Each request in milliseconds."""

    async def get(path: str) -> None:
        answer = await client.get(path, headers=headers)
        assert answer.status_code == 200, answer.text

    submission = f"B-{PER_SUBMISSION * (FEW // PER_SUBMISSION // 2)}"
    paths = {
        "review of one run": f"/api/v1/runs/{RUN}/review",
        "review queue": "/api/v1/review/queue",
        "summary of a submission of 100 plates": f"/api/v1/submissions/{submission}",
        "one run": f"/api/v1/runs/{RUN}",
    }
    return {name: await milliseconds(lambda path=path: get(path)) for name, path in paths.items()}  # type: ignore[misc]


async def measure(url: str, tmp_path: Path) -> None:
    """Few, then many."""
    settings = Settings(data_dir=tmp_path, database_url=url, port=0)
    await migrate(settings)
    engine = make_engine(settings.database, command_timeout_s=None)
    await people(engine, "viewer")
    await read_plate(engine, 1, wells=doubtful())
    await read_plate(engine, 2, enrolled=True, code=make_code(plate_number="2"))
    found = {}
    async with central(settings) as client:
        for first, last in ((PER_SUBMISSION, FEW), (FEW + PER_SUBMISSION, MANY)):
            await fill(engine, first, last + PER_SUBMISSION - 1)
            found[last] = await timed(client, await bearer(client))
    await engine.dispose()
    print(f"\n{'request':40} {FEW:>10} runs {MANY:>10} runs  ratio")
    for name, few in found[FEW].items():
        many = found[MANY][name]
        print(f"{name:40} {few:12.1f} ms {many:12.1f} ms  {many / few:5.2f}")


def test_review_and_summary_as_runs_become_many(url: str, tmp_path: Path) -> None:
    asyncio.run(measure(url, tmp_path))
