"""A plate seen through a wide lens is found where it lies; what is not one plate is not bent into one."""

import numpy as np
import pytest

from edge_agent.vision import search
from edge_agent.vision.geometry import Placed, place_plate
from edge_agent.vision.lattice import Grid, fit_grid
from edge_agent.vision.lens import BENDS, Lens, fit_lens, straightened
from edge_agent.vision.refusal import Refused
from edge_agent.vision.search import find_plates
from edge_agent.vision.tensors import PLATE, WELL, Array, Detections
from protocol.plate import PLATE_HEIGHT_MM, PLATE_WIDTH_MM, plate_format

FORM = plate_format(96)
PICTURE, PITCH_PX = (1600, 1150), 100.0
A1_PX: Array = np.array([250.0, 225.0])
NO_PLATES = np.empty((0, 4))


class Seeing:
    """A detector that finds these wells and plates wherever it looks first, and nothing in a nearer look."""

    def __init__(self, centres: Array, plates: Array) -> None:
        self.centres, self.plates, self.looks = centres, plates, 0

    def detect(self, image_bgr: Array) -> Detections:
        self.looks += 1
        return detected(*((self.centres, self.plates) if self.looks == 1 else (self.centres[:0], self.plates[:0])))


def detected(centres: Array, plates: Array = NO_PLATES) -> Detections:
    boxes = np.concatenate([centres - 40, centres + 40], axis=1)
    classes = np.repeat([WELL, PLATE], [len(centres), len(plates)])
    return Detections(np.concatenate([boxes, plates]), np.full(len(classes), 0.9), classes)


def wells(columns: int = 12) -> Array:
    """The wells of a plate that fills the picture, row by row."""
    rows, places = np.mgrid[:8, :columns]
    return np.column_stack([places.ravel(), rows.ravel()]) * PITCH_PX + A1_PX


def footprint(lens: Lens, moved: float = 0.0) -> Array:
    """The box of the plate of `wells()`, as the lens shows it."""
    along = np.linspace(0, 1, 21)
    sides = [(along, 0 * along), (along, 0 * along + 1), (0 * along, along), (0 * along + 1, along)]
    size_mm, a1_mm = np.array([PLATE_WIDTH_MM, PLATE_HEIGHT_MM]), np.array([FORM.a1_x_mm, FORM.a1_y_mm])
    edge = (np.concatenate([np.column_stack(side) for side in sides]) * size_mm - a1_mm) / FORM.pitch_mm
    there = lens.bent(edge * PITCH_PX + A1_PX + (moved, 0))
    return np.asarray(np.concatenate([there.min(axis=0), there.max(axis=0)])[None])


def plates_found(centres: Array, plates: Array = NO_PLATES) -> list[Placed]:
    grain = np.random.default_rng(1).integers(90, 160, (*PICTURE[::-1], 3)).astype(np.uint8)
    found = find_plates(grain, Seeing(centres, plates), expected=FORM, seat=None)  # type: ignore[arg-type]
    return [one for one in found if isinstance(one, Placed)]


def lattice(centres: Array) -> Grid:
    grid = fit_grid(detected(centres))
    assert grid is not None
    return grid


@pytest.mark.parametrize("bend", [-0.12, -0.05, 0.0, 0.05, 0.12])
def test_what_a_lens_bends_it_straightens_again(bend: float) -> None:
    lens = Lens(bend, PICTURE)
    points = np.random.default_rng(0).uniform((0, 0), PICTURE, (200, 2))
    assert np.abs(lens.straight(lens.bent(points)) - points).max() < 0.01


@pytest.mark.parametrize("bend", [-0.1, 0.1])
def test_the_wells_say_how_much_the_lens_bends(bend: float) -> None:
    bent = Lens(bend, PICTURE).bent(wells())
    grid = lattice(bent)
    lens = fit_lens(grid, bent[grid.members], PICTURE)
    assert lens is not None
    assert lens.bend == pytest.approx(bend, abs=0.011)
    straight = straightened(grid, bent[grid.members], lens)
    assert straight is not None
    assert straight.residual.max() < 0.1 * grid.residual.max()


def test_scatter_is_no_lens() -> None:
    scattered = wells() + np.random.default_rng(2).normal(0, 4, (96, 2))
    grid = lattice(scattered)
    assert fit_lens(grid, scattered[grid.members], PICTURE) is None


