"""E1, E2, E4: ends and errors at any moment, and at every system call. A program of its own, because it forks.

    python -m tests.faults.kill random  FOLDER ORACLE --kills N --seed S
    python -m tests.faults.kill syscalls FOLDER ORACLE --every N [--error EIO [--onward]]
    python -m tests.faults.kill cuts DISK ORACLE --kills N --seed S --image FILE --kind ext4

It imports everything once, forks a bench's life (see `life`), ends it at a moment of its choosing, opens the outbox
again as the next start would, and compares with the oracle. The last line that it prints is what it counted, as JSON.
"""

import argparse
import contextlib
import ctypes
import logging
import os
import random
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Final

import msgspec
import structlog

from edge_agent.outbox.file import OutboxError
from edge_agent.outbox.outbox import Outbox
from protocol import codec
from tests.faults.disks import Disk
from tests.faults.life import Bench, Table, sendable
from tests.faults.oracle import Fact, Follower, Oracle

# Where a process of ours touches the disk or the line.
SYSTEM_CALLS: Final = (
    "write", "pwrite64", "fsync", "fdatasync", "rename", "renameat", "unlink", "unlinkat", "ftruncate", "fallocate",
    "openat", "sendto",
)  # fmt: skip
# One injected life: enough plates to meet each of the loop's steps.
PLATES: Final = 7
# Lines of the oracle (some 300 bytes each) after which a life is ended at the latest.
MOST_LEDGER_BYTES: Final = 1500
LONGEST_LIFE_S: Final = 60.0

_PR_SET_PTRACER, _ANYONE = 0x59616D61, -1


class Counts(msgspec.Struct):
    """What a run counted."""

    lives: int = 0
    killed: int = 0
    saved: int = 0
    arrived: int = 0
    lost: int = 0
    doubled: int = 0
    altered: int = 0
    misattributed: int = 0
    corrupt: int = 0
    in_flight: int = 0
    worst_ready_s: float = 0.0
    seconds: float = 0.0
    by_call: dict[str, int] = {}
    endings: dict[str, int] = {}
    details: list[str] = []


