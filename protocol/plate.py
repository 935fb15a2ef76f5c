"""Plates and wells: names, formats, ANSI/SLAS geometry, and the seat that says where A1 is.

A well is written `A1` everywhere inside, never an index: software disagrees about row-major and column-major
(docs/decisions/0002-wells-are-names.md). Dimensions from ANSI/SLAS 1-2004 (footprint) and 4-2004 (well positions).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import Final

PLATE_WIDTH_MM: Final = 127.76
PLATE_HEIGHT_MM: Final = 85.48

_WELL_NAME: Final = re.compile(r"([A-Z]|A[A-F])([1-9][0-9]?)")


def row_label(index: int) -> str:
    """Letters of the row at `index` counted from 0, up to 31.

    >>> row_label(0), row_label(25), row_label(26), row_label(31)
    ('A', 'Z', 'AA', 'AF')
    """
    if not 0 <= index < 32:
        raise ValueError(f"not a plate row: {index!r} (expected 0 to 31)")
    return chr(65 + index) if index < 26 else "A" + chr(65 + index - 26)


def row_index(label: str) -> int:
    """Index counted from 0 of the row with these letters: `row_index("AF") == 31`."""
    if len(label) == 1 and "A" <= label <= "Z":
        return ord(label) - 65
    if len(label) == 2 and label[0] == "A" and "A" <= label[1] <= "F":
        return 26 + ord(label[1]) - 65
    raise ValueError(f"not a plate row: {label!r} (expected A to Z or AA to AF)")


def well_name(row: int, column: int) -> str:
    """Name of the well at a row index counted from 0 and a column number counted from 1."""
    if not 1 <= column <= 48:
        raise ValueError(f"not a plate column: {column!r} (expected 1 to 48)")
    return f"{row_label(row)}{column}"


def parse_well(name: str) -> tuple[int, int]:
    """Row index (from 0) and column number (from 1) of a well's name.

    >>> parse_well("AF48")
    (31, 48)
    """
    match = _WELL_NAME.fullmatch(name)
    if match is None or int(match[2]) > 48:
        raise ValueError(f"not a well name: {name!r} (expected a name such as 'A1' or 'AF48')")
    return row_index(match[1]), int(match[2])


@dataclass(frozen=True, slots=True)
class PlateFormat:
    """A microplate's wells; all lengths in millimetres from the plate's top left corner, A1 at the top left.

    Positions of 96, 384 and 1536 wells are ANSI/SLAS 4-2004. The smaller formats are not standardised: `standard` is
    false and the figures are those of common makes.
    """

    wells: int
    rows: int
    columns: int
    a1_x_mm: float
    a1_y_mm: float
    pitch_mm: float
    standard: bool = True

    def __contains__(self, name: object) -> bool:
        """Whether a well of this name is on the plate."""
        if not isinstance(name, str):
            return False
        try:
            row, column = parse_well(name)
        except ValueError:
            return False
        return row < self.rows and column <= self.columns

    def names(self) -> tuple[str, ...]:
        """All wells, row by row: A1, A2, …"""
        return _names(self.rows, self.columns)

    def row(self, label: str) -> tuple[str, ...]:
        """The wells of one row, from column 1."""
        index = row_index(label)
        if index >= self.rows:
            raise ValueError(
                f"not a row of a {self.wells}-well plate: {label!r} (expected A to {self.row_labels()[-1]})"
            )
        return self.names()[index * self.columns : (index + 1) * self.columns]

    def row_labels(self) -> tuple[str, ...]:
        """The letters of the rows: A, B, …"""
        return tuple(row_label(index) for index in range(self.rows))

    def centre_mm(self, name: str) -> tuple[float, float]:
        """Centre (x, y) of a well."""
        if name not in self:
            raise ValueError(f"not a well of a {self.wells}-well plate: {name!r} (last is {self.names()[-1]})")
        row, column = parse_well(name)
        return self.a1_x_mm + (column - 1) * self.pitch_mm, self.a1_y_mm + row * self.pitch_mm


@lru_cache(maxsize=16)
def _names(rows: int, columns: int) -> tuple[str, ...]:
    return tuple(well_name(row, column) for row in range(rows) for column in range(1, columns + 1))


def _centred(wells: int, rows: int, columns: int, pitch_mm: float) -> PlateFormat:
    """A format without a standard: the common makes' pitch, the array in the middle of the footprint."""
    a1_x_mm = round((PLATE_WIDTH_MM - (columns - 1) * pitch_mm) / 2, 3)
    a1_y_mm = round((PLATE_HEIGHT_MM - (rows - 1) * pitch_mm) / 2, 3)
    return PlateFormat(wells, rows, columns, a1_x_mm, a1_y_mm, pitch_mm, standard=False)


FORMATS: Final[dict[int, PlateFormat]] = {
    6: _centred(6, 2, 3, 39.12),
    12: _centred(12, 3, 4, 26.01),
    24: _centred(24, 4, 6, 19.3),
    48: _centred(48, 6, 8, 13.0),
    96: PlateFormat(96, 8, 12, 14.38, 11.24, 9.0),
    384: PlateFormat(384, 16, 24, 12.13, 8.99, 4.5),
    1536: PlateFormat(1536, 32, 48, 11.005, 7.865, 2.25),
}


def plate_format(wells: int) -> PlateFormat:
    """The format with this many wells."""
    try:
        return FORMATS[wells]
    except KeyError:
        expected = ", ".join(map(str, FORMATS))
        raise ValueError(f"not a plate format: {wells!r} wells (expected one of {expected})") from None


class Seat(IntEnum):
    """Where the bench's seat puts A1 in the picture; the value is the plate's clockwise turn in degrees."""

    TOP_LEFT = 0
    TOP_RIGHT = 90
    BOTTOM_RIGHT = 180
    BOTTOM_LEFT = 270

    @property
    def label(self) -> str:
        """As people write it: `top-left`."""
        return self.name.lower().replace("_", "-")


def parse_seat(text: str) -> Seat | None:
    """`top-left` … `bottom-left`, or the turn in degrees (`0`, `90`, `180`, `270`); None for `unknown`.

    >>> parse_seat("bottom-right") is parse_seat("180") is Seat.BOTTOM_RIGHT
    True
    """
    wanted = text.strip().lower()
    if wanted == "unknown":
        return None
    for seat in Seat:
        if wanted in (seat.label, str(seat.value)):
            return seat
    expected = ", ".join(seat.label for seat in Seat)
    raise ValueError(f"not a seat: {text!r} (expected {expected}, a turn of 0, 90, 180 or 270, or unknown)")


def corners(form: PlateFormat) -> Iterator[str]:
    """Names of the corner wells: A1, the last of row A, the first and the last of the last row."""
    names = form.names()
    yield from (names[0], names[form.columns - 1], names[-form.columns], names[-1])
