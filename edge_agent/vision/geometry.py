"""A grid of wells → which well is which: format, window of the plate in the grid, orientation, and the gate. Pure.

The rule it protects: refuse rather than shift by a row or a column. A window counts only if the wells on its edges
prove it or the plate's own outline does, and if the outline does not contradict it.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from edge_agent.vision.footprint import (
    MAX_ASKEW_DEGREES,
    MIDDLE_AGREES,
    Window,
    dominant,
    likeliest,
    offset,
    own_outline,
    reaches_beyond,
    slant_degrees,
    within,
)
from edge_agent.vision.lattice import NODE_RADIUS, SAME_SIZE_LN, Grid, fit_homography, inverse, project
from edge_agent.vision.patches import Matrix, pitch_px
from edge_agent.vision.refusal import Refused
from edge_agent.vision.tensors import Array, Detections
from protocol.plate import PlateFormat, Seat

MIN_COVER: Final = 0.7
MAX_RESIDUAL_PITCH: Final = 0.06
MAX_STRAY: Final = 0.15
# A shifted window must lose at least this share of an edge's wells, or the outline has to decide.
EDGE_PROOF: Final = 0.5
# How far an outermost line may lie, on average, from where the wells inside it say.
EDGE_OFF_PITCH: Final = 0.12
# So few wells more or less do not make one window likelier than another.
TIE: Final = 1
# A plate box so far, in pitches, from where the window would have it says that the window is wrong.
OUTLINE_CONTRADICTS: Final = 0.75
# Smaller plates have too few wells for their extent to prove itself: the outline must agree, and the smallest plates
# must be seen whole.
PROVES_ITSELF: Final = 48
SEEN_WHOLE: Final = 12
# What a plate standing upright is taken for where nobody knows: turned anticlockwise, A1 at the bottom left.
UPRIGHT_GUESS: Final = Seat.BOTTOM_LEFT


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
    wells: Detections,
    outlines: Array,
    picture: tuple[int, int],
    *,
    expected: PlateFormat,
    seat: Seat | None,
    outline_agrees: bool = False,
) -> Placed:
    """The plate in a grid, refused unless every well is certain.

    `wells` are the detections that the grid was fitted to, `outlines` the plate boxes (n, 4) that were detected,
    `picture` its width and height. `seat` None: orientation unknown, wells are named as if A1 were top left; a plate
    standing upright as if it had been turned anticlockwise, so that the naming is never mirrored. `outline_agrees`:
    the wells' word is not enough, the plate's own box has to say the same along both axes.
    """
    window = _best_window(grid, expected, outlines)
    outline = own_outline(grid, window, outlines)
    window = _proven(grid, window, outline, picture)
    if outline_agrees:
        _check_outline(grid, window, outline, picture)
    _check_edges(grid, window, wells.centres[grid.members])
    _check_fit(grid, window, wells)
    turn = _turn(grid, window, seat)
    oriented = grid.homography @ _plate_to_grid(window, turn)
    inside = window.holds(grid.nodes)
    places = np.rint(project(inverse(_plate_to_grid(window, turn)), grid.nodes[inside])).astype(int)
    seen = np.zeros((expected.rows, expected.columns), bool)
    seen[places[:, 1], places[:, 0]] = True
    residual = float(np.sqrt(np.mean(grid.residual[inside] ** 2)))
    return Placed(oriented / oriented[2, 2], expected, turn, seen, residual)


def _best_window(grid: Grid, expected: PlateFormat, outlines: Array) -> Window:
    """The expected format's best place; refused if another format explains the wells better."""
    window, cover = dominant(grid.nodes)
    # A handful of wells of a larger plate looks like a small plate, unless the outline fits that one.
    shown = window.form.wells >= PROVES_ITSELF or own_outline(grid, window, outlines) is not None
    if window.form is not expected and cover >= MIN_COVER and shown:
        raise Refused(
            "format_mismatch",
            f"the plate looks like one of {window.form.wells} wells (expected {expected.wells}, as the profile says)",
        )
    window, cover = likeliest(grid.nodes, expected)
    if cover < MIN_COVER:
        raise Refused(
            "uncertain_lattice",
            f"{round(cover * expected.wells)} of {expected.wells} wells were found in a regular pattern "
            f"(expected at least {MIN_COVER:.0%}): check light, focus and that the whole plate is in view",
        )
    return window


