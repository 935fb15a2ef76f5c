"""What to draw and what was drawn: PlateSpec in, Truth out.

Truth is exact because it is computed from the same numbers as the picture, never measured in it. Calls that nobody
prescribed are drawn as plausible titrations, so that a row of a rendered plate has an endpoint like a real one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from protocol.plate import PLATE_HEIGHT_MM, PLATE_WIDTH_MM, plate_format, well_name

CLASSES = ("flowing", "button", "partial", "diffuse", "empty")
FLOWING, BUTTON, PARTIAL, DIFFUSE, EMPTY = range(5)

UNSEEN = -2  # a well in the detector's training pictures that nobody could see

FOOTPRINT_MM = (PLATE_WIDTH_MM, PLATE_HEIGHT_MM)

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Image = NDArray[np.uint8]
Difficulty = Literal["plain", "natural", "carded", "varied", "wide", "beyond", "swept"]


@dataclass(frozen=True, slots=True)
class PlateGeometry:
    """Where the wells of one plate format lie, as `protocol.plate` says, and how wide their rims are drawn."""

    rows: int
    columns: int
    a1_x_mm: float
    a1_y_mm: float
    pitch_mm: float
    rim_radius_pitches: tuple[float, float]

    def centres_mm(self) -> Doubles:
        """Row-major well centres, (rows × columns, 2), from the plate's top-left corner."""
        row, column = np.mgrid[0 : self.rows, 0 : self.columns].reshape(2, -1)
        return np.stack([self.a1_x_mm + column * self.pitch_mm, self.a1_y_mm + row * self.pitch_mm], axis=1)

    def index_to_mm(self) -> Doubles:
        """Homography from well index coordinates (column, row) to plate millimetres."""
        return np.array([[self.pitch_mm, 0, self.a1_x_mm], [0, self.pitch_mm, self.a1_y_mm], [0, 0, 1]])


# How wide the rims of each format are drawn: makers differ.
_RIM_RADIUS_PITCHES: Mapping[int, tuple[float, float]] = {
    6: (0.41, 0.46),
    12: (0.40, 0.46),
    24: (0.38, 0.46),
    48: (0.38, 0.47),
    96: (0.34, 0.485),
    384: (0.34, 0.45),
}


def _geometry(wells: int) -> PlateGeometry:
    form = plate_format(wells)
    place = (form.rows, form.columns, form.a1_x_mm, form.a1_y_mm, form.pitch_mm)
    return PlateGeometry(*place, _RIM_RADIUS_PITCHES[wells])


FORMATS: Mapping[int, PlateGeometry] = {wells: _geometry(wells) for wells in _RIM_RADIUS_PITCHES}


@dataclass(frozen=True, slots=True)
class PlateSpec:
    """One picture to render. A call of None is drawn at random; calls=None draws whole titration rows.

    code       text of a QR code on a card beside the plate (with "varied", sometimes none of it is readable)
    size_px    width, height of the picture
    difficulty "plain": a well-kept bench, unambiguous wells; "natural": a well-kept bench, wells as they come;
               "carded": that, on a card of any colour that training has;
               "varied": everything that training should survive;
               "wide": that, and more often near the ends of its ranges; "beyond": whole titrations whose looks and
               camera lie partly outside what training draws; "swept": natural, but for one thing out of range
    outside    of a swept plate: which of `ranges.GROUPS` lies outside the range of training
    turn_deg   how far the plate is turned in the picture, clockwise; None lets the difficulty decide
    fill       share of the picture's length that the plate takes; None lets the difficulty decide
    contents   "hi" draws red cells in a clear plate, "generic" any other plate (no calls)
    """

    calls: Mapping[str, str | None] | None = None
    code: str | None = None
    size_px: tuple[int, int] = (1600, 1150)
    difficulty: Difficulty = "plain"
    plate_format: int = 96
    turn_deg: float | None = None
    contents: Literal["hi", "generic"] = "hi"
    fill: float | None = None
    outside: str | None = None

    def __post_init__(self) -> None:
        if self.plate_format not in FORMATS:
            raise ValueError(f"not a plate format: {self.plate_format!r}, expected one of {sorted(FORMATS)}")
        geometry = FORMATS[self.plate_format]
        names = set(well_names(geometry.rows, geometry.columns))
        for well, call in (self.calls or {}).items():
            if well not in names:
                raise ValueError(f"not a well of a {self.plate_format}-well plate: {well!r}")
            if call is not None and call not in CLASSES:
                raise ValueError(f"not a call: {call!r}, expected one of {CLASSES}")


