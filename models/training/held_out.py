"""The networks one by one on renders whose seeds training never saw, int8 and, where export left them, float."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from edge_agent.vision import Model, ModelMismatch, load_model
from edge_agent.vision.tensors import PLATE, WELL, Detections
from models.training.dataset import draw_detector_picture, draw_patches
from models.training.floats import FLOAT_FILES
from models.training.given import rendered
from models.training.measure import calibrate, call_scores, confusion, fit_temperature, match_wells, overlap, softmax
from models.training.spec import Doubles, Floats
from models.training.workers import loaded, loaded_float, over_seeds

HELD_OUT_SEED = 4_000_000
BEYOND_SEED = 4_700_000  # plates that calibrate; no other figure is taken from them


@dataclass(frozen=True, slots=True)
class Detected:
    """One picture's boxes with their classes, and what was found in it; None where there is no float network."""

    boxes: Floats
    int8: Detections
    float_: Detections | None


@dataclass(frozen=True, slots=True)
class Called:
    """One plate's votes, and the logits of each way to run the calls network; None for a way that is not there."""

    votes: Floats
    int8: Doubles
    float_: Doubles | None
    other_runtime: Doubles | None


def measure_wells(release: Path, floats: Path, pictures: int) -> dict[str, Any]:
    """The detector: wells found, centres, plates."""
    seeds = range(HELD_OUT_SEED, HELD_OUT_SEED + pictures)
    drawn = over_seeds(partial(_detect, release, floats), seeds)
    report: dict[str, Any] = {"pictures": pictures, "int8": _detection([(d.boxes, d.int8) for d in drawn])}
    float_ = [(d.boxes, d.float_) for d in drawn if d.float_ is not None]
    return report | ({"float": _detection(float_)} if float_ else {})


def measure_calls(release: Path, floats: Path, plates: int) -> tuple[dict[str, Any], float]:
    """The calls, and the temperature that calibrates them: fitted on one half of the plates, judged on the other.

    The temperature, and nothing else, is fitted on plates outside the training range too, as many as inside: on those
    a network is surer than it is right, and laboratories are not obliged to stay inside (docs/decisions/0015).
    """
    called = over_seeds(partial(_call, release, floats), range(HELD_OUT_SEED, HELD_OUT_SEED + plates))
    beyond = over_seeds(partial(_call_beyond, release), range(BEYOND_SEED, BEYOND_SEED + plates))
    half = plates // 2
    inside, outside = _joined(called[:half]), _joined(beyond[:half])
    count = min(len(inside[0]), len(outside[0]))  # as many wells of each kind
    fitted = np.concatenate([inside[0][:count], outside[0][:count]])
    temperature = fit_temperature(fitted, np.concatenate([inside[1][:count], outside[1][:count]]))
    logits, votes = _joined(called[half:])
    calls, truth = logits.argmax(axis=1), votes.argmax(axis=1)
    after = calibrate(softmax(logits, temperature), votes)
    others = [c.other_runtime.argmax(axis=1) for c in called[half:] if c.other_runtime is not None]
    float_ = [c.float_.argmax(axis=1) for c in called[half:] if c.float_ is not None]
    report: dict[str, Any] = {
        **call_scores(calls, truth),
        "confusion": confusion(calls, truth),
        "calibration_error": after.error,
        "calibration": list(after.table),
        "temperatures": _temperatures(inside, (logits, votes), _joined(beyond[half:]), temperature),
        "same_call_in_both_runtimes": _same(calls, others),
    }
    if float_:
        report["float"] = call_scores(np.concatenate(float_), truth)
        report["same_call_as_float"] = _same(calls, float_)
    return report, temperature


Logits = tuple[Doubles, Floats]


def _joined(called: Sequence[Called]) -> Logits:
    return np.concatenate([c.int8 for c in called]), np.concatenate([c.votes for c in called])


def _temperatures(fitted: Logits, inside: Logits, outside: Logits, chosen: float) -> list[dict[str, float]]:
    """Calibration error inside and outside the training range without a temperature, with one from inside, and ours."""
    return [
        {
            "temperature": temperature,
            "inside": calibrate(softmax(inside[0], temperature), inside[1]).error,
            "outside": calibrate(softmax(outside[0], temperature), outside[1]).error,
        }
        for temperature in (1.0, fit_temperature(*fitted), chosen)
    ]


def _same(calls: Any, others: Sequence[Any]) -> float | None:
    return round(float((np.concatenate(others) == calls).mean()), 4) if others else None


def _detect(release: Path, floats: Path, seed: int) -> Detected:
    picture, boxes = draw_detector_picture(seed)
    float_model = loaded_float(release, floats) if (floats / FLOAT_FILES["wells"]).exists() else None
    found = None if float_model is None else float_model.detect(picture)
    return Detected(boxes, loaded(release).detect(picture), found)


def _call(release: Path, floats: Path, seed: int) -> Called:
    patches, votes = draw_patches(seed)
    float_model, other = loaded_float(release, floats), _other_runtime(release)
    return Called(
        votes,
        loaded(release).call_logits(patches),
        None if float_model is None else float_model.call_logits(patches),
        None if other is None else other.call_logits(patches),
    )


def _call_beyond(release: Path, seed: int) -> Called:
    plate = rendered(seed, "beyond", jittered=True)
    return Called(plate.votes[plate.counts], loaded(release).call_logits(plate.patches)[plate.counts], None, None)


@cache
def _other_runtime(release: Path) -> Model | None:
    try:
        return load_model(release, runtime="tflite-runtime")
    except ModelMismatch:
        return None  # not installed: it has no wheel for this Python


def _detection(drawn: Sequence[tuple[Floats, Detections]]) -> dict[str, float]:
    """Share of wells found, share of detections that are wells, their centres' error, and how well plates are boxed."""
    hits, wells, called, errors, plates = 0, 0, 0, [], []
    for boxes, detections in drawn:
        truth = boxes.astype(np.float64)
        true_wells, true_plates = truth[truth[:, 4] == WELL, :4], truth[truth[:, 4] == PLATE, :4]
        own, outlines = detections.of(WELL).boxes + 0.5, detections.of(PLATE).boxes + 0.5  # edges, as labels count
        hit, apart = match_wells(own, true_wells)
        hits, wells, called = hits + hit, wells + len(true_wells), called + len(own)
        errors += apart
        plates += [max((overlap(box, plate) for box in outlines), default=0.0) for plate in true_plates]
    return {
        "wells_found": round(hits / wells, 4),
        "detections_that_are_wells": round(hits / max(called, 1), 4),
        "centre_error_px": round(float(np.mean(errors)), 3),
        "plates_found": round(float(np.mean(np.array(plates) > 0.5)), 4),
        "plate_overlap": round(float(np.mean(plates)), 4),
    }
