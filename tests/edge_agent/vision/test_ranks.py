"""Medians and quantiles are NumPy's, only quicker."""

import numpy as np
import pytest

from edge_agent.vision.ranks import level_counts, level_quantile, medians, quantiles

RNG = np.random.default_rng(4)
BYTES = RNG.integers(0, 256, (7, 30), np.uint8)


@pytest.mark.parametrize("share", [0, 0.03, 0.5, 0.96, 1])
@pytest.mark.parametrize("count", [1, 2, 29, 30])
@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_quantiles_of_rows_are_as_numpy_has_them(kind: type, count: int, share: float) -> None:
    rows = BYTES[:, :count].astype(kind)
    assert quantiles(rows, share) == pytest.approx(np.quantile(rows.astype(np.float64), share, axis=1))


def test_medians_of_an_even_number_lie_between_the_middle_two() -> None:
    assert medians(np.array([[1, 9, 4, 2], [7, 7, 0, 255]], np.uint8)).tolist() == [3, 7]


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.99, 1])
@pytest.mark.parametrize("width", [1, 2, 30])
def test_quantiles_of_a_picture_are_as_numpy_has_them(width: int, share: float) -> None:
    grey = np.ascontiguousarray(BYTES[:, :width])
    assert level_quantile(level_counts(grey), share) == pytest.approx(float(np.quantile(grey, share)))
