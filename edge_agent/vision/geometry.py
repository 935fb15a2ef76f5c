"""A grid of wells → which well is which: format, window of the plate in the grid, orientation, and the gate. Pure.

The rule it protects: refuse rather than shift by a row or a column. A window counts only if the wells on its edges
prove it or the plate's own outline does, and if the outline does not contradict it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from edge_agent.vision.lattice import Grid, Ints, project
from edge_agent.vision.patches import Matrix, pitch_px
from edge_agent.vision.refusal import Refused
from edge_agent.vision.tensors import Array
from protocol.plate import FORMATS, PLATE_HEIGHT_MM, PLATE_WIDTH_MM, PlateFormat, Seat

MIN_COVER: Final = 0.7
MAX_RESIDUAL_PITCH: Final = 0.06
MAX_STRAY: Final = 0.15
# A shifted window must lose at least this share of an edge's wells, or the outline has to decide.
EDGE_PROOF: Final = 0.5
# The outline lies lower than the rims, so perspective alone moves it by up to 0.3 pitch against them.
OUTLINE_AGREES, OUTLINE_CONTRADICTS = 0.4, 0.75
# Smaller plates have too few wells for their extent to prove itself: the outline must agree, and the smallest plates
# must be seen whole.
PROVES_ITSELF: Final = 96
SEEN_WHOLE: Final = 12
MAX_ASKEW_DEGREES: Final = 30.0
# What a plate standing upright is taken for where nobody knows: turned anticlockwise, A1 at the bottom left.
UPRIGHT_GUESS: Final = Seat.BOTTOM_LEFT


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


@dataclass(frozen=True, slots=True)
class Placed:
    """A plate found: `homography` takes (column, row), A1 = (0, 0), to pixels; `seen` (rows, columns) are detected."""

    homography: Matrix
    form: PlateFormat
    turn: Seat
    seen: npt.NDArray[np.bool_]
    residual_pitch: float

    @property
    def pitch_px(self) -> float:
        """Well pitch in the middle of the plate."""
        return pitch_px(self.homography, self.form.rows, self.form.columns)

    @property
    def centres_px(self) -> Array:
        """Well centres, row by row from A1."""
        rows, columns = np.mgrid[: self.form.rows, : self.form.columns]
        return project(self.homography, np.column_stack([columns.ravel(), rows.ravel()]))


def place_plate(
    grid: Grid,
    centres: Array,
    outlines: Array,
    picture: tuple[int, int],
    *,
    expected: PlateFormat,
    seat: Seat | None,
) -> Placed:
    """The plate in a grid, refused unless every well is certain.

    `centres` are the detections that the grid was fitted to, `outlines` the plate boxes (n, 4) that were detected,
    `picture` its width and height. `seat` None: orientation unknown, wells are named as if A1 were top left; a plate
    standing upright as if it had been turned anticlockwise, so that the naming is never mirrored.
    """
    window = _best_window(grid.nodes, expected)
    outline = _own_outline(grid, window, outlines)
    window = _proven(grid, window, outline, picture)
    _check_fit(grid, window, centres)
    turn = _turn(grid, window, seat)
    oriented = grid.homography @ _plate_to_grid(window, turn)
    inside = window.holds(grid.nodes)
    places = np.rint(project(np.linalg.inv(_plate_to_grid(window, turn)), grid.nodes[inside])).astype(int)
    seen = np.zeros((expected.rows, expected.columns), bool)
    seen[places[:, 1], places[:, 0]] = True
    residual = float(np.sqrt(np.mean(grid.residual[inside] ** 2)))
    return Placed(oriented / oriented[2, 2], expected, turn, seen, residual)


def plate_bounds(grid: Grid, expected: PlateFormat, room_pitches: float) -> Array:
    """Box (x1, y1, x2, y2) around the footprint of the plate that a grid most likely is, with some room."""
    outline = _likeliest(grid.nodes, expected)[0].outline()
    room = room_pitches * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
    return _bounds(project(grid.homography, outline + room))


def plate_members(grid: Grid, expected: PlateFormat) -> Ints:
    """The detections that are wells of that plate."""
    return grid.members[_likeliest(grid.nodes, expected)[0].holds(grid.nodes)]


def _likeliest(nodes: Ints, form: PlateFormat) -> tuple[Window, float]:
    """The place of a format that explains the wells best, and the share of its wells that were seen."""
    _, window, cover = max((entry for entry in _windows(nodes) if entry[1].form is form), key=lambda entry: entry[0])
    return window, cover


def _best_window(nodes: Ints, expected: PlateFormat) -> Window:
    """The expected format's best place; refused if another format explains the wells better."""
    _, window, cover = max(_windows(nodes), key=lambda entry: entry[0])
    if window.form is not expected and cover >= MIN_COVER:
        raise Refused(
            "format_mismatch",
            f"the plate looks like one of {window.form.wells} wells (expected {expected.wells}, as the profile says)",
        )
    window, cover = _likeliest(nodes, expected)
    if cover < MIN_COVER:
        raise Refused(
            "uncertain_lattice",
            f"{round(cover * expected.wells)} of {expected.wells} wells were found in a regular pattern "
            f"(expected at least {MIN_COVER:.0%}): check light, focus and that the whole plate is in view",
        )
    return window


