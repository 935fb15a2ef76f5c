"""E1: a bench killed at any moment, and at every system call by which it touches the disk or the line."""

from pathlib import Path

import pytest

from tests.faults.conftest import lives
from tests.faults.kill import Counts
from tests.faults.record import PATIENCE, Result, is_full_run, record, times

# A short run kills at every so manieth call.
STRIDE = 61
# A goal: the outbox is open again within this time.
READY_S = 5.0

pytestmark = [pytest.mark.system, pytest.mark.proof("E1")]


def assert_nothing_is_wrong(counts: Counts) -> None:
    assert counts.saved > 0
    assert not counts.details
    wrong = (counts.lost, counts.doubled, counts.altered, counts.misattributed, counts.corrupt)
    assert wrong == (0, 0, 0, 0, 0)


def result(part: str, title: str, counts: Counts, **fields: object) -> Result:
    return Result(
        id="E1", part=part, title=title, acked=counts.saved, lost=counts.lost, doubled=counts.doubled,
        altered=counts.altered + counts.corrupt, misattributed=counts.misattributed, full=is_full_run(),
        worst_latency_s=counts.worst_ready_s, latency_of="to an open outbox", seconds=counts.seconds, **fields,  # type: ignore[arg-type]
    )  # fmt: skip


def test_a_bench_killed_at_random_loses_and_doubles_nothing(tmp_path: Path, memory_folder: Path) -> None:
    counts = lives("random", memory_folder / "bench", tmp_path / "oracle", "--kills", times(500, 10_000), "--seed", 4)
    assert counts.killed == times(500, 10_000)
    assert_nothing_is_wrong(counts)
    assert counts.worst_ready_s <= PATIENCE * READY_S
    faults = {"SIGKILL": counts.killed}
    record(result("random", "Bench killed at random while it captures, sends and prunes", counts, faults=faults,
                  seeds="4"))  # fmt: skip


def test_a_bench_killed_at_a_system_call_loses_and_doubles_nothing(
    tmp_path: Path, memory_folder: Path, strace: str
) -> None:
    every = 1 if is_full_run() else STRIDE
    counts = lives("syscalls", memory_folder / "bench", tmp_path / "oracle", "--every", every)
    assert counts.killed == sum(counts.by_call.values()) > 10
    assert_nothing_is_wrong(counts)
    faults = {f"at {call}": n for call, n in counts.by_call.items()}
    record(result("calls", "Bench killed at every system call of a short life", counts, faults=faults))
