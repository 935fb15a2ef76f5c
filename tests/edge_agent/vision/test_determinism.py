"""The same photograph gives the same bytes: again, in another process, with any number of threads.

A thousand repeats are a benchmark; here a few, each number of threads in a process of its own.
"""

from pathlib import Path
from typing import Any

import pytest

from models.training.render import Difficulty, PlateSpec, render_plate
from tests.edge_agent.vision.conftest import jpeg
from tests.edge_agent.vision.reading_process import read_apart


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A well-kept plate and two that are less so."""
    folder = tmp_path_factory.mktemp("photographs")
    kinds: tuple[Difficulty, ...] = ("plain", "varied", "beyond")
    for seed, difficulty in enumerate(kinds, 5002):
        image, _ = render_plate(seed, PlateSpec(difficulty=difficulty, turn_deg=1.0, fill=0.85))
        (folder / f"{difficulty}.jpg").write_bytes(jpeg(image))
    return sorted(folder.iterdir())


def test_threads_and_restarts_change_no_byte(photographs: list[Path]) -> None:
    def outcomes(threads: int, opencv_threads: int) -> list[Any]:
        options = ("--repeats", "3", "--threads", str(threads), "--opencv-threads", str(opencv_threads))
        return [line["outcomes"] for line in read_apart(photographs, *options)]

    first = outcomes(1, 1)
    assert [len(outcome) for outcome in first] == [1, 1, 1]
    assert outcomes(1, 1) == first
    assert outcomes(4, 1) == first
    assert outcomes(1, 4) == first
    assert sum(len(outcome) == 64 for (outcome,) in first) >= 2, first
