"""Where a plate may lie in a grid of wells: its window, its footprint, and the plate box that belongs to it. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from edge_agent.vision.lattice import Grid, Ints, inverse, project
from edge_agent.vision.tensors import Array
from protocol.plate import FORMATS, PLATE_HEIGHT_MM, PLATE_WIDTH_MM, PlateFormat

MAX_ASKEW_DEGREES: Final = 30.0
# A box that ends within this share of the picture's side from its edge is cut off there.
CUT_OFF_SHARE: Final = 0.01
# The box of a plate turned further than this says too little about the plate's own edges.
MAX_BOXED_DEGREES: Final = 20.0
# The outline lies lower than the rims, so perspective moves and shrinks it by up to 0.3 pitch against them.
EDGE_AGREES, MIDDLE_AGREES = 0.6, 0.4


@dataclass(frozen=True, slots=True)
class Window:
    """A plate's place in a grid: its first column and row there, its format, and whether it stands upright."""

    u: int
    v: int
    form: PlateFormat
    upright: bool

    @property
    def width(self) -> int:
        """Wells along `u`."""
        return self.form.rows if self.upright else self.form.columns

    @property
    def height(self) -> int:
        """Wells along `v`."""
        return self.form.columns if self.upright else self.form.rows

    def holds(self, nodes: Ints) -> npt.NDArray[np.bool_]:
        """Which nodes are wells of this window."""
        low, high = (self.u, self.v), (self.u + self.width, self.v + self.height)
        return np.asarray(((nodes >= low) & (nodes < high)).all(axis=1))

    def shifted(self, du: int, dv: int) -> "Window":
        """The same plate elsewhere in the grid."""
        return Window(self.u + du, self.v + dv, self.form, self.upright)

    def outline(self) -> Array:
        """Corners of the plate's footprint in grid coordinates."""
        form = self.form
        left, top = form.a1_x_mm / form.pitch_mm, form.a1_y_mm / form.pitch_mm
        wide, high = PLATE_WIDTH_MM / form.pitch_mm, PLATE_HEIGHT_MM / form.pitch_mm
        if self.upright:
            left, top, wide, high = top, left, high, wide
        x, y = self.u - left, self.v - top
        return np.array([[x, y], [x + wide, y], [x + wide, y + high], [x, y + high]])


def windows(nodes: Ints, forms: Iterable[PlateFormat]) -> Iterator[tuple[float, Window, float]]:
    """The best place of every format either way: wells explained, less half of the missing, less the nodes left out."""
    low = nodes.min(axis=0)
    extent = np.ptp(nodes, axis=0) + 1
    filled = np.zeros(extent[::-1])
    filled[nodes[:, 1] - low[1], nodes[:, 0] - low[0]] = 1
    for form in forms:
        for upright in (False, True):
            shape = Window(0, 0, form, upright)
            counts = _window_counts(filled, shape.width, shape.height)
            v, u = np.unravel_index(int(counts.argmax()), counts.shape)
            inside = float(counts[v, u])
            score = inside - 0.5 * (form.wells - inside) - (len(nodes) - inside)
            window = shape.shifted(int(low[0] + u) - shape.width + 1, int(low[1] + v) - shape.height + 1)
            yield score, window, inside / form.wells


def _window_counts(filled: Array, width: int, height: int) -> Array:
    """Nodes inside a window of this size at every place that touches the nodes."""
    rows, columns = filled.shape
    # np.pad takes four times as long.
    padded = np.zeros((rows + 2 * height - 1, columns + 2 * width - 1))
    padded[height : height + rows, width : width + columns] = filled
    total = padded.cumsum(axis=0).cumsum(axis=1)
    above, below = total[:-height], total[height:]
    return np.asarray(below[:, width:] - above[:, width:] - below[:, :-width] + above[:, :-width])


def plate_bounds(grid: Grid, expected: PlateFormat, room_pitches: float) -> Array:
    """Box (x1, y1, x2, y2) around the footprint of the plate that a grid most likely is, with some room."""
    outline = likeliest(grid.nodes, expected)[0].outline()
    room = room_pitches * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
    return _bounds(project(grid.homography, outline + room))


def beside_plate(grid: Grid, expected: PlateFormat, points: Array) -> npt.NDArray[np.bool_]:
    """Which points lie outside that plate."""
    return ~within(grid, likeliest(grid.nodes, expected)[0], points, 1.0)


