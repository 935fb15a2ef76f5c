"""What a release does on labelled real photographs, which belong to others: they are read here and never kept.

Without them this part is skipped. Pictures within a set are siblings, so results are given per set.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge_agent.cameras.frame import Frame
from edge_agent.vision import Model, Refused, read_plate
from edge_agent.vision.patches import cut_patches
from models.training.found import count_photographs
from models.training.measure import call_scores, confusion, endpoints
from models.training.spec import CLASSES, Doubles, Image, project, well_names
from protocol.plate import Seat
from protocol.profiles import profile_named

NO_CALL = len(CLASSES)


def measure_photographs(model: Model, folder: Path) -> dict[str, Any]:
    """Every figure that the labelled photographs give."""
    return {
        "hi_titration": _titration(model, folder / "hi" / "hi-plate-62"),
        "hi_three_wells": _three_wells(model, folder / "hi" / "hi-plate-three-wells"),
        "found_per_set": count_photographs(model, folder / "other"),
    }


def _titration(model: Model, stem: Path) -> dict[str, Any]:
    """A full titration, with the labelled corners given and end to end."""
    label, image, corners = load_labelled(stem)
    names = well_names(8, 12)
    truth = np.array([CLASSES.index(label["wells"][name]) for name in names])
    clear = np.array([name not in label["ambiguous"] for name in names])
    wanted = list(label["endpoint_last_flowing_column"].values())
    patches = cut_patches(image, corners, 8, 12, 64, model.manifest.networks.calls.patch_pitches)
    given = model.call_logits(patches).argmax(axis=1)
    report: dict[str, Any] = {"wells_unambiguous": int(clear.sum())}
    found, centres = _read(model, stem)
    for name, calls in (("corners_given", given), ("end_to_end", found)):
        if calls is None:
            report[name] = "refused"
            continue
        off = np.abs(np.array(endpoints(calls)) - wanted)
        report[name] = {
            **call_scores(calls[clear], truth[clear]),
            "rows_exact": int((off == 0).sum()),
            "rows_within_1": int((off <= 1).sum()),
            "confusion": confusion(calls[clear], truth[clear]),
            "wrong_as_flowing_or_not": [
                names[i] for i in np.flatnonzero(clear & ((calls == 0) != (truth == 0))).tolist()
            ],
        }
    if centres is not None:
        report["centre_error_pitches"] = _centre_error(centres, corners)
    return report


def _three_wells(model: Model, stem: Path) -> dict[str, Any]:
    """An almost empty plate: the empty ones must be called empty, the three with cells must not."""
    label, image, corners = load_labelled(stem)
    names = well_names(8, 12)
    with_cells = np.array([label["wells"][name] != "clear" for name in names])
    patches = cut_patches(image, corners, 8, 12, 64, model.manifest.networks.calls.patch_pitches)
    given = model.call_logits(patches).argmax(axis=1)
    report: dict[str, Any] = {"wells_empty": int((~with_cells).sum()), "wells_with_cells": int(with_cells.sum())}
    for name, calls in (("corners_given", given), ("end_to_end", _read(model, stem)[0])):
        if calls is None:
            report[name] = "refused"
            continue
        empty = calls == CLASSES.index("empty")
        report[name] = {
            "empty_called_empty": int((empty & ~with_cells).sum()),
            "empty_called_flowing": int(((calls == 0) & ~with_cells).sum()),
            "cells_found": int((~empty & with_cells).sum()),
        }
    return report


def load_labelled(stem: Path) -> tuple[dict[str, Any], Image, Doubles]:
    """Label, picture, and the homography from well indices to pixels that the labelled corners give."""
    label = json.loads(stem.with_suffix(".json").read_text())
    corners = label["corner_well_centres"]
    indices = np.array([[0, 0], [11, 0], [0, 7], [11, 7]], np.float32)
    pixels = np.array([corners[name] for name in ("A1", "A12", "H1", "H12")], np.float32)
    homography = np.asarray(cv2.getPerspectiveTransform(indices, pixels), np.float64)
    return label, np.asarray(cv2.imread(str(stem.with_suffix(".jpg"))), np.uint8), homography


def _read(model: Model, stem: Path) -> tuple[Any, Any]:
    """Calls and centres as the device reads them, or two Nones where it refuses."""
    path = stem.with_suffix(".jpg")
    frame = Frame(path.read_bytes(), path.name, datetime.fromtimestamp(path.stat().st_mtime, UTC), 0)
    try:
        view = read_plate(frame, profile_named("hi-96"), model=model, seat=Seat.TOP_LEFT)
    except Refused as refused:
        print(f"{path.name}: {refused}")
        return None, None
    wells = [view.wells[name] for name in well_names(8, 12)]
    calls = np.array([CLASSES.index(w.call) if w.call in CLASSES else NO_CALL for w in wells])
    return calls, np.array([well.centre_px for well in wells], np.float64)


def _centre_error(centres: Doubles, corners: Doubles) -> dict[str, float]:
    column, row = np.meshgrid(np.arange(12), np.arange(8))
    wanted = project(corners, np.stack([column.ravel(), row.ravel()], axis=1))
    pitch = float(np.hypot(*(wanted[1] - wanted[0])))
    apart = np.hypot(*(centres - wanted).T) / pitch
    return {"mean": round(float(apart.mean()), 3), "most": round(float(apart.max()), 3)}
