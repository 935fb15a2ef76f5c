"""A photograph spoilt within reason gives the same titres or a reason for refusal; spoilt beyond it, no reading."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_agent.vision import Model, Refused, read_plate
from models.training.render import PlateSpec, render_plate
from protocol.endpoint import RowEndpoint, plate_endpoints
from protocol.plate import Seat
from tests import spoilt
from tests.edge_agent.vision.conftest import frame
from tests.make import HI

SEATS = (Seat.TOP_LEFT, Seat.TOP_RIGHT, Seat.BOTTOM_RIGHT, Seat.BOTTOM_LEFT)
SKINS = ((120, 150, 200), (60, 70, 90))


def read(model: Model, image: np.ndarray, seat: Seat = Seat.TOP_LEFT, quality: int = 95) -> dict[str, RowEndpoint]:
    """The endpoints of a plate, row by row; Refused where the photograph is not read."""
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
    return plate_endpoints(read_plate(frame(data), HI, model=model, seat=seat).wells, HI)


def titres(model: Model, image: np.ndarray, seat: Seat = Seat.TOP_LEFT, quality: int = 95) -> dict[str, int | None]:
    """The titres that the bench reports."""
    return {row: endpoint.reported(HI) for row, endpoint in read(model, image, seat, quality).items()}


@pytest.fixture(scope="module", params=["hi-plate-62", "hi-plate-three-wells"])
def photograph(request: pytest.FixtureRequest, plates: Path) -> np.ndarray:
    image = cv2.imread(str(plates / "hi" / f"{request.param}.jpg"))
    assert image is not None
    return image


@pytest.fixture(scope="module")
def render() -> np.ndarray:
    return render_plate(11, PlateSpec(turn_deg=0.0))[0]


def test_photographs_give_the_same_titres_or_a_reason(model: Model, photograph: np.ndarray) -> None:
    wanted, refused = titres(model, photograph), list[str]()
    for name, change in spoilt.BEARABLE:
        try:
            assert titres(model, change(photograph)) == wanted, name
        except Refused as reason:
            refused.append(f"{name}: {reason}")
    assert len(refused) <= 2, refused


def test_spoilt_in_several_ways_at_once_no_titre_is_both_sure_and_different(
    model: Model, photograph: np.ndarray
) -> None:
    wanted = titres(model, photograph)
    for name, change in spoilt.TOGETHER:
        try:
            endpoints = read(model, change(photograph))
        except Refused:
            continue
        for row, endpoint in endpoints.items():
            assert endpoint.reported(HI) == wanted[row] or endpoint.grade != "high", (name, row)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_turned_photographs_give_the_same_titres(model: Model, photograph: np.ndarray, turns: int) -> None:
    turned = np.ascontiguousarray(np.rot90(photograph, -turns))
    assert titres(model, turned, SEATS[turns], quality=60) == titres(model, photograph)


@pytest.mark.parametrize("name", [name for name, _ in spoilt.without_a_plate()])
def test_a_picture_without_a_plate_gives_no_reading(model: Model, name: str) -> None:
    with pytest.raises(Refused):
        titres(model, dict(spoilt.without_a_plate())[name])


def test_half_a_plate_gives_no_reading(model: Model, render: np.ndarray) -> None:
    for name, half in spoilt.half_a_plate(render):
        with pytest.raises(Refused):
            pytest.fail(f"{name}: {titres(model, half)}")


@pytest.mark.parametrize("colour", SKINS)
@pytest.mark.parametrize("size_px", [180, 240])
def test_a_plate_under_a_hand_gives_no_reading(
    model: Model, render: np.ndarray, size_px: int, colour: tuple[int, int, int]
) -> None:
    for place in ((800, 650), (1300, 850), (400, 600)):
        with pytest.raises(Refused):
            pytest.fail(f"{place}: {titres(model, spoilt.under_a_hand(render, place, size_px, colour))}")


@pytest.mark.parametrize(("motion_pitch", "angle"), [(0.16, 0), (0.16, 45), (0.16, 90)])
def test_a_plate_that_moved_is_refused(model: Model, render: np.ndarray, motion_pitch: float, angle: float) -> None:
    with pytest.raises(Refused, match="moved by"):
        titres(model, spoilt.moved(render, motion_pitch * 97, angle))


def test_blur_from_which_titres_change_is_refused(model: Model, photograph: np.ndarray) -> None:
    with pytest.raises(Refused, match="blurred"):
        titres(model, spoilt.blurred(photograph, 0.04 * 125))
