"""Which well is which: right, or refused; never shifted by a row or a column, never turned on the quiet."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.vision.geometry import UPRIGHT_GUESS
from edge_agent.vision.lattice import fit_grid
from edge_agent.vision.refusal import Refused
from edge_agent.vision.tensors import WELL, Detections
from protocol.plate import Seat
from tests.edge_agent.vision.scenes import make_scene

SEATS = list(Seat)


def refusal(place) -> str:
    with pytest.raises(Refused) as caught:
        place()
    return caught.value.reason


SCENES = st.builds(
    make_scene,
    seed=st.integers(0, 2**32 - 1),
    wells=st.sampled_from([24, 48, 96, 384]),
    turn=st.sampled_from(SEATS),
    missing=st.floats(0, 0.25),
    extra=st.integers(0, 40),
    askew_degrees=st.floats(-20, 20),
    tilt=st.floats(0, 0.35),
    outline=st.booleans(),
)


@settings(max_examples=150, deadline=None)
@given(SCENES)
def test_names_are_right_or_refused(scene) -> None:
    try:
        placed = scene.place()
    except Refused:
        return
    assert scene.worst_pitches(placed) < 0.35


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), turn=st.sampled_from(SEATS), askew=st.floats(-15, 15))
def test_clear_view_is_never_refused(seed, turn, askew) -> None:
    scene = make_scene(seed, 96, turn, missing=0.1, extra=5, askew_degrees=askew)
    assert scene.worst_pitches(scene.place()) < 0.2


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), line=st.sampled_from([("row", 0), ("row", 7), ("column", 0), ("column", 11)]))
def test_missing_edge_is_placed_by_the_outline_or_refused(seed, line) -> None:
    scene = make_scene(seed, missing=0.05).without(**dict([line]))
    try:
        placed = scene.place()
    except Refused:
        return
    assert scene.worst_pitches(placed) < 0.35
    assert placed.seen.sum() < 90


@pytest.mark.parametrize("line", [{"row": 0}, {"row": 7}, {"column": 0}, {"column": 11}])
def test_missing_edge_without_an_outline_is_refused(line) -> None:
    scene = make_scene(outline=False).without(**line)
    assert refusal(scene.place) == "uncertain_lattice"


@pytest.mark.parametrize("line", [{"row": 0}, {"row": 7}, {"column": 0}, {"column": 11}])
def test_missing_edge_is_marked_as_not_seen(line) -> None:
    placed = make_scene().without(**line).place()
    assert not placed.seen[line.get("row", slice(None)), line.get("column", slice(None))].any()
    assert placed.seen.sum() == 96 - (12 if "row" in line else 8)


@pytest.mark.parametrize("outline", [True, False])
@pytest.mark.parametrize("column", [-1, 12])
def test_thirteenth_column_is_refused(column: int, outline: bool) -> None:
    assert refusal(make_scene(outline=outline).with_false_column(column).place) == "uncertain_lattice"


@pytest.mark.parametrize("column", [-1, 12])
def test_print_smaller_than_wells_is_no_column(column: int) -> None:
    scene = make_scene(outline=False).with_false_column(column, size=0.6)
    assert scene.worst_pitches(scene.place()) < 0.2


@pytest.mark.parametrize(("false", "missing"), [(-0.8, 11), (11.8, 0)])
def test_letters_where_a_column_might_be_are_no_column(false: float, missing: int) -> None:
    scene = make_scene(outline=False, noise_pitches=0.01).without(column=missing).with_false_column(false)
    assert refusal(scene.place) == "uncertain_lattice"


def test_outline_never_overrules_wells_that_were_seen() -> None:
    """A wrong box a column away, and so few wells in the last column that a shift would fit almost as well."""
    scene = make_scene().without_wells(["A1", "B1", "C1", "D1", "E1"])
    scene.outlines[:, [0, 2]] += scene.pitch_px
    assert refusal(scene.place) == "uncertain_lattice"


@pytest.mark.parametrize(("false", "missing"), [(-1, 11), (12, 0)])
def test_false_column_for_a_missing_one_is_never_a_shift(false: int, missing: int) -> None:
    scene = make_scene().without(column=missing).with_false_column(false)
    assert refusal(scene.place) == "uncertain_lattice"


def test_outline_a_column_away_from_the_wells_is_a_contradiction() -> None:
    scene = make_scene()
    scene.outlines[:, [0, 2]] += scene.pitch_px
    assert refusal(scene.place) == "uncertain_lattice"


@pytest.mark.parametrize(("seen", "expected"), [(384, 96), (96, 384), (24, 96), (48, 96), (96, 24)])
def test_plate_of_another_format_is_a_mismatch(seen: int, expected: int) -> None:
    scene = make_scene(wells=seen)
    assert refusal(lambda: scene.place(expected=expected)) == "format_mismatch"


@pytest.mark.parametrize("wells", [6, 12, 24, 48, 96, 384, 1536])
def test_every_format_is_placed(wells: int) -> None:
    scene = make_scene(wells=wells, noise_pitches=0.01)
    assert scene.worst_pitches(scene.place()) < 0.15


@pytest.mark.parametrize("turn", SEATS)
def test_seat_across_the_plate_is_refused_not_turned(turn: Seat) -> None:
    across = Seat((turn + 90) % 360)
    scene = make_scene(turn=turn)
    assert refusal(lambda: scene.place(seat=across)) == "orientation_mismatch"


@pytest.mark.parametrize("turn", SEATS)
def test_seat_alone_says_which_end_is_a1(turn: Seat) -> None:
    scene = make_scene(turn=turn)
    opposite = Seat((turn + 180) % 360)
    assert np.allclose(scene.place(seat=opposite).centres_px[::-1], scene.place().centres_px)


def test_plate_far_askew_in_its_seat_is_refused() -> None:
    assert refusal(make_scene(askew_degrees=38).place) == "orientation_mismatch"


@pytest.mark.parametrize(("turn", "named_as"), [(seat, seat % 180) for seat in SEATS])
def test_unknown_seat_names_wells_unmirrored(turn: Seat, named_as: int) -> None:
    placed = make_scene(turn=turn).place(known=False)
    assert placed.turn == (Seat.TOP_LEFT if named_as == 0 else UPRIGHT_GUESS)
    assert np.linalg.det(placed.homography[:2, :2]) > 0


def test_far_off_the_pattern_is_refused() -> None:
    assert refusal(make_scene(noise_pitches=0.09).place) == "uncertain_lattice"


def scattered(seed: int, count: int) -> Detections:
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 1000, (count, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(30, 60, (count, 1))], axis=1)
    return Detections(boxes, np.ones(count), np.full(count, WELL))


@pytest.mark.parametrize("seed", range(5))
def test_scattered_things_make_no_plate(seed: int) -> None:
    grid = fit_grid(scattered(seed, 200))
    assert grid is None or len(grid.nodes) < 60


@pytest.mark.parametrize("count", [0, 1, 4])
def test_too_few_detections_make_no_grid(count: int) -> None:
    assert fit_grid(scattered(1, count)) is None