def _windows(nodes: Ints) -> Iterator[tuple[float, Window, float]]:
    """Every place of every format: wells explained, less half of the wells missing, less the nodes left out."""
    low = nodes.min(axis=0)
    extent = np.ptp(nodes, axis=0) + 1
    filled = np.zeros(extent[::-1])
    filled[nodes[:, 1] - low[1], nodes[:, 0] - low[0]] = 1
    for form in FORMATS.values():
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
    padded = np.pad(filled, ((height, height - 1), (width, width - 1)))
    total = padded.cumsum(axis=0).cumsum(axis=1)
    above, below = total[:-height], total[height:]
    return np.asarray(below[:, width:] - above[:, width:] - below[:, :-width] + above[:, :-width])


def _own_outline(grid: Grid, window: Window, outlines: Array) -> Array | None:
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


def _proven(grid: Grid, window: Window, outline: Array | None, picture: tuple[int, int]) -> Window:
    """The window, moved by one if the outline says so and the wells allow it; refused where neither is sure."""
    for axis, edge in ((0, window.height), (1, window.width)):
        rivals = [window, *(window.shifted(*((step, 0) if axis == 0 else (0, step))) for step in (-1, 1))]
        counts = [int(rival.holds(grid.nodes).sum()) for rival in rivals]
        offsets = [_offset(grid, rival, outline, picture)[axis] for rival in rivals]
        open_rivals = [i for i in range(3) if counts[0] - counts[i] < EDGE_PROOF * edge]
        agreeing = [i for i in open_rivals if abs(offsets[i]) <= OUTLINE_AGREES]
        if len(open_rivals) > 1 or window.form.wells < PROVES_ITSELF:
            if len(agreeing) != 1:
                raise _uncertain(window, "row" if (axis == 0) == window.upright else "column")
            window = rivals[agreeing[0]]
        elif abs(offsets[0]) > OUTLINE_CONTRADICTS:
            raise _uncertain(window, "row" if (axis == 0) == window.upright else "column")
    return window


def _uncertain(window: Window, line: str) -> Refused:
    return Refused(
        "uncertain_lattice",
        f"the outermost {line}s of the {window.form.wells}-well plate are not certain (expected wells or the plate's "
        "edge to show where it ends): check light, focus and that the whole plate is in view",
    )


def _offset(grid: Grid, window: Window, outline: Array | None, picture: tuple[int, int]) -> tuple[float, float]:
    """How far (u, v), in pitches, the detected outline lies from where this window would have it; NaN if unknown.

    Edges that the picture cuts off say nothing.
    """
    if outline is None:
        return np.nan, np.nan
    expected = _bounds(project(grid.homography, window.outline()))
    inside = np.array([outline[0] > 2, outline[1] > 2, outline[2] < picture[0] - 3, outline[3] < picture[1] - 3])
    moved = np.where(inside, outline - expected, np.nan)
    middle = np.array([[window.u + window.width / 2, window.v + window.height / 2]])
    here = project(grid.homography, middle)
    inverse = np.linalg.inv(grid.homography)
    shift = [float(np.nanmean(edges)) if not np.isnan(edges).all() else np.nan for edges in (moved[::2], moved[1::2])]
    known = np.nan_to_num(np.array([shift]))
    du, dv = (project(inverse, here + known) - middle)[0]
    slanted = abs(_slant_degrees(grid, window)) > MAX_ASKEW_DEGREES
    unknown_x, unknown_y = np.isnan(shift)
    return (
        np.nan if unknown_x or (slanted and unknown_y) else float(du),
        np.nan if unknown_y or (slanted and unknown_x) else float(dv),
    )