def wells_on(grid: Grid, expected: PlateFormat) -> int:
    """How many wells of that plate were seen."""
    return int(likeliest(grid.nodes, expected)[0].holds(grid.nodes).sum())


def dominant(nodes: Ints) -> tuple[Window, float]:
    """The place and format that explain the wells best, and the share of its wells that were seen."""
    _, window, cover = max(windows(nodes, FORMATS.values()), key=lambda entry: entry[0])
    return window, cover


def likeliest(nodes: Ints, form: PlateFormat) -> tuple[Window, float]:
    """The place of a format that explains the wells best, and the share of its wells that were seen."""
    _, window, cover = max(windows(nodes, (form,)), key=lambda entry: entry[0])
    return window, cover


def own_outline(grid: Grid, window: Window, outlines: Array) -> Array | None:
    """The detected plate box that lies around this window, if one does."""
    expected = _bounds(project(grid.homography, window.outline()))
    best, best_overlap = None, 0.5
    for box in outlines:
        shared = np.prod(np.maximum(np.minimum(expected[2:], box[2:]) - np.maximum(expected[:2], box[:2]), 0))
        union = np.prod(expected[2:] - expected[:2]) + np.prod(box[2:] - box[:2]) - shared
        if shared / union > best_overlap:
            best, best_overlap = box, float(shared / union)
    return best


def _bounds(points: Array) -> Array:
    return np.concatenate([points.min(axis=0), points.max(axis=0)])


@dataclass(frozen=True, slots=True)
class Offset:
    """How far, in pitches along one axis, the plate box lies from where a window would have it.

    `middle` is NaN where nothing is known; `agrees` needs both of the box's edges, each where it should be.
    """

    middle: float
    agrees: bool


def offset(grid: Grid, window: Window, outline: Array | None, picture: tuple[int, int]) -> tuple[Offset, Offset]:
    """The box's offsets along `u` and `v`. Edges that the picture cuts off say nothing, nor does the box of a plate
    far askew."""
    if outline is None or abs(slant_degrees(grid, window)) > MAX_BOXED_DEGREES:
        return Offset(np.nan, agrees=False), Offset(np.nan, agrees=False)
    near = CUT_OFF_SHARE * max(picture)
    whole = np.concatenate([outline[:2] > near, outline[2:] < np.array(picture) - near])
    moved = np.where(whole, outline - _bounds(project(grid.homography, window.outline())), np.nan)
    u, v = window.u + (window.width - 1) / 2, window.v + (window.height - 1) / 2
    ends = project(grid.homography, [[u - 0.5, v], [u + 0.5, v], [u, v - 0.5], [u, v + 0.5]])
    return (
        _axis_offset(moved[::2] / np.hypot(*(ends[1] - ends[0]))),
        _axis_offset(moved[1::2] / np.hypot(*(ends[3] - ends[2]))),
    )


def reaches_beyond(grid: Grid, window: Window, outline: Array) -> tuple[float, float]:
    """How far the box reaches, in pitches along `u` and `v`, past where a window has the plate end; the farther end."""
    expected = _bounds(project(grid.homography, window.outline()))
    low, high = expected[:2] - outline[:2], outline[2:] - expected[2:]
    pitch = (expected[2:] - expected[:2]) / np.ptp(window.outline(), axis=0)
    u, v = np.maximum(low, high) / pitch
    return float(u), float(v)


def _axis_offset(edges: Array) -> Offset:
    known = edges[~np.isnan(edges)]
    if len(known) == 0:
        return Offset(np.nan, agrees=False)
    middle = float(known.mean())
    both = len(known) == 2 and bool(np.abs(edges).max() <= EDGE_AGREES)
    return Offset(middle, agrees=both and abs(middle) <= MIDDLE_AGREES)


def slant_degrees(grid: Grid, window: Window) -> float:
    """Angle of the grid's `u` against the picture's right, in the middle of the plate."""
    u, v = window.u + (window.width - 1) / 2, window.v + (window.height - 1) / 2
    start, end = project(grid.homography, [[u - 0.5, v], [u + 0.5, v]])
    return float(np.degrees(np.arctan2(end[1] - start[1], end[0] - start[0])))


def within(grid: Grid, window: Window, points: Array, room_pitches: float) -> npt.NDArray[np.bool_]:
    """Which points lie between the outermost wells of a window, or up to some room outside them."""
    places = project(inverse(grid.homography), points) - (window.u, window.v)
    size = np.array([window.width - 1, window.height - 1])
    return np.asarray(((places > -room_pitches) & (places < size + room_pitches)).all(axis=1))
