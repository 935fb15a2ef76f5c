"""A plate seen from near, or through a wide lens: straight lines bend, the more the farther they lie from the middle.

One number says how much. It is fitted to the wells themselves, and only for the long look at a plate that the gate of
`geometry` would refuse: a plate whose outermost wells lie off by a constant share is no other plate. Pure.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from edge_agent.vision.footprint import CUT_OFF_SHARE
from edge_agent.vision.lattice import Grid, fit_homography, inverse, project
from edge_agent.vision.tensors import Array, Detections

# Shares by which a point in the picture's corner is moved: past these it is no lens that makes a lattice crooked.
BENDS: Final = np.round(np.arange(-0.12, 0.121, 0.01), 2)
# A bend counts only if it takes this share off the wells' distance from their lattice, and if there are wells enough.
WORTH_IT, ENOUGH_WELLS = 0.12, 48
# Steps of the way back; each makes what is left a fifth or less.
STEPS: Final = 12


@dataclass(frozen=True, slots=True)
class Lens:
    """How much a picture of this width and height is bent: points move away from its middle by `bend` · r², r 1 in
    its corners.
    """

    bend: float
    picture: tuple[int, int]

    def straight(self, points: Array) -> Array:
        """Points (n, 2) of the picture as they would lie without the bend."""
        off, middle, reach = self._from_middle(points)
        return np.asarray(middle + off * (1 + self.bend * (off**2).sum(axis=1, keepdims=True) / reach**2))

    def bent(self, points: Array) -> Array:
        """Back into the picture."""
        wanted, middle, reach = self._from_middle(points)
        off = wanted
        for _ in range(STEPS):
            off = wanted / (1 + self.bend * (off**2).sum(axis=1, keepdims=True) / reach**2)
        return np.asarray(middle + off)

    def straight_boxes(self, boxes: Array) -> Array:
        """Boxes (n, 4) carried by their corners; an edge that the picture cuts off stays where it is cut off."""
        carried = np.concatenate([self.straight(boxes[:, :2]), self.straight(boxes[:, 2:])], axis=1)
        near, size = CUT_OFF_SHARE * max(self.picture), np.array(self.picture)
        cut = np.concatenate([boxes[:, :2] <= near, boxes[:, 2:] >= size - near], axis=1)
        return np.where(cut, boxes, carried)

    def straight_wells(self, wells: Detections) -> Detections:
        """Wells as large as they are, where they would lie."""
        half = (wells.boxes[:, 2:] - wells.boxes[:, :2]) / 2
        centres = self.straight(wells.centres)
        return Detections(np.concatenate([centres - half, centres + half], axis=1), wells.scores, wells.classes)

    def _from_middle(self, points: Array) -> tuple[Array, Array, float]:
        middle = (np.array(self.picture) - 1) / 2
        return points - middle, middle, float(np.hypot(*middle))


def fit_lens(grid: Grid, centres: Array, picture: tuple[int, int]) -> Lens | None:
    """The lens through which a grid's wells lie most regularly; None where that is hardly better than without one."""
    if len(grid.nodes) < ENOUGH_WELLS:
        return None
    lenses = [Lens(float(bend), picture) for bend in BENDS]
    off = [_off(grid, lens.straight(centres)) for lens in lenses]
    best = int(np.argmin(off))
    if not off[best] < (1 - WORTH_IT) * _off(grid, centres):
        return None
    return lenses[best]


def straightened(grid: Grid, centres: Array, lens: Lens) -> Grid | None:
    """The same wells on the grid that they make without the bend; None where they make none."""
    straight = lens.straight(centres)
    homography = fit_homography(grid.nodes, straight)
    if homography is None:
        return None
    residual = np.hypot(*(project(inverse(homography), straight) - grid.nodes).T)
    return Grid(homography, grid.nodes, grid.members, residual)


def _off(grid: Grid, centres: Array) -> float:
    """Root mean square distance of wells from their lattice, in pitches."""
    homography = fit_homography(grid.nodes, centres)
    if homography is None:
        return np.inf
    return float(np.sqrt(np.square(project(inverse(homography), centres) - grid.nodes).sum(axis=1).mean()))
