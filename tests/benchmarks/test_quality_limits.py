"""Where titres begin to change: plates spoilt step by step with the limits of quality lifted, beside what they refuse.

The table behind docs/decisions/0010-limits-of-quality.md; print it again for every new model.
"""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_agent.config import SHIPPED_MODEL
from edge_agent.vision import PlateView, Refused, load_model, read_plate
from models.training.render import PlateSpec, render_plate
from protocol.assay import QualityLimits
from protocol.endpoint import plate_endpoints
from protocol.plate import Seat
from tests import spoilt
from tests.edge_agent.vision.conftest import frame
from tests.make import HI, replace

pytestmark = pytest.mark.benchmark

LIMITS = {
    "blur_pitch": HI.limits.most_blur_pitch,
    "motion_pitch": HI.limits.most_motion_pitch,
    "light_share": -HI.limits.least_light,
    "contrast_share": -HI.limits.least_contrast,
}
LIFTED = replace(
    HI,
    limits=QualityLimits(
        most_blur_pitch=float("inf"),
        most_motion_pitch=float("inf"),
        least_light=0.0,
        least_contrast=0.0,
        least_well_contrast=0.0,
        least_pitch_px=0.0,
    ),
)
PLATES = 12

Change = Callable[[np.ndarray, float], np.ndarray]
LADDERS: dict[str, tuple[tuple[float, ...], Change]] = {
    "blur, pitches": ((0.01, 0.02, 0.03, 0.035, 0.04, 0.05, 0.06, 0.08), spoilt.blurred),
    "motion across, pitches": ((0.04, 0.07, 0.1, 0.13, 0.16), lambda image, length: spoilt.moved(image, length, 0)),
    "motion along the tilt": ((0.04, 0.07, 0.1, 0.13, 0.16), lambda image, length: spoilt.moved(image, length, 90)),
    "haze, share": ((0.4, 0.6, 0.7, 0.8, 0.88), spoilt.hazy),
    "exposure, gain": ((0.15, 0.2, 0.3, 0.6, 1.4, 1.8, 2.1), lambda image, gain: spoilt.exposed(image, gain, 2.5)),
}


def test_where_titres_begin_to_change(plates: Path) -> None:
    model = load_model(SHIPPED_MODEL)

    def read(image: np.ndarray) -> PlateView:
        data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
        return read_plate(frame(data), LIFTED, model=model, seat=Seat.TOP_LEFT)

    photograph = cv2.imread(str(plates / "hi" / "hi-plate-62.jpg"))
    images = [photograph, *(render_plate(8000 + seed, titration(seed))[0] for seed in range(PLATES))]
    sharp = [read(image) for image in images]
    print(f"\n{'':26}{'level':>7}{'rows changed':>14}{'of the photo':>14}{'unread':>8}{'refused with limits':>21}")
    for name, (levels, change) in LADDERS.items():
        for level in levels:
            in_pitches = name.startswith(("blur", "motion"))
            spoil = [
                change(image, level * view.plate.pitch_px if in_pitches else level)
                for image, view in zip(images, sharp, strict=True)
            ]
            print(f"{name:26}{level:7.3g}" + _row([_compare(read, *pair) for pair in zip(spoil, sharp, strict=True)]))


def titration(seed: int) -> PlateSpec:
    """Rows that flow up to a column, then a button, then nothing but haze."""
    ends = np.random.default_rng(seed).integers(2, 10, 8)
    calls = {
        f"{row}{column}": "flowing" if column <= end else "button" if column == end + 1 else "diffuse"
        for row, end in zip("ABCDEFGH", ends, strict=True)
        for column in range(1, 13)
    }
    return PlateSpec(calls=calls, turn_deg=0.0)


def _compare(read: Callable[[np.ndarray], PlateView], image: np.ndarray, sharp: PlateView) -> tuple[int, bool] | None:
    """Rows whose titre changed, and whether the limits refuse the picture; None where it cannot be read at all."""
    try:
        view = read(image)
    except Refused:
        return None
    now, then = plate_endpoints(view.wells, HI), plate_endpoints(sharp.wells, HI)
    refused = any(np.sign(limit) * view.quality[name] > limit for name, limit in LIMITS.items())
    return sum(now[row].reported(HI) != then[row].reported(HI) for row in then), refused


def _row(outcomes: list[tuple[int, bool] | None]) -> str:
    read = [one for one in outcomes if one is not None]
    photograph = "unread" if outcomes[0] is None else f"{outcomes[0][0]} of 8"
    changed = f"{sum(rows for rows, _ in read)} of {8 * len(read)}"
    refused = f"{len(outcomes) - len(read) + sum(refused for _, refused in read)} of {len(outcomes)}"
    return f"{changed:>14}{photograph:>14}{len(outcomes) - len(read):8}{refused:>21}"