class Trial:
    """A folder on which one life after another is lived, and the oracle beside it."""

    def __init__(self, folder: Path, oracle: Path) -> None:
        self.folder, self.oracle = folder, oracle
        self.follower, self.counts, self.table = Follower(oracle), Counts(), Table()
        self._lives = count(1)

    def fork(self, numbers: Callable[[int], Iterator[int]], ready: int | None = None) -> int:
        """A life in a process of its own; it begins when something comes on the descriptor `ready`."""
        session = f"life-{next(self._lives)}"
        first = self._next_plate()
        child = os.fork()
        if child:
            self.counts.lives += 1
            return child
        status = 70
        try:
            if ready is not None:
                ctypes.CDLL(None).prctl(_PR_SET_PTRACER, _ANYONE, 0, 0, 0)
                os.read(ready, 1)
            status = self._live(session, numbers(first))
        finally:
            os._exit(status)

    def _live(self, session: str, numbers: Iterator[int]) -> int:
        """0: lived to the end. 3: the world's trouble was noticed, as the agent's main loop would."""
        oracle = Oracle(self.oracle)
        try:
            bench = Bench(self.folder, oracle, self.table, session)
            bench.live(numbers)
            bench.close()
        except (OSError, sqlite3.Error, OutboxError) as error:
            with contextlib.suppress(OSError):  # this write may be the one that fails
                os.write(2, f"{type(error).__name__}: {error}\n".encode())
            return 3
        return 0

    def _next_plate(self) -> int:
        """A plate that was begun last may have been cut off: it is shown again, as a folder camera shows it."""
        begun = self.follower.events["begun"]
        return max(1, int(begun[-1].plate.rpartition(",")[2])) if begun else 1

    def check(self, what: str, promised: Mapping[str, Fact] | None = None) -> None:
        """Open the outbox as the next start would, and compare what it can send with what was promised.

        With `promised` what was said to be saved later than those was said while its disk was gone already.
        """
        self.follower.read_on()
        for fact in self.follower.events["arrived"][len(self.table.held) :]:
            self.table.held[fact.id] = fact
        started_s = time.monotonic()
        outbox = Outbox(self.folder, session="check")
        self.counts.worst_ready_s = max(self.counts.worst_ready_s, time.monotonic() - started_s)
        try:
            held = sendable(outbox)
            half = [one for one in held if not _picture_is_whole(self.folder, outbox, one)]
        finally:
            outbox.close()
        gone = self.follower.lost(held)
        lost = [one for one in gone if promised is None or one in promised]
        for one in set(gone) - set(lost):
            self.counts.in_flight += 1
            self.follower.forget(one)
        self.counts.lost += len(lost)
        self.counts.corrupt += len(half)
        for one in lost:
            self.follower.waiting.pop(one, None)
        if lost or half:
            self.counts.details.append(f"{what}: lost {lost[:3]}, half pictures {half[:3]}")

    def finish(self) -> Counts:
        """Send what is left, and judge everything once more from the whole ledger."""
        oracle = Oracle(self.oracle)
        bench = Bench(self.folder, oracle, self.table, "last")
        until_s = time.monotonic() + LONGEST_LIFE_S
        while bench.waits() and time.monotonic() < until_s:
            bench.outbox.requeue(["all"])
            bench.send()
            time.sleep(0.02)
        bench.close()
        self.check("the end")
        verdict = self.follower.verdict(one_per_plate=True)
        counts = self.counts
        counts.saved, counts.arrived = verdict.saved, verdict.arrived
        counts.lost = max(counts.lost, len(verdict.lost))
        counts.doubled = len(verdict.doubled) + len(verdict.plates_doubled)
        counts.altered, counts.misattributed = len(verdict.altered) + len(verdict.strange), len(verdict.misattributed)
        counts.corrupt += not _database_is_whole(self.folder)
        return counts


def _picture_is_whole(folder: Path, outbox: Outbox, reading_id: str) -> bool:
    """Whether the photograph of a reading that the device holds is there, whole."""
    (outgoing,) = outbox.send([reading_id])
    picture = codec.decode_reading(outgoing.document).picture
    found = list((folder / "pictures").glob(f"{picture.sha256}*"))
    return len(found) == 1 and sha256(found[0].read_bytes()).hexdigest() == picture.sha256


def _database_is_whole(folder: Path) -> bool:
    with contextlib.closing(sqlite3.connect(folder / "outbox.db")) as connection:
        return bool(connection.execute("PRAGMA integrity_check").fetchone() == ("ok",))


def kill_at_random(trial: Trial, kills: int, seed: int) -> None:
    """End a life at a random moment, `kills` times: half of them while it starts, half after some of its work."""
    chance = random.Random(seed)
    while trial.counts.killed < kills:
        size = trial.oracle.stat().st_size if trial.oracle.exists() else 0
        child = trial.fork(count)
        if chance.random() < 0.5:
            _wait_for_growth(trial.oracle, size + chance.randrange(1, MOST_LEDGER_BYTES))
        time.sleep(chance.uniform(0, 0.02))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            raise RuntimeError(f"a life ended by itself with {os.waitstatus_to_exitcode(status)} (expected none to)")
        trial.counts.killed += 1
        trial.check(f"kill {trial.counts.killed} of seed {seed}")


