"""Names and geometry of wells; where a seat puts A1."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.plate import (
    FORMATS,
    PLATE_HEIGHT_MM,
    PLATE_WIDTH_MM,
    Seat,
    corners,
    parse_seat,
    parse_well,
    plate_format,
    row_index,
    row_label,
    well_name,
)


@given(st.integers(0, 31), st.integers(1, 48))
def test_a_well_name_survives_the_round_trip(row: int, column: int) -> None:
    assert parse_well(well_name(row, column)) == (row, column)
    assert row_index(row_label(row)) == row


@pytest.mark.parametrize("name", ["A0", "A01", "a1", "A49", "AG1", "1A", "", "A1 ", "A-1", "BA1", "A१"])
def test_what_is_not_a_well_name_is_refused_by_name(name: str) -> None:
    with pytest.raises(ValueError, match="not a well name"):
        parse_well(name)


@pytest.mark.parametrize(("wells", "last"), [(6, "B3"), (24, "D6"), (96, "H12"), (384, "P24"), (1536, "AF48")])
def test_each_format_ends_where_its_makers_say(wells: int, last: str) -> None:
    form = plate_format(wells)
    assert form.names()[-1] == last
    assert len(form.names()) == wells == len(set(form.names()))


@pytest.mark.parametrize("form", FORMATS.values(), ids=str)
def test_wells_are_centred_on_the_footprint(form) -> None:
    x, y = form.centre_mm("A1")
    far_x, far_y = form.centre_mm(form.names()[-1])
    assert x + far_x == pytest.approx(PLATE_WIDTH_MM, abs=0.01)
    assert y + far_y == pytest.approx(PLATE_HEIGHT_MM, abs=0.01)


def test_a_well_of_another_format_is_not_on_the_plate() -> None:
    assert "H12" in plate_format(96)
    assert "I1" not in plate_format(96)
    with pytest.raises(ValueError, match="'P24'"):
        plate_format(96).centre_mm("P24")


def test_the_corners_are_named_in_reading_order() -> None:
    assert list(corners(plate_format(96))) == ["A1", "A12", "H1", "H12"]


def test_an_unknown_format_names_those_that_exist() -> None:
    with pytest.raises(ValueError, match=r"97 wells \(expected one of 6, 12, 24, 48, 96, 384, 1536\)"):
        plate_format(97)


@pytest.mark.parametrize("seat", Seat)
def test_a_seat_can_be_written_as_a_corner_or_as_a_turn(seat: Seat) -> None:
    assert parse_seat(seat.label) is parse_seat(str(seat.value)) is seat


def test_an_unknown_seat_is_none_and_a_wrong_one_is_refused() -> None:
    assert parse_seat("unknown") is None
    with pytest.raises(ValueError, match="not a seat: 'middle'"):
        parse_seat("middle")
