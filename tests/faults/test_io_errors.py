"""E4: a system call of the bench fails, once or from now on: nothing is called saved that is not, and life goes on."""

import json
import os
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from provisioning.processes import module_command, run_once, running, wait_for
from tests.faults.conftest import lives
from tests.faults.kill import Counts
from tests.faults.record import Result, is_full_run, record
from tests.system.conftest import Bench

STRIDE = 149

pytestmark = [pytest.mark.system, pytest.mark.proof("E4")]


@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
@pytest.mark.parametrize("lasting", [False, True], ids=["once", "from then on"])
def test_a_call_that_fails_saves_nothing_falsely(
    tmp_path: Path, memory_folder: Path, strace: str, error: str, lasting: bool
) -> None:
    every = 1 if is_full_run() else STRIDE
    onward = ["--onward"] if lasting else []
    counts = lives(
        "syscalls", memory_folder / "bench", tmp_path / "oracle", "--every", every, "--error", error, *onward
    )
    assert_noticed_or_harmless(counts)
    part = f"{error}{' lasting' if lasting else ''}".replace(" ", "-")
    endings = Counter(counts.endings)
    record(
        Result(
            id="E4", part=part, title=f"{error} at every system call of a short life{', and ever after' * lasting}",
            counts={"noticed": endings["noticed"], "without harm": endings["went on"]},
            faults={f"at {call}": n for call, n in counts.by_call.items()}, acked=counts.saved, lost=counts.lost,
            doubled=counts.doubled, altered=counts.altered + counts.corrupt, misattributed=counts.misattributed,
            seconds=counts.seconds, full=is_full_run(),
        )
    )  # fmt: skip


def assert_noticed_or_harmless(counts: Counts) -> None:
    assert counts.saved > 0
    assert not counts.details
    assert sum(counts.by_call.values()) > 5
    assert set(counts.endings) <= {"noticed", "went on"}
    wrong = (counts.lost, counts.doubled, counts.altered, counts.misattributed, counts.corrupt)
    assert wrong == (0, 0, 0, 0, 0)


def test_an_agent_whose_disk_fails_for_a_while_says_so_and_goes_on(
    tmp_path: Path, bench: Bench, photograph: Path, strace: str
) -> None:
    """The whole program: eight syncs in a row fail; each photograph is saved once all the same, by the same process."""
    photographs, started_s = 8, time.monotonic()
    bench.show(photograph, *(f"{number:02d}.jpg" for number in range(photographs)))
    agent = module_command("edge_agent", "run", "--state-dir", str(bench.state), "--folder", str(bench.inbox), "--json")
    fault = ["-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO:when=12..19"]
    with running([strace, "-f", "-o", str(tmp_path / "strace.log"), *fault, *agent], bench.log,
                 stdout=bench.events_file) as tracer:  # fmt: skip
        try:
            wait_for(
                "every photograph saved",
                lambda: True if len(bench.events("saved")) >= photographs else None,
                timeout_s=120,
            )
            assert tracer.poll() is None
        finally:
            os.killpg(tracer.pid, signal.SIGTERM)
            tracer.wait(20)
    injected = (tmp_path / "strace.log").read_text().count("(INJECTED)")
    saved = bench.events("saved")
    listed = run_once(module_command("edge_agent", "queue", "--state-dir", str(bench.state), "list", "--all", "--json"))
    held = {json.loads(line)["id"] for line in listed.splitlines()}
    record(
        Result(
            id="E4", part="agent", title="A whole agent of which some syncs fail with EIO in a row",
            faults={"EIO": injected}, acked=len(saved), lost=len({one["id"] for one in saved} - held),
            doubled=len(saved) - len({one["photo"] for one in saved}), altered=0, full=is_full_run(),
            seconds=time.monotonic() - started_s,
        )
    )  # fmt: skip
    assert injected > 0
    assert {one["id"] for one in saved} == held
    assert sorted(one["photo"] for one in saved) == [f"{number:02d}.jpg" for number in range(photographs)]
    assert "disk I/O error" in bench.log.read_text()
