"""The review page, the queue and a submission's summary in PostgreSQL as runs become many, against the same with few.

`REVIEW_RUNS=1000000` takes the larger database to a million runs (filling it takes some minutes and 2 GB).
"""

import asyncio
import os
import statistics
import time
from collections.abc import Iterator
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
PER_SUBMISSION, ROUNDS = 100, 27
PATHS = {
    "review of one run": f"/api/v1/runs/{RUN}/review",
    "review queue": "/api/v1/review/queue",
    "summary of a submission of 100 plates": f"/api/v1/submissions/B-{FEW // 2}",
    "one run": f"/api/v1/runs/{RUN}",
}
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
def urls() -> Iterator[tuple[str, str]]:
    """Two empty PostgreSQL databases of one server."""
    with postgres_server() as server:
        yield server.new_database(), server.new_database()


async def fill(engine: AsyncEngine, first: int, last: int) -> None:
    """Runs of these numbers, each the one reading of its plate."""
    async with transaction(engine) as connection:
        for statement in FILL.format(first=first, last=last, per=PER_SUBMISSION).split(";"):
            if statement.strip():
                await connection.execute(text(statement))
    async with engine.connect() as connection:
        autocommit = await connection.execution_options(isolation_level="AUTOCOMMIT")
        await autocommit.execute(text("ANALYZE"))


async def filled(url: str, folder: Path, runs: int) -> Settings:
    """A central with so many runs: the first waits for a reviewer."""
    settings = Settings(data_dir=folder, database_url=url, port=0)
    await migrate(settings)
    engine = make_engine(settings.database, command_timeout_s=None)
    await people(engine, "viewer")
    await read_plate(engine, 1, wells=doubtful())
    await read_plate(engine, 2, enrolled=True, code=make_code(plate_number="2"))
    await fill(engine, PER_SUBMISSION, runs + PER_SUBMISSION - 1)
    await engine.dispose()
    return settings


async def asked(client: Client, path: str, headers: dict[str, str]) -> float:
    """How long one request took, in milliseconds."""
    began = time.perf_counter()
    answer = await client.get(path, headers=headers)
    assert answer.status_code == 200, answer.text
    return (time.perf_counter() - began) * 1000


async def measure(urls: tuple[str, str], folder: Path) -> None:
    """The same requests to both in turn, so that a machine that slows down slows both."""
    few, many = [await filled(url, folder, runs) for url, runs in zip(urls, (FEW, MANY), strict=True)]
    print(f"\n{'request':40} {FEW:>10} runs {MANY:>10} runs  ratio")
    async with central(few) as of_few, central(many) as of_many:
        clients = [(of_few, await bearer(of_few)), (of_many, await bearer(of_many))]
        for name, path in PATHS.items():
            taken: list[list[float]] = [[], []]
            for _ in range(ROUNDS):
                for times, (client, headers) in zip(taken, clients, strict=True):
                    times.append(await asked(client, path, headers))
            medians = [statistics.median(times[2:]) for times in taken]
            ratio = medians[1] / medians[0]
            print(f"{name:40} {medians[0]:12.1f} ms {medians[1]:12.1f} ms  {ratio:5.2f}")


def test_review_and_summary_as_runs_become_many(urls: tuple[str, str], tmp_path: Path) -> None:
    asyncio.run(measure(urls, tmp_path))
