"""How blurred the wells are, and how far they moved, in well pitches: the same for few pixels and for many. Pure.

Blur: how much a second, known blur flattens an edge tells how wide the edge was, whatever its height. A plate is as
sharp as its worst region, because a stage out of level blurs one side only. Motion takes fine detail away along one
line; the edges themselves stay sharp where a thin glint is drawn out, so it is measured by how much of the fine detail
is left each way, compared with the coarse.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from edge_agent.vision.patches import Image
from edge_agent.vision.ranks import medians
from edge_agent.vision.tensors import Array

# The first blur (sigma, in pitches) takes the sensor's noise away, the second is the known one.
FIRST_PITCH, SECOND_PITCH = 0.015, 0.05
# The share of a patch's pixels that are taken for its edges: its steepest ones.
EDGES: Final = 0.06
# A patch's margin, as a share of its side, is what the second blur fills from beyond the patch.
MARGIN: Final = 1 / 8
REGION_ROWS, REGION_COLUMNS, WELLS_PER_REGION = 2, 3, 6
DIRECTIONS_DEGREES: Final = (0, 45, 90, 135)
# Detail between two blurs: the fine that motion takes away first, and the coarse that it is compared with.
FINE_PITCH, COARSE_PITCH = (0.015, 0.03), (0.05, 0.1)
# Where the fine detail lies, measured with known motions; its loss by a motion of length L is exp(-(π·f·L)² / 3).
FINE_PER_PITCH: Final = 5.5

Levels = npt.NDArray[np.float32]
Slopes = tuple[Levels, Levels]


@dataclass(frozen=True, slots=True)
class Blur:
    """`sigma_pitch` is the blur (sigma) of the plate's worst region, `motion_pitch` the length of a straight motion."""

    sigma_pitch: float
    motion_pitch: float


def regions(rows: int, columns: int) -> npt.NDArray[np.intp]:
    """Indices of a few wells in each of six regions of a plate: (regions, wells), the same number in each."""
    wells = np.arange(rows * columns).reshape(rows, columns)
    parts = [
        part.ravel()
        for band in np.array_split(wells, REGION_ROWS, axis=0)
        for part in np.array_split(band, min(REGION_COLUMNS, columns), axis=1)
    ]
    count = min(WELLS_PER_REGION, *(len(part) for part in parts))
    return np.array([part[np.linspace(0, len(part) - 1, count).astype(int)] for part in parts])


def measure_blur(patches_rgb: Image, patch_pitches: float) -> Blur:
    """The blur of patches (regions, wells, side, side, 3), each `patch_pitches` pitches wide."""
    groups, count, side = patches_rgb.shape[:3]
    strip = cv2.cvtColor(patches_rgb.reshape(-1, side, 3), cv2.COLOR_RGB2GRAY).astype(np.float32)
    sigmas = sorted({FIRST_PITCH, SECOND_PITCH, *FINE_PITCH, *COARSE_PITCH})
    slopes = {sigma: _slopes(soft, side) for sigma, soft in _softened(strip, sigmas, side / patch_pitches)}
    flattening = _at_edges(_square(slopes[FIRST_PITCH]), _square(slopes[SECOND_PITCH])).reshape(groups, count)
    return Blur(
        sigma_pitch=float(_sigma_pitch(np.median(flattening, axis=1)).max()),
        motion_pitch=_motion_pitch(_band(slopes, *FINE_PITCH), _band(slopes, *COARSE_PITCH)),
    )


def _band(slopes: dict[float, Slopes], fine: float, coarse: float) -> Slopes:
    return slopes[fine][0] - slopes[coarse][0], slopes[fine][1] - slopes[coarse][1]


def _motion_pitch(fine: Slopes, coarse: Slopes) -> float:
    """From how unequally fine detail is left in the four directions, measured by the coarse detail there."""
    left = np.median(np.log((_powers(fine) + 1e-3) / (_powers(coarse) + 1e-3)), axis=1)
    return math.sqrt(3 * float(np.ptp(left))) / (math.pi * FINE_PER_PITCH)


def _powers(slopes: Slopes) -> Array:
    """Mean square slope in each direction, per patch: (directions, patches)."""
    right, down = slopes
    squares = [
        np.einsum("np,np->n", one, other) / right.shape[1]
        for one, other in ((right, right), (right, down), (down, down))
    ]
    angles = np.radians(DIRECTIONS_DEGREES)
    shares = np.stack([np.cos(angles) ** 2, 2 * np.cos(angles) * np.sin(angles), np.sin(angles) ** 2], axis=1)
    return np.asarray(shares @ np.stack(squares))


def _softened(strip: Levels, sigmas: Sequence[float], pitch_px: float) -> Iterator[tuple[float, Levels]]:
    """The strip softened by each of the sigmas (in pitches, least first).

    The last starts from the one before it, which half as many pixels each way show as well: one of 57 pixels' reach
    would take as long as the others together.
    """
    soft = strip
    for sigma in sigmas[:-1]:
        soft = np.asarray(cv2.GaussianBlur(strip, (0, 0), sigma * pitch_px), np.float32)
        yield sigma, soft
    height, width = strip.shape
    half = cv2.resize(soft, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    further_px = math.sqrt(sigmas[-1] ** 2 - sigmas[-2] ** 2) * pitch_px / 2
    softer = cv2.resize(cv2.GaussianBlur(half, (0, 0), further_px), (width, height), interpolation=cv2.INTER_LINEAR)
    yield sigmas[-1], np.asarray(softer, np.float32)


def _slopes(smooth: Levels, side: int) -> Slopes:
    """Slopes to the right and down of every pixel that lies inside its patch's margin: (patches, pixels) each."""
    margin = round(side * MARGIN)
    # One pixel more all round, from which the slope at the edge is measured too.
    wide = slice(margin - 1, side - margin + 1)
    patches = np.ascontiguousarray(smooth.reshape(-1, side, side)[:, wide, wide])
    strip = patches.reshape(-1, patches.shape[2])

    def slope(dx: int, dy: int) -> Levels:
        steps = np.asarray(cv2.Sobel(strip, cv2.CV_32F, dx, dy), np.float32).reshape(patches.shape)
        return steps[:, 1:-1, 1:-1].reshape(len(patches), -1)

    return slope(1, 0), slope(0, 1)


def _square(slopes: Slopes) -> Levels:
    right, down = slopes
    return np.asarray(right * right + down * down, np.float32)


def _at_edges(steepness: Levels, flattened: Levels) -> Array:
    """Per patch, how many times less steep its steepest pixels are after the second blur (median); of squares."""
    count = max(1, round(steepness.shape[1] * EDGES))
    edges = np.argpartition(steepness, -count, axis=1)[:, -count:]
    before = np.take_along_axis(steepness, edges, axis=1)
    after = np.take_along_axis(flattened, edges, axis=1)
    return np.sqrt(medians(before / np.maximum(after, np.float32(1e-6))))


def _sigma_pitch(flattening: Array) -> Array:
    """A step's own blur from its flattening, which is √((σ² + second²) / (σ² + first²))."""
    square = np.maximum(flattening**2, 1.0001)
    return np.asarray(np.sqrt(np.maximum((SECOND_PITCH**2 - square * FIRST_PITCH**2) / (square - 1), 0)))
