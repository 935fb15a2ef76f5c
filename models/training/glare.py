"""Glare laid over wells of a finished picture: lamps, tubes, a lid's reflection, bubbles; with the share of cells lost.

Rims shine on every plate and hide nothing; this light falls where the cells lie. It is added to the picture, as light
is, and clipped as a sensor clips it.

    python -m models.training.glare

measures how many lost wells the device recognises, and how many good ones it takes for lost.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_agent.vision.glare import CELLS_RADIUS_PITCH, lost_to_glare
from edge_agent.vision.patches import cut_patches
from models.training.dataset import PATCH_PITCHES, PATCH_PX
from models.training.render import render_plate
from models.training.spec import Difficulty, Doubles, Floats, Image, PlateSpec, Truth, project, well_names

Kind = Literal["lamp", "tube", "lid", "bubbles"]
KINDS: tuple[Kind, ...] = get_args(Kind)
MEASURE_SEED, PLATES, WELLS_LIT = 6_000_000, 40, 8


def lay_glare(seed: int, image: Image, truth: Truth, wells: Collection[str], kind: Kind) -> tuple[Image, Doubles]:
    """The picture with glare of one kind on these wells, and per well of the plate the share of its cells' area lost.

    The share counts where the glare has at least half of its strength; other wells may be touched as well.
    """
    rng = np.random.default_rng([seed, 5])
    cover = np.zeros(image.shape[:2], np.float32)
    names = well_names(truth.rows, truth.columns)
    for index in sorted(names.index(well) for well in wells):
        row, column = divmod(index, truth.columns)
        for outline in _outlines(rng, kind, float(column), float(row)):
            cv2.fillPoly(cover, [np.rint(project(truth.index_to_px(), outline)).astype(np.int32)], (1.0,))
    pitch_px = float(np.hypot(*(truth.centres_px[1] - truth.centres_px[0])))
    soft = {"lamp": 0.04, "tube": 0.03, "lid": 0.008, "bubbles": 0.012}[kind]
    cover = np.asarray(cv2.GaussianBlur(cover, (0, 0), max(soft * pitch_px, 0.6)), np.float32)
    # A lid mirrors a window, which is brighter than the plate but need not blind the sensor; a lamp does.
    light = float(rng.uniform(200, 320) if kind == "lid" else rng.uniform(300, 900))
    lit = np.clip(image + light * cover[..., None], 0, 255).astype(np.uint8)
    return lit, _lost(cover, truth)


def _outlines(rng: np.random.Generator, kind: Kind, column: float, row: float) -> list[Doubles]:
    """Polygons in well coordinates (column, row) about one well."""
    at = np.array([column, row]) + rng.normal(0, 0.03, 2)
    angle = float(rng.uniform(0, np.pi))
    if kind == "lamp":
        return [_ellipse(at, rng.uniform(0.2, 0.36), rng.uniform(0.2, 0.36), angle)]
    if kind == "tube":
        return [_box(at, rng.uniform(0.5, 1.6), rng.uniform(0.16, 0.3), angle)]
    if kind == "lid":
        return [_box(at, rng.uniform(0.25, 0.7), rng.uniform(0.25, 0.7), angle)]
    places = at + rng.normal(0, 0.11, (int(rng.integers(8, 22)), 2))
    return [_ellipse(place, rng.uniform(0.04, 0.12), rng.uniform(0.04, 0.12), angle) for place in places]


def _ellipse(at: Doubles, a: float, b: float, angle: float) -> Doubles:
    turn = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    ring: Doubles = np.stack([a * np.cos(turn), b * np.sin(turn)], axis=1)
    return at + ring @ _rotation(angle)


def _box(at: Doubles, half_length: float, half_width: float, angle: float) -> Doubles:
    corners: Doubles = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * (half_length, half_width)
    return at + corners @ _rotation(angle)


def _rotation(angle: float) -> Doubles:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, sin], [-sin, cos]])


def _lost(cover: Floats, truth: Truth) -> Doubles:
    turn, reach = np.meshgrid(np.linspace(0, 2 * np.pi, 24, endpoint=False), (np.arange(8) + 0.5) ** 0.5 / 8**0.5)
    disc = np.stack([np.cos(turn), np.sin(turn)], axis=-1).reshape(-1, 2) * reach.reshape(-1, 1) * CELLS_RADIUS_PITCH
    shares = []
    for index in range(truth.rows * truth.columns):
        row, column = divmod(index, truth.columns)
        x, y = np.rint(project(truth.index_to_px(), disc + np.array([column, row]))).astype(int).T
        inside = (x >= 0) & (y >= 0) & (x < cover.shape[1]) & (y < cover.shape[0])
        shares.append(float((cover[y[inside], x[inside]] > 0.5).mean()) if inside.any() else 0.0)
    return np.array(shares)


def _measure(difficulty: Difficulty) -> None:
    """Print one line per kind of glare: lost wells, how many of them were recognised; then the false alarms."""
    found: dict[Kind, list[NDArray[np.bool_]]] = {kind: [] for kind in KINDS}
    untouched = []
    for seed in range(MEASURE_SEED, MEASURE_SEED + PLATES):
        rng = np.random.default_rng([seed, 9])
        pitch_px = float(np.exp(rng.uniform(np.log(40), np.log(110))))
        size_px = (round(pitch_px * 15.5), round(pitch_px * 11))
        image, truth = render_plate(seed, PlateSpec(difficulty=difficulty, size_px=size_px, turn_deg=rng.normal(0, 4)))
        margin = 0.3 * pitch_px
        low, high = truth.centres_px - margin, truth.centres_px + margin
        inside = (low > 0).all(axis=1) & (high < size_px).all(axis=1)
        untouched.append(_recognised(image, truth)[inside])
        for kind in KINDS:
            wells = rng.choice(well_names(truth.rows, truth.columns), WELLS_LIT, replace=False).tolist()
            lit, share = lay_glare(seed, image, truth, wells, kind)
            found[kind].append(_recognised(lit, truth)[inside & (share > 0.5)])
    for kind, parts in found.items():
        lost = np.concatenate(parts)
        print(f"{difficulty}, {kind}: {lost.sum()} of {len(lost)} wells of which more than half is lost are obscured")
    false = np.concatenate(untouched)
    print(f"{difficulty}, no glare laid: {false.sum()} of {len(false)} wells obscured ({false.mean():.2%})")


def _recognised(image: Image, truth: Truth) -> NDArray[np.bool_]:
    patches = cut_patches(image, truth.index_to_px(), truth.rows, truth.columns, PATCH_PX, PATCH_PITCHES)
    return lost_to_glare(patches, PATCH_PITCHES)


if __name__ == "__main__":
    cv2.setNumThreads(1)
    _measure("plain")
    _measure("varied")
