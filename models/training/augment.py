"""Many looks from one render: colour, blur and noise on patches; mirror, zoom and light on whole pictures."""

from __future__ import annotations

import cv2
import numpy as np

from edge_agent.vision.tensors import PADDING
from models.training.spec import Floats, Image


def recolour_patches(rng: np.random.Generator, patches: Image) -> Floats:
    """Patches (n, h, w, 3) as floats 0–1: compression, light, balance, sensor noise, blur, mirror left to right.

    Levels are even already, so light and colour vary less here than in photographs.
    """
    count, height, width = patches.shape[:3]
    patches = _compressed(rng, patches)
    x = patches.astype(np.float32) / 255
    mirrored = rng.random(count) < 0.5
    x[mirrored] = x[mirrored, :, ::-1]
    gain = rng.uniform(0.85, 1.15, (count, 1, 1, 1)) * rng.uniform(0.92, 1.08, (count, 1, 1, 3))
    x = x * gain.astype(np.float32) + rng.uniform(-0.05, 0.05, (count, 1, 1, 1)).astype(np.float32)
    for index in np.flatnonzero(rng.random(count) < 0.35):
        x[index] = cv2.GaussianBlur(x[index], (0, 0), float(rng.uniform(0.4, 1.6)))
    noisy = (rng.random((count, 1, 1, 1)) < 0.5) * rng.uniform(0, 0.04, (count, 1, 1, 1))
    x += rng.standard_normal((count, height, width, 3), dtype=np.float32) * noisy.astype(np.float32)
    return np.clip(x, 0, 1).astype(np.float32)


def _compressed(rng: np.random.Generator, patches: Image) -> Image:
    """Some of the patches as a JPEG file of poor quality leaves them."""
    patches = patches.copy()
    for index in np.flatnonzero(rng.random(len(patches)) < 0.25):
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(35, 90))]
        bgr = np.ascontiguousarray(patches[index, ..., ::-1])
        patches[index] = np.asarray(cv2.imdecode(cv2.imencode(".jpg", bgr, quality)[1], cv2.IMREAD_COLOR))[..., ::-1]
    return patches


def vary_picture(rng: np.random.Generator, picture: Image, boxes: Floats) -> tuple[Image, Floats]:
    """A training picture of the detector mirrored, zoomed and relit at random, with its boxes."""
    picture, boxes = _mirrored(rng, picture, boxes)
    if rng.random() < 0.5:
        picture, boxes = _zoomed(rng, picture, boxes)
    return (_relit(rng, picture) if rng.random() < 0.6 else picture), boxes


def _mirrored(rng: np.random.Generator, picture: Image, boxes: Floats) -> tuple[Image, Floats]:
    """A detector of round things must not learn left from right."""
    height, width = picture.shape[:2]
    boxes = boxes.copy()
    if rng.random() < 0.5:
        picture = picture[:, ::-1]
        boxes[:, [0, 2]] = width - boxes[:, [2, 0]]
    if rng.random() < 0.5:
        picture = picture[::-1]
        boxes[:, [1, 3]] = height - boxes[:, [3, 1]]
    return np.ascontiguousarray(picture), boxes


def _zoomed(rng: np.random.Generator, picture: Image, boxes: Floats) -> tuple[Image, Floats]:
    height, width = picture.shape[:2]
    scale = float(np.exp(rng.uniform(-0.45, 0.35)))
    room = np.array([width, height]) * (1 - scale)
    shift = rng.uniform(np.minimum(room, 0), np.maximum(room, 0))
    # A pixel's centre is half a pixel from its edge, and scaling is about edges.
    to_new = np.array([[scale, 0, shift[0] + (scale - 1) / 2], [0, scale, shift[1] + (scale - 1) / 2]])
    picture = np.asarray(cv2.warpAffine(picture, to_new, (width, height), borderValue=(PADDING,) * 3), np.uint8)
    moved = boxes[:, :4] * scale + np.tile(shift, 2)
    clipped = np.clip(moved, 0, [width, height, width, height])
    visible = np.prod(clipped[:, 2:] - clipped[:, :2], axis=1) / np.prod(moved[:, 2:] - moved[:, :2], axis=1)
    return picture, np.asarray(np.column_stack([clipped, boxes[:, 4]])[visible > 0.6], np.float32)


def _relit(rng: np.random.Generator, picture: Image) -> Image:
    """Another exposure, contrast and white balance, by one table per colour."""
    level = np.arange(256) / 255
    curve = level ** float(np.exp(rng.uniform(-0.5, 0.5))) * float(rng.uniform(0.35, 1.15))
    curve = curve + float(rng.uniform(-0.05, 0.25))
    table = np.clip(curve[:, None] * rng.uniform(0.85, 1.15, 3) * 255, 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(picture, table[None]), np.uint8)
