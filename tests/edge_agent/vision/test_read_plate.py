"""From the bytes of a photograph to the state of every well, with the released model."""

import cv2
import numpy as np
import pytest

from edge_agent.vision import Model, PlateView, Refused, read_plate
from models.training.render import PlateSpec, render_plate, render_stage
from protocol.endpoint import plate_endpoints
from protocol.plate import Seat
from protocol.profiles import PROFILES
from tests.edge_agent.vision.conftest import frame, jpeg
from tests.make import HI

CALLS = {name: "flowing" if int(name[1:]) <= 6 else "diffuse" for name in HI.format.names()}

FLOWING = {name: call == "flowing" for name, call in CALLS.items()}


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    """A rendered plate whose rows all flow up to column 6."""
    return render_plate(11, PlateSpec(calls=CALLS, turn_deg=0.0))[0]


def read(model: Model, picture: np.ndarray | bytes, seat: Seat | None = Seat.TOP_LEFT) -> PlateView:
    content = picture if isinstance(picture, bytes) else jpeg(picture)
    return read_plate(frame(content), HI, model=model, seat=seat)


def refusal(model: Model, picture: np.ndarray | bytes, seat: Seat | None = Seat.TOP_LEFT) -> str:
    with pytest.raises(Refused) as caught:
        read(model, picture, seat)
    return caught.value.reason


def test_the_fit_of_the_lattice_is_told_in_millimetres_too(model: Model, image: np.ndarray) -> None:
    view = read(model, image)
    assert 0 < view.quality["residual_mm"] == pytest.approx(view.plate.residual_pitch * 9.0, abs=1e-3)


def test_every_well_is_called_and_the_endpoints_follow(model: Model, image: np.ndarray) -> None:
    view = read(model, image)
    assert {name: well.call == "flowing" for name, well in view.wells.items()} == FLOWING
    assert {row.last_flowing for row in plate_endpoints(view.wells, HI).values()} == {6}


@pytest.mark.parametrize("seat", list(Seat))
def test_turned_plate_in_its_seat_reads_the_same(model: Model, image: np.ndarray, seat: Seat) -> None:
    view = read(model, np.rot90(image, -(seat // 90)), seat)
    assert view.plate.rotation_degrees == seat
    assert [well.call for well in view.wells.values()].count("flowing") == 48
    assert view.wells["A1"].call == view.wells["H6"].call == "flowing"


def test_seat_on_the_other_side_of_the_plate_is_refused(model: Model, image: np.ndarray) -> None:
    assert refusal(model, image, Seat.TOP_RIGHT) == "orientation_mismatch"


@pytest.mark.parametrize(("turns", "named_as"), [(0, 0), (1, 270), (2, 0), (3, 270)])
def test_unknown_seat_is_recorded(model: Model, image: np.ndarray, turns: int, named_as: int) -> None:
    plate = read(model, np.rot90(image, turns), None).plate
    assert (plate.a1_from, plate.rotation_degrees, plate.mirrored) == ("unknown", named_as, False)


def test_small_plate_in_a_large_picture_is_found(model: Model, image: np.ndarray) -> None:
    canvas = np.full((2100, 2800, 3), 96, np.uint8)
    canvas[700 : 700 + image.shape[0], 900 : 900 + image.shape[1]] = image
    assert read(model, canvas).plate.wells_seen >= 90


def test_centres_are_in_the_pixels_of_the_large_photograph(model: Model) -> None:
    image, truth = render_plate(12, PlateSpec(turn_deg=0.0))
    large = cv2.resize(image, None, fx=3.6, fy=3.6)
    view = read(model, large)
    centres = np.array([well.centre_px for well in view.wells.values()])
    assert view.photograph.scale == pytest.approx(2, rel=0.01)
    assert np.abs(centres - truth.centres_px * 3.6).max() < 0.12 * view.plate.pitch_px


def test_plate_cut_off_by_the_picture_keeps_its_names(model: Model, image: np.ndarray) -> None:
    whole = read(model, image)
    edge = int(whole.wells["A12"].centre_px[0] + 0.1 * whole.plate.pitch_px)
    cut = read(model, image[:, :edge])
    assert cut.wells["A12"].call == "not_read"
    assert cut.wells["A1"].centre_px == pytest.approx(whole.wells["A1"].centre_px, abs=10)


@pytest.mark.parametrize(
    ("picture", "reasons"),
    [
        (np.zeros((1200, 1600, 3), np.uint8), {"too_dark"}),
        (np.full((1200, 1600, 3), 255, np.uint8), {"too_bright"}),
        (np.full((1200, 1600, 3), 120, np.uint8), {"no_plate"}),
        (np.random.default_rng(1).integers(0, 255, (1200, 1600, 3), np.uint8), {"no_plate", "uncertain_lattice"}),
        (render_stage(5), {"no_plate", "uncertain_lattice"}),
    ],
    ids=["black", "white", "grey", "noise", "empty bench"],
)
def test_picture_without_a_readable_plate_is_refused(model: Model, picture: np.ndarray, reasons: set[str]) -> None:
    assert refusal(model, picture) in reasons


@pytest.mark.parametrize("wells", [24, 384])
def test_plate_of_another_format_is_refused(model: Model, wells: int) -> None:
    picture, _ = render_plate(13, PlateSpec(plate_format=wells, contents="generic", turn_deg=0.0))
    assert refusal(model, picture) == "format_mismatch"


def test_blurred_photograph_is_refused(model: Model, image: np.ndarray) -> None:
    with pytest.raises(Refused):
        read(model, cv2.GaussianBlur(image, (0, 0), 14))


def test_two_plates_in_view_are_refused(model: Model, image: np.ndarray) -> None:
    assert refusal(model, np.vstack([image, image])) in {"several_plates", "uncertain_lattice"}


def test_same_bytes_give_the_same_reading(model: Model, image: np.ndarray) -> None:
    content = jpeg(image)
    first, second = read(model, content), read(model, content)
    assert (first.wells, first.plate, first.quality) == (second.wells, second.plate, second.quality)


def test_every_stage_is_timed(model: Model, image: np.ndarray) -> None:
    ticks = iter(range(10))
    view = read_plate(frame(jpeg(image)), HI, model=model, seat=None, timer=lambda: float(next(ticks)))
    assert view.timings_ms == {
        "open": 1000,
        "locate": 1000,
        "patches": 1000,
        "calls": 1000,
        "streaks": 1000,
        "orientation": 1000,
        "total": 6000,
    }


def test_low_confidence_follows_the_profile(model: Model, image: np.ndarray) -> None:
    profile = PROFILES["hi-96-serum-control"]
    view = read_plate(frame(jpeg(image)), profile, model=model, seat=Seat.TOP_LEFT)
    low = {name for name, well in view.wells.items() if well.confidence < profile.low_confidence}
    assert {name for name, well in view.wells.items() if "low_confidence" in well.flags} == low
