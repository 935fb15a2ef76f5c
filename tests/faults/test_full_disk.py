"""E3: the disk is full, has no names left, or may not be written. Capture stops before it says "saved", sending goes
on, and all is well again as soon as there is room."""

import os
import resource
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import pytest

from edge_agent.config import KeepConfig
from edge_agent.outbox.file import OutboxError
from tests.faults.disks import disk, fill, memory_disk
from tests.faults.life import Bench, Table, sendable
from tests.faults.oracle import Follower, Oracle
from tests.faults.record import PATIENCE, Result, is_full_run, record, times

# Little enough for a small disk, in the same proportion as on a large one.
FREE_MB = 8
BALLAST_BYTES = 16 * 1024 * 1024
DISK_MB = 64
EACH = 3
# A goal: capture is possible again within this time.
RESUMED_S = 5.0

_NOTHING_OLD = timedelta(days=35)
TROUBLES = (OSError, sqlite3.Error, OutboxError)

pytestmark = [pytest.mark.system, pytest.mark.proof("E3")]


@contextmanager
def full_to_the_last_byte(folder: Path) -> Iterator[None]:
    ballast = fill(folder)
    try:
        yield
    finally:
        ballast.unlink()


@contextmanager
def without_names(folder: Path) -> Iterator[None]:
    taken = folder / "names"
    taken.mkdir()
    with suppress(OSError):
        for number in range(1_000_000):
            (taken / f"{number}").touch()
    try:
        yield
    finally:
        for path in taken.iterdir():
            path.unlink()
        taken.rmdir()


@contextmanager
def no_file_may_grow(folder: Path) -> Iterator[None]:
    """Only the oracle may go on writing for a while: it lives in the same process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    longest = folder.with_name("oracle") if folder.with_name("oracle").exists() else Path(os.devnull)
    resource.setrlimit(resource.RLIMIT_FSIZE, (longest.stat().st_size + 6000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


KINDS: dict[str, tuple[Callable[[Path], object], bool]] = {
    "full tmpfs": (full_to_the_last_byte, True),
    "full ext4": (full_to_the_last_byte, True),
    "no names left": (without_names, True),
    "file size limit": (no_file_may_grow, False),
}


class Trial:
    """One bench on one small disk, through many full ones."""

    def __init__(self, folder: Path, ledger: Path) -> None:
        self.folder, self.oracle, self.table = folder, Oracle(ledger), Table()
        self.follower = Follower(ledger)
        self.bench = self._open("life-1")
        self.number, self.refused, self.drained, self.worst_s = 0, 0, 0, 0.0

    def _open(self, session: str) -> Bench:
        keep = KeepConfig(free_mb=FREE_MB)
        return Bench(self.folder, self.oracle, self.table, session, keep=keep, ballast_bytes=BALLAST_BYTES)

    def close(self) -> None:
        """Give everything back."""
        self.bench.close()
        self.oracle.close()

    def capture(self) -> bool:
        """Whether one more plate could be kept."""
        self.number += 1
        try:
            self.bench.capture(self.number)
        except TROUBLES:
            return False
        return True

    def drain(self) -> bool:
        """Whether all that waits could be sent and settled."""
        for _ in range(3):
            try:
                self.bench.outbox.requeue(["all"])
                self.bench.send()
            except TROUBLES:
                continue
        try:
            return self.bench.outbox.depth().pending == 0
        except TROUBLES:
            return False

    def resume(self) -> None:
        """Capture as soon as it can be."""
        started_s = time.monotonic()
        while not self.capture():
            assert time.monotonic() - started_s < 30, "no capture 30 s after there was room"
            time.sleep(0.05)
        self.worst_s = max(self.worst_s, time.monotonic() - started_s)

    def check(self) -> list[str]:
        """What was said to be saved and is neither here nor with central."""
        self.follower.read_on()
        return self.follower.lost(sendable(self.bench.outbox))


def run_cycles(trial: Trial, cycles: int, trouble: Callable[[Path], object], *, must_drain: bool) -> list[str]:
    lost: list[str] = []
    for _ in range(cycles):
        for _ in range(EACH):
            trial.resume()
        trial.bench.outbox.prune(_NOTHING_OLD, 10**9)
        with trouble(trial.folder):  # type: ignore[attr-defined]
            assert not must_drain or trial.bench.outbox.depth().full
            trial.refused += sum(not trial.capture() for _ in range(EACH))
            trial.drained += trial.drain()
        trial.resume()
        lost += trial.check()
    return lost


def drained_in_the_end(trial: Trial) -> bool:
    """An answer that was lost on the way is asked for again after some seconds."""
    until_s = time.monotonic() + 30
    while not trial.drain() and time.monotonic() < until_s:
        time.sleep(0.1)
    return trial.drain()


@pytest.mark.parametrize("kind", KINDS)
def test_a_disk_without_room_takes_nothing_that_was_saved(kind: str, tmp_path: Path) -> None:
    trouble, must_drain = KINDS[kind]
    cycles, started_s = times(5, 50), time.monotonic()
    with ExitStack() as stack:
        if kind == "full ext4":
            folder = stack.enter_context(disk("ext4", DISK_MB + 32)).folder
        elif kind == "file size limit":
            folder = tmp_path
        else:
            folder = stack.enter_context(memory_disk(DISK_MB, inodes=400 if kind == "no names left" else 0))
        trial = Trial(folder / "bench", tmp_path / "oracle")
        stack.callback(trial.close)
        lost = run_cycles(trial, cycles, trouble, must_drain=must_drain)
        assert drained_in_the_end(trial)
    trial.follower.read_on()
    verdict = trial.follower.verdict(one_per_plate=True)
    record(
        Result(
            id="E3", part=kind.replace(" ", "-"), title=f"{kind.capitalize()}: filled and freed under a bench",
            counts={"captures refused": trial.refused, "drained while full": trial.drained},
            faults={"cycles": cycles}, acked=verdict.saved, lost=len(lost) + len(verdict.lost),
            doubled=len(verdict.doubled) + len(verdict.plates_doubled),
            altered=len(verdict.altered) + len(verdict.strange), misattributed=len(verdict.misattributed),
            worst_latency_s=trial.worst_s, latency_of="from room to a capture", full=is_full_run(),
            seconds=time.monotonic() - started_s,
        )
    )  # fmt: skip
    assert not lost
    assert verdict.clean
    assert trial.refused > 0 or not must_drain
    assert trial.drained == cycles or not must_drain
    assert trial.worst_s <= PATIENCE * RESUMED_S


def test_a_read_only_disk_is_said_to_be_one_and_harms_nothing(tmp_path: Path) -> None:
    oracle, table = Oracle(tmp_path / "oracle"), Table()
    with disk("ext4", DISK_MB) as small:
        bench = Bench(small.folder / "bench", oracle, table, "life-1")
        bench.live(range(1, 6))
        bench.close()
        small.remount("ro")
        with pytest.raises(TROUBLES):
            Bench(small.folder / "bench", oracle, table, "life-2").capture(6)
        small.remount("rw")
        again = Bench(small.folder / "bench", oracle, table, "life-3")
        again.live(range(6, 9))
        held = sendable(again.outbox)
        again.close()
        os.sync()
    follower = Follower(tmp_path / "oracle")
    follower.read_on()
    assert follower.lost(held) == []
    assert follower.verdict(held).clean
