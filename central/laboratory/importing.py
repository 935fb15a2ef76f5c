"""What a worklist says, put into the plan: first as `comparing` shows it to people, then, once they say yes, just that.

What they saw is named by its digest, and when anything of it is different by then, nothing is done.
"""

import uuid
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import insert, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from central.audit.chain import Actor, Change, record
from central.db import reading, transaction
from central.deliveries.changes import announce, news_of_plates, news_of_runs
from central.laboratory.comparing import ConflictError, Preview, Step, compare
from central.laboratory.fields import Fields
from central.laboratory.known import Known, KnownPlate, hold_site, known
from central.laboratory.matching import match_waiting
from central.laboratory.states import PlateEvent, PlateState, after
from central.laboratory.worklist import PlatePlan, SubmissionPlan, TestPlan, Worklist
from central.tables import placements, plates, sera, submissions, tests


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
    news = await news_of_runs(connection, "run.matched", [change.object_id for change in matched])
    news += await news_of_plates(connection, "run.changed", writer.held_plates)
    await announce(connection, news, now)
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
        self.held_plates: list[str] = []  # plates that were there and got sera: what was read of them says more now

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
            self.held_plates += [plate_id] if new else []
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
