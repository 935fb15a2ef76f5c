"""What the picture says of a grid of wells, beside what the detector found. Pure.

The wells that were found show what a well of this plate looks like; the other nodes are asked for the same look, from
the middle outwards. The rule it protects: a node counts as a well only if the detector or the picture saw it, and the
picture says so only where a node is plainly more alike than the places between the wells.
"""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from edge_agent.vision.lattice import NODE_RADIUS, Grid, Ints, fit_homography, inverse, project
from edge_agent.vision.patches import Image, Matrix
from edge_agent.vision.rims import PITCH_PX, Flat, Floats, correlate, lay_flat, peaks, usual_well
from edge_agent.vision.tensors import WELL, Array, Detections

# Nodes looked at beyond those that are known.
ROOM: Final = 2
# Fewer wells do not show what one of them looks like; more than this side is no plate.
FEWEST, MOST_ALONG = 12, 64
# Comparing again sharpens the usual look; after so many times it goes on only while the plate still grows.
ROUNDS, MOST_ROUNDS = 4, 10
# A well must be this much alike, and more than nearly all places between wells, and half as much as wells usually are.
LEAST_ALIKE, BETWEEN_PERCENT, BETWEEN_MARGIN, SHARE_OF_USUAL = 0.3, 95, 0.05, 0.5
# It must lie this near to its node, in pitches.
NEAR_NODE: Final = 0.13
# Rims and floors of one well may lie this far apart, in pitches; single detections stray by this much from either.
PLANES_APART, PLANE_OUTLIER = 0.4, 0.06
PLANE_RIDGE: Final = np.diag([0.0, 0.5, 0.5, 0.0, 0.5, 0.5, 1.0, 1.0])
# So many wells that were found and do not look like the others are a second kind: full ones among empty ones.
SECOND_KIND: Final = 8


@dataclass(frozen=True, slots=True)
class Looked:
    """A grid compared with the picture: `shown` (v, u), from node `low` on, are the wells that the picture shows."""

    homography: Matrix
    low: Ints
    alike: Array
    places: Array
    shown: npt.NDArray[np.bool_]
    limit: float
    flat: Flat
    map: Floats


def confirm(image_grey: Image, grid: Grid, wells: Detections) -> tuple[Grid, Detections] | None:
    """The grid and the wells that detector and picture hold together; None where the picture shows no such grid.

    The wells returned are those of the grid, in its order, then what else looks like a well; those that only the
    picture shows have score 0.
    """
    looked = _look(image_grey, grid)
    if looked is None:
        return None
    known = np.argwhere(looked.shown)[:, ::-1] + looked.low
    if len(known) < FEWEST:
        return None
    return _together(looked, known, wells)


def _look(image_grey: Image, grid: Grid) -> Looked | None:
    """Compare, fit again, grow."""
    homography, known, looked, before = grid.homography, grid.nodes, None, 0
    for turn in range(MOST_ROUNDS):
        if turn >= ROUNDS and len(known) <= before:
            return looked
        if len(known) < FEWEST or np.ptp(known, axis=0).min() == 0 or np.ptp(known, axis=0).max() > MOST_ALONG:
            return looked
        looked = _compare(image_grey, homography, known, grid.nodes)
        shown = np.argwhere(looked.shown)[:, ::-1] + looked.low
        if len(shown) < FEWEST or np.ptp(shown, axis=0).min() == 0:
            return looked
        v, u = np.nonzero(looked.shown)
        fitted = fit_homography(shown, looked.places[v, u])
        if fitted is None:
            return looked
        homography, known, before = fitted, shown, len(known)
    return looked


def _compare(image_grey: Image, homography: Matrix, known: Ints, found: Ints) -> Looked:
    low, high = known.min(axis=0) - ROOM, known.max(axis=0) + ROOM
    found = found[((found >= low) & (found <= high)).all(axis=1)]
    count = np.ptp(known, axis=0) + 1 + 2 * ROOM
    flat = lay_flat(image_grey, homography, low, count)
    alike = correlate(flat, usual_well(flat, known))
    odd = found[peaks(alike, flat.pixels(found))[0] < LEAST_ALIKE + 0.1]
    if len(odd) >= SECOND_KIND:
        alike = np.maximum(alike, correlate(flat, usual_well(flat, odd)))
    nodes = np.stack(np.meshgrid(np.arange(count[0]), np.arange(count[1])), axis=-1) + low
    score, place = peaks(alike, flat.pixels(nodes))
    between = [peaks(alike, flat.pixels(known + step))[0] for step in ((0.5, 0), (0, 0.5), (0.5, 0.5))]
    at = known - low
    limit = max(
        LEAST_ALIKE,
        float(np.percentile(np.concatenate(between), BETWEEN_PERCENT)) + BETWEEN_MARGIN,
        SHARE_OF_USUAL * float(np.median(score[at[:, 1], at[:, 0]])),
    )
    shown = _grown(score > limit, place, at)
    places = project(flat.to_picture, place.reshape(-1, 2)).reshape(place.shape)
    return Looked(homography, low, score, places, shown, limit, flat, alike)


