"""Does a titre hold when the same plate is photographed again? Renders, each read as it is and spoilt within reason.

    python -m models.training.steadiness models/hi-wells-v2 models/hi-wells-v3 [--plates 120]

Half of the plates are those of a well-kept bench, half lie on cards of any colour. Each is read again turned by a half
and by a quarter at JPEG quality 60, and at 0.72 of its size at 75: nothing in its wells has changed, so every titre
that has is the network's unsteadiness. No other figure is taken from these seeds, so a release can be chosen by them.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_agent.cameras.frame import Frame
from edge_agent.vision import Model, Refused, read_plate
from models.training.beyond import panel_endpoints
from models.training.render import render_plate
from models.training.spec import Difficulty, Floats, Image, PlateSpec
from models.training.workers import loaded, over_seeds
from protocol.endpoint import plate_endpoints
from protocol.plate import Seat
from protocol.profiles import profile_named

STEADINESS_SEED: Final = 9_000_000
QUALITY: Final = 95


@dataclass(frozen=True, slots=True)
class Steadiness:
    """Rows with a right answer and a titre, and those not exact; the same rows of all versions, and what changed."""

    rows: int = 0
    not_exact: int = 0
    reread: int = 0
    changed: int = 0
    wells: int = 0
    wells_changed: int = 0

    def __add__(self, other: Steadiness) -> Steadiness:
        return Steadiness(*(getattr(self, name) + getattr(other, name) for name in self.__slots__))


def draw_steady(seed: int) -> tuple[Image, Floats]:
    """A plate of 1,100 to 1,700 pixels' width, its A1 at the top left, and the panel's votes."""
    rng = np.random.default_rng([seed, 9])
    width = round(float(rng.uniform(1100, 1700)))
    difficulty: Difficulty = "carded" if seed % 2 else "natural"
    turn_deg, fill = float(np.clip(rng.normal(0, 3), -8, 8)), float(rng.uniform(0.78, 0.95))
    spec = PlateSpec(difficulty=difficulty, size_px=(width, round(width * 0.72)), turn_deg=turn_deg, fill=fill)
    image, truth = render_plate(seed, spec)
    return image, truth.soft_calls


def versions(image: Image) -> Iterator[tuple[Image, Seat, int]]:
    """The picture spoilt within reason, where A1 is then, and its JPEG quality."""
    for turns, seat in ((2, Seat.BOTTOM_RIGHT), (1, Seat.TOP_RIGHT)):
        yield np.ascontiguousarray(np.rot90(image, -turns)), seat, 60
    yield (
        np.asarray(cv2.resize(image, None, fx=0.72, fy=0.72, interpolation=cv2.INTER_AREA), np.uint8),
        Seat.TOP_LEFT,
        75,
    )


def measure_release(release: Path, seed: int) -> Steadiness:
    """One plate, read by a release that is loaded once per process."""
    return measure_steadiness(loaded(release), seed)


def measure_steadiness(model: Model, seed: int) -> Steadiness:
    """One plate; one that is refused counts nowhere, nor does a version that is."""
    image, votes = draw_steady(seed)
    wanted, agreed = panel_endpoints(votes)
    first = _read(model, image, Seat.TOP_LEFT, QUALITY)
    if first is None:
        return Steadiness()
    titres, flowing = first
    counted = [row for row, titre in enumerate(titres) if agreed[row] and titre is not None]
    total = Steadiness(rows=len(counted), not_exact=sum(titres[row] != wanted[row] for row in counted))
    for version in versions(image):
        again = _read(model, *version)
        if again is not None:
            changed = sum(titres[row] != again[0][row] for row in counted)
            moved = int((flowing != again[1]).sum())
            total += Steadiness(0, 0, len(counted), changed, len(flowing), moved)
    return total


def _read(model: Model, image: Image, seat: Seat, quality: int) -> tuple[list[int | None], NDArray[np.bool_]] | None:
    """The titres, and which wells flow; None where the picture is refused."""
    profile = profile_named("hi-96")
    content = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
    frame = Frame(content, "render.jpg", datetime(2026, 1, 1, tzinfo=UTC), 0)
    try:
        wells = read_plate(frame, profile, model=model, seat=seat).wells
    except Refused:
        return None
    titres = [row.reported(profile) for row in plate_endpoints(wells, profile).values()]
    return titres, np.array([well.call == "flowing" for well in wells.values()])


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: one line of a table per release."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("releases", nargs="+", type=Path)
    parser.add_argument("--plates", type=int, default=120)
    chosen = parser.parse_args(arguments)
    seeds = range(STEADINESS_SEED, STEADINESS_SEED + chosen.plates)
    print("| release | rows not exact | rows that changed | wells that changed |\n|---|---|---|---|")
    for release in chosen.releases:
        total = sum(over_seeds(partial(measure_release, release), seeds), Steadiness())
        print(
            f"| {release.name} | {total.not_exact} of {total.rows} | {total.changed} of {total.reread} "
            f"| {total.wells_changed} of {total.wells} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
