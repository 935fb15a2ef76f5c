"""What reading may cost in memory: measured in processes of their own. Times are printed by the benchmarks."""

from pathlib import Path
from typing import Any

import cv2
import pytest

from models.training.render import PlateSpec, render_plate
from tests.edge_agent.vision.conftest import jpeg
from tests.edge_agent.vision.odd_files import PROGRESSIVE, blank_jpeg, blank_png, png
from tests.edge_agent.vision.reading_process import read_apart

MOST_RESIDENT_MB = 150
MOST_EXTRA_MB = 200
FORTY_MEGAPIXELS = (7530, 5312)


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photograph as the bench takes it."""
    path = tmp_path_factory.mktemp("usual") / "usual.jpg"
    path.write_bytes(jpeg(render_plate(7, PlateSpec(size_px=(1700, 1200)))[0]))
    return path


@pytest.fixture(scope="module")
def large(usual: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The same plate at 40 megapixels, and files that unpack to as much or more."""
    photograph = cv2.resize(cv2.imread(str(usual)), FORTY_MEGAPIXELS, interpolation=cv2.INTER_LINEAR)
    progressive = cv2.imencode(".jpg", photograph, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    files = {
        "photograph.jpg": jpeg(photograph),
        "progressive.jpg": progressive,
        "black.png": blank_png(*FORTY_MEGAPIXELS),
        "black-16-bit.png": blank_png(*FORTY_MEGAPIXELS, bits=16),
        "cmyk.jpg": blank_jpeg(*FORTY_MEGAPIXELS, colours=4),
        "three-scans.jpg": blank_jpeg(*FORTY_MEGAPIXELS, scans=3),
        "progressive-full-colour.jpg": blank_jpeg(*FORTY_MEGAPIXELS, frame=PROGRESSIVE),
        "many-scans.jpg": blank_jpeg(3000, 2000, frame=PROGRESSIVE, scans=500),
        "bomb.png": blank_png(30_000, 3_000),
        "claims-to-be-a-bomb.png": png(30_000, 30_000, b""),
    }
    folder = tmp_path_factory.mktemp("large")
    return [write(folder / name, content) for name, content in files.items()]


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.fixture(scope="module")
def outcomes(usual: Path, large: list[Path]) -> dict[str, dict[str, Any]]:
    """What one process made of all of them, one after the other."""
    return {line["file"]: line for line in read_apart([usual, *large])}


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
        ("many-scans.jpg", "has 500 scans"),
        ("bomb.png", "30000 × 3000 px"),
        ("claims-to-be-a-bomb.png", "30000 × 30000 px"),
    ],
)
def test_what_is_too_large_or_empty_is_refused(outcomes: dict[str, dict[str, Any]], name: str, says: str) -> None:
    (outcome,) = outcomes[name]["outcomes"]
    assert says in outcome
