"""A worklist against what is there: what would be made, filled in, is there already, or stands against it.

`compare` decides (pure) and is what people see before they say yes; `put` does just that, in the same words. What they
saw is named by its digest, and when anything of it is different by then, nothing is done. Nothing is overwritten:
a row that holds another serum, or a field that says something else, is a conflict.
"""

import hashlib
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import insert, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from central.audit.chain import Actor, Change, record
from central.db import reading, transaction
from central.laboratory.known import Known, KnownPlate, hold_site, known
from central.laboratory.matching import match_waiting
from central.laboratory.states import PlateEvent, PlateState, after
from central.laboratory.worklist import Fields, PlatePlan, SubmissionPlan, TestPlan, Worklist
from central.tables import placements, plates, sera, submissions, tests
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


async def preview(engine: AsyncEngine, site_id: str, wanted: Worklist) -> Preview:
    """What a worklist would do at this site now."""
    async with reading(engine) as connection:
        return compare(site_id, wanted, await known(connection, site_id, wanted.submissions))


async def put(
    engine: AsyncEngine,
    site_id: str,
    wanted: Worklist,
    *,
    actor: Actor,
    origin: str,
    now: datetime,
    digest: str | None = None,
) -> Preview:
    """Do what a preview says: all of it or nothing. ConflictError where it cannot be, or where it is no longer so."""
    try:
        async with transaction(engine) as connection:
            if not await hold_site(connection, site_id):
                raise ConflictError(f"no laboratory {site_id!r} (expected one that is registered)")
            return await put_here(connection, site_id, wanted, actor=actor, origin=origin, now=now, digest=digest)
    except IntegrityError as error:
        raise ConflictError("something of it was registered at the same moment (expected a new preview)") from error


async def put_here(
    connection: AsyncConnection,
    site_id: str,
    wanted: Worklist,
    *,
    actor: Actor,
    origin: str,
    now: datetime,
    digest: str | None = None,
) -> Preview:
    """The same, in a transaction that holds the site already; the audit trail is written last."""
    there = await known(connection, site_id, wanted.submissions)
    seen = compare(site_id, wanted, there)
    if digest is not None and digest != seen.digest:
        raise ConflictError("something changed since the preview (expected a look at what would be done now)", seen)
    if seen.conflicts:
        first = seen.conflicts[0]
        raise ConflictError(f"line {first.line}, {first.kind} {first.name}: {first.what}", seen)
    if not seen.create and not seen.change:
        return seen
    writer = _Writer(site_id, there, actor, origin, now)
    for submission in wanted.submissions.values():
        writer.add(submission)
    await writer.write(connection)
    matched = await match_waiting(connection, site_id, writer.new_plates, now)
    await record(connection, actor, [*writer.changes, *matched], now)
    return seen


