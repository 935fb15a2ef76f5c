"""Whole plates whose looks and cameras lie partly outside what training drew, read as the device reads them.

The seat is told truthfully, so what is measured is the reading: titres by the device's own rule, calibration on what
was never trained, and errors by column, because an endpoint hides every mistake left of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_agent.cameras.frame import Frame
from edge_agent.vision import Model, Refused, read_plate
from models.training.measure import calibrate_calls, confusion
from models.training.render import render_plate
from models.training.spec import CLASSES, FLOWING, Doubles, Floats, Image, PlateSpec, Truth, well_names
from protocol.endpoint import seen_endpoints
from protocol.plate import Seat
from protocol.profiles import profile_named

BEYOND_SEED = 5_000_000
ROWS, COLUMNS = 8, 12
AGREED = 0.9  # share of a panel that must name the same endpoint for a row to have a right answer


@dataclass(frozen=True, slots=True)
class Row:
    """One row read: dilutions too high (None without a titre), the device's grade, and whether a panel would agree."""

    off: int | None
    grade: str
    agreed: bool


@dataclass(frozen=True, slots=True)
class PlateRead:
    """What one plate came to: read, or why not; where it was read its rows, calls (-1: none), confidences and votes."""

    outcome: str
    rows: tuple[Row, ...] = ()
    calls: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    confidences: Doubles = field(default_factory=lambda: np.zeros(0))
    votes: Floats = field(default_factory=lambda: np.zeros((0, len(CLASSES)), np.float32))


def draw_beyond(seed: int) -> tuple[Image, Truth, Seat]:
    """One plate in any seat, 40 to 110 pixels per well, with its truth."""
    rng = np.random.default_rng([seed, 4])
    seat = Seat(int(rng.choice([0, 90, 180, 270], p=[0.55, 0.15, 0.15, 0.15])))
    width = round(float(rng.uniform(800, 1600)))
    turn_deg = float(seat + np.clip(rng.normal(0, 4), -12, 12))
    size_px = (width, round(width * 0.72))
    if seat in {Seat.TOP_RIGHT, Seat.BOTTOM_LEFT}:
        size_px = size_px[::-1]
    fill = float(rng.uniform(0.74, 0.95))
    spec = PlateSpec(difficulty="beyond", size_px=size_px, turn_deg=turn_deg, fill=fill)
    image, truth = render_plate(seed, spec)
    return image, truth, seat


def measure_beyond(model: Model, plates: int) -> dict[str, Any]:
    """Titres exact, within ±1 and refused; calibration; errors by column."""
    drawn = map(draw_beyond, range(BEYOND_SEED, BEYOND_SEED + plates))
    return summarise_beyond([read_beyond(model, *of_plate) for of_plate in drawn])


def read_beyond(model: Model, image: Image, truth: Truth, seat: Seat) -> PlateRead:
    """One plate as the device reads it, beside what a panel would say."""
    profile = profile_named("hi-96")
    try:
        view = read_plate(_frame(image), profile, model=model, seat=seat)
    except Refused as refused:
        return PlateRead(f"refused_{refused.reason}")
    rows = []
    found = seen_endpoints(view.plate, view.wells, profile).values()
    for row, wanted, agreed in zip(found, *panel_endpoints(truth.soft_calls), strict=True):
        reported = row.reported(profile)
        rows.append(Row(None if reported is None else reported - int(wanted), row.grade, bool(agreed)))
    wells = [view.wells[name] for name in well_names(ROWS, COLUMNS)]
    calls = np.array([CLASSES.index(well.call) if well.call in CLASSES else -1 for well in wells])
    confidences = np.array([well.confidence for well in wells], np.float64)
    return PlateRead("read", tuple(rows), calls, confidences, truth.soft_calls)


def summarise_beyond(plates: Sequence[PlateRead]) -> dict[str, Any]:
    """The figures of many plates, of which at least one was read."""
    outcomes = Counter(plate.outcome for plate in plates)
    read = [plate for plate in plates if plate.outcome == "read"]
    if not read:
        raise ValueError(f"none of {len(plates)} plates was read (expected at least one): {dict(outcomes)}")
    rows = [row for plate in read for row in plate.rows]
    called, confidences, soft = (
        np.concatenate(parts) for parts in zip(*((p.calls, p.confidences, p.votes) for p in read), strict=True)
    )
    seen = called >= 0
    calibration = calibrate_calls(called[seen], confidences[seen], soft[seen])
    return {
        "plates": len(plates),
        "outcomes": dict(sorted(outcomes.items())),
        "rows": {"all": row_scores(rows), "panel_agrees": row_scores([row for row in rows if row.agreed])}
        | {grade: row_scores([row for row in rows if row.grade == grade]) for grade in ("high", "medium", "low")},
        "wells": int(seen.sum()),
        "wells_not_read": int((~seen).sum()),
        "calibration_error": calibration.error,
        "calibration": list(calibration.table),
        "confusion": confusion(called[seen], soft[seen].argmax(axis=1)),
        "by_column": errors_by_column(called, soft),
    }


def panel_endpoints(soft: Floats) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Per row the last column that most of a panel calls flowing, and whether nearly all of it would agree."""
    flowing = soft[:, FLOWING].reshape(-1, COLUMNS)
    ends = [int((np.flatnonzero(row > 0.5) + 1).max(initial=0)) for row in flowing]
    shares = [np.prod(1 - row[k:]) * (row[k - 1] if k else 1.0) for row, k in zip(flowing, ends, strict=True)]
    return np.array(ends), np.array(shares) >= AGREED


def errors_by_column(calls: NDArray[np.int64], soft: Floats) -> list[dict[str, int]]:
    """For columns 1–12: wells read, wrong as flowing or not, wrong in class."""
    truth = soft.argmax(axis=1)
    column = np.arange(len(calls)) % COLUMNS
    rows = []
    for index in range(COLUMNS):
        here = (column == index) & (calls >= 0)
        flowing_wrong = (calls[here] == FLOWING) != (truth[here] == FLOWING)
        class_wrong = calls[here] != truth[here]
        rows.append(
            {
                "column": index + 1,
                "wells": int(here.sum()),
                "flowing_wrong": int(flowing_wrong.sum()),
                "class_wrong": int(class_wrong.sum()),
            }
        )
    return rows


def row_scores(rows: list[Row]) -> dict[str, float | None]:
    """How many rows have no titre, and of the others the shares that are exact and within one dilution."""
    known = np.array([abs(row.off) for row in rows if row.off is not None])
    return {
        "rows": len(rows),
        "without_titre": len(rows) - len(known),
        "exact": round(float((known == 0).mean()), 4) if len(known) else None,
        "within_1": round(float((known <= 1).mean()), 4) if len(known) else None,
    }


def _frame(image: Image) -> Frame:
    _, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 95])
    return Frame(encoded.tobytes(), "render.jpg", datetime(2026, 1, 1, tzinfo=UTC), 0)
