"""One parameter at a time outside the training range, everything else as a well-kept bench has it.

What lies in the wells is natural: titrations with buttons, partials and short tears, of which a panel's votes say which
rows have a right answer. Every parameter of `ranges.GROUPS` gets equally many plates, whatever comes of it. This is the
figure of merit of a release (docs/decisions/0017); `beyond` is the stress beside it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from models.training.beyond import PlateRead, row_scores, summarise_beyond
from models.training.measure import calibrate_calls
from models.training.ranges import GROUPS, Ranges
from models.training.render import render_plate
from models.training.spec import FOOTPRINT_MM, FORMATS, Image, PlateSpec, Truth
from protocol.plate import Seat

SWEEP_SEED: Final = 6_000_000
PLATES_EACH: Final = 24
FILL = 0.86  # of the picture by the turned plate's upright box, as a kept bench has it


def swept(seed: int) -> str:
    """Which parameter is out of its range on the plate of this seed: each in its turn."""
    names = list(GROUPS)
    return names[(seed - SWEEP_SEED) % len(names)]


def draw_swept(seed: int) -> tuple[Image, Truth, Seat]:
    """One plate in any seat, whole in its picture, with its truth."""
    rng = np.random.default_rng([seed, 6])
    ranges = Ranges(rng, "swept", swept(seed))
    seat = Seat(int(rng.choice([0, 90, 180, 270], p=[0.55, 0.15, 0.15, 0.15])))
    turn_deg = seat + ranges.draw("turn_deg")
    size_px, fill = _picture(ranges.draw("px_per_pitch"), turn_deg)
    spec = PlateSpec(difficulty="swept", outside=swept(seed), size_px=size_px, turn_deg=turn_deg, fill=fill)
    return *render_plate(seed, spec), seat


def summarise_sweep(plates: Sequence[tuple[str, PlateRead]]) -> dict[str, Any]:
    """The figures of many plates, each with its parameter: in all, and parameter by parameter in the table's order."""
    by_parameter = {name: [read for swept, read in plates if swept == name] for name in GROUPS}
    every = [read for _, read in plates]
    bands = summarise_beyond(every)
    return {
        "all": _figures(every) | {name: bands[name] for name in ("wells", "calibration", "confusion")},
        "parameters": {name: _figures(reads) for name, reads in by_parameter.items() if reads},
    }


def _figures(plates: Sequence[PlateRead]) -> dict[str, Any]:
    """Rows are those with a right answer; where no plate was read there is no calibration error."""
    read = [plate for plate in plates if plate.outcome == "read"]
    rows = [row for plate in read for row in plate.rows if row.agreed]
    figures: dict[str, Any] = {
        "plates": len(plates),
        "outcomes": dict(sorted(Counter(plate.outcome for plate in plates).items())),
        "rows": row_scores(rows),
        "high": row_scores([row for row in rows if row.grade == "high"]),
        "calibration_error": None,
    }
    if read:
        calls = np.concatenate([plate.calls for plate in read])
        confidences = np.concatenate([plate.confidences for plate in read])
        votes = np.concatenate([plate.votes for plate in read])
        seen = calls >= 0
        figures["calibration_error"] = calibrate_calls(calls[seen], confidences[seen], votes[seen]).error
    return figures


def _picture(px_per_pitch: float, turn_deg: float) -> tuple[tuple[int, int], float]:
    """Width and height that show the turned plate whole, and the `fill` that makes its wells this far apart."""
    px_per_mm = px_per_pitch / FORMATS[96].pitch_mm
    cos, sin = abs(np.cos(np.deg2rad(turn_deg))), abs(np.sin(np.deg2rad(turn_deg)))
    long_mm, short_mm = FOOTPRINT_MM
    box_mm = (long_mm * cos + short_mm * sin, long_mm * sin + short_mm * cos)
    width, height = (round(float(side) * px_per_mm / FILL) for side in box_mm)
    along, across = (height, width) if sin > 0.7 else (width, height)
    return (width, height), px_per_mm / min(along / long_mm, across / short_mm)
