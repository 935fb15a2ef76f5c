"""E13: little memory, few descriptors, a full /tmp, a slow processor: nothing is lost, and nothing grows for ever."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from threading import Event
from typing import Any, Final

import pytest

from edge_agent.agent import Reader, read_plates
from edge_agent.cameras.frame import Frame
from edge_agent.clock import BootClock, read_clocks
from edge_agent.config import Config, KeepConfig
from edge_agent.outbox.outbox import Outbox
from edge_agent.progress import Progress
from edge_agent.troubles import Troubles
from protocol import codec
from provisioning.processes import module_command, running, wait_for
from tests.faults.record import Result, is_full_run, record, times
from tests.faults.test_clock import see
from tests.make import make_reading
from tests.system.conftest import Bench, bench, photograph

__all__ = ["bench", "photograph"]

MEGABYTE: Final = 1024 * 1024
CAPTURES: Final = times(1000, 1_000_000)
# An outbox remembers the times of its last 20,000 captures, to say how long there is room.
WARM: Final = 25_000
# What central has answered is told this often, and forgotten as often.
SETTLE_EVERY: Final = 200
CGROUPS: Final = Path("/sys/fs/cgroup")
ENOUGH: Final = 256 * MEGABYTE
# An agent that reads this test's photograph takes some 90 MB of its own; with less the kernel ends it, sooner or later.
TOO_LITTLE: Final = tuple(range(62 * MEGABYTE, 92 * MEGABYTE, 2 * MEGABYTE))

pytestmark = [pytest.mark.system, pytest.mark.proof("E13")]


class Camera:
    """Gives so many pictures, each another one, and then ends the day."""

    def __init__(self, count: int, stop: Event, look: Callable[[int], None]) -> None:
        self._count, self._stop, self._look, self.taken = count, stop, look, 0

    def capture(self) -> Frame | None:
        if self.taken == self._count:
            self._stop.set()
            return None
        self.taken += 1
        self._look(self.taken)
        now = read_clocks()
        return Frame(f"photograph {self.taken}".encode() * 100, f"{self.taken}.jpg", now.at, now.monotonic_ns)

    def check(self) -> None:
        """It is there."""

    def close(self) -> None:
        """Nothing is held."""


class Gauge:
    """What a process holds, looked at now and then."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "outbox.db-wal"
        self.resident: list[tuple[int, int]] = []
        self.descriptors: list[int] = []
        self.most_log_bytes = 0

    def look(self, taken: int) -> None:
        """After so many captures."""
        with suppress(FileNotFoundError):
            self.most_log_bytes = max(self.most_log_bytes, self._log.stat().st_size)
        if taken % max(100, CAPTURES // 200) == 0:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            self.resident.append((taken, pages * os.sysconf("SC_PAGE_SIZE")))
            self.descriptors.append(len(os.listdir("/proc/self/fd")))

    def slope_bytes(self) -> float:
        """Growth of the resident memory in bytes per capture: least squares, once everything bounded is full."""
        points = [(taken, size) for taken, size in self.resident if taken >= min(WARM, CAPTURES // 2)]
        mean_taken = sum(taken for taken, _ in points) / len(points)
        mean_bytes = sum(size for _, size in points) / len(points)
        above = sum((taken - mean_taken) * (size - mean_bytes) for taken, size in points)
        return above / sum((taken - mean_taken) ** 2 for taken, _ in points)


def test_a_reader_that_works_for_months_grows_in_nothing(memory_folder: Path) -> None:
    began_s, folder, stop, saved = time.monotonic(), memory_folder / "state", Event(), list[str]()
    clock, gauge, lost = BootClock("boot-1"), Gauge(folder), 0
    outbox = Outbox(folder, session="s1", clocks=clock, ballast_bytes=4096)

    def look(taken: int) -> None:
        nonlocal lost
        gauge.look(taken)
        if taken % SETTLE_EVERY == 0:
            lost += len(saved) - len(outbox.send(saved))
            outbox.settle(saved)
            outbox.prune(timedelta(0), 0)
            saved.clear()

    def say(event: dict[str, Any]) -> None:
        assert event["event"] == "saved", event
        saved.append(event["id"])

    camera = Camera(CAPTURES, stop, look)
    reader = Reader(
        config=Config(state_dir=folder, keep=KeepConfig(free_mb=0)), device_id="bench-1", model=make_reading(1).model,
        outbox=outbox, camera=camera, read=see, say=say, clock=clock, random_bytes=os.urandom,
        troubles=Troubles(lambda: clock().at, say), progress=Progress(),
    )  # fmt: skip
    with closing(outbox):
        read_plates(reader, stop, Event())
        lost += len(saved) - len(outbox.send(saved))
    assert (camera.taken, lost) == (CAPTURES, 0)
    assert max(gauge.descriptors) - min(gauge.descriptors) <= 2
    assert gauge.most_log_bytes <= 8 * MEGABYTE
    growth_mb = gauge.slope_bytes() * 100_000 / MEGABYTE
    # A short run is too short for a slope; it would see a picture that is never let go.
    assert (growth_mb < 1) if CAPTURES >= 2 * WARM else (gauge.resident[-1][1] - gauge.resident[0][1] < 20 * MEGABYTE)
    record(
        Result(
            id="E13", part="captures", title="Synthetic captures in one process, each kept, answered and forgotten",
            counts={"captures": CAPTURES}, acked=CAPTURES, lost=lost, doubled=0, altered=0,
            seconds=time.monotonic() - began_s, full=is_full_run(),
            notes=f"{growth_mb:+.2f} MB per 100,000 captures, log at most {gauge.most_log_bytes / MEGABYTE:.1f} MB, "
            f"{min(gauge.descriptors)} to {max(gauge.descriptors)} descriptors",
        )
    )  # fmt: skip


def test_a_real_agent_reads_with_few_descriptors_and_a_full_temporary_folder(
    bench: Bench, photograph: Path, memory_folder: Path
) -> None:
    with _full_folder(memory_folder) as full:
        command = ["sh", "-c", 'ulimit -n 64; exec "$@"', "sh", *_agent(bench)]
        bench.show(photograph, "a.jpg", "b.jpg")
        with running(command, bench.log, stdout=bench.events_file, extra={"TMPDIR": str(full)}):
            wait_for("two readings", lambda: True if len(bench.events("saved")) == 2 else None, 90)
    assert _held(bench) == [event["id"] for event in bench.events("saved")]
    assert bench.events("trouble") == []


def test_a_real_agent_that_is_ended_for_want_of_memory_loses_and_doubles_nothing(
    bench: Bench, photograph: Path
) -> None:
    began_s, ended, most = time.monotonic(), 0, times(2, 100)
    with _cgroup("memory", "memory.limit_in_bytes", ENOUGH) as group:
        for number in range(most):
            bench.show(photograph, f"{number}.jpg")
            (group / "memory.limit_in_bytes").write_text(str(TOO_LITTLE[number * 7 % len(TOO_LITTLE)]))
            ended += _ended_in_group(group, _agent(bench), lambda n=number: len(_photos(bench)) > n, bench)  # type: ignore[misc]
        (group / "memory.limit_in_bytes").write_text(str(ENOUGH))
        with running(_entering(group, _agent(bench)), bench.log, stdout=bench.events_file):
            wait_for("every photograph to be read", lambda: True if len(_photos(bench)) == most else None, 300)
    assert ended > 0
    saved = [event["id"] for event in bench.events("saved")]
    # Nothing that was said to be saved is gone, and no photograph is there twice.
    held = _held(bench)
    assert set(saved) <= set(held)
    assert len(held) == most
    record(
        Result(
            id="E13", part="memory", title="A real agent ended for want of memory, then given 256 MB",
            counts={"lives": most}, faults={"ended by the kernel": ended}, acked=len(saved), lost=0, doubled=0,
            altered=0, seconds=time.monotonic() - began_s, full=is_full_run(),
        )
    )  # fmt: skip


@pytest.mark.skipif(not is_full_run(), reason="a fifth of a processor takes a minute: FAULTS_FULL=1 (make faults)")
def test_a_real_agent_on_a_fifth_of_a_processor_reads_every_plate(bench: Bench, photograph: Path) -> None:
    began_s = time.monotonic()
    bench.show(photograph, *(f"{number}.jpg" for number in range(5)))
    with (
        _cgroup("cpu", "cpu.cfs_quota_us", 20_000) as group,
        running(_entering(group, _agent(bench)), bench.log, stdout=bench.events_file),
    ):
        wait_for("every photograph to be read", lambda: True if len(_photos(bench)) == 5 else None, 300)
        held_up = dict(line.split() for line in (group / "cpu.stat").read_text().splitlines())
    assert int(held_up["nr_throttled"]) > 0
    saved = [event["id"] for event in bench.events("saved")]
    assert _held(bench) == saved
    record(
        Result(
            id="E13", part="processor", title="A real agent on a fifth of a processor",
            faults={"held up": int(held_up["nr_throttled"])}, acked=len(saved), lost=0,
            doubled=0, altered=0, seconds=time.monotonic() - began_s, full=True,
        )
    )  # fmt: skip


def _agent(bench: Bench) -> list[str]:
    return module_command("edge_agent", "run", "--state-dir", str(bench.state), "--folder", str(bench.inbox), "--json")


def _photos(bench: Bench) -> set[str]:
    return {event["photo"] for event in bench.events("saved")}


def _held(bench: Bench) -> list[str]:
    """Ids of the readings that a reader can still send, in their order; those that were shown, as they were shown."""
    digests = {event["id"]: event["digest"] for event in bench.events("saved")}
    with closing(Outbox(bench.state, session="look")) as outbox:
        held = sorted(outbox.due(1000), key=lambda one: one.seq)
        sent = outbox.send([one.id for one in held])
    assert all(codec.digest(one.document) == digests.get(one.id, codec.digest(one.document)) for one in sent)
    return [one.id for one in sent]


@contextmanager
def _full_folder(folder: Path) -> Iterator[Path]:
    """A file system without a byte left."""
    full = folder / "full"
    full.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(full)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    try:
        with suppress(OSError), (full / "filler").open("wb", buffering=0) as filler:
            while True:
                filler.write(b"x" * 4096)
        yield full
    finally:
        subprocess.run(["umount", str(full)], check=True)


@contextmanager
def _cgroup(kind: str, limit: str, value: int) -> Iterator[Path]:
    """A group of processes with a limit; the test is skipped where none can be made."""
    group = CGROUPS / kind / f"wellread-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / limit).write_text(str(value))
    except OSError as error:
        with suppress(OSError):
            group.rmdir()
        pytest.skip(f"no {kind} group can be made here: {error}")
    with ExitStack() as stack:
        # A group is free a moment after its last process.
        stack.callback(lambda: wait_for(f"{group} to be free", lambda: _is_removed(group), 10))
        yield group


def _is_removed(group: Path) -> bool | None:
    with suppress(OSError):
        group.rmdir()
        return True
    return None


def _entering(group: Path, command: Sequence[str]) -> list[str]:
    return ["sh", "-c", f'echo $$ > {group}/tasks; exec "$@"', "sh", *command]


def _ended_in_group(group: Path, command: Sequence[str], done: Callable[[], bool], bench: Bench) -> bool:
    """Whether the kernel ended the program before it was done; otherwise it is stopped."""
    with running(_entering(group, command), bench.log, stdout=bench.events_file) as process:
        what = "the end of an agent, or of its work"
        wait_for(what, lambda: True if process.poll() is not None or done() else None, 90)
        return process.poll() == -9
