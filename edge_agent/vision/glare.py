"""Glare in a well: how much of the area where the cells lie is lost to light. Pure.

White rims and crescents are normal and lie outside that area. Light counts as glare against the plate's own floors, so
that a plate on a white card is not all glare.
"""

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from edge_agent.vision.patches import Image
from edge_agent.vision.ranks import medians
from edge_agent.vision.tensors import Array

# Where the cells lie: a disc of this radius around the well's centre, in pitches.
CELLS_RADIUS_PITCH: Final = 0.22
# A pixel is lost where it is white, or most of the way from the plate's floor to white, in every channel.
WHITE, MOST_OF_THE_WAY = 250, 0.75
# A floor brighter than this leaves no room between itself and white.
LEAST_ROOM: Final = 40.0
# Above this share a well is not called. Measured with glare laid over rendered wells: on a twentieth to a quarter of
# that area it turns 2 of 100 calls between flowing and not, on a quarter to four tenths 29, on more 46.
OBSCURED_FROM: Final = 0.25


def glare_share(patches_rgb: Image, patch_pitches: float) -> Array:
    """Per patch, the share of the area where the cells lie that light hides."""
    count, side = patches_rgb.shape[:2]
    # Only the square around the disc is looked at: a quarter of a patch.
    margin = max(0, int(side * (0.5 - CELLS_RADIUS_PITCH / patch_pitches)))
    inside = slice(margin, side - margin)
    offsets = (((np.arange(side) + 0.5) / side - 0.5) * patch_pitches)[inside]
    cells = np.flatnonzero(np.hypot(*np.meshgrid(offsets, offsets)) < CELLS_RADIUS_PITCH)
    middles = np.ascontiguousarray(patches_rgb[:, inside, inside])
    sampled = middles.reshape(count, -1, 3).take(cells[::4], axis=1).swapaxes(1, 2)
    floor = np.median(medians(sampled.reshape(count * 3, -1)).reshape(count, 3), axis=0)
    # From these levels on a pixel is lost; with less room above the floor only white itself counts.
    levels = np.minimum(floor + MOST_OF_THE_WAY * np.maximum(255 - floor, LEAST_ROOM), WHITE).astype(np.uint8)
    lost = cv2.inRange(middles.reshape(-1, len(offsets), 3), levels, np.full(3, 255, np.uint8))
    return np.asarray(np.count_nonzero(lost.reshape(count, -1).take(cells, axis=1), axis=1) / len(cells))


def lost_to_glare(patches_rgb: Image, patch_pitches: float) -> npt.NDArray[np.bool_]:
    """Per patch, whether too much of it is lost to say what is in the well."""
    return np.asarray(glare_share(patches_rgb, patch_pitches) > OBSCURED_FROM)
