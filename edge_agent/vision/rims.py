"""How much each place of a plate looks like its usual well: laid flat, then correlated with its own wells. Pure.

Only the directions in which brightness changes are compared, each about as strong as the next, so that contents, colour
and light matter little and the rims, which all wells share, decide.
"""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from edge_agent.vision.lattice import Ints, project
from edge_agent.vision.patches import Image, Matrix
from edge_agent.vision.tensors import Array

Floats = npt.NDArray[np.float32]

# Flat pixels of one pitch, and of the piece around a node that is compared.
PITCH_PX, LOOK_PX = 24, 25
# How far from its node a well is looked for.
REACH_PX: Final = 6
SMOOTH_PX, AROUND_PX = 1.0, 12.0
# Grey levels of a step that is more than grain.
GRAIN: Final = 1.0


@dataclass(frozen=True, slots=True)
class Flat:
    """A grid's part of the picture with the nodes on a square lattice: node `low` lies one pitch from the corner."""

    directions: Floats
    to_picture: Matrix
    low: Ints
    count: Ints

    def pixels(self, nodes: npt.ArrayLike) -> Ints:
        """Flat pixels (n, 2) of nodes."""
        return np.asarray(np.rint((np.asarray(nodes) - self.low + 1) * PITCH_PX), np.int64)


def lay_flat(image_grey: Image, homography: Matrix, low: Ints, count: Ints) -> Flat:
    """`count` (u, v) nodes of a grid from `low` on, with a pitch of margin."""
    size = (count + 1) * PITCH_PX + 1
    to_picture = homography @ np.array([[1 / PITCH_PX, 0, low[0] - 1], [0, 1 / PITCH_PX, low[1] - 1], [0, 0, 1.0]])
    corners = project(to_picture, [[0, 0], [size[0], 0], [size[0], size[1]], [0, size[1]]])
    part, to_part = _part(image_grey, corners, float(np.prod(size)))
    flat = cv2.warpPerspective(
        part,
        to_part @ to_picture,
        (int(size[0]), int(size[1])),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return Flat(_directions(np.asarray(flat, np.uint8)), to_picture, low, count)


def _part(image_grey: Image, corners: Array, flat_area: float) -> tuple[Image, Matrix]:
    """The picture around some corners, no finer than the flat one needs; picture pixels → its pixels."""
    limits = np.array(image_grey.shape[::-1])
    x1, y1 = np.clip(np.floor(corners.min(axis=0)), 0, limits - 2).astype(int)
    x2, y2 = np.clip(np.ceil(corners.max(axis=0)) + 1, (x1 + 2, y1 + 2), limits).astype(int)
    area = max(float(cv2.contourArea(corners.astype(np.float32))), 1.0)
    scale = min(1.0, 1.2 * float(np.sqrt(flat_area / area)))
    part = image_grey[y1:y2, x1:x2]
    if scale < 1:
        part = np.asarray(cv2.resize(part, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
    # Pixels are counted at their centres: (x + 0.5) scales, not x.
    shift_x, shift_y = (0.5 - np.array([x1, y1])) * scale - 0.5
    return part, np.array([[scale, 0, shift_x], [0, scale, shift_y], [0, 0, 1]])


def _directions(flat: Image) -> Floats:
    """Gradients (2, rows, columns), each as long as it stands out of its surroundings, at most one."""
    smooth = cv2.GaussianBlur(flat.astype(np.float32), (0, 0), SMOOTH_PX)
    steps = np.stack([cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)])
    length = np.hypot(steps[0], steps[1])
    usual = cv2.GaussianBlur(length, (0, 0), AROUND_PX)
    return np.asarray(steps / (length + usual + GRAIN), np.float32)


def usual_well(flat: Flat, nodes: Ints) -> Floats:
    """The mean look (2, side, side) of the wells at some nodes."""
    reach = LOOK_PX // 2
    looks = [flat.directions[:, y - reach : y + reach + 1, x - reach : x + reach + 1] for x, y in flat.pixels(nodes)]
    return np.asarray(np.mean(looks, axis=0), np.float32)


def correlate(flat: Flat, usual: Floats) -> Floats:
    """For every flat pixel, how much its surroundings look like that well: −1 to 1."""
    shared = np.zeros(flat.directions.shape[1:], np.float32)
    for channel, kernel in zip(flat.directions, usual, strict=True):
        shared += cv2.filter2D(channel, cv2.CV_32F, kernel, borderType=cv2.BORDER_CONSTANT)
    energy = cv2.boxFilter(
        np.square(flat.directions).sum(axis=0),
        cv2.CV_32F,
        (LOOK_PX, LOOK_PX),
        normalize=False,
        borderType=cv2.BORDER_CONSTANT,
    )
    # Where nothing at all is to be seen, rounding must not make likeness of it.
    lengths = np.sqrt(np.maximum(energy, 0) * float(np.square(usual).sum()))
    return np.asarray(shared / np.maximum(lengths, 1e-2), np.float32)


def peaks(alike: Floats, centres: npt.NDArray[np.int64], reach_px: int = REACH_PX) -> tuple[Array, Array]:
    """The best correlation near each centre (…, 2), and where it lies, finer than a pixel."""
    reach = np.arange(-reach_px, reach_px + 1)
    rows = np.clip(centres[..., 1, None, None] + reach[:, None], 1, alike.shape[0] - 2)
    columns = np.clip(centres[..., 0, None, None] + reach[None, :], 1, alike.shape[1] - 2)
    near = alike[rows, columns].reshape(*centres.shape[:-1], len(reach) ** 2)
    best = near.argmax(axis=-1)
    score = np.take_along_axis(near, best[..., None], axis=-1)[..., 0].astype(np.float64)
    down, right = np.divmod(best, len(reach))
    x = np.clip(centres[..., 0] + right - reach_px, 1, alike.shape[1] - 2)
    y = np.clip(centres[..., 1] + down - reach_px, 1, alike.shape[0] - 2)
    finer_x = _vertex(alike[y, x - 1], alike[y, x], alike[y, x + 1])
    finer_y = _vertex(alike[y - 1, x], alike[y, x], alike[y + 1, x])
    return score, np.stack([x + finer_x, y + finer_y], axis=-1).astype(np.float64)


def _vertex(before: Floats, at: Floats, after: Floats) -> Array:
    """Where the parabola through three neighbours has its top, from the middle one."""
    bend = np.minimum(before - 2 * at + after, -1e-6)
    return np.asarray(np.clip(0.5 * (before - after) / bend, -0.5, 0.5), np.float64)
