"""C4: the database does not answer in time. Central acknowledges nothing early, says that it is not ready, keeps within
its memory, goes on serving what it can, and takes everything once the database is itself again."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import asyncpg  # type: ignore[import-untyped]
import httpx
import pytest

from provisioning.processes import Central, module_command, run_once, running_central, wait_for
from tests.faults.database import Postgres, postgres
from tests.faults.fleet import Reader, all_answered
from tests.faults.oracle import Oracle
from tests.faults.record import PATIENCE, Result, is_full_run, record, times
from tests.faults.wire import verdict_of
from tests.system.conftest import PASSWORD, sign_in

READERS = 2
# Goals: not ready is said, and a read answered, within these times; memory.
RED_S, READ_S, MOST_MB = 5.0, 1.0, 512

pytestmark = [pytest.mark.system, pytest.mark.proof("C4")]


@contextmanager
def locked(server: Postgres, mode: str) -> Iterator[None]:
    """The table of runs is somebody else's for a while."""

    async def lock() -> tuple[asyncpg.Connection, asyncpg.transaction.Transaction]:
        connection = await asyncpg.connect(host="127.0.0.1", port=server.port, user="postgres")
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(f"LOCK TABLE runs IN {mode} MODE")
        return connection, transaction

    with asyncio.Runner() as runner:
        connection, transaction = runner.run(lock())
        try:
            yield
        finally:
            runner.run(transaction.rollback())
            runner.run(connection.close())


def memory_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


def ready(central: Central) -> bool:
    try:
        return httpx.get(f"{central.url}/readyz", timeout=10).status_code == 200
    except httpx.HTTPError:
        return False


def seconds_of_reads(api: httpx.Client, count: int) -> list[float]:
    took = []
    for _ in range(count):
        begun_s = time.monotonic()
        api.get("/api/v1/runs").raise_for_status()
        took.append(time.monotonic() - begun_s)
    return took


def test_a_database_that_keeps_central_waiting_is_waited_for(tmp_path: Path) -> None:
    rounds, started_s, oracle = times(1, 10), time.monotonic(), Oracle(tmp_path / "oracle")
    captured, worst_red_s, reads = 0, 0.0, list[float]()
    with ExitStack() as stack:
        server = stack.enter_context(postgres())
        settings = {"WELLREAD_DATABASE_URL": server.url()}
        central = stack.enter_context(running_central(tmp_path / "central", extra=settings))
        add = module_command("central", "user", "add", "admin", "--role", "admin", "--password-stdin")
        run_once(add, stdin=PASSWORD + "\n", extra=settings | {"WELLREAD_DATA_DIR": str(tmp_path / "central")})
        readers = [Reader(tmp_path / f"reader-{n}", oracle, seed=n) for n in range(1, READERS + 1)]
        for reader in readers:
            stack.callback(reader.close)
            reader.enrol(central)
            stack.enter_context(reader.talking())
        api = stack.enter_context(sign_in(central))
        for _ in range(rounds):
            all_answered(readers, 60)
            with locked(server, "EXCLUSIVE"):
                for _ in range(20):
                    captured += 1
                    for reader in readers:
                        reader.capture(captured)
                reads += seconds_of_reads(api, 20)
                assert [reader.waits() for reader in readers] == [20] * READERS
            all_answered(readers, 60)
            with locked(server, "ACCESS EXCLUSIVE"):
                begun_s = time.monotonic()
                wait_for("a red light", lambda: True if not ready(central) else None, 60)
                worst_red_s = max(worst_red_s, time.monotonic() - begun_s)
            wait_for("a green light", lambda: True if ready(central) else None, 60)
        all_answered(readers, 60)
        most_mb = memory_mb(central.process.pid)
        verdict = asyncio.run(verdict_of(server.url(), oracle.path))
    record(
        Result(
            id="C4", part="central", title="Central on a PostgreSQL whose table of runs is locked for seconds",
            faults={"locks": 2 * rounds}, acked=verdict.saved, lost=len(verdict.lost), doubled=len(verdict.doubled),
            altered=len(verdict.altered) + len(verdict.strange), misattributed=len(verdict.misattributed),
            worst_latency_s=worst_red_s, latency_of="to a red light", seconds=time.monotonic() - started_s,
            notes=f"reads at most {max(reads):.2f} s; central's memory at most {most_mb:.0f} MB", full=is_full_run(),
        )
    )  # fmt: skip
    assert verdict.clean
    assert verdict.saved == captured * READERS
    assert most_mb <= MOST_MB
    assert worst_red_s <= PATIENCE * RED_S
    assert max(reads) <= PATIENCE * READ_S
