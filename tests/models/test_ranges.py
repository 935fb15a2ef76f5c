"""Parameters as data: where each kind of render draws them, and what lies outside."""

from typing import get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from models.training.ranges import GROUPS, PARAMETERS, Parameter, Ranges
from models.training.render import PlateSpec, render_plate
from models.training.spec import Difficulty

# The one parameter whose training range holds all that is possible, and the one that is part of another's.
NEVER_OUTSIDE = {"veil_multiplies", "usual_gain"}


def drawn(name: str, difficulty: Difficulty, group: str | None = None) -> NDArray[np.float64]:
    return np.array([Ranges(np.random.default_rng(seed), difficulty, group).draw(name) for seed in range(300)])


def outside(values: NDArray[np.float64], parameter: Parameter) -> NDArray[np.bool_]:
    return (values < parameter.training[0]) | (values > parameter.training[1])


@pytest.mark.parametrize("name", PARAMETERS)
def test_ranges_are_possible_and_drawn_inside(name: str) -> None:
    parameter = PARAMETERS[name]
    assert parameter.least <= parameter.training[0] < parameter.training[1] <= parameter.most
    for difficulty in ("varied", "wide"):
        assert not outside(drawn(name, difficulty), parameter).any()
    low, high = parameter.kept
    assert ((drawn(name, "plain") >= low) & (drawn(name, "plain") <= high)).all()


@pytest.mark.parametrize("group", GROUPS)
def test_what_is_swept_lies_outside_and_possible_and_everything_else_is_kept(group: str) -> None:
    for name in GROUPS[group]:
        parameter = PARAMETERS[name]
        values = drawn(name, "swept", group)
        width = parameter.training[1] - parameter.training[0]
        assert outside(values, parameter).mean() > 0.98  # a range's very end counts as inside
        assert values.min() >= max(parameter.least, parameter.training[0] - width / 3)
        assert values.max() <= min(parameter.most, parameter.training[1] + width / 3)
    for name, parameter in PARAMETERS.items():
        if name not in GROUPS[group] and not parameter.natural:
            low, high = parameter.kept
            assert ((drawn(name, "swept", group) >= low) & (drawn(name, "swept", group) <= high)).all()


def test_no_parameter_is_left_out_of_the_sweep() -> None:
    assert set(PARAMETERS) - {name for group in GROUPS.values() for name in group} == NEVER_OUTSIDE


def test_both_sides_are_drawn_where_there_is_room_on_both() -> None:
    values = drawn("gamma", "swept", "gamma")
    assert 0.3 < (values < 0.8).mean() < 0.7


def test_of_a_plate_beyond_every_second_stressed_parameter_is_outside() -> None:
    assert 0.4 < outside(drawn("blur", "beyond"), PARAMETERS["blur"]).mean() < 0.6
    assert not outside(drawn("lamp", "beyond"), PARAMETERS["lamp"]).any()


KINDS: tuple[Difficulty, ...] = ("varied", "wide")


def test_wide_plates_lie_more_often_near_the_ends_than_varied_ones() -> None:
    low, high = PARAMETERS["haze"].training
    ends = {kind: np.mean(np.abs(drawn("haze", kind) - (low + high) / 2) > (high - low) / 6) for kind in KINDS}
    assert ends["wide"] > ends["varied"] + 0.1


def test_a_carded_plate_is_a_kept_bench_on_any_card() -> None:
    hues = drawn("card_hue", "carded")
    assert hues.min() < 60
    assert hues.max() > 300
    assert {*drawn("blur", "carded"), *drawn("blur", "natural")} == {PARAMETERS["blur"].kept[0]}
    low, high = PARAMETERS["card_hue"].kept
    assert low <= drawn("card_hue", "natural").min() <= drawn("card_hue", "natural").max() <= high


def test_counts_are_whole_numbers_with_both_ends() -> None:
    counts = [Ranges(np.random.default_rng(seed), "varied").count("rings") for seed in range(200)]
    assert (min(counts), max(counts)) == (1, 6)
    swept = [Ranges(np.random.default_rng(seed), "swept", "rings").count("rings") for seed in range(50)]
    assert min(swept) > 6


@pytest.mark.parametrize("difficulty", get_args(Difficulty))
def test_every_kind_of_plate_is_drawn(difficulty: Difficulty) -> None:
    outside = "haze" if difficulty == "swept" else None
    image, truth = render_plate(1, PlateSpec(size_px=(400, 290), difficulty=difficulty, outside=outside))
    assert image.shape == (290, 400, 3)
    assert np.allclose(truth.soft_calls.sum(axis=1), 1)


def test_what_cannot_be_swept_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="not what a swept plate can have out of range: 'hazy'"):
        Ranges(np.random.default_rng(0), "swept", "hazy")
    with pytest.raises(ValueError, match="'haze'"):
        Ranges(np.random.default_rng(0), "varied", "haze")
