"""The arithmetic behind the model card."""

import numpy as np
import pytest

from models.training.measure import (
    calibrate,
    call_scores,
    confusion,
    endpoints,
    fit_temperature,
    match_wells,
    overlap,
    softmax,
)


def test_temperature_of_a_network_that_is_twice_too_sure() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (4000, 5))
    drawn = np.array([rng.choice(5, p=row) for row in softmax(logits, 1.0)])
    votes = np.eye(5, dtype=np.float32)[drawn]
    assert fit_temperature(2 * logits, votes) == pytest.approx(2.0, abs=0.15)
    assert calibrate(softmax(2 * logits, 2.0), votes).error < 0.03 < calibrate(softmax(2 * logits, 1.0), votes).error


def test_a_soft_vote_is_not_an_error() -> None:
    votes = np.array([[0.6, 0.4, 0, 0, 0]], np.float32)
    assert calibrate(votes.astype(np.float64), votes).error == pytest.approx(0, abs=1e-4)


def test_endpoints_are_the_last_flowing_columns() -> None:
    calls = np.array([[0, 0, 1, 0, 3, 3, 3, 3, 3, 3, 3, 3], [4] * 12])
    assert endpoints(calls.ravel()) == [4, 0]


def test_scores_separate_class_from_flowing() -> None:
    scores = call_scores(np.array([0, 2, 3, 1]), np.array([0, 1, 3, 0]))
    assert (scores["class_right"], scores["flowing_right"]) == (0.5, 0.75)


def test_confusion_counts_by_truth() -> None:
    table = confusion(np.array([0, 1, 1]), np.array([0, 0, 1]))
    assert table["flowing"] == {"flowing": 1, "button": 1, "partial": 0, "diffuse": 0, "empty": 0}
    assert "empty" not in table


def test_a_detection_beside_a_well_is_no_hit() -> None:
    truth = np.array([[0, 0, 10, 10], [20, 0, 30, 10]], float)
    hits, errors = match_wells(np.array([[1, 0, 11, 10], [25, 0, 35, 10]], float), truth)
    assert (hits, errors) == (1, [1.0])
    assert match_wells(np.zeros((0, 4)), truth) == (0, [])


def test_overlap_of_boxes() -> None:
    assert overlap(np.array([0, 0, 2, 2.0]), np.array([1, 0, 3, 2.0])) == pytest.approx(1 / 3)