def cut_at_random(trial: Trial, disk: Disk, cuts: int, seed: int) -> None:
    """Cut the power of the disk that a life is lived on, `cuts` times.

    What the bench was shown before the cut must be there after it. A commit that is under way at the cut may come back
    as done although its disk is gone: such a one is counted by itself, because no bench would have seen it.
    """
    chance = random.Random(seed)
    while trial.counts.killed < cuts:
        size = trial.oracle.stat().st_size if trial.oracle.exists() else 0
        child = trial.fork(count)
        if chance.random() < 0.8:
            _wait_for_growth(trial.oracle, size + chance.randrange(1, MOST_LEDGER_BYTES))
        time.sleep(chance.uniform(0, 0.01))
        trial.follower.read_on()
        promised = dict(trial.follower.waiting)
        disk.cut()
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        disk.unmount()
        disk.mount()
        trial.counts.killed += 1
        trial.check(f"cut {trial.counts.killed} of seed {seed}", promised)


def _wait_for_growth(path: Path, size: int) -> None:
    """Until this much work has been written down; the world may be slow, so work is counted, not time."""
    deadline_s = time.monotonic() + LONGEST_LIFE_S
    while time.monotonic() < deadline_s and not (path.exists() and path.stat().st_size >= size):
        time.sleep(0.001)


def inject_everywhere(trial: Trial, every: int, error: str | None, onward: bool) -> None:
    """For each system call: the fault at its first, second, … call, in steps of `every`, until a life has no such."""
    for place, call in enumerate(SYSTEM_CALLS):
        for at in count(1 + place % every, every):
            ending = _one_injected_life(trial, call, f"{at}+" if onward else f"{at}", error)
            trial.check(f"{error or 'SIGKILL'} at {call} {at}")
            if ending is None:
                break
            trial.counts.by_call[call] = trial.counts.by_call.get(call, 0) + 1
            trial.counts.endings[ending] = trial.counts.endings.get(ending, 0) + 1


def _one_injected_life(trial: Trial, call: str, at: str, error: str | None) -> str | None:
    """How a life ended with the fault at the `at`-th `call`; None if it made fewer of them."""
    log = trial.oracle.with_name("strace.log")
    log.unlink(missing_ok=True)
    hear, tell = os.pipe()
    child = trial.fork(lambda first: iter(range(first, first + PLATES)), hear)
    inject = f"inject=?{call}:{f'error={error}' if error else 'signal=SIGKILL'}:when={at}"
    command = ["strace", "-f", "-o", str(log), "-e", f"trace=?{call}", "-e", inject, "-p", str(child)]
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert tracer.stderr is not None
    said = tracer.stderr.readline()
    if "attached" not in said:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise RuntimeError(f"strace cannot attach: {said.strip()}")
    os.write(tell, b"g")
    _, status = os.waitpid(child, 0)
    tracer.wait()
    tracer.stderr.close()
    os.close(hear)
    os.close(tell)
    if not (log.exists() and ("(INJECTED)" if error else "killed by SIGKILL") in log.read_text(errors="replace")):
        if status:
            raise RuntimeError(f"a life without a fault ended with {status}: {said}")
        return None
    if os.WIFSIGNALED(status):
        trial.counts.killed += 1
        return "killed"
    return {0: "went on", 3: "noticed"}.get(os.WEXITSTATUS(status), "crashed")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("how", choices=["random", "syscalls", "cuts"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("oracle", type=Path)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--error")
    parser.add_argument("--onward", action="store_true", help="the error stays: a dead disk")
    parser.add_argument("--image", type=Path)
    parser.add_argument("--kind", default="ext4")
    given = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    trial, started_s = Trial(given.folder, given.oracle), time.monotonic()
    if given.how == "random":
        kill_at_random(trial, given.kills, given.seed)
    elif given.how == "cuts":
        disk = Disk(given.kind, given.image, given.folder)
        trial.folder = given.folder / "bench"
        cut_at_random(trial, disk, given.kills, given.seed)
    else:
        inject_everywhere(trial, given.every, given.error, given.onward)
    counts = trial.finish()
    counts.seconds = round(time.monotonic() - started_s, 1)
    print(msgspec.json.encode(counts).decode())


if __name__ == "__main__":
    main()
