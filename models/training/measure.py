"""How good a network is: pure arithmetic on what it said and what is true."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.training.spec import CLASSES, FLOWING, Doubles, Floats

BINS = 10


def softmax(logits: Doubles, temperature: float) -> Doubles:
    """Probabilities of rows of logits; a temperature above 1 makes them humbler."""
    powers = np.exp((logits - logits.max(axis=1, keepdims=True)) / temperature)
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), dtype=np.float64)


def fit_temperature(logits: Doubles, soft: Floats) -> float:
    """The temperature whose probabilities explain the panel's votes best, to two decimals."""
    candidates = np.round(np.arange(0.5, 3.001, 0.01), 2)
    losses = [-(soft * np.log(softmax(logits, t) + 1e-9)).sum(axis=1).mean() for t in candidates]
    return float(candidates[int(np.argmin(losses))])


@dataclass(frozen=True, slots=True)
class Calibration:
    """Per confidence band: how sure the network was and how often the panel agreed; `error` is the weighted gap."""

    error: float
    table: tuple[dict[str, float], ...]


def calibrate(probabilities: Doubles, soft: Floats) -> Calibration:
    """Expected calibration error of the top class against the panel's share for it."""
    return calibrate_calls(probabilities.argmax(axis=1), probabilities.max(axis=1), soft)


def calibrate_calls(calls: NDArray[np.int64], confidence: Doubles, soft: Floats) -> Calibration:
    """The same for calls that are already made."""
    agreed = soft[np.arange(len(calls)), calls]
    band = np.minimum((confidence * BINS).astype(int), BINS - 1)
    rows, error = [], 0.0
    for index in range(BINS):
        here = band == index
        if here.any():
            said, true = float(confidence[here].mean()), float(agreed[here].mean())
            error += abs(said - true) * float(here.mean())
            rows.append({"confidence": round(said, 3), "agreed": round(true, 3), "wells": int(here.sum())})
    return Calibration(round(error, 4), tuple(rows))


def confusion(calls: NDArray[np.int64], truth: NDArray[np.int64]) -> dict[str, dict[str, int]]:
    """Counts by true class, then by called class."""
    return {
        CLASSES[true]: {CLASSES[called]: int(((truth == true) & (calls == called)).sum()) for called in range(5)}
        for true in range(5)
        if (truth == true).any()
    }


def call_scores(calls: NDArray[np.int64], truth: NDArray[np.int64]) -> dict[str, float]:
    """Share of wells right by class, and right as flowing or not."""
    return {
        "wells": len(calls),
        "class_right": round(float((calls == truth).mean()), 4),
        "flowing_right": round(float(((calls == FLOWING) == (truth == FLOWING)).mean()), 4),
    }


def endpoints(calls: NDArray[np.int64], columns: int = 12) -> list[int]:
    """Last flowing column of every row, 0 where none flows."""
    return [int((np.flatnonzero(row == FLOWING) + 1).max(initial=0)) for row in calls.reshape(-1, columns)]


def match_wells(found: Doubles, truth: Doubles) -> tuple[int, list[float]]:
    """Boxes (x1, y1, x2, y2) found that lie within a quarter of a well of a true one, and their errors, px."""
    if not len(found) or not len(truth):
        return 0, []
    centres, wanted = (found[:, :2] + found[:, 2:]) / 2, (truth[:, :2] + truth[:, 2:]) / 2
    apart = np.hypot(*np.moveaxis(centres[:, None] - wanted[None], 2, 0))
    nearest = apart.min(axis=0)
    hit = nearest < 0.25 * (truth[:, 2] - truth[:, 0])
    return int(hit.sum()), nearest[hit].tolist()


def overlap(a: Doubles, b: Doubles) -> float:
    """Intersection over union of two boxes."""
    inner = float(np.prod(np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None)))
    return inner / float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - inner)
