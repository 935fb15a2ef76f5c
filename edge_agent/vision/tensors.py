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

Array = npt.NDArray[np.float64]
Int8 = npt.NDArray[np.int8]

PLATE, WELL = 0, 1
PADDING: Final = 114
# Two boxes of one class that share this part of the smaller one show one thing: wells and plates do not overlap.
SHARED_LIMIT: Final = 0.5
# Boxes that overlap so much measure one thing several times: their mean is finer than the best of them.
AGREEING_IOU: Final = 0.65
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
    if turned:
        image_bgr = cv2.rotate(image_bgr, cv2.ROTATE_90_COUNTERCLOCKWISE).astype(np.uint8, copy=False)
    scale = min(width / image_bgr.shape[1], height / image_bgr.shape[0])
    size = min(width, round(image_bgr.shape[1] * scale)), min(height, round(image_bgr.shape[0] * scale))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    canvas = np.full((height, width, 3), PADDING, np.uint8)
    canvas[: size[1], : size[0]] = cv2.resize(image_bgr, size, interpolation=method)[:, :, ::-1]
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
    apart = found.boxes + (found.classes * 1e5)[:, None]
    area = np.prod(apart[:, 2:] - apart[:, :2], axis=1)
    free = np.ones(len(apart), bool)
    merged, best = found.boxes.copy(), []
    for i in range(len(apart)):
        if not free[i]:
            continue
        rest = np.flatnonzero(free)
        sides = np.minimum(apart[i, 2:], apart[rest, 2:]) - np.maximum(apart[i, :2], apart[rest, :2])
        shared = np.prod(np.maximum(sides, 0), axis=1)
        free[rest[shared > SHARED_LIMIT * np.minimum(area[i], area[rest])]] = False
        free[i] = False
        agreeing = rest[shared >= AGREEING_IOU * (area[i] + area[rest] - shared)]
        merged[i] = np.average(found.boxes[agreeing], axis=0, weights=found.scores[agreeing])
        best.append(i)
    kept = np.array(best, np.int64)
    return Detections(merged, found.scores, found.classes).where(kept)


def softmax(logits: Array, temperature: float) -> Array:
    """Calibrated probabilities, one row per well."""
    scaled = logits / temperature
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))
