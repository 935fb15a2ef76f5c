"""Between pictures and tensors: letterbox, quantise, decode, non-maximum suppression, softmax. Pure.

Boxes are (x1, y1, x2, y2) in pixels as OpenCV counts them: the centre of the first pixel is (0, 0).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from edge_agent.vision.patches import Image
from edge_agent.vision.shrink import shrink

Array = npt.NDArray[np.float64]
Int8 = npt.NDArray[np.int8]

PLATE, WELL = 0, 1
PADDING: Final = 114
# Two boxes of one class that share this part of the smaller one show one thing: wells and plates do not overlap.
SHARED_LIMIT: Final = 0.5
# Boxes that overlap so much measure one thing several times: their mean is finer than the best of them.
AGREEING_IOU: Final = 0.65
# Suppression takes the best boxes so many at a time: one by one takes half as long again, and so do more at a time.
SETTLED_AT_ONCE: Final = 64
# Far more cells than a 1536-well plate lights up; a picture of noise must not make suppression slow.
MAX_CANDIDATES: Final = 4000


@dataclass(frozen=True, slots=True)
class Letterbox:
    """How a picture was laid into a network's input: turned upright first if asked, scaled, padded right and below."""

    scale: float
    turned: bool
    width_px: int
    height_px: int

    def to_picture(self, boxes: Array) -> Array:
        """Boxes of the network's input, counted from pixel edges, as boxes of the picture."""
        edges = boxes / self.scale
        if self.turned:
            x1, y1, x2, y2 = edges.T
            edges = np.stack([self.width_px - y2, x1, self.width_px - y1, x2], axis=1)
        return np.asarray(edges - 0.5, np.float64)


@dataclass(frozen=True, slots=True)
class Level:
    """The two output tensors of one stride, still quantised: (values, scale, zero point) of boxes and of classes."""

    stride: int
    boxes: tuple[Int8, float, int]
    classes: tuple[Int8, float, int]


@dataclass(frozen=True, slots=True)
class Detections:
    """What the wells network saw: boxes (n, 4), scores (n,), classes (n,), best score first."""

    boxes: Array
    scores: Array
    classes: npt.NDArray[np.int64]

    def of(self, kind: int) -> "Detections":
        """Only the detections of one class."""
        return self.where(self.classes == kind)

    def where(self, keep: npt.NDArray[Any]) -> "Detections":
        """Only the detections chosen by a mask or by indices."""
        return Detections(self.boxes[keep], self.scores[keep], self.classes[keep])

    @property
    def centres(self) -> Array:
        """Middles of the boxes, (n, 2)."""
        return np.asarray((self.boxes[:, :2] + self.boxes[:, 2:]) / 2)

    @property
    def sizes(self) -> Array:
        """Square root of the boxes' areas, (n,)."""
        return np.asarray(np.sqrt(np.prod(np.maximum(self.boxes[:, 2:] - self.boxes[:, :2], 1e-6), axis=1)))


def letterbox(image_bgr: Image, width: int, height: int) -> tuple[Image, Letterbox]:
    """An RGB input of the network's size. A picture standing upright is laid on its side, as the network's input is."""
    picture_height, picture_width = image_bgr.shape[:2]
    turned = (picture_height > picture_width) != (height > width)
    upright = (picture_height, picture_width) if turned else (picture_width, picture_height)
    scale = min(width / upright[0], height / upright[1])
    small = shrink(image_bgr, scale)
    if turned:
        small = cv2.rotate(small, cv2.ROTATE_90_COUNTERCLOCKWISE).astype(np.uint8, copy=False)
    small = small[:height, :width]
    below, right = height - small.shape[0], width - small.shape[1]
    padded = cv2.copyMakeBorder(small, 0, below, 0, right, cv2.BORDER_CONSTANT, value=(PADDING,) * 3)
    canvas = np.asarray(cv2.cvtColor(padded, cv2.COLOR_BGR2RGB), np.uint8)
    return canvas, Letterbox(scale, turned, picture_width, picture_height)