def _proven(grid: Grid, window: Window, outline: Array | None, picture: tuple[int, int]) -> Window:
    """The window if its edges are certain, moved by one where only the outline can tell; refused otherwise.

    An edge is certain if a shifted window would lose half of an edge's wells. If wells of the outermost line were not
    detected, as many would fit a shifted window: then the outline decides, on the word of both its edges. Wells seen on
    both sides of an edge contradict each other, and nothing decides between them.
    """
    for axis, edge in ((0, window.height), (1, window.width)):
        rivals = [window, *(window.shifted(*((step, 0) if axis == 0 else (0, step))) for step in (-1, 1))]
        counts = [int(rival.holds(grid.nodes).sum()) for rival in rivals]
        offsets = [offset(grid, rival, outline, picture)[axis] for rival in rivals]
        line = "row" if (axis == 0) == window.upright else "column"
        if abs(offsets[0].middle) > OUTLINE_CONTRADICTS and counts[0] > max(counts[1:]):
            raise _uncertain(window, line)
        if counts[0] - max(counts[1:]) >= EDGE_PROOF * edge and window.form.wells >= PROVES_ITSELF:
            continue
        agreeing = [i for i in range(3) if counts[0] - counts[i] < EDGE_PROOF * edge and offsets[i].agrees]
        if len(agreeing) != 1 or counts[agreeing[0]] < counts[0] - TIE:
            raise _uncertain(window, line)
        window = rivals[agreeing[0]]
        if _beyond(grid, window, axis) > TIE:
            raise _uncertain(window, line)
    return window


def _check_outline(grid: Grid, window: Window, outline: Array | None, picture: tuple[int, int]) -> None:
    """Along both axes the plate's box says what the wells say: its middle, or the one edge that is not cut off.

    A box that the picture cuts off at both ends of one axis may not reach beyond where the plate would end, but beyond
    where its neighbours would: else it says nothing.
    """
    offs = [abs(apart.middle) for apart in offset(grid, window, outline, picture)]
    if outline is not None and np.isnan(offs).sum() == 1:
        axis = int(np.isnan(offs).argmax())
        rivals = [window, *(window.shifted(*((step, 0) if axis == 0 else (0, step))) for step in (-1, 1))]
        here, *beside = (reaches_beyond(grid, rival, outline)[axis] for rival in rivals)
        if min(beside) > MIDDLE_AGREES:
            offs[axis] = here
    for axis, off in enumerate(offs):
        if not off <= MIDDLE_AGREES:
            raise _uncertain(window, "column" if (axis == 0) != window.upright else "row")


def _beyond(grid: Grid, window: Window, axis: int) -> int:
    """Wells seen on the lines just outside a window, along one axis."""
    step = (1, 0) if axis == 0 else (0, 1)
    union = [window.shifted(sign * step[0], sign * step[1]).holds(grid.nodes) for sign in (-1, 1)]
    return int(((union[0] | union[1]) & ~window.holds(grid.nodes)).sum())


def _check_edges(grid: Grid, window: Window, centres: Array) -> None:
    """Each outermost line must lie where the other wells say: letters and digits beside the wells rarely do."""
    inside = window.holds(grid.nodes)
    ends = ((window.u, window.u + window.width - 1), (window.v, window.v + window.height - 1))
    for axis in (0, 1):
        line = "row" if (axis == 0) == window.upright else "column"
        for last in ends[axis]:
            edge = inside & (grid.nodes[:, axis] == last)
            rest = inside & ~edge
            if not edge.any() or window.form.wells <= SEEN_WHOLE:
                continue
            homography = fit_homography(grid.nodes[rest], centres[rest])
            if homography is None:
                raise _uncertain(window, line)
            apart = project(inverse(homography), centres[edge]) - grid.nodes[edge]
            if np.hypot(*apart.mean(axis=0)) > EDGE_OFF_PITCH:
                raise _uncertain(window, line)


def _uncertain(window: Window, line: str) -> Refused:
    return Refused(
        "uncertain_lattice",
        f"the outermost {line}s of the {window.form.wells}-well plate are not certain (expected wells or the plate's "
        "edge to show where it ends): check light, focus and that the whole plate is in view",
    )


def _check_fit(grid: Grid, window: Window, wells: Detections) -> None:
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
    usual = np.median(wells.sizes[grid.members[inside]])
    like_wells = np.abs(np.log(wells.sizes / usual)) < SAME_SIZE_LN
    like_wells &= within(grid, window, wells.centres, 0.4)
    places = project(inverse(grid.homography), wells.centres[like_wells])
    stray = int((np.hypot(*(places - np.rint(places)).T) > NODE_RADIUS).sum())
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
    slant = slant_degrees(grid, window)
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
