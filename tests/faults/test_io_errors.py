"""E4: a system call of the bench fails, once or from now on: nothing is called saved that is not, and life goes on."""

from collections import Counter
from pathlib import Path

import pytest

from tests.faults.conftest import lives
from tests.faults.kill import Counts
from tests.faults.record import Result, is_full_run, record

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
