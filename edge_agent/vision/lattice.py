"""Well detections → one regular grid: integer coordinates for wells and the homography that carries them. Pure.

Which way is up and which well is A1 is decided later (`geometry`); here a grid has only `u` (rightwards in the picture)
and `v` (downwards). Wells of one plate are equally large and lie 1.0 to 1.9 of their size apart: that gate keeps the
grid from locking on to diagonals, on to every second well, or on to print.
"""

from collections import deque
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from edge_agent.vision.patches import Matrix
from edge_agent.vision.tensors import Array, Detections

Ints = npt.NDArray[np.int64]

# Pitch over rim diameter of SBS plates is 1.05 to 1.75; detections and perspective widen that a little.
NEAREST, FARTHEST = 0.95, 1.95
# Natural logarithm of the ratio up to which two detections count as equally large.
SAME_SIZE_LN: Final = 0.35
# The same once perspective is accounted for.
ALIKE_LN: Final = 0.3
# Half width of the cone in which a well's neighbour along an axis is looked for.
CONE_RAD: Final = np.radians(28)
STEP_TOLERANCE: Final = 0.3
# Of four times a direction, so that the four ways along two axes are one: so near is the same axis.
AGREEING_RAD: Final = float(np.arccos(0.8))
MIN_NODES: Final = 5
# Every detection of the right size within this distance of a node, in pitches, is that node's well.
NODE_RADIUS: Final = 0.25
MAX_INDEX: Final = 64


@dataclass(frozen=True, slots=True)
class Grid:
    """A regular grid: `homography` takes (u, v) to pixels; `nodes` (n, 2) are the wells seen, `members` whose they are.

    `members` are indices into the detections that the grid was fitted to; `residual` is each well's distance from its
    node in pitches.
    """

    homography: Matrix
    nodes: Ints
    members: Ints
    residual: Array


def project(homography: Matrix, points: npt.ArrayLike) -> Array:
    """Points (n, 2) through a homography."""
    flat = np.asarray(points, np.float64).reshape(-1, 2)
    carried = np.column_stack([flat, np.ones(len(flat))]) @ homography.T
    return np.asarray(carried[:, :2] / carried[:, 2:])


def inverse(homography: Matrix) -> Matrix:
    """Back from where a homography carries to; the nearest to that where it carries everything on to a line.

    OpenCV's, because NumPy's wakes threads of its library for nine numbers: up to 4 ms of waiting on a busy machine.
    """
    regular, back = cv2.invert(homography)
    return np.asarray(back if regular else np.linalg.pinv(homography), np.float64)


def fit_grid(wells: Detections) -> Grid | None:
    """The grid with the most wells among detections of one size; None where nothing regular is to be seen."""
    return max(fit_grids(wells), key=lambda grid: len(grid.nodes), default=None)


def fit_grids(wells: Detections, sizes_tried: int = 3) -> list[Grid]:
    """One grid for each of the commonest sizes of detections that lies in a regular pattern."""
    centres, sizes = wells.centres, wells.sizes
    grids: list[Grid] = []
    for size in _dominant_sizes(sizes, sizes_tried):
        chosen = np.flatnonzero(np.abs(np.log(sizes / size)) < SAME_SIZE_LN)
        grid = _fit(centres[chosen], sizes[chosen], size)
        if grid is not None:
            grids.append(Grid(grid.homography, grid.nodes, chosen[grid.members], grid.residual))
    return grids


def _dominant_sizes(sizes: Array, most: int) -> list[float]:
    """The commonest sizes, commonest first: wells of one plate crowd at one, print and other plates at others."""
    logs = np.log(sizes)
    found: list[float] = []
    left = np.ones(len(sizes), bool)
    for _ in range(most):
        if left.sum() < MIN_NODES:
            break
        candidates = logs[left]
        density = np.exp(-0.5 * ((candidates[:, None] - candidates[None]) / 0.08) ** 2).sum(axis=1)
        peak = float(candidates[int(density.argmax())])
        found.append(float(np.exp(peak)))
        left &= np.abs(logs - peak) > 0.25
    return found


