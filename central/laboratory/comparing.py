"""A worklist against what is there: what would be made, filled in, is there already, or stands against it. Pure.

Nothing is ever overwritten: a row that holds another serum, or a field that says something else, is a conflict.
"""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from central.laboratory.fields import Fields
from central.laboratory.known import Known, KnownPlate
from central.laboratory.states import PlateState
from central.laboratory.worklist import PlatePlan, SubmissionPlan, TestPlan, Worklist
from protocol.profiles import PROFILES

# Sera may still be named on these; what was approved is not touched, what is void is over.
OPEN: Final = frozenset({PlateState.REGISTERED, PlateState.PLATED, PlateState.READ, PlateState.IN_REVIEW})


class Step(msgspec.Struct, frozen=True):
    """Something that would be made or filled in, or stands in the way: `what` of which thing, by line of the file."""

    kind: str  # submission | test | plate
    name: str
    line: int
    what: str


class Preview(msgspec.Struct, frozen=True):
    """What a worklist would do at a site. `same` counts what is there already, as the file says it."""

    site: str
    create: tuple[Step, ...]
    change: tuple[Step, ...]
    conflicts: tuple[Step, ...]
    same: int
    sera: int
    ignored: tuple[str, ...]
    digest: str


class ConflictError(ValueError):
    """Something stands against it, or what was seen is no longer so; `preview` says how it is now."""

    def __init__(self, message: str, preview: Preview | None = None) -> None:
        """`message` says what was found and expected."""
        super().__init__(message)
        self.preview = preview


def compare(site: str, wanted: Worklist, there: Known) -> Preview:
    """What this worklist would do."""
    book = _Book()
    for submission in wanted.submissions.values():
        _compare_submission(book, submission, there)
    content = [site, wanted.submissions, book.create, book.change, book.conflicts, book.same]
    digest = hashlib.sha256(msgspec.json.encode(content, order="sorted")).hexdigest()
    return Preview(
        site=site,
        create=tuple(book.create),
        change=tuple(book.change),
        conflicts=tuple(book.conflicts),
        same=book.same,
        sera=book.sera,
        ignored=wanted.ignored,
        digest=digest,
    )


class _Book:
    """What comes out of a comparison, as it grows."""

    def __init__(self) -> None:
        self.create: list[Step] = []
        self.change: list[Step] = []
        self.conflicts: list[Step] = []
        self.same = 0
        self.sera = 0

    def fields(self, kind: str, name: str, line: int, wanted: Mapping[str, Any], held: Mapping[str, Any]) -> None:
        """Empty fields are filled in; a field that says something else stands."""
        for field, value in sorted(wanted.items()):
            words = field.replace("_", " ")
            if field not in held:
                self.change.append(Step(kind, name, line, f"{words}: {value}"))
            elif held[field] == value:
                self.same += 1
            else:
                what = f"{words} is {str(held[field])[:80]!r}, the file says {str(value)[:80]!r}"
                self.conflicts.append(Step(kind, name, line, what))


def _compare_submission(book: _Book, wanted: SubmissionPlan, there: Known) -> None:
    held = there.submissions.get(wanted.name)
    if held is None:
        book.create.append(Step("submission", wanted.name, wanted.line, _words(wanted.fields)))
    elif held.voided:
        book.conflicts.append(Step("submission", wanted.name, wanted.line, "it is void"))
    else:
        book.fields("submission", wanted.name, wanted.line, wanted.fields, held.fields)
    for test in wanted.tests.values():
        _compare_test(book, wanted.name, test, there)


def _compare_test(book: _Book, submission: str, wanted: TestPlan, there: Known) -> None:
    name = f"{submission} · {wanted.name}"
    held = there.tests.get((submission, wanted.name))
    profile = wanted.fields.get("profile")
    if profile is not None and profile not in there.profiles:
        expected = ", ".join(sorted(there.profiles))
        book.conflicts.append(Step("test", name, wanted.line, f"no assay profile {profile!r} (expected {expected})"))
    if held is None:
        book.create.append(Step("test", name, wanted.line, _words(wanted.fields)))
    else:
        book.fields("test", name, wanted.line, wanted.fields, held.fields)
        profile = held.fields.get("profile", profile)
    for plate in wanted.plates.values():
        full = f"{name} · plate {plate.number}"
        _compare_plate(book, full, plate, there.plates.get((submission, wanted.name, plate.number)))
        for what in _impossible(plate, str(profile), there):
            book.conflicts.append(Step("plate", full, plate.line, what))


def _compare_plate(book: _Book, name: str, wanted: PlatePlan, held: KnownPlate | None) -> None:
    book.sera += len(wanted.rows)
    if held is None:
        book.create.append(Step("plate", name, wanted.line, _words(wanted.fields, wanted.rows)))
        return
    book.fields("plate", name, wanted.line, wanted.fields, held.fields)
    new = {row: placed for row, placed in wanted.rows.items() if row not in held.rows}
    for row, placed in wanted.rows.items():
        if row in new:
            continue
        if held.rows[row] == placed:
            book.same += 1
        else:
            what = f"row {row} holds {held.rows[row].words}, the file says {placed.words}"
            book.conflicts.append(Step("plate", name, wanted.line, what))
    if held.state is PlateState.VOID:
        book.conflicts.append(Step("plate", name, wanted.line, "it is void"))
    elif new and held.state not in OPEN:
        book.conflicts.append(Step("plate", name, wanted.line, f"it is {held.state}: its sera stand"))
    elif new:
        book.change.append(Step("plate", name, wanted.line, _words({}, new)))


def _impossible(plate: PlatePlan, profile: str, there: Known) -> Iterator[str]:
    """Rows that the layout does not have, and controls that nobody registered."""
    layout = PROFILES.get(profile)
    rows = None if layout is None else {series.row for series in layout.series}
    for row, placed in plate.rows.items():
        if rows is not None and row not in rows:
            yield f"row {row} is none of profile {profile} (expected {', '.join(sorted(rows))})"
        if placed.control is not None and (placed.control, placed.lot) not in there.control_sera:
            yield f"no control serum {placed.control!r} of lot {placed.lot!r} (expected one that is registered)"


def _words(fields: Fields, rows: Mapping[str, Any] | None = None) -> str:
    parts = [f"{name.replace('_', ' ')}: {value}" for name, value in sorted(fields.items())]
    if rows:
        parts.append(", ".join(f"{row} {placed.words}" for row, placed in sorted(rows.items(), key=_in_order)))
    return "; ".join(parts)


def _in_order(entry: tuple[str, Any]) -> tuple[int, str]:
    return len(entry[0]), entry[0]
