"""What the picture shows counts as seen; what it does not show, does not: neither beside a plate nor between wells."""

import cv2
import numpy as np
import pytest

from edge_agent.vision.confirm import confirm
from edge_agent.vision.geometry import place_plate
from edge_agent.vision.lattice import Grid, fit_grid, project
from edge_agent.vision.patches import Image, Matrix
from edge_agent.vision.refusal import Refused
from edge_agent.vision.tensors import WELL, Array, Detections
from protocol.plate import plate_format

PICTURE = (900, 640)
# A plate seen a little from the side; (column, row) → pixels.
VIEW = np.array([[52.0, 4.0, 130.0], [-3.0, 54.0, 120.0], [1e-3, -1.5e-3, 1.0]])


def nodes(rows: int = 8, columns: int = 12) -> Array:
    v, u = np.mgrid[:rows, :columns]
    return np.column_stack([u.ravel(), v.ravel()]).astype(np.float64)


def draw(wells: Array, view: Matrix = VIEW, seed: int = 0) -> Image:
    """A grey picture with a rim and a glare crescent at each of these wells, and other contents in each."""
    rng = np.random.default_rng(seed)
    picture = np.full(PICTURE[::-1], 120, np.uint8)
    for well in wells:
        x, y = project(view, [well])[0]
        pitch = float(np.hypot(*(project(view, [np.add(well, (1, 0))])[0] - (x, y))))
        centre = (round(x), round(y))
        cv2.circle(picture, centre, round(0.42 * pitch), 150, 2, cv2.LINE_AA)
        spot = (round(x + rng.normal(0, 0.08) * pitch), round(y + rng.normal(0, 0.08) * pitch))
        cv2.circle(picture, spot, round(rng.uniform(0.05, 0.25) * pitch), int(rng.integers(60, 180)), -1)
        cv2.ellipse(picture, centre, (round(0.34 * pitch),) * 2, 0, 200, 250, 150, 2, cv2.LINE_AA)
    return np.clip(picture + rng.normal(0, 3, picture.shape), 0, 255).astype(np.uint8)


def detected(wells: Array, noise_pitches: float = 0.05, seed: int = 1) -> Detections:
    rng = np.random.default_rng(seed)
    centres = project(VIEW, wells) + rng.normal(0, noise_pitches * 52, (len(wells), 2))
    half = 0.42 * 52
    boxes = np.concatenate([centres - half, centres + half], axis=1)
    return Detections(boxes, np.full(len(boxes), 0.9), np.full(len(boxes), WELL))


def together(picture: Image, wells: Detections) -> tuple[Grid, Detections]:
    grid = fit_grid(wells)
    assert grid is not None
    result = confirm(picture, grid, wells)
    assert result is not None
    return result


def some_of(wells: Array, count: int, seed: int = 2) -> Array:
    return wells[np.random.default_rng(seed).permutation(len(wells))[:count]]


@pytest.mark.parametrize("seed", range(3))
def test_wells_that_the_detector_missed_are_seen_in_the_picture(seed: int) -> None:
    grid, wells = together(draw(nodes(), seed=seed), detected(some_of(nodes(), 60, seed)))
    assert len(grid.nodes) == 96
    assert (wells.scores[grid.members] > 0).sum() >= 55


def test_what_only_the_picture_shows_is_told_apart() -> None:
    grid, wells = together(draw(nodes()), detected(some_of(nodes(), 60), 0.02))
    assert (wells.scores[grid.members] == 0).sum() == 36


def test_confirmed_plate_lies_where_its_wells_are() -> None:
    grid, wells = together(draw(nodes()), detected(some_of(nodes(), 60)))
    placed = place_plate(grid, wells, np.empty((0, 4)), PICTURE, expected=plate_format(96), seat=None)
    apart = np.hypot(*(placed.centres_px - project(VIEW, nodes())).T) / placed.pitch_px
    assert apart.max() < 0.08
    assert placed.residual_pitch < 0.03


@pytest.mark.parametrize("missing", ["last column", "first row"])
def test_wells_that_are_not_there_are_not_confirmed(missing: str) -> None:
    """A plate that the picture cuts off must not be completed."""
    there = nodes()[nodes()[:, 0] < 11] if missing == "last column" else nodes()[nodes()[:, 1] > 0]
    grid, wells = together(draw(there), detected(some_of(there, 60)))
    assert len(grid.nodes) == len(there)
    with pytest.raises(Refused, match="not certain"):
        place_plate(grid, wells, np.empty((0, 4)), PICTURE, expected=plate_format(96), seat=None)


def test_detections_between_wells_count_only_where_the_picture_shows_wells() -> None:
    ghosts = some_of(nodes(7, 11) + 0.5, 40)
    grid, wells = together(draw(nodes()), detected(np.concatenate([nodes(), ghosts]), 0.02))
    assert len(grid.nodes) == 96
    assert len(wells.scores) - len(grid.nodes) < 5


def test_every_second_well_of_a_finer_plate_is_no_plate() -> None:
    """Between the wells of a 96-well plate nothing looks like a well; between every second one of 384 the others do."""
    finer = draw(nodes(16, 24), VIEW @ np.diag([0.5, 0.5, 1]))
    wells = detected(some_of(nodes(), 80), 0.02)
    grid = fit_grid(wells)
    assert grid is not None
    result = confirm(finer, grid, wells)
    assert result is None or not (result[1].scores[result[0].members] == 0).any()


def test_grain_confirms_nothing() -> None:
    picture = np.random.default_rng(3).integers(90, 150, PICTURE[::-1]).astype(np.uint8)
    grid = fit_grid(detected(some_of(nodes(), 60)))
    assert grid is not None
    result = confirm(picture, grid, detected(some_of(nodes(), 60)))
    assert result is None or (result[1].scores[result[0].members] > 0).all()


def test_few_wells_do_not_say_what_a_well_looks_like() -> None:
    wells = detected(nodes(2, 4))
    grid = fit_grid(wells)
    assert grid is not None
    assert confirm(draw(nodes()), grid, wells) is None


def test_second_kind_of_well_is_learned_from_those_that_were_found() -> None:
    """Full wells beside empty ones: dark discs without a rim of their own."""
    picture = draw(nodes()[nodes()[:, 0] >= 4])
    for well in nodes()[nodes()[:, 0] < 4]:
        x, y = project(VIEW, [well])[0]
        cv2.circle(picture, (round(x), round(y)), 17, 60, -1, cv2.LINE_AA)
    missed = {(0.0, 0.0), (3.0, 5.0), (11.0, 7.0)}
    found = np.array([node for node in nodes() if tuple(node) not in missed])
    grid, _ = together(picture, detected(found, 0.02))
    assert len(grid.nodes) == 96
