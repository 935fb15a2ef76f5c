"""Plates as a detector might see them: projected lattices with noise, gaps and things that are not wells."""

from dataclasses import dataclass, replace

import numpy as np

from edge_agent.vision.geometry import Placed, place_plate
from edge_agent.vision.lattice import fit_grid, project
from edge_agent.vision.patches import Matrix
from edge_agent.vision.refusal import Refused
from edge_agent.vision.tensors import WELL, Array, Detections
from protocol.plate import PLATE_HEIGHT_MM, PLATE_WIDTH_MM, PlateFormat, Seat, parse_well, plate_format

PICTURE = (1600, 1200)


@dataclass(frozen=True)
class Scene:
    """What a detector found, and the truth behind it (`centres_px`, row by row from A1)."""

    form: PlateFormat
    turn: Seat
    homography: Matrix
    found: Array
    sizes: Array
    outlines: Array

    @property
    def centres_px(self) -> Array:
        """Where the wells really are."""
        rows, columns = np.mgrid[: self.form.rows, : self.form.columns]
        return project(self.homography, np.column_stack([columns.ravel(), rows.ravel()]))

    @property
    def pitch_px(self) -> float:
        """About one well pitch."""
        return float(np.hypot(*(self.centres_px[1] - self.centres_px[0])))

    def without(self, row: int | None = None, column: int | None = None) -> "Scene":
        """The same with one row or column of wells not detected."""
        names = self.form.names()
        rows = [parse_well(name)[0] == row for name in names]
        columns = [parse_well(name)[1] - 1 == column for name in names]
        return self.without_wells([n for n, r, c in zip(names, rows, columns, strict=True) if r or c])

    def without_wells(self, names: list[str]) -> "Scene":
        """The same with these wells not detected."""
        gone = self.centres_px[[self.form.names().index(name) for name in names]]
        apart = np.hypot(*(self.found[:, None] - gone[None]).transpose(2, 0, 1)).min(axis=1)
        keep = apart > 0.4 * self.pitch_px
        return replace(self, found=self.found[keep], sizes=self.sizes[keep])

    def with_false_column(self, column: float, size: float = 1.0) -> "Scene":
        """The same with things that look like wells, `size` times as large, in a column outside the plate."""
        places = project(self.homography, [[column, row] for row in range(self.form.rows)])
        sizes = np.full(len(places), size * np.median(self.sizes))
        return replace(self, found=np.concatenate([self.found, places]), sizes=np.concatenate([self.sizes, sizes]))

    def place(self, expected: int | None = None, seat: Seat | None = None, *, known: bool = True) -> Placed:
        """The plate as the device places it; the seat is the true one unless it is given or not `known`."""
        half = self.sizes[:, None] / 2
        boxes = np.concatenate([self.found - half, self.found + half], axis=1)
        wells = Detections(boxes, np.ones(len(boxes)), np.full(len(boxes), WELL))
        grid = fit_grid(wells)
        if grid is None:
            raise Refused("no_plate", "no grid")
        form = self.form if expected is None else plate_format(expected)
        wanted = (self.turn if seat is None else seat) if known else None
        return place_plate(grid, wells, self.outlines, PICTURE, expected=form, seat=wanted)

    def worst_pitches(self, placed: Placed) -> float:
        """Largest distance of a placed well from its true centre, in pitches."""
        return float(np.hypot(*(placed.centres_px - self.centres_px).T).max()) / self.pitch_px


def make_scene(
    seed: int = 0,
    wells: int = 96,
    turn: Seat = Seat.TOP_LEFT,
    *,
    missing: float = 0.0,
    extra: int = 0,
    noise_pitches: float = 0.02,
    askew_degrees: float = 3.0,
    tilt: float = 0.1,
    outline: bool = True,
) -> Scene:
    """A plate in the middle of the picture; the same seed gives the same scene."""
    rng, form = np.random.default_rng(seed), plate_format(wells)
    homography = _view(rng, form, np.radians(turn + askew_degrees), tilt)
    scene = Scene(form, turn, homography, np.empty((0, 2)), np.empty(0), np.empty((0, 4)))
    pitch, centres = scene.pitch_px, scene.centres_px
    size = pitch / rng.uniform(1.15, 1.6)
    kept = rng.permutation(form.wells)[round(missing * form.wells) :]
    seen = centres[kept] + rng.normal(0, noise_pitches * pitch, (len(kept), 2))
    found = np.concatenate([seen, rng.uniform((0, 0), PICTURE, (extra, 2))])
    sizes = size * np.concatenate([rng.normal(1, 0.03, len(kept)), rng.uniform(0.7, 1.4, extra)])
    order = rng.permutation(len(found))
    boxes = _outline(rng, form, homography, pitch)[None] if outline else np.empty((0, 4))
    return replace(scene, found=found[order], sizes=sizes[order], outlines=boxes)


def _view(rng: np.random.Generator, form: PlateFormat, angle: float, tilt: float) -> Matrix:
    wide = PLATE_WIDTH_MM / form.pitch_mm
    scale = PICTURE[1] / wide * rng.uniform(0.45, 0.9)
    centre, turn, perspective, middle = np.eye(3), np.eye(3), np.eye(3), np.eye(3)
    centre[:2, 2] = -(form.columns - 1) / 2, -(form.rows - 1) / 2
    turn[:2, :2] = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    perspective[2, :2] = rng.uniform(-tilt, tilt, 2) / (PICTURE[0] / 2, PICTURE[1] / 2)
    middle[:2, 2] = PICTURE[0] / 2, PICTURE[1] / 2
    return np.asarray(middle @ perspective @ turn @ centre)


def _outline(rng: np.random.Generator, form: PlateFormat, homography: Matrix, pitch: float) -> Array:
    """The plate's box as a detector would give it: a little off, cut by the picture."""
    size = np.array([PLATE_WIDTH_MM, PLATE_HEIGHT_MM]) / form.pitch_mm
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * size - (
        form.a1_x_mm / form.pitch_mm,
        form.a1_y_mm / form.pitch_mm,
    )
    there = project(homography, corners) + rng.normal(0, 0.08 * pitch, 2)
    return np.concatenate([there.min(axis=0), there.max(axis=0)]).clip(0, [*PICTURE, *PICTURE])