def _slant_degrees(grid: Grid, window: Window) -> float:
    """Angle of the grid's `u` against the picture's right, in the middle of the plate."""
    u, v = window.u + (window.width - 1) / 2, window.v + (window.height - 1) / 2
    start, end = project(grid.homography, [[u - 0.5, v], [u + 0.5, v]])
    return float(np.degrees(np.arctan2(end[1] - start[1], end[0] - start[0])))


def _check_fit(grid: Grid, window: Window, centres: Array) -> None:
    """The gate: enough wells seen, close to their places, and few detections between them."""
    inside = window.holds(grid.nodes)
    cells = window.form.wells
    needed = cells if cells <= SEEN_WHOLE else MIN_COVER * cells
    if inside.sum() < needed:
        raise Refused(
            "uncertain_lattice", f"{inside.sum()} of {cells} wells were found (expected at least {round(needed)})"
        )
    residual = float(np.sqrt(np.mean(grid.residual[inside] ** 2)))
    if not residual < MAX_RESIDUAL_PITCH:
        raise Refused(
            "uncertain_lattice",
            f"the wells lie {residual:.3f} pitches off a regular pattern (expected less than {MAX_RESIDUAL_PITCH}): "
            "photograph the plate from straight above",
        )
    others = np.delete(centres, grid.members[inside], axis=0)
    places = project(np.linalg.inv(grid.homography), others) - (window.u, window.v)
    size = (window.width - 1, window.height - 1)
    stray = int(((places > -0.4) & (places < np.add(size, 0.4))).all(axis=1).sum())
    if stray > max(2, MAX_STRAY * cells):
        raise Refused(
            "uncertain_lattice",
            f"{stray} things that look like wells lie between the wells (expected at most {MAX_STRAY * cells:.0f})",
        )


def _turn(grid: Grid, window: Window, seat: Seat | None) -> Seat:
    """The plate's clockwise turn: the seat's, unless the plate's long side contradicts it."""
    if seat is None:
        return UPRIGHT_GUESS if window.upright else Seat.TOP_LEFT
    lies_upright = seat in (Seat.TOP_RIGHT, Seat.BOTTOM_LEFT)
    if window.upright != lies_upright:
        found, wanted = ("upright", "across") if window.upright else ("across", "upright")
        raise Refused(
            "orientation_mismatch",
            f"the plate's long side lies {found} in the picture (expected {wanted}: the seat puts A1 at the "
            f"{seat.label.replace('-', ' ')}): turn the plate or correct the seat",
        )
    slant = _slant_degrees(grid, window)
    if abs(slant) > MAX_ASKEW_DEGREES:
        raise Refused(
            "orientation_mismatch",
            f"the plate is turned by {slant:.0f}° in its seat (expected at most {MAX_ASKEW_DEGREES:.0f}°)",
        )
    return seat


def _plate_to_grid(window: Window, turn: Seat) -> Matrix:
    """(column, row) from A1 to grid coordinates, for a plate turned clockwise by `turn`."""
    left, top = float(window.u), float(window.v)
    right, bottom = left + window.width - 1, top + window.height - 1
    rows = {
        Seat.TOP_LEFT: [[1, 0, left], [0, 1, top], [0, 0, 1]],
        Seat.TOP_RIGHT: [[0, -1, right], [1, 0, top], [0, 0, 1]],
        Seat.BOTTOM_RIGHT: [[-1, 0, right], [0, -1, bottom], [0, 0, 1]],
        Seat.BOTTOM_LEFT: [[0, 1, left], [-1, 0, bottom], [0, 0, 1]],
    }
    return np.array(rows[turn], np.float64)