def _grown(alike: npt.NDArray[np.bool_], place: Array, at: Ints) -> npt.NDArray[np.bool_]:
    """The largest patch of wells side by side that lie where one lattice has them: a plate, and not its neighbour."""
    _, labels = cv2.connectedComponents(alike.astype(np.uint8), connectivity=4)
    own = labels[at[:, 1], at[:, 0]]
    if not own.any():
        return np.zeros_like(alike)
    patch: npt.NDArray[np.bool_] = np.equal(labels, np.bincount(own[own > 0]).argmax())
    v, u = np.nonzero(patch)
    nodes = np.column_stack([u, v])
    if len(nodes) < FEWEST or np.ptp(nodes, axis=0).min() == 0:
        return patch
    fitted = fit_homography(nodes, place[v, u], tolerance_px=NEAR_NODE * PITCH_PX)
    if fitted is None:
        return patch
    off = np.hypot(*(project(fitted, nodes) - place[v, u]).T)
    patch[v, u] = off < NEAR_NODE * PITCH_PX
    return patch


def _together(looked: Looked, known: Ints, wells: Detections) -> tuple[Grid, Detections]:
    """Union of what detector and picture saw, in the plane of the rims, which is where the detector puts wells."""
    to_rims = looked.homography @ _rim_plane(looked.homography, known, wells.centres)
    found, nodes, distance = _at_nodes(to_rims, looked, wells.centres)
    v, u = np.nonzero(looked.shown)
    shown = project(to_rims @ inverse(looked.homography), looked.places[v, u])
    # What both saw stands once: where the picture has it, which is finer, as large as the detector has it.
    size, score = np.full(looked.shown.shape, np.median(wells.sizes)), np.zeros(looked.shown.shape)
    at = nodes - looked.low
    size[at[:, 1], at[:, 0]], score[at[:, 1], at[:, 0]] = wells.sizes[found], wells.scores[found]
    places = np.full((*looked.shown.shape, 2), np.nan)
    places[at[:, 1], at[:, 0]] = wells.centres[found]
    places[v, u] = shown
    v, u = np.nonzero(~np.isnan(places[..., 0]))
    centres, half, nodes = places[v, u], size[v, u, None] / 2, np.column_stack([u, v]) + looked.low
    stray = _strays(looked, wells, distance >= NODE_RADIUS)
    together = Detections(
        np.concatenate([np.concatenate([centres - half, centres + half], axis=1), wells.boxes[stray]]),
        np.concatenate([score[v, u], wells.scores[stray]]),
        np.full(len(nodes) + len(stray), WELL),
    )
    residual = np.hypot(*(project(inverse(to_rims), centres) - nodes).T)
    return Grid(to_rims, nodes, np.arange(len(nodes)), residual), together


def _at_nodes(homography: Matrix, looked: Looked, centres: Array) -> tuple[Ints, Ints, Array]:
    """The detection nearest to each node that was looked at: index, node; and every detection's distance in pitches."""
    places = project(inverse(homography), centres)
    nearest = np.rint(places).astype(np.int64)
    distance = np.hypot(*(places - nearest).T)
    high = looked.low + np.array(looked.shown.shape[::-1])
    order = np.argsort(distance, kind="stable")
    near = (distance < NODE_RADIUS) & (nearest >= looked.low).all(axis=1) & (nearest < high).all(axis=1)
    order = order[near[order]]
    _, first = np.unique(nearest[order], axis=0, return_index=True)
    found = order[np.sort(first)]
    return found, nearest[found], distance


def _strays(looked: Looked, wells: Detections, off_node: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Detections between the nodes that the picture says look like wells."""
    places = project(inverse(looked.flat.to_picture), wells.centres)
    size = np.array(looked.map.shape[::-1])
    near = off_node & ((places > 1) & (places < size - 2)).all(axis=1)
    index = np.flatnonzero(near)
    score, _ = peaks(looked.map, np.rint(places[index]).astype(np.int64), reach_px=2)
    return np.asarray(index[score > looked.limit], np.int64)


def _rim_plane(homography: Matrix, nodes: Ints, centres: Array) -> Matrix:
    """Grid → grid: from the plane that looks most alike, maybe the floors', to the one where wells were detected.

    The two planes differ by a shift, a scale and a little perspective; detections that lie elsewhere count the less the
    farther they are off.
    """
    places = project(inverse(homography), centres)
    known = {tuple(node) for node in nodes.tolist()}
    nearest = np.rint(places)
    use = np.array([tuple(node) in known for node in nearest.astype(np.int64).tolist()], bool)
    use &= np.hypot(*(places - nearest).T) < PLANES_APART
    if use.sum() < FEWEST:
        return np.eye(3)
    # In units in which the plate is about one wide, so that one ridge holds every term but the shift.
    middle, size = nodes.mean(axis=0), float(np.ptp(nodes, axis=0).max())
    x, y = (nearest[use] - middle).T / size
    one, nought = np.ones(len(x)), np.zeros(len(x))
    across = np.column_stack([one, x, y, nought, nought, nought, x * x, x * y])
    down = np.column_stack([nought, nought, nought, one, x, y, x * y, y * y])
    design = np.concatenate([across, down])
    wanted, weight, fit = (places[use] - nearest[use]).T.ravel(), np.ones(2 * len(x)), np.zeros(8)
    for _ in range(8):
        weighted = design * weight[:, None]
        fit = np.linalg.solve(design.T @ weighted + PLANE_RIDGE, weighted.T @ wanted)
        apart = (wanted - design @ fit).reshape(2, -1)
        weight = np.tile(1 / (1 + (np.hypot(*apart) / PLANE_OUTLIER) ** 2), 2)
    move = np.array([[1 + fit[1] / size, fit[2] / size, fit[0]], [fit[4] / size, 1 + fit[5] / size, fit[3]], [0, 0, 1]])
    # x / (1 + g·x) is about x - g·x².
    move[2, :2] = -fit[6:] / size**2
    there = np.array([[1, 0, middle[0]], [0, 1, middle[1]], [0, 0, 1.0]])
    return np.asarray(there @ move @ inverse(there))
