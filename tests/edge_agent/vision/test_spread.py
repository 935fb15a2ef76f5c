"""Faint veils and bare floors are told apart with the whole plate's help, and nothing else changes."""

import numpy as np
import pytest

from edge_agent.vision.spread import MOST_ODDS, settle_spread

FLOWING, DIFFUSE, EMPTY = 0, 1, 2


def plate(*wells: tuple[int, float]) -> np.ndarray:
    """Probabilities of wells that do not flow: how many, and how likely each is empty."""
    empty = np.concatenate([np.full(count, share) for count, share in wells])
    return np.column_stack([np.zeros(len(empty)), 1 - empty, empty])


def settled(probabilities: np.ndarray) -> np.ndarray:
    return settle_spread(probabilities, DIFFUSE, EMPTY)


def test_a_doubtful_well_among_veils_is_a_veil() -> None:
    assert settled(plate((40, 0.1), (1, 0.6)))[-1, EMPTY] < 0.4


def test_a_doubtful_well_among_bare_floors_is_bare() -> None:
    assert settled(plate((40, 0.95), (1, 0.4)))[-1, EMPTY] > 0.6


def test_a_well_that_is_clearly_empty_stays_so_on_a_filled_plate() -> None:
    assert settled(plate((95, 0.02), (1, 0.98)))[-1, EMPTY] > 0.8


def test_a_well_that_clearly_holds_a_veil_stays_so_on_a_bare_plate() -> None:
    assert settled(plate((95, 0.98), (1, 0.02)))[-1, DIFFUSE] > 0.8


def test_two_wells_do_not_speak_for_a_plate() -> None:
    assert settled(plate((1, 0.1), (1, 0.6)))[-1, EMPTY] == pytest.approx(0.6, abs=0.15)


def test_only_these_two_calls_are_divided_anew() -> None:
    chances = np.random.default_rng(3).dirichlet(np.ones(5), 96)
    after = settle_spread(chances, 3, 4)
    np.testing.assert_array_equal(after[:, :3], chances[:, :3])
    np.testing.assert_allclose(after.sum(axis=1), 1)
    odds = (after[:, 4] / after[:, 3]) / (chances[:, 4] / chances[:, 3])
    assert (odds > 1 / MOST_ODDS - 1e-9).all()
    assert (odds < MOST_ODDS + 1e-9).all()


def test_a_plate_of_tears_alone_is_left_as_it_is() -> None:
    tears = np.tile([1.0, 0.0, 0.0], (96, 1))
    np.testing.assert_array_equal(settled(tears), tears)
