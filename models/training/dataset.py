"""Render the training pictures into a folder outside git; a seed and a count say exactly which.

Pictures for the detector are letterboxed to 640 × 480 as the device does it. Patches for the calls are cut with the
device's own rectification and a jittered homography, so that training sees the geometry errors that reading makes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_agent.vision.levels import even_levels
from edge_agent.vision.patches import cut_patches
from edge_agent.vision.tensors import letterbox
from models.training.ranges import PARAMETERS
from models.training.render import render_deck, render_plate, render_stage
from models.training.spec import (
    CLASSES,
    EMPTY,
    UNSEEN,
    Difficulty,
    Doubles,
    Floats,
    Image,
    PlateSpec,
    Truth,
    well_names,
)

INPUT_SIZE = (640, 480)
PATCH_PX = 64
PATCH_PITCHES = 0.9
PLATES_PER_SHARD = 20
NEARLY_EMPTY = 0.06  # share of plates, beside those that a varied plate's own draw leaves nearly empty
LEAST_SEEN_LEVELS = 2.0  # standard deviation of grey levels in and around a well
SEEN_ALIKE, SPOT_PX = 0.55, 12  # how alike faint wells must look, compared at this many pixels
JITTER = {"shift": 0.035, "scale": 0.025, "turn_rad": 0.02, "tilt": 0.004}


def write_wells(folder: Path, count: int, seed: int, processes: int = 2) -> None:
    """`count` letterboxed pictures as JPEG with their boxes (plate 0, well 1, unseen −2) as JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    _each(partial(_write_wells_picture, folder), range(seed, seed + count), processes)


def write_calls(folder: Path, plates: Mapping[Difficulty, range], processes: int = 2) -> None:
    """Patches and soft labels of rendered plates, the seeds of each difficulty as named; twenty plates to a shard."""
    folder.mkdir(parents=True, exist_ok=True)
    for difficulty, seeds in plates.items():
        _each(partial(_write_calls_shard, folder, difficulty), seeds[::PLATES_PER_SHARD], processes)


def detector_boxes(truth: Truth, scale: float, size_px: tuple[int, int]) -> Floats:
    """Rows of x1, y1, x2, y2, class (plate 0, well 1) in letterboxed pixels; what is mostly outside is left out."""
    quad = truth.plate_quad_px
    plate = np.concatenate([quad.min(axis=0), quad.max(axis=0)])
    # Edge coordinates: a pixel's centre is half a pixel from its edge, and scaling is about edges.
    boxes = (np.vstack([plate, truth.rim_boxes_px]) + 0.5) * scale
    classes = np.r_[0, np.ones(len(truth.rim_boxes_px))]
    limits = np.array([*size_px, *size_px], np.float64) * scale
    clipped = np.clip(boxes, 0, limits)
    visible = np.prod(clipped[:, 2:] - clipped[:, :2], axis=1) / np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    keep = visible > 0.6
    return np.asarray(np.column_stack([clipped, classes])[keep], np.float32)


def unseen(picture: Image, boxes: Floats) -> NDArray[np.bool_]:
    """Which wells light or darkness hides so well that a detector must neither find nor deny them.

    Grain is smoothed away first, in proportion to the well: a detector taught that faint wells look like grain finds
    wells on every bare bench (measured: the first training with faint plates did). A faint well that looks like the
    others of its plate can still be seen.
    """
    wells = np.flatnonzero(boxes[:, 4] == 1)
    hidden = np.zeros(len(boxes), bool)
    if not len(wells):
        return hidden
    side = float(np.median(boxes[wells, 2:4] - boxes[wells, :2]))
    grey = np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), np.float32)
    smooth = np.asarray(cv2.GaussianBlur(grey, (0, 0), max(1.2, side / 5)), np.float32)
    fine = np.asarray(cv2.GaussianBlur(grey, (0, 0), max(0.6, side / 14)), np.float32)
    for index, alike in zip(wells, _alike(fine, boxes[wells]), strict=True):
        x1, y1, x2, y2 = np.rint(boxes[index, :4]).astype(int)
        spot = smooth[max(y1 - 1, 0) : y2 + 1, max(x1 - 1, 0) : x2 + 1]
        faint = spot.size == 0 or float(spot.std()) < LEAST_SEEN_LEVELS
        hidden[index] = faint and alike < SEEN_ALIKE
    return hidden


def _alike(grey: Floats, boxes: Floats) -> Doubles:
    """How much each well looks like the mean of the others, −1 to 1: what repeats over a plate is no grain."""
    spots = []
    for box in boxes:
        x1, y1, x2, y2 = np.rint(box[:4]).astype(int)
        spot = grey[max(y1 - 1, 0) : y2 + 1, max(x1 - 1, 0) : x2 + 1]
        small = cv2.resize(spot, (SPOT_PX, SPOT_PX), interpolation=cv2.INTER_AREA) if spot.size else np.zeros((1, 1))
        spots.append(np.asarray(np.broadcast_to(small, (SPOT_PX, SPOT_PX)), np.float64).ravel())
    looks = np.stack(spots)
    looks -= looks.mean(axis=1, keepdims=True)
    looks /= np.linalg.norm(looks, axis=1, keepdims=True) + 1e-6
    others = looks.sum(axis=0) - looks
    return np.asarray((looks * others).sum(axis=1) / (np.linalg.norm(others, axis=1) + 1e-6))


