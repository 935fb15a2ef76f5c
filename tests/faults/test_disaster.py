"""C8: central is lost, and only an older backup is left. Every reading comes back from the readers by itself: one
command for the backup, which is made while central works, and one to restore it into an empty folder."""

import asyncio
import shutil
import signal
import sqlite3
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from provisioning.processes import module_command, run_once, running_central, wait_for
from tests.faults.fleet import Reader, all_answered
from tests.faults.oracle import Oracle
from tests.faults.record import Result, is_full_run, record, times
from tests.faults.wire import verdict_of
from tests.system.conftest import add_admin

RETURN_S = 15 * 60

pytestmark = [pytest.mark.system, pytest.mark.proof("C8")]


def runs_in(data_dir: Path) -> int:
    with closing(sqlite3.connect(f"file:{data_dir / 'central.db'}?mode=ro", uri=True)) as connection:
        return int(connection.execute("SELECT count(*) FROM runs").fetchone()[0])


def capture_all(readers: Sequence[Reader], first: int, count: int) -> None:
    for number in range(first, first + count):
        for reader in readers:
            reader.capture(number)


def test_an_older_backup_is_filled_up_by_the_readers_themselves(tmp_path: Path) -> None:
    devices, each = times(3, 10), times(60, 1000)
    data_dir, backup, oracle = tmp_path / "central", tmp_path / "central.backup", Oracle(tmp_path / "oracle")
    started_s, total = time.monotonic(), devices * each
    with ExitStack() as stack:
        readers = [Reader(tmp_path / f"reader-{n}", oracle, seed=n) for n in range(1, devices + 1)]
        for reader in readers:
            stack.callback(reader.close)
        with running_central(data_dir) as central:
            port = int(central.url.rsplit(":", 1)[1])
            add_admin(data_dir)
            for reader in readers:
                reader.enrol(central)
                stack.enter_context(reader.talking())
            capture_all(readers, 1, each // 2)
            all_answered(readers, 300)
            run_once(module_command("central", "backup", str(backup), "--data-dir", str(data_dir)))
            capture_all(readers, each // 2 + 1, each - each // 2)
            all_answered(readers, 300)
            central.process.send_signal(signal.SIGKILL)
            central.process.wait()
        shutil.rmtree(data_dir)
        lost_s = time.monotonic()
        run_once(module_command("central", "restore", str(backup), "--data-dir", str(data_dir)))
        missing = total - runs_in(data_dir)
        with running_central(data_dir, port=port):
            wait_for(
                "every reading in central", lambda: True if runs_in(data_dir) >= total else None, max(40, each * 1.0)
            )
            back_s = time.monotonic() - lost_s
            all_answered(readers, 60)
    verdict = asyncio.run(verdict_of(f"sqlite+aiosqlite:///{data_dir / 'central.db'}", oracle.path))
    record(
        Result(
            id="C8", title=f"Central lost, an older backup restored, {devices} readers fill it up by themselves",
            counts={"readings that the backup lacked": missing}, faults={"lost centrals": 1}, acked=verdict.saved,
            lost=len(verdict.lost), doubled=len(verdict.doubled), altered=len(verdict.altered) + len(verdict.strange),
            misattributed=len(verdict.misattributed), worst_latency_s=back_s, latency_of="to every reading back",
            seconds=time.monotonic() - started_s, full=is_full_run(),
        )
    )  # fmt: skip
    assert missing == devices * (each - each // 2)
    assert verdict.clean
    assert verdict.saved == total
    assert back_s <= RETURN_S