@dataclass(frozen=True, slots=True)
class Truth:
    """What the picture shows, exactly. Arrays are row-major from A1; pixels are OpenCV's (0, 0 = first pixel's centre).

    plate_to_px maps plate millimetres (origin top-left corner, row A on top) to pixels.
    """

    plate_format: int
    rows: int
    columns: int
    centres_px: Doubles
    rim_boxes_px: Doubles
    rim_radius_px: Doubles
    plate_to_px: Doubles
    plate_quad_px: Doubles
    calls: tuple[str, ...]
    soft_calls: Floats

    def call(self, well: str) -> str:
        """The class of one well by name, such as "A1"."""
        return self.calls[well_names(self.rows, self.columns).index(well)]

    def index_to_px(self) -> Doubles:
        """Homography from well index coordinates (column, row) to pixels: what the device's geometry has to find."""
        return np.asarray(self.plate_to_px @ FORMATS[self.plate_format].index_to_mm(), dtype=np.float64)


def well_names(rows: int, columns: int) -> list[str]:
    """Row-major names: A1, A2, …"""
    return [well_name(row, column) for row in range(rows) for column in range(1, columns + 1)]


def project(homography: Doubles, points: Doubles) -> Doubles:
    """Apply a homography to (n, 2) points."""
    mapped = np.column_stack([points, np.ones(len(points))]) @ homography.T
    return np.asarray(mapped[:, :2] / mapped[:, 2:], dtype=np.float64)


def draw_calls(rng: np.random.Generator, spec: PlateSpec) -> NDArray[np.int64]:
    """A class index per well: the prescribed ones, the others as the difficulty has it."""
    geometry = FORMATS[spec.plate_format]
    drawn = _titration(rng, geometry.rows, geometry.columns)
    if spec.difficulty in {"natural", "carded", "varied", "wide"} and spec.calls is None:
        style = rng.random()
        if style < 0.5:
            drawn = rng.choice(5, geometry.rows * geometry.columns, p=[0.32, 0.22, 0.16, 0.20, 0.10])
        elif style < 0.62:
            drawn = np.where(rng.random(drawn.size) < 0.1, drawn, EMPTY)
    for index, well in enumerate(well_names(geometry.rows, geometry.columns)):
        call = (spec.calls or {}).get(well)
        if call is not None:
            drawn[index] = CLASSES.index(call)
    return drawn


def _titration(rng: np.random.Generator, rows: int, columns: int) -> NDArray[np.int64]:
    """Rows that flow up to an endpoint, pass through one or two buttons or partials, then stay diffuse."""
    calls = np.full((rows, columns), DIFFUSE, dtype=np.int64)
    typical = rng.uniform(0.3, 0.75) * columns
    for row in range(rows):
        endpoint = int(np.clip(round(rng.normal(typical, 0.12 * columns)), 0, columns))
        calls[row, :endpoint] = FLOWING
        passing = [[BUTTON], [PARTIAL], [BUTTON, PARTIAL], [BUTTON, BUTTON], []][
            rng.choice(5, p=[0.4, 0.2, 0.2, 0.1, 0.1])
        ]
        for column, call in zip(range(endpoint, columns), passing, strict=False):
            calls[row, column] = call
    return calls.ravel()