def draw_detector_picture(seed: int) -> tuple[Image, Floats]:
    """One training picture of the detector: any plate in any position, a crowded deck, or a bench without a plate."""
    rng = np.random.default_rng([seed, 1])
    shape = rng.choice(3, p=[0.5, 0.25, 0.25])  # 4:3 as most cameras, wider, narrower
    width, height = [(640, 480), (640, int(rng.integers(360, 480))), (int(rng.integers(480, 640)), 480)][shape]
    zoom = int(rng.choice([1, 2], p=[0.75, 0.25]))
    size_px = (width * zoom, height * zoom)
    scene = rng.random()
    if scene < 0.04:
        return _letterboxed(render_stage(seed, size_px, "varied"))[0], np.zeros((0, 5), np.float32)
    hi = rng.random() < 0.42
    plate_format = 96 if hi else int(rng.choice([96, 384, 24, 48, 12, 6], p=[0.54, 0.12, 0.1, 0.08, 0.06, 0.1]))
    spec = PlateSpec(
        difficulty="varied", size_px=size_px, plate_format=plate_format, contents="hi" if hi else "generic"
    )
    if scene < 0.24:
        image, truths = render_deck(seed, spec)
    else:
        image, truth = render_plate(seed, spec)
        truths = (truth,)
    boxed, scale = _letterboxed(image)
    boxes = np.concatenate([detector_boxes(truth, scale, size_px) for truth in truths])
    boxes[unseen(boxed, boxes), 4] = UNSEEN
    return boxed, boxes


def draw_patches(seed: int, difficulty: Difficulty = "varied") -> tuple[Image, Floats]:
    """Patches (96, 64, 64, 3) RGB as cut, levels not yet evened, and soft labels of one rendered plate.

    A few plates are plain, whatever the difficulty.
    """
    rng = np.random.default_rng([seed, 2])
    pitch_px = float(np.exp(rng.uniform(*np.log(PARAMETERS["px_per_pitch"].training))))
    size_px = (round(pitch_px * 15.5), round(pitch_px * 11))
    plain = rng.random() < 0.06
    turn_deg = float(rng.normal(0, 4))
    fill = float(rng.uniform(0.7, 1.05))
    calls = _nearly_empty(rng) if rng.random() < NEARLY_EMPTY else None
    kind = "plain" if plain else difficulty
    spec = PlateSpec(calls=calls, difficulty=kind, size_px=size_px, turn_deg=turn_deg, fill=fill)
    image, truth = render_plate(seed, spec)
    patches = cut_patches(image, truth.index_to_px() @ jitter(rng), truth.rows, truth.columns, PATCH_PX, PATCH_PITCHES)
    inside = _inside(truth, size_px, pitch_px)
    return patches[inside], truth.soft_calls[inside]


def _nearly_empty(rng: np.random.Generator) -> dict[str, str]:
    """Calls of a plate of which only a few wells are in use: a well without cells must never be given any."""
    share = float(rng.choice([0.0, 0.03, 0.15]))
    used = [CLASSES[call] for call in rng.integers(0, EMPTY, 96)]
    return {
        name: call if rng.random() < share else CLASSES[EMPTY]
        for name, call in zip(well_names(8, 12), used, strict=True)
    }


def jitter(rng: np.random.Generator) -> Doubles:
    """A small error in well index coordinates, as detection and fitting leave it."""
    angle = rng.normal(0, JITTER["turn_rad"] / 4)
    scale = 1 + rng.normal(0, JITTER["scale"] / 6, 2)
    shift = rng.normal(0, JITTER["shift"], 2)
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array(
        [[scale[0] * cos, -sin, shift[0]], [sin, scale[1] * cos, shift[1]], [*rng.normal(0, JITTER["tilt"] / 12, 2), 1]]
    )


def load_calls(folder: Path) -> tuple[Image, Floats]:
    """All patches and soft labels of a folder, in the order of their seeds."""
    shards = [np.load(path) for path in sorted(folder.glob("*.npz"))]
    return np.concatenate([shard["patches"] for shard in shards]), np.concatenate([shard["soft"] for shard in shards])


def _letterboxed(image: Image) -> tuple[Image, float]:
    """The device's own letterbox, back in the renderer's colour order; its scale."""
    rgb, box = letterbox(image, *INPUT_SIZE)
    return np.ascontiguousarray(rgb[..., ::-1]), box.scale


def _inside(truth: Truth, size_px: tuple[int, int], pitch_px: float) -> NDArray[np.bool_]:
    margin = 0.3 * pitch_px
    x, y = truth.centres_px.T
    return np.asarray((x > margin) & (y > margin) & (x < size_px[0] - margin) & (y < size_px[1] - margin))


def _write_wells_picture(folder: Path, seed: int) -> None:
    picture, boxes = draw_detector_picture(seed)
    cv2.imwrite(str(folder / f"{seed:07d}.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, 97])
    (folder / f"{seed:07d}.json").write_text(json.dumps(np.round(boxes, 2).tolist()))


def _write_calls_shard(folder: Path, difficulty: Difficulty, first_seed: int) -> None:
    drawn = [draw_patches(seed, difficulty) for seed in range(first_seed, first_seed + PLATES_PER_SHARD)]
    patches = np.concatenate([even_levels(of_plate) for of_plate, _ in drawn])
    soft = np.concatenate([votes for _, votes in drawn])
    np.savez(folder / f"{first_seed:07d}.npz", patches=patches, soft=soft)


def _each(work: Callable[[int], None], seeds: range, processes: int) -> None:
    cv2.setNumThreads(1)
    with get_context("fork").Pool(processes) as pool:
        for _ in pool.imap_unordered(work, seeds, chunksize=4):
            pass