def quantise(rgb: Image) -> Int8:
    """Pixels as the int8 input with scale 1/255 and zero point −128: the same bits with the highest one flipped."""
    return (rgb ^ np.uint8(0x80)).view(np.int8)


def dequantise(tensor: tuple[Int8, float, int]) -> Array:
    """Real values of a quantised tensor."""
    values, scale, zero_point = tensor
    return (values.astype(np.float64) - zero_point) * scale


def decode(levels: Sequence[Level], score_threshold: float) -> Detections:
    """Boxes of the network's input from all strides, best score first, before suppression."""
    parts = [_decode_level(level, score_threshold) for level in levels]
    boxes = np.concatenate([part.boxes for part in parts])
    scores = np.concatenate([part.scores for part in parts])
    classes = np.concatenate([part.classes for part in parts])
    best = np.argsort(-scores, kind="stable")[:MAX_CANDIDATES]
    return Detections(boxes, scores, classes).where(best)


def _decode_level(level: Level, score_threshold: float) -> Detections:
    logits = dequantise(level.classes)
    _, width, kinds = logits.shape[-3:]
    logits = logits.reshape(-1, kinds)
    cells = np.flatnonzero(logits.max(axis=1) > np.log(score_threshold / (1 - score_threshold)))
    values, scale, zero_point = level.boxes
    distances = dequantise((values.reshape(-1, 4)[cells], scale, zero_point)) * level.stride
    centres = np.stack([cells % width + 0.5, cells // width + 0.5], axis=1) * level.stride
    boxes = np.concatenate([centres - distances[:, :2], centres + distances[:, 2:]], axis=1)
    return Detections(boxes, 1 / (1 + np.exp(-logits[cells].max(axis=1))), logits[cells].argmax(axis=1))


def suppress(found: Detections) -> Detections:
    """One box for what several of one class show, best first: the mean, by score, of those that nearly agree."""
    # Far apart, so that boxes of different classes never meet.
    boxes = (found.boxes + (found.classes * 1e5)[:, None]).T.copy()
    area = (boxes[2] - boxes[0]) * (boxes[3] - boxes[1])
    keeper = _keepers(boxes, area)
    shared = _shared(boxes[:, keeper], boxes)
    agreeing = np.flatnonzero(shared >= AGREEING_IOU * (area[keeper] + area - shared))
    weights, owners = found.scores[agreeing], keeper[agreeing]
    kept = np.unique(keeper)
    total = np.bincount(owners, weights, len(area))
    sides = [np.bincount(owners, weights * side, len(area))[kept] / total[kept] for side in found.boxes[agreeing].T]
    return Detections(np.stack(sides, axis=1), found.scores[kept], found.classes[kept])


def _keepers(boxes: Array, area: Array) -> npt.NDArray[np.int64]:
    """For each box the best one that hides it, itself if none does; `boxes` (4, n), best first.

    The best few of those that are left are settled among themselves and then hide others together.
    """
    keeper = np.arange(len(area))
    rest, limits = keeper, SHARED_LIMIT * area
    while len(rest):
        few = min(len(rest), SETTLED_AT_ONCE)
        hides = _shared(boxes[:, :few, None], boxes[:, None]) > np.minimum(limits[:few, None], limits)
        np.fill_diagonal(hides, True)
        best, hidden = [], np.zeros(few, bool)
        for index in range(few):
            if not hidden[index]:
                best.append(index)
                hidden |= hides[index, :few]
        taken = hides[best].any(axis=0)
        keeper[rest[taken]] = rest[best][hides[best].argmax(axis=0)[taken]]
        rest, boxes, limits = rest[~taken], boxes[:, ~taken], limits[~taken]
    return keeper


def _shared(first: Array, second: Array) -> Array:
    """Area that boxes (4, n) have in common."""
    sides = np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2])
    np.maximum(sides, 0, out=sides)
    return np.asarray(sides[0] * sides[1])


def softmax(logits: Array, temperature: float) -> Array:
    """Calibrated probabilities, one row per well."""
    scaled = logits / temperature
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))