class _Writer:
    """The rows of a worklist that has no conflicts, and the audit trail's entries for them."""

    def __init__(self, site_id: str, there: Known, actor: Actor, origin: str, now: datetime) -> None:
        self.site_id, self.there, self.actor, self.origin, self.now = site_id, there, actor, origin, now
        self.rows: dict[Any, list[dict[str, Any]]] = {
            table: [] for table in (submissions, tests, plates, sera, placements)
        }
        self.updates: list[tuple[Any, str, dict[str, Any]]] = []
        self.changes: list[Change] = []
        self.new_plates: list[str] = []

    def add(self, wanted: SubmissionPlan) -> None:
        held = self.there.submissions.get(wanted.name)
        if held is None:
            own = {"site_id": self.site_id, "created_at": self.now, "created_by": self.actor.id, "origin": self.origin}
            submission_id = self._new("submission", submissions, {"name": wanted.name, **own}, wanted.fields)
        else:
            submission_id = held.id
            self._fill("submission", submissions, held, wanted.fields)
        for test in wanted.tests.values():
            self._add_test(wanted.name, submission_id, test)

    def _add_test(self, submission: str, submission_id: str, wanted: TestPlan) -> None:
        held = self.there.tests.get((submission, wanted.name))
        if held is None:
            test_id = self._new("test", tests, {"submission_id": submission_id, "name": wanted.name}, wanted.fields)
        else:
            test_id = held.id
            self._fill("test", tests, held, wanted.fields)
        for plate in wanted.plates.values():
            self._add_plate(
                submission,
                submission_id,
                test_id,
                plate,
                self.there.plates.get((submission, wanted.name, plate.number)),
            )

    def _add_plate(
        self, submission: str, submission_id: str, test_id: str, wanted: PlatePlan, held: KnownPlate | None
    ) -> None:
        new = {row: placed for row, placed in wanted.rows.items() if held is None or row not in held.rows}
        words = {row: placed.words for row, placed in new.items()}
        if held is None:
            state = after(PlateState.REGISTERED, PlateEvent.PLATE) if new else PlateState.REGISTERED
            own = {"test_id": test_id, "number": wanted.number, "state": state.value}
            plate_id = self._new("plate", plates, own, wanted.fields, rows=words)
            self.new_plates.append(plate_id)
        else:
            plate_id = held.id
            values: dict[str, Any] = {}
            if new and held.state is PlateState.REGISTERED:
                values["state"] = after(held.state, PlateEvent.PLATE).value
            self._fill("plate", plates, held, wanted.fields | values, rows=words)
        for row, placed in new.items():
            serum = None if placed.serum is None else self._serum(submission, submission_id, placed.serum)
            control = None if placed.control is None else self.there.control_sera[placed.control, placed.lot or ""]
            self.rows[placements].append(
                {"plate_id": plate_id, "row": row, "serum_id": serum, "control_serum_id": control}
            )

    def _serum(self, submission: str, submission_id: str, name: str) -> str:
        held = self.there.sera.get((submission, name))
        if held is None:
            held = self.there.sera[submission, name] = str(uuid.uuid4())
            position = self.there.positions[submission] = self.there.positions.get(submission, 0) + 1
            row = {"id": held, "submission_id": submission_id, "name": name, "position": position}
            self.rows[sera].append(row)
        return held

    def _new(self, kind: str, table: Any, own: dict[str, Any], fields: Fields, **more: Any) -> str:
        new_id = str(uuid.uuid4())
        blank = {column.name: None for column in table.columns if column.nullable}
        self.rows[table].append(blank | own | fields | {"id": new_id, "revision": 1})
        shown = {
            "name": own.get("name", own.get("number")),
            **fields,
            **{key: value for key, value in more.items() if value},
        }
        self.changes.append(Change(f"{kind}.create", kind, new_id, self.site_id, new=shown))
        return new_id

    def _fill(self, kind: str, table: Any, held: Any, wanted: Fields, **more: Any) -> None:
        new: dict[str, Any] = {name: value for name, value in wanted.items() if name not in held.fields}
        shown = new | {key: value for key, value in more.items() if value}
        if shown:
            shown["revision"] = held.revision + 1
            self.updates.append((table, held.id, new))
            self.changes.append(Change(f"{kind}.change", kind, held.id, self.site_id, new=shown))

    async def write(self, connection: AsyncConnection) -> None:
        for table, rows in self.rows.items():
            if rows:
                await connection.execute(insert(table), rows)
        for table, row_id, values in self.updates:
            change = update(table).where(table.c.id == row_id).values(revision=table.c.revision + 1, **values)
            await connection.execute(change)


def counted(steps: Iterable[Step]) -> dict[str, int]:
    """How many submissions, tests and plates are among these."""
    found: dict[str, int] = {}
    for step in steps:
        found[step.kind] = found.get(step.kind, 0) + 1
    return found


def one(
    submission: str,
    fields: Fields | None = None,
    test: str | None = None,
    test_fields: Fields | None = None,
    plates_: Sequence[PlatePlan] = (),
) -> Worklist:
    """A worklist of one submission, made by hand."""
    planned = {}
    if test is not None:
        planned[test] = TestPlan(test, 1, test_fields or {}, {plate.number: plate for plate in plates_})
    return Worklist({submission: SubmissionPlan(submission, 1, fields or {}, planned)})
