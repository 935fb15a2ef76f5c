"""The annotated picture shows every well's call where the well is."""

import numpy as np
import pytest

from edge_agent.vision.annotate import COLOURS, annotate
from protocol.endpoint import plate_endpoints
from tests.edge_agent.vision.scenes import PICTURE, make_scene
from tests.make import HI, make_well, make_wells, replace

SCENE = make_scene()


def drawn(wells=None, scale=1.0, endpoints=True) -> np.ndarray:
    wells = wells or make_wells()
    placed = {
        name: replace(well, centre_px=tuple((place * scale).tolist()))
        for (name, well), place in zip(wells.items(), SCENE.centres_px, strict=True)
    }
    image = np.full((PICTURE[1], PICTURE[0], 3), 128, np.uint8)
    return annotate(image, scale, placed, plate_endpoints(wells, HI) if endpoints else {}, SCENE.pitch_px * scale)


def around(picture: np.ndarray, index: int) -> np.ndarray:
    x, y = SCENE.centres_px[index].astype(int)
    reach = int(0.4 * SCENE.pitch_px)
    return picture[y - reach : y + reach, x - reach : x + reach].reshape(-1, 3)


@pytest.mark.parametrize("call", ["flowing", "button", "partial", "diffuse", "empty", "obscured", "not_read"])
def test_well_is_ringed_in_its_calls_colour(call: str) -> None:
    wells = make_wells() | {"A5": make_well(call)}
    distance = np.abs(around(drawn(wells), 4).astype(int) - COLOURS[wells["A5"].call]).max(axis=1)
    assert distance.min() < 40


def test_photograph_stays_as_it_was() -> None:
    image = np.zeros((60, 60, 3), np.uint8)
    annotate(image, 1.0, {"A1": make_well(centre_px=(30.0, 30.0))} | {"A2": make_well()}, {}, 20.0)
    assert image.max() == 0


def test_reduced_picture_is_drawn_at_its_own_scale() -> None:
    moved = np.abs(drawn(scale=3.0).astype(int) - drawn()).max(axis=2) > 100
    assert moved.mean() < 0.02


def test_endpoints_stand_beside_the_rows() -> None:
    left = int(SCENE.centres_px[:, 0].min() - 0.5 * SCENE.pitch_px)
    assert (drawn()[:, :left] != drawn(endpoints=False)[:, :left]).any()
