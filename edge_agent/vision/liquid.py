"""Where the liquid of each well lies in the picture: it is deeper than the rims that the lattice is fitted to. Pure.

Seen from a camera near the plate, or from the side, the floors lie shifted against the rims: evenly, and growing from
the middle outwards, by up to a third of a pitch. The shift is found from the picture alone: where the discs lie on
liquid they are the most even. Without a clear gain nothing is shifted.
"""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from edge_agent.vision.geometry import Placed
from edge_agent.vision.patches import Image, cut_patches
from edge_agent.vision.tensors import Array

PATCH_PX, PATCH_PITCHES = 60, 1.2
# A disc of this radius, in pitches, is liquid alone in wells of every common shape, also beside a shift found late.
DISC_PITCH: Final = 0.15
# What is tried: how much a floor is drawn towards the middle per well of distance, and how far all are moved.
DRAWN: Final = np.arange(-0.06, 0.0601, 0.01)
MOVED: Final = np.arange(-0.2, 0.2001, 0.05)
MOST_PITCH: Final = 0.35
MOST_WELLS: Final = 0.75
# A shift must leave the discs this much more even, as a share, for the farthest shift tried; less for a small one.
GAIN: Final = 0.35


@dataclass(frozen=True, slots=True)
class Liquid:
    """Patches of `PATCH_PITCHES` around the rims, linear light (n, side, side, 3), and where the liquid is in each."""

    patches_rgb: Image
    linear: Array
    shift_pitch: Array

    def disc(self, index: int, radius_pitch: float = DISC_PITCH) -> Array:
        """The pixels of one patch that are surely liquid, as a mask."""
        x, y = np.meshgrid(PLACES, PLACES)
        dx, dy = self.shift_pitch[index]
        return np.asarray(np.hypot(x - dx, y - dy) < radius_pitch)


PLACES: Final = ((np.arange(PATCH_PX) + 0.5) / PATCH_PX - 0.5) * PATCH_PITCHES
_LEVELS: Final = np.arange(256) / 255
# IEC 61966-2-1: what a camera's levels are in light.
LINEAR: Final = np.where(_LEVELS <= 0.04045, _LEVELS / 12.92, ((_LEVELS + 0.055) / 1.055) ** 2.4).astype(np.float32)


def find_liquid(image_bgr: Image, placed: Placed) -> Liquid:
    """The wells of a plate, and how far their liquid lies from their rims."""
    form = placed.form
    patches = cut_patches(image_bgr, placed.homography, form.rows, form.columns, PATCH_PX, PATCH_PITCHES)
    linear = np.asarray(LINEAR[patches], np.float64)
    return Liquid(patches, linear, _shift(_unevenness(linear), form.rows, form.columns))


def _unevenness(linear: Array) -> Array:
    """How uneven a disc around each pixel of each patch is; the square root of light is even where the eye sees it."""
    side = round(2 * DISC_PITCH / PATCH_PITCHES * PATCH_PX) | 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)).astype(np.float32)
    disc /= disc.sum()
    uneven = np.empty(linear.shape[:3])
    for index, patch in enumerate(np.sqrt(linear).astype(np.float32)):
        mean, square = cv2.filter2D(patch, -1, disc), cv2.filter2D(patch * patch, -1, disc)
        uneven[index] = np.sqrt(np.maximum(square - mean * mean, 0).sum(axis=2))
    return uneven


def _shift(uneven: Array, rows: int, columns: int) -> Array:
    """Per well (x, y) in pitches: the model of a camera above or beside a plate that leaves the discs most even."""
    row, column = np.divmod(np.arange(rows * columns), columns)
    drawn, x, y = (each.ravel()[:, None] for each in np.meshgrid(DRAWN, MOVED, MOVED, indexing="ij"))
    shift_x = np.clip(x + drawn * (column - (columns - 1) / 2), -MOST_PITCH, MOST_PITCH)
    shift_y = np.clip(y + drawn * (row - (rows - 1) / 2), -MOST_PITCH, MOST_PITCH)
    discs = uneven[np.arange(rows * columns), _pixel(shift_y), _pixel(shift_x)]
    # Most wells, so that those at the edges, which lie farthest off, have a say; not all: some hold bubbles.
    found = np.quantile(discs, MOST_WELLS, axis=1)
    farthest = np.hypot(shift_x, shift_y).max(axis=1)
    best = int(np.argmin(found * (1 + GAIN * farthest / MOST_PITCH)))
    return np.column_stack([shift_x[best], shift_y[best]])


def _pixel(place_pitch: Array) -> npt.NDArray[np.int_]:
    place_px = np.rint((place_pitch / PATCH_PITCHES + 0.5) * PATCH_PX - 0.5)
    return np.asarray(np.clip(place_px, 0, PATCH_PX - 1).astype(int))
