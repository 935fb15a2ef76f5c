"""Plate codes: read whichever way up they are, checked, and never chosen between."""

from typing import Any

import cv2
import numpy as np
import pytest
import zxingcpp
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.barcode import FoundCode, agreed, find_code, parse_code

Kind = zxingcpp.BarcodeFormat


def bench(*codes: tuple[str, Kind, tuple[float, float]], size_px: tuple[int, int] = (2400, 1700)) -> Any:
    """A green bench with these codes at these places (share of width and height)."""
    image = np.full((size_px[1], size_px[0], 3), (60, 120, 70), np.uint8)
    for text, kind, (across, down) in codes:
        made = zxingcpp.create_barcode(text, kind).to_image(scale=3)
        stamp = cv2.copyMakeBorder(np.array(made), 20, 20, 20, 20, cv2.BORDER_CONSTANT, value=255)
        x, y = int(across * size_px[0]), int(down * size_px[1])
        image[y : y + stamp.shape[0], x : x + stamp.shape[1]] = stamp[..., None]
    return image


@pytest.mark.parametrize("turn", [None, cv2.ROTATE_180, cv2.ROTATE_90_CLOCKWISE])
@pytest.mark.parametrize("kind", [Kind.QRCode, Kind.Code128, Kind.DataMatrix])
def test_a_code_is_read_whichever_way_up(kind: Kind, turn: int | None) -> None:
    image = bench(("S-1001,NDV,2", kind, (0.4, 0.85)))
    code = find_code(image if turn is None else cv2.rotate(image, turn)).code
    assert code is not None
    assert (code.submission, code.test, code.plate_number, code.source) == ("S-1001", "NDV", "2", "picture")


def test_the_same_code_twice_is_one_plate() -> None:
    found = find_code(bench(("S-1|NDV|2", Kind.QRCode, (0.1, 0.1)), ("S-1,NDV,2", Kind.Code128, (0.4, 0.85))))
    assert found.code is not None
    assert found.code.plate_number == "2"


def test_two_plates_in_one_picture_are_a_question_not_a_choice() -> None:
    found = find_code(bench(("S-1,NDV,1", Kind.QRCode, (0.1, 0.02)), ("S-1,NDV,2", Kind.QRCode, (0.5, 0.85))))
    assert found.code is None
    assert found.note == "2 plate codes in one picture: 'S-1,NDV,1', 'S-1,NDV,2' (expected one)"


def test_a_makers_code_beside_the_plate_code_is_ignored() -> None:
    found = find_code(bench(("M00123456", Kind.Code128, (0.1, 0.02)), ("S-1,NDV,2", Kind.QRCode, (0.5, 0.85))))
    assert found.code is not None


def test_a_makers_code_alone_is_no_plate_code_and_says_so() -> None:
    found = find_code(bench(("M00123456", Kind.Code128, (0.1, 0.02))))
    assert found.code is None
    assert found.note.startswith("not a plate code: 'M00123456'")


def test_a_picture_without_a_code_says_so() -> None:
    assert find_code(bench()).note == "no code in the picture"


@pytest.mark.parametrize(
    "text", ["", "a", "a,b", "a,b,c,d", "a,,c", "a,b,-c", "a|b,c", "a,b,c\td", "ü,b,c", "a,b," + "c" * 65]
)
def test_what_is_not_a_plate_code_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="not a plate code"):
        parse_code(text, "given")


def test_space_around_a_given_code_does_not_count() -> None:
    assert parse_code(" S-1 | NDV | 2 \r\n", "given").plate_number == "2"


LAB_ID = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,63}", fullmatch=True)


@given(LAB_ID, LAB_ID, LAB_ID, st.sampled_from(",|"))
def test_every_identity_of_the_protocol_can_be_a_plate_code(
    submission: str, test: str, number: str, between: str
) -> None:
    code = parse_code(between.join((submission, test, number)), "given")
    assert (code.submission, code.test, code.plate_number) == (submission, test, number)


GIVEN = parse_code("S-9,NDV,1", "given")


def test_a_given_code_stands_where_the_picture_shows_none() -> None:
    assert agreed(FoundCode(None, "no code in the picture"), GIVEN).code == GIVEN
    assert agreed(FoundCode(GIVEN), None).code == GIVEN


def test_a_given_code_that_the_picture_contradicts_is_a_question_not_a_choice() -> None:
    settled = agreed(FoundCode(parse_code("S-8,NDV,1", "picture")), GIVEN)
    assert settled.code is None
    assert "S-8,NDV,1" in settled.note
    assert "S-9,NDV,1" in settled.note


def test_a_given_code_does_not_choose_between_two_in_the_picture() -> None:
    two = FoundCode(None, "2 plate codes in one picture", several=True)
    assert agreed(two, GIVEN) == two
