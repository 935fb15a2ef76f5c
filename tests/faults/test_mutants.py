"""S2: bugs are planted in the code, one at a time, and the tests must catch each; unharmed, the same tests pass."""

import subprocess
import sys
import time
from collections import Counter

import msgspec
import pytest

from tests.faults.mutants import LONGEST_S, ROOT, Edit, Mutant, Outcome, StaleError, edited_sources
from tests.faults.mutants_table import MUTANTS
from tests.faults.record import Result, is_full_run, record

NAMES = [mutant.name for mutant in MUTANTS]


@pytest.fixture(scope="module")
def outcomes() -> dict[str, Outcome]:
    """What became of each bug, two at a time."""
    started_s = time.monotonic()
    command = [sys.executable, "-m", "tests.faults.mutants"]
    halves = [
        subprocess.Popen([*command, *NAMES[half::2]], cwd=ROOT, stdout=subprocess.PIPE, text=True) for half in (0, 1)
    ]
    lines = [line for half in halves for line in half.communicate()[0].splitlines()]
    found = {one.name: one for one in (msgspec.json.decode(line, type=Outcome) for line in lines)}
    caught = [one for one in found.values() if one.verdict == "caught"]
    record(
        Result(
            id="S2", title="Bugs planted on purpose, each looked for by one named test",
            counts={"planted": len(MUTANTS), "caught": len(caught)}, faults=Counter(kind_of(name) for name in found),
            acked=0, lost=0, doubled=0, altered=0, worst_latency_s=max(one.cpu_s for one in found.values()),
            latency_of="processor time until one was caught", seconds=time.monotonic() - started_s, full=is_full_run(),
        )
    )  # fmt: skip
    return found


def kind_of(name: str) -> str:
    return "found by simulation" if name.endswith("(simulated)") else "found by a test"


@pytest.mark.parametrize("name", NAMES)
def test_a_planted_bug_is_caught(name: str, outcomes: dict[str, Outcome]) -> None:
    outcome = outcomes[name]
    assert outcome.verdict == "caught", f"{outcome.caught_by}: {outcome.output}"
    assert outcome.cpu_s <= LONGEST_S


def test_without_a_bug_nothing_is_found() -> None:
    command = [sys.executable, "-m", "tests.faults.mutants", "--unharmed"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]


def test_there_are_enough_bugs_and_no_two_are_called_the_same() -> None:
    assert len(set(NAMES)) == len(NAMES) >= 25


def test_a_bug_that_no_longer_fits_the_code_is_stale() -> None:
    stale = Mutant("stale", (Edit("protocol.delivery", "no such text", "another"),), "tests/protocol/test_delivery.py")
    with pytest.raises(StaleError, match="has 0 times 'no such text'"):
        edited_sources(stale.edits)
