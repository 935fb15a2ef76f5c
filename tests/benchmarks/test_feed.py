"""The feed and single runs read over HTTP from PostgreSQL, few and many of them, beside FastAPI and asyncpg.

Both answer the same statement in one process each; central also checks the key, the site and the quota, and shapes the
answer. `FASTAPI_PYTHON` names the Python of the peer (see `make_api_baseline.sh`); `FEED_RUNS=1000000` takes the
larger database to a million runs.
"""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest
from sqlalchemy import BigInteger, String, bindparam, literal_column, make_url, select, text
from sqlalchemy.dialects.postgresql import asyncpg

from central.audit.chain import COMMAND
from central.db import make_engine, transaction
from central.people.keys import create_key
from central.results.queries import select_runs
from central.tables import changes, runs
from tests.benchmarks.rounds import side_by_side
from tests.benchmarks.test_review import filled
from tests.central.postgres import postgres_server
from tests.faults.database import free_port
from tests.make import NOON, make_reading_id

pytestmark = pytest.mark.benchmark

FEW, MANY = 10_000, int(os.environ.get("FEED_RUNS", "30000"))
PEER: Final = os.environ.get("FASTAPI_PYTHON", "")
PAGE, AT_ONCE, REQUESTS, ROUNDS = 100, 4, 400, 3
HERE: Final = Path(__file__).parent
FILL: Final = """
    INSERT INTO changes (number, at, kind, site_id, run_id, revision)
    SELECT n, now(), 'run.accepted', 'main', 'run-' || n, 1
    FROM generate_series((SELECT number FROM changes_tip) + 1, (SELECT number FROM changes_tip) + {runs}) n;
    UPDATE changes_tip SET number = (SELECT max(number) FROM changes)
"""


def statements() -> list[str]:
    """What central asks for a page of the feed, and for a run, with one parameter each."""
    feed = (
        select(changes)
        .where(changes.c.number > bindparam("after", type_=BigInteger))
        .order_by(changes.c.number)
        .limit(literal_column(str(PAGE + 1)))
    )
    run = select_runs().where(runs.c.id == bindparam("id", type_=String))
    return [str(query.compile(dialect=asyncpg.dialect())) for query in (feed, run)]


async def prepare(url: str, folder: Path, number: int) -> list[str]:
    """A central's database with so many runs in its feed; keys, each with a quota of its own."""
    settings = await filled(url, folder, number)
    engine = make_engine(settings.database, command_timeout_s=None)
    async with transaction(engine) as connection:
        for statement in FILL.format(runs=number).split(";"):
            await connection.execute(text(statement))
    keys = [
        (
            await create_key(
                engine, title=f"bench {at}", site_id="main", scopes=["results:read"],
                expires_at=NOON + timedelta(days=3650), actor=COMMAND, now=NOON,
            )
        )[1]
        for at in range(8)
    ]  # fmt: skip
    await engine.dispose()
    return keys


@contextmanager
def server(port: int, *command: object) -> Iterator[None]:
    """A process that serves at this port."""
    process = subprocess.Popen([str(word) for word in command])
    try:
        asyncio.run(_up(port, process))
        yield
    finally:
        process.kill()
        process.wait()


async def _up(port: int, process: subprocess.Popen[bytes]) -> None:
    until_s = time.monotonic() + 60
    while time.monotonic() < until_s:
        assert process.poll() is None, "the server ended"
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            await writer.wait_closed()
            return
        except OSError:
            await asyncio.sleep(0.1)
    raise TimeoutError(f"nobody serves at port {port}")


async def ask(port: int, paths: list[str], key: str) -> int:
    """These, over a few connections that stay open; how many were answered with 200."""
    left = iter(paths)
    return sum(await asyncio.gather(*(_ask_on_one(port, left, key) for _ in range(AT_ONCE))))


async def _ask_on_one(port: int, left: Iterator[str], key: str) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answered = 0
    for path in left:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        assert head.startswith(b"http/1.1 200"), head
        await reader.readexactly(int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0]))
        answered += 1
    writer.close()
    await writer.wait_closed()
    return answered


@pytest.mark.skipif(not PEER, reason="no peer (FASTAPI_PYTHON: see make_api_baseline.sh)")
@pytest.mark.parametrize("number", [FEW, MANY])
def test_feed_and_run_reads_per_second(number: int, tmp_path: Path) -> None:
    ours, theirs = free_port(), free_port()
    with postgres_server() as database:
        url = database.new_database()
        keys = iter(asyncio.run(prepare(url, tmp_path, number)))
        plain = make_url(url).set(drivername="postgresql").render_as_string(False)
        commands = (
            (ours, sys.executable, "-m", "tests.benchmarks.api_central", ours, url, tmp_path),
            (theirs, PEER, HERE / "api_baseline.py", theirs, plain, *statements()),
        )
        with server(*commands[0]), server(*commands[1]):
            step = max(1, number // REQUESTS)
            feed = [f"/api/v1/changes?after={at * step % (number - PAGE)}&limit={PAGE}" for at in range(REQUESTS)]
            run = [f"/api/v1/runs/{make_reading_id(1 + at % 2)}" for at in range(REQUESTS)]  # the others are filled in
            for title, paths in ((f"pages of {PAGE} of the feed", feed), ("single runs", run)):
                key = next(keys)
                ways = {
                    "central": lambda paths=paths, key=key: asyncio.run(ask(ours, paths, key)),
                    "FastAPI and asyncpg": lambda paths=paths: asyncio.run(ask(theirs, paths, "")),
                }
                side_by_side(f"{title} among {number} runs", ways, rounds=ROUNDS)