def test_a_few_wells_fit_no_lens() -> None:
    bent = Lens(-0.1, PICTURE).bent(wells())[:36]
    grid = lattice(bent)
    assert fit_lens(grid, bent[grid.members], PICTURE) is None


def test_a_plate_through_a_wide_lens_is_found_where_it_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    lens = Lens(-0.09, PICTURE)
    bent = lens.bent(wells())
    seen = bent + np.random.default_rng(3).normal(0, 3, (96, 2))
    (found,) = plates_found(seen, footprint(lens))
    assert np.hypot(*(found.centres_px - bent).T).max() < 0.18 * PITCH_PX
    monkeypatch.setattr(search, "fit_lens", lambda *_: None)
    assert plates_found(seen, footprint(lens)) == []


def test_through_a_lens_the_wells_alone_do_not_say_where_a_plate_ends() -> None:
    lens = Lens(-0.09, PICTURE)
    seen = lens.bent(wells()) + np.random.default_rng(3).normal(0, 3, (96, 2))
    assert plates_found(seen) == []
    assert plates_found(seen, footprint(lens, moved=-0.6 * PITCH_PX)) == []


@pytest.mark.parametrize(("bend", "off_pitch"), [(-0.03, 0.15), (-0.06, 0.15), (-0.12, -0.15)])
def test_a_false_column_beside_a_missing_one_is_not_bent_into_its_place(bend: float, off_pitch: float) -> None:
    """Wells of the first column not detected, things like wells a little off where a thirteenth would lie."""
    lens, columns = Lens(bend, PICTURE), np.arange(96) % 12
    false = wells()[columns == 11] + ((1 + off_pitch) * PITCH_PX, 0)
    bent = lens.bent(np.concatenate([wells()[columns > 0], false]))
    seen = bent + np.random.default_rng(0).normal(0, 3, bent.shape)
    assert plates_found(seen) == []
    assert plates_found(seen, footprint(lens)) == []


def placed_by_outline(centres: Array, box: list[float], picture: tuple[int, int]) -> Placed:
    outline = np.array([box])
    return place_plate(
        lattice(centres), detected(centres), outline, picture, expected=FORM, seat=None, outline_agrees=True
    )


def test_a_box_that_the_picture_cuts_off_at_both_ends_may_not_reach_beyond_the_plate() -> None:
    """A plate as high as its picture; a row further down it would end one row before its box does."""
    picture, box = (1600, 960), [90.0, 0.0, 1510.0, 959.0]
    there = wells() - (0, 95)
    assert placed_by_outline(there, box, picture).seen.all()
    with pytest.raises(Refused, match="outermost rows"):
        placed_by_outline(there + np.array([0, 100]), box, picture)


@pytest.mark.parametrize("cut_px", [60, 80])
def test_a_box_that_the_picture_cuts_off_says_nothing_where_two_rows_could_be_the_last(cut_px: int) -> None:
    """Digits above the first row, the last one not detected, and the plate's lower edge out of the picture."""
    there, rows = wells() - np.array([0, 100]), np.arange(96) // 12
    height = int(there[:, 1].max()) + 125 - cut_px
    digits = there[rows == 0] - (0, PITCH_PX)
    with pytest.raises(Refused, match="outermost rows"):
        placed_by_outline(np.concatenate([digits, there[rows < 7]]), [90.0, 0.0, 1510.0, height - 1.0], (1600, height))


def test_a_plate_is_refused_whose_corner_wells_a_homography_would_miss() -> None:
    assert plates_found(Lens(-0.12, PICTURE).bent(wells())) == []


def test_a_column_of_print_is_not_bent_into_a_column_of_wells() -> None:
    eleven = wells()[np.arange(96) % 12 > 0]
    letters = wells()[::12] - (0.23 * PITCH_PX, 0)
    assert plates_found(wells())
    assert plates_found(np.concatenate([eleven, letters])) == []


def test_an_edge_cut_off_by_the_picture_stays_where_it_is_cut_off() -> None:
    cut, whole = np.array([[0.0, 100, 1599, 900]]), np.array([[100.0, 100, 1300, 900]])
    lens = Lens(BENDS[0], PICTURE)
    assert lens.straight_boxes(cut)[0, [0, 2]].tolist() == [0, 1599]
    assert (lens.straight_boxes(whole)[0, :2] > whole[0, :2]).all()
