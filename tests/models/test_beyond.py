"""Figures from whole plates: what counts as exact, where a panel agrees, and which column errs."""

import numpy as np

from models.training.beyond import Row, draw_beyond, errors_by_column, panel_endpoints, row_scores
from models.training.spec import BUTTON, DIFFUSE, FLOWING, Floats


def panel(row: dict[int, float]) -> Floats:
    """One row of 12 wells; columns given flow for that share of a panel, the others are diffuse."""
    soft = np.zeros((12, 5), np.float32)
    soft[:, DIFFUSE] = 1
    for column, share in row.items():
        soft[column - 1] = 0
        soft[column - 1, [FLOWING, BUTTON]] = share, 1 - share
    return soft


def test_the_endpoint_is_the_last_column_that_most_call_flowing() -> None:
    ends, agreed = panel_endpoints(panel({1: 1, 2: 1, 3: 0.98}))
    assert (ends.tolist(), agreed.tolist()) == ([3], [True])


def test_a_divided_panel_has_no_right_answer() -> None:
    assert panel_endpoints(panel({1: 1, 2: 1, 3: 0.6}))[1].tolist() == [False]


def test_a_row_without_tears_ends_at_nought() -> None:
    ends, agreed = panel_endpoints(panel({}))
    assert (ends.tolist(), agreed.tolist()) == ([0], [True])


def test_scores_leave_rows_without_a_titre_out() -> None:
    rows = [Row(0, "high", True), Row(1, "high", True), Row(2, "low", True), Row(None, "low", True)]
    assert row_scores(rows) == {"rows": 4, "without_titre": 1, "exact": 0.3333, "within_1": 0.6667}


def test_errors_are_counted_in_their_column() -> None:
    soft = panel({1: 1, 2: 1})
    calls = np.array([FLOWING, BUTTON, *[DIFFUSE] * 9, -1])
    errors = errors_by_column(calls, soft)
    assert [row["flowing_wrong"] for row in errors] == [0, 1, *[0] * 10]
    assert errors[11]["wells"] == 0


def test_plates_beyond_training_repeat_and_stand_as_their_seat_says() -> None:
    image, truth, seat = draw_beyond(5_000_000)
    again = draw_beyond(5_000_000)
    assert image.tobytes() == again[0].tobytes()
    along = truth.centres_px[1] - truth.centres_px[0]
    slant = np.degrees(np.arctan2(along[1], along[0])) - int(seat)
    assert abs((slant + 180) % 360 - 180) < 20
