"""A photograph that ends the process is refused at the third life, and no other is."""

import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent.attempts import EndsTheAgentError, attempted

LIFE = """
import os, sys
from pathlib import Path
from edge_agent.attempts import attempted
with attempted(Path(sys.argv[1]), sys.argv[2]):
    os.abort()
"""


def live_and_die(folder: Path, digest: str) -> None:
    """A process that native code ends while it reads this photograph."""
    ended = subprocess.run([sys.executable, "-c", LIFE, str(folder), digest], capture_output=True, check=False)
    assert ended.returncode < 0, ended.stderr


def test_a_photograph_that_ended_two_lives_is_not_read_in_the_third(tmp_path: Path) -> None:
    for _ in range(2):
        live_and_die(tmp_path, "a")
    with pytest.raises(EndsTheAgentError, match="ended 2 times"), attempted(tmp_path, "a"):
        pytest.fail("it was read")
    with attempted(tmp_path, "a"):  # once refused it is gone from the folder; the same bytes may be tried anew
        pass


def test_a_photograph_that_ended_one_life_is_read_again(tmp_path: Path) -> None:
    live_and_die(tmp_path, "a")
    with attempted(tmp_path, "a"):
        pass
    live_and_die(tmp_path, "a")
    with attempted(tmp_path, "a"):  # what was read in between counts from the start
        pass


def test_another_photograph_is_not_to_blame(tmp_path: Path) -> None:
    for _ in range(2):
        live_and_die(tmp_path, "a")
    with attempted(tmp_path, "b"):
        pass


def test_an_error_of_ours_is_no_life(tmp_path: Path) -> None:
    for _ in range(5):
        with pytest.raises(ValueError, match="no plate"), attempted(tmp_path, "a"):
            raise ValueError("no plate")


def test_a_file_that_is_rubble_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "reading-now.json").write_bytes(b"\xff")
    with attempted(tmp_path, "a"):
        pass
