"""Worklists: lines of cells → which submissions, tests, plates and sera somebody wants, or every error. Pure.

A table has a head that names its columns, in any order and under any of their names; a plate map has blocks of plate
shape, each under its plate's code, with a row's serum in its cells. Either a whole file is understood or nothing of it
is taken: each error names line, column, value and what is expected.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from central.laboratory.fields import COLUMNS, IDENTITY, OF_PLATE, OF_SUBMISSION, OF_TEST, Fields, field_named, value_of
from central.laboratory.sheets import FORMULA, Line, SheetError

MAX_ERRORS: Final = 200


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
        field = field_named(name)
        if field is None:
            ignored += [name[:80]] if name else []
        elif field in found.values():
            raise WorklistError([CellError(head.number, name[:80], name[:80], f"one column for {field}, not two")])
        else:
            found[at] = field
    return found, ignored


def _is_head(line: Line) -> bool:
    return set(IDENTITY) <= {field_named(cell) for cell in line.cells}


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
        elif len([cell for cell in line.cells if cell]) == 2 and field_named(line.cells[0]) not in (
            None,
            "row",
            "serum",
        ):
            known[str(field_named(line.cells[0]))] = line.cells[1]
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
