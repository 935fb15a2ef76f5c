"""Measure a release and write the figures where they belong: manifest.json and MODEL_CARD.md.

    python -m models.training.evaluate

Held-out renders have seeds that training never saw; the temperature is fitted on one part of them and judged on
another. Photographs are measured where they are present. Runs with the edge runtime alone; the comparison with the
float networks needs the files that export left beside the training data.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import ai_edge_litert.interpreter as litert
import cv2
import numpy as np

from edge_agent.vision import Model, load_model
from edge_agent.vision.tensors import PLATE, WELL, Array, Detections, Level, decode, suppress
from models.training.beyond import measure_beyond
from models.training.card import write_card
from models.training.dataset import draw_detector_picture, draw_patches
from models.training.latency import measure_latency
from models.training.measure import (
    calibrate,
    call_scores,
    confusion,
    fit_temperature,
    match_wells,
    overlap,
    softmax,
)
from models.training.photographs import measure_photographs
from models.training.spec import Floats, Image

RELEASE = Path("models/hi-wells-v1")
DATA = Path("train-data")
HELD_OUT_SEED = 4_000_000
PICTURES, PLATES, BEYOND = 150, 120, 120


def measure_calls(model: Model, folder: Path) -> tuple[dict[str, Any], float]:
    """The calls network on held-out renders, and the temperature that calibrates it."""
    drawn = [draw_patches(HELD_OUT_SEED + index) for index in range(PLATES)]
    patches, soft = (np.concatenate(parts) for parts in zip(*drawn, strict=True))
    logits = model.call_logits(patches)
    half = len(logits) // 2
    temperature = fit_temperature(logits[:half], soft[:half])
    test, votes = logits[half:], soft[half:]
    calls, truth = test.argmax(axis=1), votes.argmax(axis=1)
    after = calibrate(softmax(test, temperature), votes)
    report: dict[str, Any] = {
        **call_scores(calls, truth),
        "confusion": confusion(calls, truth),
        "calibration_error_before": calibrate(softmax(test, 1.0), votes).error,
        "calibration_error": after.error,
        "calibration": list(after.table),
        "same_call_in_both_runtimes": _agreement(patches[half:], calls, folder),
    }
    float_path = DATA / "calls-float.tflite"
    if float_path.exists():
        floats = _float_logits(float_path, patches[half:])
        report["float"] = call_scores(floats.argmax(axis=1), truth)
        report["same_call_as_float"] = round(float((floats.argmax(axis=1) == calls).mean()), 4)
    return report, temperature


def measure_wells(model: Model) -> dict[str, Any]:
    """The detector on held-out renders, int8 and where possible float."""
    drawn = [draw_detector_picture(HELD_OUT_SEED + index) for index in range(PICTURES)]
    report: dict[str, Any] = {"pictures": PICTURES, "int8": _detection([model.detect(p) for p, _ in drawn], drawn)}
    float_path = DATA / "model-float.tflite"
    if float_path.exists():
        threshold = model.manifest.networks.wells.score_threshold
        report["float"] = _detection(_float_detections(float_path, [p for p, _ in drawn], threshold), drawn)
    return report


def _detection(found: list[Detections], drawn: list[tuple[Image, Floats]]) -> dict[str, float]:
    """Share of wells found, share of detections that are wells, their centres' error, and how well plates are boxed."""
    hits, wells, called, errors, plates = 0, 0, 0, [], []
    for detections, (_, boxes) in zip(found, drawn, strict=True):
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


def _agreement(patches: Image, calls: Any, folder: Path) -> float | None:
    try:
        other = load_model(folder, runtime="tflite-runtime")
    except ValueError:
        return None  # not installed: the training environment has LiteRT alone
    return round(float((other.call_logits(patches).argmax(axis=1) == calls).mean()), 4)


def _float_logits(path: Path, patches: Image) -> Array:
    interpreter = _interpreter(path)
    batch = int(interpreter.get_input_details()[0]["shape"][0])
    padded = np.concatenate([patches, np.zeros((-len(patches) % batch, *patches.shape[1:]), np.uint8)])
    parts = [_invoke(interpreter, part)[0] for part in padded.reshape(-1, batch, *patches.shape[1:])]
    return np.asarray(np.concatenate(parts)[: len(patches)], np.float64)


def _float_detections(path: Path, pictures: list[Image], threshold: float) -> list[Detections]:
    interpreter, found = _interpreter(path), []
    for picture in pictures:
        tensors = _invoke(interpreter, picture[None, ..., ::-1])
        width = picture.shape[1]
        levels = []
        for stride in (8, 16, 32):
            of_stride = [t for t in tensors if t.shape[2] == width // stride]
            boxes = next(t for t in of_stride if t.shape[3] == 4)
            classes = next(t for t in of_stride if t.shape[3] == 2)
            levels.append(Level(stride, (boxes, 1.0, 0), (classes, 1.0, 0)))
        kept = suppress(decode(levels, threshold))
        found.append(Detections(kept.boxes - 0.5, kept.scores, kept.classes))
    return found


def _interpreter(path: Path) -> Any:
    interpreter = litert.Interpreter(str(path), num_threads=2)
    interpreter.allocate_tensors()
    return interpreter


def _invoke(interpreter: Any, pictures: Image) -> list[Any]:
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], pictures.astype(np.float32) / 255)
    interpreter.invoke()
    return [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]


def main() -> None:
    """Command line: measure, then write manifest and card."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--release", type=Path, default=RELEASE)
    parser.add_argument("--plates", type=Path, default=Path("../shared/plates"), help="labelled photographs, if any")
    parser.add_argument("--beyond", type=int, default=BEYOND, help="plates outside the training range to read")
    arguments = parser.parse_args()
    release, plates = arguments.release, arguments.plates
    cv2.setNumThreads(1)
    path = release / "manifest.json"
    calls, temperature = measure_calls(load_model(release), release)
    manifest = json.loads(path.read_text())
    manifest["networks"]["calls"]["temperature"] = temperature
    path.write_text(json.dumps(manifest, indent=2) + "\n")
    model = load_model(release)  # with the new temperature
    metrics = {
        "held_out_renders": {"wells": measure_wells(model), "calls": calls},
        "beyond_training": measure_beyond(model, arguments.beyond),
        "latency": measure_latency(release),
    }
    if not (plates / "hi").is_dir():
        print(f"no labelled photographs in {plates}: their figures are left as they were")
        metrics["photographs"] = manifest["metrics"].get("photographs", {})
    else:
        metrics["photographs"] = measure_photographs(model, plates)
    manifest["metrics"] = metrics
    path.write_text(json.dumps(manifest, indent=2) + "\n")
    write_card(release)


if __name__ == "__main__":
    main()
