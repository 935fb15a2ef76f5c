"""What a worklist says of submissions, tests, plates and rows: names of columns, and what their texts may say. Pure."""

import re
from collections.abc import Callable
from datetime import date
from typing import Final, TypeAlias

from protocol.plate import parse_well, row_index, row_label

LAB_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,63}")

PROFILE_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")

MOST_ROWS: Final = 32  # of a 1536-well plate

# field → the names that a column may have; blanks, dashes, dots and case do not matter.
COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "submission": ("submission", "submission_id", "sample_no", "sample_number"),
    "test": ("test", "test_id", "submission_no", "submission_number", "test_number", "test_no"),
    "plate": ("plate", "plate_number", "plate_no", "plate_id"),
    "row": ("row", "plate_row", "well", "well_row", "position"),
    "serum": ("serum", "serum_id", "serum_no", "sample_id", "sample", "sample_name"),
    "control": ("control", "control_serum", "control_id"),
    "control_lot": ("control_lot", "control_serum_lot"),
    "received_on": ("received_on", "received", "date_received", "received_date"),
    "species": ("species", "animal"),
    "farm": ("farm", "farm_name"),
    "flock": ("flock", "flock_id"),
    "age_days": ("age_days", "age", "age_in_days"),
    "vaccine": ("vaccine", "vaccine_name"),
    "vaccinated_on": ("vaccinated_on", "vaccinated", "vaccination_date", "date_vaccinated"),
    "customer": ("customer", "client"),
    "note": ("note", "notes", "remark", "remarks"),
    "profile": ("profile", "assay", "assay_profile"),
    "antigen": ("antigen", "antigen_name"),
    "antigen_lot": ("antigen_lot", "antigen_batch", "lot_antigen"),
    "hau": ("hau", "hau_units"),
    "location": ("location", "plate_location", "place"),
}

IDENTITY: Final = ("submission", "test", "plate")

OF_SUBMISSION: Final = (
    "received_on", "species", "farm", "flock", "age_days", "vaccine", "vaccinated_on", "customer", "note",
)  # fmt: skip

OF_TEST: Final = ("profile", "antigen", "antigen_lot", "hau")

OF_PLATE: Final = ("location",)

_SIGNS: Final = {"vaccine": 200, "customer": 200, "note": 2000, "location": 200}  # others: 100

_NAMES: Final = {re.sub(r"[^a-z]", "", name): field for field, names in COLUMNS.items() for name in names}

Value: TypeAlias = str | int | date

Fields: TypeAlias = dict[str, Value]


def field_named(name: str) -> str | None:
    """The field that a column of this name is for; None where no column has it."""
    return _NAMES.get(re.sub(r"[^a-z]", "", name.lower()))


def value_of(field: str, text: str) -> Value:
    """What a field's text says; ValueError says what is expected of it."""
    return _READERS.get(field, _text)(field, text)


def _lab_id(_field: str, text: str) -> str:
    if not LAB_ID.fullmatch(text):
        raise ValueError("1 to 64 letters, digits and . _ : / -, the first a letter or digit")
    return text


def _row(_field: str, text: str) -> str:
    """A row's letter, or that of a well in it."""
    label = text.upper()
    try:
        index = parse_well(label)[0] if any(sign.isdigit() for sign in label) else row_index(label)
    except ValueError as error:
        raise ValueError("a row, A to AF, or a well of it") from error
    if index >= MOST_ROWS:
        raise ValueError("a row, A to AF, or a well of it")
    return row_label(index)


def _whole(least: int, most: int) -> Callable[[str, str], int]:
    def read(_field: str, text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,6}", text) or not least <= int(text) <= most:
            raise ValueError(f"a whole number, {least} to {most}")
        return int(text)

    return read


def _day(_field: str, text: str) -> date:
    iso = re.fullmatch(r"(?P<year>[0-9]{4})-(?P<month>[0-9]{2})-(?P<day>[0-9]{2})", text)
    dotted = re.fullmatch(r"(?P<day>[0-9]{1,2})\.(?P<month>[0-9]{1,2})\.(?P<year>[0-9]{4})", text)
    found = iso or dotted
    parts = {} if found is None else {name: int(value) for name, value in found.groupdict().items()}
    expected = "a day as 2026-11-20 (or 20.11.2026)"
    if not 1900 <= parts.get("year", 0) <= 2200:
        raise ValueError(expected)
    try:
        return date(**parts)
    except ValueError as error:
        raise ValueError(expected) from error


def _profile(_field: str, text: str) -> str:
    if not PROFILE_NAME.fullmatch(text):
        raise ValueError("the name of an assay profile, like hi-96")
    return text


def _text(field: str, text: str) -> str:
    most = _SIGNS.get(field, 100)
    if len(text) > most or not text.isprintable():
        raise ValueError(f"at most {most} printable characters")
    return text


_READERS: Final[dict[str, Callable[[str, str], Value]]] = {
    **dict.fromkeys(("submission", "test", "plate", "serum"), _lab_id),
    **dict.fromkeys(("control", "control_lot"), _lab_id),
    "row": _row,
    "received_on": _day,
    "vaccinated_on": _day,
    "age_days": _whole(0, 100_000),
    "hau": _whole(1, 4096),
    "profile": _profile,
}
