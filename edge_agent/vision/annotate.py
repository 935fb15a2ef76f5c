"""The result drawn into the photograph, for people: ring and letter per well, endpoints beside the rows. Pure."""

from collections.abc import Mapping
from typing import Final

import cv2
import numpy as np

from edge_agent.plate_text import LETTERS
from edge_agent.vision.patches import Image
from protocol.assay import Call
from protocol.endpoint import RowEndpoint
from protocol.messages import Well
from protocol.plate import parse_well, row_label

# Blue, green, red. Calls differ by letter too, so nothing depends on seeing colours.
COLOURS: Final[dict[Call, tuple[int, int, int]]] = {
    Call.FLOWING: (60, 60, 230),
    Call.BUTTON: (230, 150, 30),
    Call.PARTIAL: (0, 170, 240),
    Call.DIFFUSE: (150, 90, 60),
    Call.EMPTY: (190, 190, 190),
    Call.GROWTH: (60, 60, 230),
    Call.WEAK_GROWTH: (0, 170, 240),
    Call.CLEAR: (230, 150, 30),
    Call.POSITIVE: (60, 60, 230),
    Call.NEGATIVE: (230, 150, 30),
    Call.INDETERMINATE: (0, 170, 240),
    Call.OBSCURED: (255, 0, 255),
    Call.NOT_READ: (255, 0, 255),
}
# OpenCV's own fonts have no middle dot.
_DRAWN: Final = LETTERS | {Call.NOT_READ: "-"}
_BLACK, _WHITE = (0, 0, 0), (255, 255, 255)


def annotate(
    image_bgr: Image, scale: float, wells: Mapping[str, Well], endpoints: Mapping[str, RowEndpoint], pitch_px: float
) -> Image:
    """A copy with every well ringed and lettered. `scale` is photograph pixels per pixel of `image_bgr`.

    `endpoints` are keyed by row label; a thin ring marks a well with a flag.
    """
    drawn = np.ascontiguousarray(image_bgr.copy())
    pitch = pitch_px / scale
    thick = max(1, round(pitch / 40))
    for name, well in wells.items():
        if well.centre_px is None:
            continue
        centre = _pixel(well.centre_px, scale)
        cv2.circle(drawn, centre, round(0.36 * pitch), COLOURS[well.call], 1 if well.flags else thick, cv2.LINE_AA)
        _write(drawn, _DRAWN[well.call], (centre[0] + 0.2 * pitch, centre[1] + 0.42 * pitch), pitch, COLOURS[well.call])
        row, column = parse_well(name)
        if column == 1:
            label = row_label(row)
            _write_row(drawn, wells, label, endpoints.get(label), scale=scale, pitch=pitch)
    return drawn


def _write_row(
    drawn: Image, wells: Mapping[str, Well], row: str, endpoint: RowEndpoint | None, *, scale: float, pitch: float
) -> None:
    """The row's letter before its first well and its endpoint before the letter, along the row's own direction."""
    first, second = wells[f"{row}1"].centre_px, wells[f"{row}2"].centre_px
    if first is None or second is None:
        return
    here = np.array(_pixel(first, scale), float)
    step = np.array(_pixel(second, scale), float) - here
    last = None if endpoint is None else endpoint.last_flowing if endpoint.by_rule is None else endpoint.by_rule
    text = row if endpoint is None else f"{row} {'-' if last is None else last}"
    low, high = np.zeros(2), np.array(drawn.shape[1::-1], float) - 1
    place = np.clip(here - 0.9 * step + (-0.2 * pitch, 0.1 * pitch), low, high - (pitch * 0.7, 0))
    _write(drawn, text, (float(place[0]), float(place[1])), pitch, _WHITE)


def _write(drawn: Image, text: str, place: tuple[float, float], pitch: float, colour: tuple[int, int, int]) -> None:
    size = max(pitch / 90, 0.3)
    origin = round(place[0]), round(place[1])
    cv2.putText(drawn, text, origin, cv2.FONT_HERSHEY_SIMPLEX, size, _BLACK, max(2, round(3 * size)), cv2.LINE_AA)
    cv2.putText(drawn, text, origin, cv2.FONT_HERSHEY_SIMPLEX, size, colour, max(1, round(1.5 * size)), cv2.LINE_AA)


def _pixel(place: tuple[float, float], scale: float) -> tuple[int, int]:
    return round((place[0] + 0.5) / scale - 0.5), round((place[1] + 0.5) / scale - 0.5)
