"""Growth by pellets or turbidity, between the plate's own controls."""

import pytest

from edge_agent.vision.growth import judge_growth
from protocol.assay import Call
from protocol.messages import Growth
from protocol.profiles import PROFILES
from tests.edge_agent.vision.coloured import draw_plate
from tests.edge_agent.vision.test_colour import called, read

PELLETS = PROFILES["mic-96-pellets"]
GROWN = {name for row in "ABCDEFGH" for name in PELLETS.format.row(row)[6:11]}


@pytest.mark.parametrize("light", [(1.0, 1.0), (0.5, 1.0)])
def test_wells_with_a_pellet_are_growth_and_the_others_clear(model, light) -> None:
    wells = read(model, draw_plate({}, light=light, pellets=dict.fromkeys(GROWN, 0.18)), PELLETS)
    assert called(wells, "growth") == GROWN
    assert called(wells, "clear") == set(wells) - GROWN


def test_turbid_wells_are_growth(model) -> None:
    wells = read(model, draw_plate(dict.fromkeys(GROWN, (190, 182, 160))), PELLETS)
    assert called(wells, "growth") == GROWN


def test_a_small_pellet_beside_full_ones_is_weak_growth(model) -> None:
    pellets = dict.fromkeys(GROWN, 0.18) | {"A6": 0.1}
    assert called(read(model, draw_plate({}, pellets=pellets), PELLETS), "weak_growth") == {"A6"}


def test_a_plate_on_which_the_growth_controls_did_not_grow_is_not_read(model) -> None:
    wells = read(model, draw_plate({}), PELLETS)
    assert {well.call for well in wells.values()} == {Call.NOT_READ}
    assert all("no_contrast" in well.flags for well in wells.values())


@pytest.mark.parametrize(
    ("share", "call"), [(-0.1, "clear"), (0.2, "clear"), (0.21, "weak_growth"), (0.49, "weak_growth"), (0.5, "growth")]
)
def test_the_share_of_the_growth_controls_decides(share, call) -> None:
    found, chances = judge_growth(Growth(share, 5.0), PELLETS.growth)
    assert found == call
    assert sum(chances.values()) == pytest.approx(1)
