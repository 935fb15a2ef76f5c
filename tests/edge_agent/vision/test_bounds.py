"""What reading may cost in memory: measured in processes of their own. Times are printed by the benchmarks."""

from pathlib import Path
from typing import Any

import cv2
import pytest

from models.training.render import PlateSpec, render_plate
from tests.edge_agent.vision.conftest import jpeg
from tests.edge_agent.vision.odd_files import large_files
from tests.edge_agent.vision.reading_process import read_apart

MOST_RESIDENT_MB = 150
MOST_EXTRA_MB = 200


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photograph as the bench takes it."""
    path = tmp_path_factory.mktemp("usual") / "usual.jpg"
    path.write_bytes(jpeg(render_plate(7, PlateSpec(size_px=(1700, 1200)))[0]))
    return path


@pytest.fixture(scope="module")
def outcomes(usual: Path) -> dict[str, dict[str, Any]]:
    """What one process made of the usual photograph and of all large files, one after the other."""
    files = [usual]
    for name, content in large_files(cv2.imread(str(usual))).items():
        files.append(usual.parent / name)
        files[-1].write_bytes(content)
    return {line["file"]: line for line in read_apart(files)}


def test_reading_holds_little_memory(usual: Path) -> None:
    (line,) = read_apart([usual], "--repeats", "20")
    assert line["peak_mb"] < MOST_RESIDENT_MB


def test_no_file_takes_much_more_memory_than_usual(outcomes: dict[str, dict[str, Any]]) -> None:
    extra_mb = {name: line["peak_mb"] - line["usual_mb"] for name, line in outcomes.items()}
    assert max(extra_mb.values()) < MOST_EXTRA_MB, extra_mb


@pytest.mark.parametrize("name", ["photograph.jpg", "progressive.jpg"])
def test_forty_megapixels_are_read(outcomes: dict[str, dict[str, Any]], name: str) -> None:
    (outcome,) = outcomes[name]["outcomes"]
    assert len(outcome) == 64, outcome


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("black.png", "too_dark"),
        ("black-16-bit.png", "too_dark"),
        ("cmyk.jpg", "almost uniform"),
        ("three-scans.jpg", "needs 229 MB to be decoded"),
        ("progressive-full-colour.jpg", "needs 229 MB to be decoded"),
        ("many-scans.jpg", "has more than 32 scans"),
        ("bomb.png", "30000 × 3000 px"),
        ("claims-to-be-a-bomb.png", "30000 × 30000 px"),
    ],
)
def test_what_is_too_large_or_empty_is_refused(outcomes: dict[str, dict[str, Any]], name: str, says: str) -> None:
    (outcome,) = outcomes[name]["outcomes"]
    assert says in outcome