def _fit(centres: Array, sizes: Array, size: float) -> Grid | None:
    angle = _axis_angle(centres, size)
    if angle is None:
        return None
    nodes = _walk(_neighbours(centres, size, angle), len(centres))
    joined = np.flatnonzero(nodes[:, 0] < MAX_INDEX)
    if len(joined) < MIN_NODES or np.ptp(nodes[joined], axis=0).min() == 0:
        return None
    pitch = _median_step(centres[joined], nodes[joined])
    homography = fit_homography(nodes[joined], centres[joined], tolerance_px=0.2 * pitch)
    grid = None if homography is None else _refine(homography, centres)
    return None if grid is None else _of_one_size(grid, sizes)


def _axis_angle(centres: Array, size: float) -> float | None:
    """Direction of the axis nearest to the picture's right, in radians: the vote of every well's nearest neighbours."""
    steps = centres[None] - centres[:, None]
    lengths = np.sqrt(np.square(steps[..., 0]) + np.square(steps[..., 1]))
    lengths[(lengths < NEAREST * size) | (lengths > FARTHEST * size)] = np.inf
    nearest = np.argsort(lengths, axis=1)[:, :4]
    rows = np.arange(len(centres))[:, None]
    valid = np.isfinite(lengths[rows, nearest])
    if valid.sum() < MIN_NODES:
        return None
    chosen = steps[rows, nearest][valid]
    angles = 4 * np.arctan2(chosen[:, 1], chosen[:, 0])
    turns = np.exp(1j * angles)
    peak = turns[int(_agreement(angles).argmax())]
    # Of numbers of length 1, the real part is the cosine of the angle between them.
    near = turns[(turns * np.conj(peak)).real > 0.6]
    return float(np.angle(near.sum()) / 4)


def _agreement(angles: Array) -> npt.NDArray[np.int64]:
    """How many of the angles lie within `AGREEING_RAD` of each, round the circle."""
    around = np.sort(angles % (2 * np.pi))
    around = np.concatenate([around - 2 * np.pi, around, around + 2 * np.pi])
    low, high = (np.searchsorted(around, angles % (2 * np.pi) + side * AGREEING_RAD) for side in (-1, 1))
    return np.asarray(high - low, np.int64)


def _neighbours(centres: Array, size: float, angle: float) -> list[tuple[int, int, int]]:
    """Edges (from, to, axis): pairs that are each other's nearest well along an axis, a usual step apart."""
    right, down = (each - each[:, None] for each in centres.T)
    lengths = np.sqrt(right * right + down * down)
    in_reach = (lengths > NEAREST * size) & (lengths < FARTHEST * size)
    least = np.cos(CONE_RAD) * lengths
    edges: list[tuple[int, int, int]] = []
    wells = np.arange(len(centres))
    for axis in (0, 1):
        along = angle + axis * np.pi / 2
        forwards = np.cos(along) * right + np.sin(along) * down > least
        reach = np.where(in_reach & forwards, lengths, np.inf)
        ahead, behind = reach.argmin(axis=1), reach.argmin(axis=0)
        step = reach[wells, ahead]
        mutual = np.flatnonzero(np.isfinite(step) & (behind[ahead] == wells))
        if len(mutual):
            usual = np.median(step[mutual])
            mutual = mutual[np.abs(step[mutual] / usual - 1) < 2 * STEP_TOLERANCE]
            edges += [(start, end, axis) for start, end in zip(mutual.tolist(), ahead[mutual].tolist(), strict=True)]
    return edges


