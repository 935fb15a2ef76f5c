"""Worklists: lines of cells → which submissions, tests, plates and sera somebody wants, or every error. Pure.

A table has a head that names its columns, in any order and under any of their names; a plate map has blocks of plate
shape, each under its plate's code, with a row's serum in its cells. Either a whole file is understood or nothing of it
is taken: each error names line, column, value and what is expected.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any, Final, TypeAlias

import msgspec

from central.laboratory.sheets import FORMULA, Line, SheetError
from protocol.plate import parse_well, row_index, row_label

LAB_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,63}")
PROFILE_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
MAX_ERRORS: Final = 200
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


class CellError(msgspec.Struct, frozen=True):
    """What is wrong with one cell, or with a whole line (`column` is None)."""

    line: int
    column: str | None
    value: str
    expected: str

    @property
    def words(self) -> str:
        """As one sentence."""
        where = f"line {self.line}" if self.column is None else f"line {self.line}, {self.column}"
        return f"{where}: {self.value!r} (expected {self.expected})"


class WorklistError(ValueError):
    """A file that is not understood as a whole, with every error that was found in it (the first 200)."""

    def __init__(self, errors: Sequence[CellError]) -> None:
        """At least one error."""
        super().__init__("; ".join(error.words for error in errors[:3]) + ("; …" if len(errors) > 3 else ""))
        self.errors = tuple(errors[:MAX_ERRORS])


class Placed(msgspec.Struct, frozen=True):
    """What is in a row of a plate: a serum of its submission, or a lot of a control serum."""

    serum: str | None = None
    control: str | None = None
    lot: str | None = None

    @property
    def words(self) -> str:
        """As people read it."""
        return self.serum or f"control {self.control} lot {self.lot}"


class PlatePlan(msgspec.Struct, frozen=True):
    """A plate that somebody wants; `line` is where the file names it first."""

    number: str
    line: int
    fields: Fields
    rows: dict[str, Placed]


class TestPlan(msgspec.Struct, frozen=True):
    """A test that somebody wants, with its plates by number."""

    name: str
    line: int
    fields: Fields
    plates: dict[str, PlatePlan]


class SubmissionPlan(msgspec.Struct, frozen=True):
    """A submission that somebody wants, with its tests by name."""

    name: str
    line: int
    fields: Fields
    tests: dict[str, TestPlan]


class Worklist(msgspec.Struct, frozen=True):
    """All that a file wants. `ignored` are columns that say nothing to us."""

    submissions: dict[str, SubmissionPlan]
    ignored: tuple[str, ...] = ()


def parse(lines: Sequence[Line]) -> Worklist:
    """The worklist of these lines; WorklistError or SheetError where there is none."""
    at = next((at for at, line in enumerate(lines) if _is_head(line)), None)
    if at is not None:
        return _table(lines[at], lines[at + 1 :])
    if any(_is_scale(line) for line in lines):
        return _maps(lines)
    found = ", ".join(lines[0].cells[:6]) if lines else ""
    raise SheetError(
        f"no head and no plate map (first line: {found[:120]!r}; expected columns submission, test, plate, row, serum,"
        " or blocks 1, 2, 3, … across and A, B, C, … down under a plate's code)"
    )


class _Builder:
    """Puts lines together, and finds where they contradict one another."""

    def __init__(self) -> None:
        self.submissions: dict[str, SubmissionPlan] = {}
        self.errors: list[CellError] = []

    def add(self, line: int, values: Fields, placed: Placed | None) -> None:
        names = [str(values[name]) for name in IDENTITY]
        submission = self.submissions.setdefault(names[0], SubmissionPlan(names[0], line, {}, {}))
        test = submission.tests.setdefault(names[1], TestPlan(names[1], line, {}, {}))
        plate = test.plates.setdefault(names[2], PlatePlan(names[2], line, {}, {}))
        for plan, fields in ((submission, OF_SUBMISSION), (test, OF_TEST), (plate, OF_PLATE)):
            for name in fields:
                if name in values:
                    self._put(line, name, plan.fields, name, values[name])
        if placed is not None:
            self._put(line, "serum", plate.rows, str(values["row"]), placed)

    def _put(self, line: int, column: str, into: dict[str, Any], key: str, value: Any) -> None:
        held = into.setdefault(key, value)
        if held != value:
            before = held.words if isinstance(held, Placed) else str(held)
            now = value.words if isinstance(value, Placed) else str(value)
            what = f"row {key} of one plate" if isinstance(held, Placed) else f"one {key.replace('_', ' ')}"
            self.errors.append(CellError(line, column, now[:80], f"{before[:80]!r} as a line before says of {what}"))

    def done(self, ignored: Sequence[str] = ()) -> Worklist:
        if self.errors:
            raise WorklistError(sorted(self.errors, key=lambda error: error.line))
        return Worklist(self.submissions, tuple(ignored))


def _table(head: Line, lines: Sequence[Line]) -> Worklist:
    columns, ignored = _columns(head)
    builder = _Builder()
    if not lines:
        raise SheetError("a head without lines below it (expected a line for each plate row)")
    for line in lines:
        too_many = [cell for cell in line.cells[len(head.cells) :] if cell]
        if too_many:
            builder.errors.append(
                CellError(line.number, None, too_many[0][:80], f"at most {len(head.cells)} cells, as in the head")
            )
            continue
        cells = {field: line.cells[at] for at, field in columns.items() if at < len(line.cells)}
        values, errors = _values(line.number, cells)
        placed = None if errors else _placed(line.number, values, errors)
        builder.errors += errors
        if not errors:
            builder.add(line.number, values, placed)
    return builder.done(ignored)


def _columns(head: Line) -> tuple[dict[int, str], list[str]]:
    """Where each field is, and the columns that are none of ours."""
    found: dict[int, str] = {}
    ignored = []
    for at, name in enumerate(head.cells):
        field = _field(name)
        if field is None:
            ignored += [name[:80]] if name else []
        elif field in found.values():
            raise WorklistError([CellError(head.number, name[:80], name[:80], f"one column for {field}, not two")])
        else:
            found[at] = field
    return found, ignored


def _field(name: str) -> str | None:
    return _NAMES.get(re.sub(r"[^a-z]", "", name.lower()))


def _is_head(line: Line) -> bool:
    return set(IDENTITY) <= {_field(cell) for cell in line.cells}


def _values(line: int, cells: Mapping[str, str]) -> tuple[Fields, list[CellError]]:
    """The values of a line, and what is wrong with it."""
    values: Fields = {}
    errors = []
    for field in COLUMNS:
        text = cells.get(field, "")
        if not text:
            if field in IDENTITY:
                errors.append(CellError(line, field, "", "a value in every line"))
            continue
        if text == FORMULA:
            errors.append(CellError(line, field, "=…", "a value, not a formula"))
            continue
        try:
            values[field] = value_of(field, text)
        except ValueError as error:
            errors.append(CellError(line, field, text[:80], str(error)))
    return values, errors


def _placed(line: int, values: Fields, errors: list[CellError]) -> Placed | None:
    """What the row of this line holds; None where the line is about the plate alone."""
    serum, control, row = values.get("serum"), values.get("control"), values.get("row")
    if serum is None and control is None:
        if row is not None:
            errors.append(CellError(line, "serum", "", f"the serum (or control) of row {row}"))
        return None
    if row is None:
        errors.append(CellError(line, "row", "", "the row of the plate that it is in"))
        return None
    if serum is not None and control is not None:
        errors.append(CellError(line, "control", str(control), f"nothing, because the row holds serum {serum}"))
        return None
    if control is None:
        return Placed(serum=str(serum))
    if "control_lot" not in values:
        errors.append(CellError(line, "control_lot", "", f"the lot of control serum {control}"))
        return None
    return Placed(control=str(control), lot=str(values["control_lot"]))


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


def _is_scale(line: Line) -> bool:
    """`…, 1, 2, 3, …`: the top of a plate map; its first cell may be empty or say something."""
    return len(line.cells) > 2 and line.cells[1:] == tuple(str(n) for n in range(1, len(line.cells)))


def _maps(lines: Sequence[Line]) -> Worklist:
    """Blocks of plate shape. Above or in the corner of each its code; `name, value` lines hold until they change."""
    builder = _Builder()
    known: dict[str, str] = {}
    columns = 0
    for line in lines:
        if _is_scale(line):
            columns = len(line.cells) - 1
            _corner(line, known, builder)
        elif columns and re.fullmatch(r"[A-Za-z]{1,2}", line.cells[0]):
            _map_row(line, columns, known, builder)
        elif len([cell for cell in line.cells if cell]) == 2 and _field(line.cells[0]) not in (None, "row", "serum"):
            known[str(_field(line.cells[0]))] = line.cells[1]
            columns = 0
        else:
            expected = "a plate's letters and numbers, or a name and its value"
            builder.errors.append(CellError(line.number, None, ", ".join(line.cells)[:80], expected))
    return builder.done()


def _corner(line: Line, known: dict[str, str], builder: _Builder) -> None:
    """A code in the corner names the plate; without one the lines above did."""
    parts = re.split(r"[|,]", line.cells[0])
    if len(parts) == len(IDENTITY):
        known |= dict(zip(IDENTITY, (part.strip() for part in parts), strict=True))
    values, errors = _values(line.number, known)
    builder.errors += errors
    if not errors:
        builder.add(line.number, values, None)


def _map_row(line: Line, columns: int, known: Mapping[str, str], builder: _Builder) -> None:
    """One row of a plate: its serum in any of its wells, in all of them the same."""
    if len(line.cells) - 1 > columns:
        builder.errors.append(CellError(line.number, None, line.cells[-1][:80], f"at most {columns} wells in a row"))
        return
    sera = sorted({cell for cell in line.cells[1:] if cell})
    if not sera:
        return
    if len(sera) > 1:
        found = " and ".join("=…" if serum == FORMULA else serum for serum in sera[:3])
        builder.errors.append(CellError(line.number, line.cells[0], found[:80], "one serum in all wells of a row"))
        return
    values, errors = _values(line.number, {**known, "row": line.cells[0], "serum": sera[0]})
    placed = None if errors else _placed(line.number, values, errors)
    builder.errors += errors
    if not errors:
        builder.add(line.number, values, placed)
