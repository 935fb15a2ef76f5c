"""Plates turned by 180°, and whether the device lets them through: the figures behind the seat's veto.

    python -m models.training.turned --photographs ../shared/plates

Two ways of being turned, made from any picture that is the right way up: `upside_down` turns the whole photograph, so
that tears run up the plate; `turned_in_seat` turns the plate on a stage that keeps its tilt, so that every well's cells
still run down the picture. Both are real pixels throughout: cells are turned back in their wells' middles.

A plate is `read` where the picture confirms the seat, `unconfirmed` where nothing in it says how the plate lies. What
must not happen is counted as well: `wrong_high`, rows graded high with a titre that is not their serum's.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np

from edge_agent.cameras.frame import Frame
from edge_agent.config import SHIPPED_MODEL
from edge_agent.vision import Model, Refused, load_model, read_plate
from edge_agent.vision.orientation import CELLS_RADIUS_PITCH, CONFIRMED_LN, DOUBTED
from models.training.render import PlateSpec, render_plate
from models.training.spec import Difficulty, Doubles, Image, Truth, well_names
from protocol.endpoint import plate_endpoints
from protocol.plate import Seat, parse_seat
from protocol.profiles import profile_named

TURNED_SEED = 5_000_000


def upside_down(image: Image) -> Image:
    """The whole photograph turned by 180°."""
    return np.ascontiguousarray(image[::-1, ::-1])


def turned_in_seat(image: Image, centres_px: Doubles, pitch_px: float) -> Image:
    """The plate turned by 180° on a stage that keeps its tilt; `centres_px` are those of the cells in `image`."""
    turned = upside_down(image)
    height, width = image.shape[:2]
    radius = round(CELLS_RADIUS_PITCH * pitch_px)
    disc = np.hypot(*np.mgrid[-radius : radius + 1, -radius : radius + 1]) <= radius
    for x, y in np.rint(centres_px).astype(int):
        here, there = _around(x, y, radius), _around(width - 1 - x, height - 1 - y, radius)
        if turned[there].shape == image[here].shape == (*disc.shape, 3):
            turned[there][disc] = image[here][disc]
    return turned


def _around(x: int, y: int, radius: int) -> tuple[slice, slice]:
    return slice(max(y - radius, 0), y + radius + 1), slice(max(x - radius, 0), x + radius + 1)


@dataclass(frozen=True, slots=True)
class Outcome:
    """`name` is read, unconfirmed, doubted, or the reason of the refusal; `high` the titres of the rows graded high."""

    name: str
    figures: Mapping[str, float]
    high: Mapping[str, int | None]


def outcome(model: Model, image: Image | bytes, seat: Seat = Seat.TOP_LEFT) -> Outcome:
    """What the device makes of a picture."""
    content = image if isinstance(image, bytes) else _jpeg(image)
    frame = Frame(content, "turned.jpg", datetime(2026, 11, 20, tzinfo=UTC), 0)
    profile = profile_named("hi-96")
    try:
        view = read_plate(frame, profile, model=model, seat=seat)
    except Refused as refused:
        return Outcome(refused.reason, {}, {})
    figures = {name: value for name, value in view.quality.items() if name.startswith("orientation_")}
    name = "read" if figures["orientation_ln"] >= CONFIRMED_LN else "unconfirmed"
    if any(DOUBTED in well.flags for well in view.wells.values()):
        name = "doubted"
    endpoints = plate_endpoints(view.wells, profile)
    return Outcome(name, figures, {row: e.last_flowing for row, e in endpoints.items() if e.grade == "high"})


def _jpeg(image: Image) -> bytes:
    return bytes(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 92])[1])


def renders(difficulty: Difficulty, count: int) -> Iterator[tuple[Image, Truth, float]]:
    """Plates the right way up, what they show, and the pitch in pixels."""
    for seed in range(TURNED_SEED, TURNED_SEED + count):
        image, truth = render_plate(seed, PlateSpec(difficulty=difficulty, turn_deg=0.0))
        yield image, truth, float(np.hypot(*(truth.centres_px[1] - truth.centres_px[0])))


def wrong_high(high: Mapping[str, int | None], truth: Truth) -> int:
    """Rows graded high whose titre is not that of the serum in the row of this name."""
    own = dict.fromkeys("ABCDEFGH", 0)
    for name, call in zip(well_names(truth.rows, truth.columns), truth.calls, strict=True):
        if call == "flowing":
            own[name[0]] = int(name[1:])
    return sum(last != own[row] for row, last in high.items())


def photographs(folder: Path) -> Iterator[tuple[str, Image, Doubles, float]]:
    """The labelled HI photographs."""
    for path in sorted((folder / "hi").glob("*.jpg")):
        corners = json.loads(path.with_suffix(".json").read_text())["corner_well_centres"]
        pixels = np.array([corners[name] for name in ("A1", "A12", "H1", "H12")], np.float32)
        there = cv2.getPerspectiveTransform(np.array([[0, 0], [11, 0], [0, 7], [11, 7]], np.float32), pixels)
        grid = np.mgrid[:8, :12].reshape(2, 1, -1)[::-1].transpose(2, 1, 0).astype(np.float32)
        centres = cv2.perspectiveTransform(grid, there)[:, 0].astype(np.float64)
        image = np.asarray(cv2.imread(str(path)), np.uint8)
        yield path.stem, image, centres, float(np.hypot(*(centres[1] - centres[0])))


def measure_renders(model: Model, difficulty: Difficulty, count: int) -> dict[str, dict[str, int]]:
    """Outcomes of rendered plates the right way up and turned in both ways, and their rows graded high wrongly."""
    tally: dict[str, Counter[str]] = {"upright": Counter(), "upside_down": Counter(), "turned_in_seat": Counter()}
    for image, truth, pitch in renders(difficulty, count):
        turned = turned_in_seat(image, truth.centres_px, pitch)
        for way, picture in zip(tally, (image, upside_down(image), turned), strict=True):
            found = outcome(model, picture)
            tally[way].update([found.name])
            tally[way]["rows_high"] += len(found.high)
            tally[way]["wrong_high"] += wrong_high(found.high, truth)
    return {way: dict(outcomes.most_common()) for way, outcomes in tally.items()}


def measure_others(model: Model, folder: Path) -> dict[str, dict[str, int]]:
    """Outcomes of others' plates, in the seat that their label names and turned upside down in it."""
    tally: dict[str, Counter[str]] = {"upright": Counter(), "upside_down": Counter()}
    for path in sorted((folder / "other").glob("*/*.jpg")):
        label = path.with_suffix(".json")
        known = json.loads(label.read_text()).get("plates") if label.is_file() else None
        if not known or known[0]["a1"]["confidence"] != "certain":
            continue
        seat = parse_seat(known[0]["a1"]["where"])
        image = np.asarray(cv2.imread(str(path)), np.uint8)
        if seat is not None:
            tally["upright"][outcome(model, image, seat).name] += 1
            tally["upside_down"][outcome(model, upside_down(image), seat).name] += 1
    return {way: dict(outcomes.most_common()) for way, outcomes in tally.items()}


def main() -> None:
    """Command line: print every count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=Path)
    parser.add_argument("--renders", type=int, default=200)
    parser.add_argument("--model", type=Path, default=SHIPPED_MODEL)
    arguments = parser.parse_args()
    model = load_model(arguments.model, threads=2)
    if arguments.photographs:
        for name, image, centres, pitch in photographs(arguments.photographs):
            print(name, outcome(model, image))
            print(outcome(model, upside_down(image)).name, outcome(model, turned_in_seat(image, centres, pitch)).name)
        print("others", json.dumps(measure_others(model, arguments.photographs)))
    for difficulty in ("plain", "varied"):
        print(difficulty, json.dumps(measure_renders(model, difficulty, arguments.renders)), flush=True)


if __name__ == "__main__":
    main()