def _walk(edges: list[tuple[int, int, int]], count: int) -> Ints:
    """Integer coordinates of the largest connected set of wells; the others get coordinates out of range."""
    around: list[list[tuple[int, int, int]]] = [[] for _ in range(count)]
    for start, end, axis in edges:
        step = (1, 0) if axis == 0 else (0, 1)
        around[start].append((end, *step))
        around[end].append((start, -step[0], -step[1]))
    nodes = np.full((count, 2), MAX_INDEX * 2, np.int64)
    best: dict[int, tuple[int, int]] = {}
    unseen = set(range(count))
    while unseen:
        seed = min(unseen)
        placed = {seed: (0, 0)}
        queue = deque([seed])
        while queue:
            well = queue.popleft()
            for other, du, dv in around[well]:
                if other not in placed:
                    placed[other] = (placed[well][0] + du, placed[well][1] + dv)
                    queue.append(other)
        unseen -= placed.keys()
        if len(placed) > len(best):
            best = placed
    for well, place in best.items():
        nodes[well] = place
    return nodes


def _median_step(centres: Array, nodes: Ints) -> float:
    u, v = (np.abs(each - each[:, None]) for each in nodes.astype(np.int16).T)
    first, second = np.nonzero(u + v == 1)
    return float(np.median(np.hypot(*(centres[first] - centres[second]).T)))


def _refine(homography: Matrix, centres: Array) -> Grid | None:
    """Assign every detection to its node and fit again, until the assignment stands."""
    members, nodes = _assign(homography, centres)
    for _ in range(6):
        if len(members) < MIN_NODES or np.ptp(nodes, axis=0).min() == 0:
            return None
        fitted, before = fit_homography(nodes, centres[members]), members
        if fitted is None:
            return None
        homography = fitted
        members, nodes = _assign(homography, centres)
        if len(members) == len(before) and (members == before).all():
            break
    residual = np.hypot(*(_to_grid(homography, centres[members]) - nodes).T)
    return Grid(homography, nodes, members, residual)


def fit_homography(nodes: Ints, centres: Array, tolerance_px: float | None = None) -> Matrix | None:
    """Least squares, or RANSAC where a tolerance is given (OpenCV seeds it the same way every time)."""
    method = 0 if tolerance_px is None else cv2.RANSAC
    # OpenCV's annotations do not say that a degenerate set of points gives None.
    fitted: Matrix | None = cv2.findHomography(nodes.astype(np.float64), centres, method, tolerance_px or 3.0)[0]  # type: ignore[assignment]
    return fitted


def _of_one_size(grid: Grid, sizes: Array) -> Grid | None:
    """Without members that are larger or smaller, for their place on the plate, than its wells: print beside them."""
    around = project(grid.homography, (grid.nodes[:, None] + [[-0.5, -0.5], [0.5, 0.5]]).reshape(-1, 2))
    diagonal = np.hypot(*(around[1::2] - around[::2]).T)
    share = np.log(sizes[grid.members] / diagonal)
    keep = np.abs(share - np.median(share)) < ALIKE_LN
    if keep.sum() < MIN_NODES:
        return None
    return Grid(grid.homography, grid.nodes[keep], grid.members[keep], grid.residual[keep])


def _assign(homography: Matrix, centres: Array) -> tuple[Ints, Ints]:
    """Which detections are wells of which nodes: the nearest one of each node, within `NODE_RADIUS`."""
    places = np.nan_to_num(_to_grid(homography, centres), nan=1e6, posinf=1e6, neginf=-1e6)
    nearest = np.rint(places)
    distance = np.hypot(*(places - nearest).T)
    good = np.flatnonzero((distance < NODE_RADIUS) & (np.abs(nearest).max(axis=1) < MAX_INDEX))
    good = good[np.argsort(distance[good], kind="stable")]
    u, v = nearest[good].astype(np.int64).T
    _, first = np.unique(u * 2 * MAX_INDEX + v, return_index=True)
    members = np.sort(good[first])
    return members, nearest[members].astype(np.int64)


def _to_grid(homography: Matrix, points: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return project(inverse(homography), points)
