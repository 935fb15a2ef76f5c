"""The calibration of a bench: kept for ever, named by readings, drift measured and shown; it changes no call."""

import json
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

from edge_agent.__main__ import main
from edge_agent.agent import Seen
from edge_agent.cameras.appearance import Appearance, look_at
from edge_agent.cameras.calibration import (
    VERSION,
    Calibration,
    CalibrationError,
    InForce,
    beyond,
    check_size,
    compare,
    in_force,
    keep,
    measure_drift,
)
from edge_agent.cameras.frame import Frame
from edge_agent.commands.doctor import examine
from edge_agent.compose import reading_with
from edge_agent.config import SHIPPED_MODEL, CameraConfig, Config
from edge_agent.vision import Model, PlateView, Refused, load_model, read_plate
from models.training.render import PlateSpec, render_plate
from protocol.messages import CalibrationUsed
from protocol.plate import Seat
from tests.edge_agent.bench import kept, open_outbox
from tests.make import HI, NOON, make_reading, replace


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model(SHIPPED_MODEL)


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """A plate in its seat, all well."""
    return render_plate(11, PlateSpec(turn_deg=0.0))[0]


@pytest.fixture(scope="module")
def seen(model: Model, picture: np.ndarray) -> Callable[..., PlateView]:
    """Reads a changed picture of the plate."""

    def see(change: Callable[[np.ndarray], np.ndarray] = lambda image: image) -> PlateView:
        return read_plate(photograph(change(picture)), HI, model=model, seat=Seat.TOP_LEFT)

    return see


def photograph(image: np.ndarray, key: str | None = "plate.jpg") -> Frame:
    return Frame(
        cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes(), "plate.jpg", NOON, 0, key=key
    )


def moved(image: np.ndarray, x_px: float) -> np.ndarray:
    """The picture with everything in it moved to the right."""
    shift = np.array([[1, 0, x_px], [0, 1, 0]], np.float64)
    return cv2.warpAffine(image, shift, image.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)


def calibration(plate: Appearance, made_at: datetime = NOON) -> Calibration:
    return Calibration(VERSION, made_at, "plate.jpg", "a" * 64, "top-left", make_reading(1).model, "0.1.0", plate)


@pytest.fixture(scope="module")
def current(seen: Callable[..., PlateView]) -> InForce:
    return InForce("0001-aaaaaaaa", calibration(look_at(seen())))


def test_the_same_picture_has_not_drifted(current: InForce, seen: Callable[..., PlateView]) -> None:
    view, used = compare(current, seen())
    assert used == CalibrationUsed("0001-aaaaaaaa", NOON, ())
    assert {name: value for name, value in view.quality.items() if name.startswith("drift_")} == {
        "drift_light_stops": 0.0,
        "drift_white_share": 0.0,
        "drift_flat_share": 0.0,
        "drift_pitch": 0.0,
    }


def test_a_calibration_changes_no_call(current: InForce, seen: Callable[..., PlateView]) -> None:
    before = seen()
    assert compare(current, before)[0].wells == before.wells


def test_a_plate_moved_by_more_than_half_a_pitch_is_flagged(current: InForce, seen: Callable[..., PlateView]) -> None:
    pitch_px = current.calibration.plate.pitch_px
    view, used = compare(current, seen(lambda image: moved(image, 0.4 * pitch_px)))
    assert (view.quality["drift_pitch"], used.drifted) == (pytest.approx(0.4, abs=0.05), ())
    view, used = compare(current, seen(lambda image: moved(image, 0.6 * pitch_px)))
    assert (view.quality["drift_pitch"], used.drifted) == (pytest.approx(0.6, abs=0.05), ("place",))


def test_a_plate_that_cannot_lie_in_the_seat_is_refused(current: InForce, seen: Callable[..., PlateView]) -> None:
    plate = current.calibration.plate
    elsewhere = replace(plate, corners_px=tuple((x + 5 * plate.pitch_px, y) for x, y in plate.corners_px))
    with pytest.raises(Refused, match=r"not_in_seat: the plate lies 5.0 pitches from where calibration 0002-bbbbbbbb"):
        compare(InForce("0002-bbbbbbbb", calibration(elsewhere)), seen())


@pytest.mark.parametrize(
    ("gain", "what"),
    [((0.5, 0.5, 0.5), "light"), ((1.0, 1.0, 0.6), "white"), ((0.6, 1.0, 1.0), "white")],
)
def test_light_and_colour_that_drift_are_flagged(
    current: InForce, seen: Callable[..., PlateView], gain: tuple[float, ...], what: str
) -> None:
    _, used = compare(current, seen(lambda image: (image * np.array(gain)).astype(np.uint8)))
    assert used.drifted == (what,)


def test_a_lamp_that_lights_one_side_is_flagged(current: InForce, seen: Callable[..., PlateView]) -> None:
    def shade(image: np.ndarray) -> np.ndarray:
        return (image * np.linspace(1, 0.4, image.shape[1])[None, :, None]).astype(np.uint8)

    assert "evenness" in compare(current, seen(shade))[1].drifted


def test_the_same_picture_in_another_size_lies_where_it_lay(current: InForce, seen: Callable[..., PlateView]) -> None:
    smaller = seen(lambda image: cv2.resize(image, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA))
    assert measure_drift(current.calibration.plate, look_at(smaller))["drift_pitch"] < 0.1


