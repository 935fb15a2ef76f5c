"""What lies over a plate: wells that were not found where the lattice has them, and do not look like the others. Pure.

A hand or a sheet of paper over some wells must not become calls. The wells that were found show what a well of this
plate looks like: its outline, in coarse steps of brightness around the place of the cells.
"""

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from edge_agent.vision.patches import Image
from edge_agent.vision.refusal import Refused
from edge_agent.vision.tensors import Array
from protocol.plate import PlateFormat

# A patch is compared in so many steps a side, outside this radius (half a patch is 1).
STEPS: Final = 16
INNER, OUTER = 0.5, 1.0
# Wells of one plate resemble their median with 0.2 to 0.9, measured; covered ones with -0.3 to 0.4.
LIKE_A_WELL: Final = 0.4
# Where the wells of a plate differ among themselves, a covered one must be odder than nearly all that were found.
ODD_PERCENT: Final = 10
# So many covered wells side by side are a thing over the plate, and no longer wells that the detector missed.
THING_WELLS: Final = 3


def covered(patches_rgb: Image, seen: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Which wells (rows, columns) were not found and do not look like those that were."""
    if seen.all():
        return np.zeros_like(seen)
    alike = likeness(patches_rgb, seen.ravel()).reshape(seen.shape)
    return np.asarray(~seen & (alike < min(LIKE_A_WELL, float(np.percentile(alike[seen], ODD_PERCENT)))))


def likeness(patches_rgb: Image, seen: npt.NDArray[np.bool_]) -> Array:
    """Per patch, the correlation of its outline with the median one of the wells that were seen."""
    side = patches_rgb.shape[1]
    strip = cv2.cvtColor(patches_rgb.reshape(-1, side, 3), cv2.COLOR_RGB2GRAY)
    coarse = cv2.resize(strip, (STEPS, len(patches_rgb) * STEPS), interpolation=cv2.INTER_AREA)
    patches = coarse.reshape(-1, STEPS, STEPS).astype(np.float64)
    steps = np.hypot(np.gradient(patches, axis=1), np.gradient(patches, axis=2))
    places = (np.arange(STEPS) + 0.5) / STEPS * 2 - 1
    radius = np.hypot(*np.meshgrid(places, places))
    outlines = steps[:, (radius > INNER) & (radius < OUTER)]
    outlines -= outlines.mean(axis=1, keepdims=True)
    usual = np.median(outlines[seen], axis=0)
    lengths = np.linalg.norm(outlines, axis=1) * np.linalg.norm(usual)
    return np.asarray(outlines @ usual / np.maximum(lengths, 1e-6))


def check_cover(hidden: npt.NDArray[np.bool_], form: PlateFormat) -> None:
    """Refuse a plate with something over it: at its edge, wells that were found are half hidden too."""
    count, labels = cv2.connectedComponents(hidden.astype(np.uint8), connectivity=8)
    things = [np.flatnonzero(labels == label) for label in range(1, count)]
    wells = max(things, key=len, default=np.empty(0, int))
    if len(wells) >= THING_WELLS:
        first, last = form.names()[wells[0]], form.names()[wells[-1]]
        raise Refused(
            "covered",
            f"something lies over {len(wells)} wells, {first} to {last} (expected a free view of all): take it away",
        )
