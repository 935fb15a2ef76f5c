"""The sweep: every parameter gets its plates, each whole in its picture, and figures are kept apart."""

import numpy as np
import pytest

from models.training.beyond import PlateRead, Row, row_scores
from models.training.ranges import GROUPS
from models.training.spec import FLOWING
from models.training.sweep import SWEEP_SEED, draw_swept, summarise_sweep, swept
from models.training.tables import exact_of_all, sweep_table


def read(off: int, *, agreed: bool = True) -> PlateRead:
    votes = np.zeros((96, 5), np.float32)
    votes[:, FLOWING] = 1
    rows = (Row(off, "high", agreed), *[Row(0, "low", True)] * 7)
    return PlateRead("read", rows, np.zeros(96, np.int64), np.full(96, 0.75), votes)


def test_parameters_take_turns() -> None:
    count = len(GROUPS)
    assert [swept(SWEEP_SEED + index) for index in range(count)] == list(GROUPS)
    assert swept(SWEEP_SEED + count) == swept(SWEEP_SEED)


@pytest.mark.parametrize("group", ["turn_deg", "px_per_pitch", "tilt"])
def test_a_plate_lies_whole_in_its_picture(group: str) -> None:
    image, truth, _ = draw_swept(SWEEP_SEED + list(GROUPS).index(group))
    height, width = image.shape[:2]
    assert (truth.plate_quad_px > 0).all()
    assert (truth.plate_quad_px < [width, height]).all()


def test_wells_are_as_far_apart_as_drawn() -> None:
    _, truth, _ = draw_swept(SWEEP_SEED + list(GROUPS).index("gamma"))
    pitches = np.hypot(*(truth.centres_px[1:12] - truth.centres_px[:11]).T)
    assert 78 < float(pitches.mean()) < 100


def test_figures_are_kept_by_parameter_and_in_all() -> None:
    plates = [("haze", read(0)), ("haze", read(1)), ("blur", PlateRead("refused_blurred"))]
    figures = summarise_sweep(plates)
    haze, blur = figures["parameters"]["haze"], figures["parameters"]["blur"]
    assert haze["rows"] == {"rows": 16, "without_titre": 0, "exact": 0.9375, "within_1": 1.0}
    assert haze["high"] == {"rows": 2, "without_titre": 0, "exact": 0.5, "within_1": 1.0}
    assert haze["calibration_error"] == 0.25
    assert blur["outcomes"] == {"refused_blurred": 1}
    assert blur["rows"]["exact"] is None
    assert blur["calibration_error"] is None
    assert (figures["all"]["plates"], figures["all"]["wells"]) == (3, 192)


def test_rows_without_a_right_answer_do_not_count() -> None:
    figures = summarise_sweep([("haze", read(3, agreed=False))])
    assert figures["parameters"]["haze"]["rows"]["rows"] == 7


def test_the_table_has_a_line_for_every_parameter_read_or_not() -> None:
    table = sweep_table(summarise_sweep([("haze", read(0)), ("turn_deg", PlateRead("refused_uncertain_lattice"))]))
    assert "| turn deg | 1 | 0 | 1 uncertain lattice | 0 | 0 | – | – | – | – | – |" in table
    assert "| haze | 1 | 1 | – | 8 | 0 | 100.00% | 100.00% | 100.00% | 100.0% of 1 | 0.250 |" in table


def test_a_row_without_a_titre_is_not_exact_among_all_rows() -> None:
    rows = [Row(0, "high", agreed=True)] * 6 + [Row(1, "medium", agreed=True), Row(None, "low", agreed=True)]
    figures = row_scores(rows)
    assert figures["exact"] == pytest.approx(6 / 7, abs=1e-4)
    assert exact_of_all(figures) == pytest.approx(6 / 8, abs=1e-4)
    assert exact_of_all(row_scores([])) is None
    assert exact_of_all(row_scores(rows[-1:])) == 0