def test_a_picture_of_another_shape_says_nothing_of_the_place(current: InForce) -> None:
    plate = current.calibration.plate
    drift = measure_drift(plate, replace(plate, width_px=plate.width_px + 200))
    assert "drift_pitch" not in drift
    assert beyond(drift) == ()


def test_a_live_picture_of_another_size_is_refused(current: InForce) -> None:
    plate = current.calibration.plate
    check_size(current, plate.width_px, plate.height_px)
    with pytest.raises(Refused, match=r"wrong_size: the camera gave 640 × 480 px"):
        check_size(current, 640, 480)


def test_the_newest_is_in_force_and_the_older_ones_stay(tmp_path: Path, current: InForce) -> None:
    plate = current.calibration.plate
    first = keep(tmp_path, calibration(plate))
    # A reader without a battery clock may believe that the second was made before the first.
    second = keep(tmp_path, calibration(plate, NOON - timedelta(days=900)))
    found = in_force(tmp_path)
    assert (first.id[:5], second.id[:5]) == ("0001-", "0002-")
    assert found == second
    assert len(list((tmp_path / "calibration").iterdir())) == 2


def test_a_bench_without_calibration_has_none(tmp_path: Path) -> None:
    assert in_force(tmp_path) is None


def test_a_damaged_calibration_is_named(tmp_path: Path, current: InForce) -> None:
    kept_one = keep(tmp_path, calibration(current.calibration.plate))
    (tmp_path / "calibration" / f"{kept_one.id}.json").write_text("{}")
    with pytest.raises(CalibrationError, match=r"0001-.*calibrate the bench again"):
        in_force(tmp_path)


def reading(tmp_path: Path, model: Model, frame: Frame) -> Seen:
    return reading_with(Config(state_dir=tmp_path), model, Seat.TOP_LEFT, None)(frame)


def test_a_reading_names_the_calibration_and_its_drift(tmp_path: Path, model: Model, picture: np.ndarray) -> None:
    assert reading(tmp_path, model, photograph(picture)).calibration is None
    made = keep(tmp_path, calibration(look_at(reading(tmp_path, model, photograph(picture)).view)))
    seen = reading(tmp_path, model, photograph(picture))
    assert seen.calibration == CalibrationUsed(made.id, NOON, ())
    assert seen.view.quality["drift_pitch"] == 0.0


def test_only_a_live_picture_must_have_the_calibrated_size(tmp_path: Path, model: Model, picture: np.ndarray) -> None:
    keep(tmp_path, calibration(look_at(reading(tmp_path, model, photograph(picture)).view)))
    larger = cv2.resize(picture, None, fx=1.2, fy=1.2)
    assert reading(tmp_path, model, photograph(larger)).calibration is not None
    with pytest.raises(Refused, match="wrong_size"):
        reading(tmp_path, model, photograph(larger, key=None))


def test_a_damaged_calibration_stops_no_reading(tmp_path: Path, model: Model, picture: np.ndarray) -> None:
    made = keep(tmp_path, calibration(look_at(reading(tmp_path, model, photograph(picture)).view)))
    (tmp_path / "calibration" / f"{made.id}.json").write_text("{}")
    assert reading(tmp_path, model, photograph(picture)).calibration is None


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["calibrate", *arguments], prog_name="wellread-agent")


def test_the_command_keeps_and_shows_a_calibration(tmp_path: Path, picture: np.ndarray) -> None:
    photo = tmp_path / "seat.jpg"
    photo.write_bytes(photograph(picture).data)
    state = ("--state-dir", str(tmp_path))
    assert invoke(str(photo), *state).exit_code == 0
    shown = invoke("--show", *state)
    assert "from seat.jpg" in shown.output
    document = json.loads(invoke("--show", "--json", *state).output)
    assert (document["source"], document["plate"]["format"]) == ("seat.jpg", 96)
    assert document["id"] in shown.output


def test_the_command_says_what_is_missing(tmp_path: Path) -> None:
    state = ("--state-dir", str(tmp_path))
    empty = tmp_path / "empty.jpg"
    empty.write_bytes(photograph(np.full((600, 800, 3), 120, np.uint8)).data)
    for arguments, status, words in (
        (("--show",), 1, "the bench is not calibrated"),
        ((), 2, "the camera is a folder of photographs"),
        ((str(empty),), 1, "no_plate"),
    ):
        found = invoke(*arguments, *state)
        assert (found.exit_code, words in found.output) == (status, True), found.output
    assert in_force(tmp_path) is None


@pytest.mark.parametrize(("drifted", "ok", "words"), [((), True, "pitch 0.70"), (("place",), False, "drifted: place")])
def test_the_doctor_knows_age_and_drift(
    tmp_path: Path, current: InForce, drifted: tuple[str, ...], ok: bool, words: str
) -> None:
    made = keep(tmp_path, calibration(current.calibration.plate, datetime(2026, 11, 1, tzinfo=UTC)))
    used = CalibrationUsed(made.id, made.calibration.made_at, drifted)  # type: ignore[arg-type]
    with closing(open_outbox(tmp_path)) as outbox:
        outbox.put(*kept(1, calibration=used, quality={"drift_pitch": 0.7}))
    config = Config(state_dir=tmp_path, camera=CameraConfig(folder=tmp_path))
    (check,) = (one for one in examine(config, datetime(2026, 11, 13, tzinfo=UTC)) if one.name == "calibration")
    assert (check.ok, "12 days old" in check.detail, words in check.detail) == (ok, True, True)
