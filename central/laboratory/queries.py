"""The SELECTs over what is planned: lists with filters, one submission whole, one plate, what was said of it."""

from collections.abc import Collection, Iterable
from datetime import date, datetime
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, Row, Select, and_, case, func, literal, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from central.laboratory.known import placements_of
from central.laboratory.states import PlateState, slowest
from central.laboratory.worklist import Placed
from central.people.sites import Sites
from central.tables import plates, run_records, runs, sera, submissions, tests, users


class SubmissionRow(msgspec.Struct, frozen=True, kw_only=True):
    """One submission in the list. `state` is where its slowest plate is."""

    id: str
    site_id: str
    submission: str
    state: PlateState
    revision: int
    created_at: datetime
    origin: str
    received_on: date | None
    species: str | None
    farm: str | None
    flock: str | None
    age_days: int | None
    vaccine: str | None
    vaccinated_on: date | None
    customer: str | None
    assignee_id: str | None
    assignee: str | None
    note: str | None
    voided_at: datetime | None
    tests: tuple[str, ...] = ()
    plates: int = 0
    runs: int = 0
    last_received_at: datetime | None = None


class PlateRow(msgspec.Struct, frozen=True, kw_only=True):
    """One plate with what is in its rows."""

    id: str
    number: str
    state: PlateState
    revision: int
    location: str | None
    rows: dict[str, Placed]


class TestRow(msgspec.Struct, frozen=True, kw_only=True):
    """One test with its plates. `state` is where the slowest of them is."""

    id: str
    test: str
    state: PlateState
    revision: int
    profile: str | None
    antigen: str | None
    antigen_lot: str | None
    hau: int | None
    plates: tuple[PlateRow, ...]


class Planned(msgspec.Struct, frozen=True):
    """One submission with its tests, plates, and its sera in the order in which they were named."""

    submission: SubmissionRow
    tests: tuple[TestRow, ...]
    sera: tuple[str, ...]


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which submissions: all that is set must hold. `name` and `farm` are looked for inside of them."""

    name: str | None = None
    farm: str | None = None
    state: PlateState | None = None
    assignee: str | None = None
    site: str | None = None
    received_from: date | None = None
    received_to: date | None = None


def state_of(states: Iterable[PlateState], *, voided: bool = False) -> PlateState:
    """Where several plates are together; a thing without plates is registered."""
    found = list(states)
    if voided:
        return PlateState.VOID
    return slowest(found) if found else PlateState.REGISTERED


_RANKS: Final = {
    state: rank
    for rank, state in enumerate(
        (
            PlateState.REGISTERED,
            PlateState.PLATED,
            PlateState.READ,
            PlateState.IN_REVIEW,
            PlateState.AMENDED,
            PlateState.APPROVED,
            PlateState.DELIVERED,
        )
    )
}
_VOID_RANK: Final = 99


def _rank() -> Any:
    """A submission's state as a number, in the database: `state_of` for the filter."""
    rank = case({state.value: rank for state, rank in _RANKS.items()}, value=plates.c.state)
    of_plates = (
        select(func.coalesce(func.min(rank), case((func.count() == 0, literal(0)), else_=literal(_VOID_RANK))))
        .select_from(plates)
        .join(tests, tests.c.id == plates.c.test_id)
        .where(tests.c.submission_id == submissions.c.id)
        .correlate(submissions)
        .scalar_subquery()
    )
    return case((submissions.c.voided_at.is_not(None), literal(_VOID_RANK)), else_=of_plates)


async def list_submissions(
    connection: AsyncConnection, sites: Sites, wanted: Wanted, *, after: str | None = None, limit: int = 50
) -> tuple[SubmissionRow, ...]:
    """Submissions, the last registered first; `after` is the id of the last one that was seen."""
    query = _submissions(sites).where(*_conditions(wanted))
    if after is not None:
        seen = select(submissions.c.created_at, submissions.c.id).where(submissions.c.id == after).subquery()
        same = and_(submissions.c.created_at == seen.c.created_at, submissions.c.id < seen.c.id)
        query = query.join(seen, or_(submissions.c.created_at < seen.c.created_at, same))
    query = query.order_by(submissions.c.created_at.desc(), submissions.c.id.desc()).limit(limit)
    return await _with_counts(connection, list(await connection.execute(query)))


def _submissions(sites: Sites) -> Select[Any]:
    return (
        select(submissions, users.c.name.label("assignee"))
        .outerjoin(users, users.c.id == submissions.c.assignee_id)
        .where(sites.having(submissions.c.site_id))
    )


def _conditions(wanted: Wanted) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if wanted.name is not None:
        found.append(submissions.c.name.icontains(wanted.name, autoescape=True))
    if wanted.farm is not None:
        found.append(submissions.c.farm.icontains(wanted.farm, autoescape=True))
    if wanted.assignee is not None:
        found.append(submissions.c.assignee_id == wanted.assignee)
    if wanted.site is not None:
        found.append(submissions.c.site_id == wanted.site)
    if wanted.received_from is not None:
        found.append(submissions.c.received_on >= wanted.received_from)
    if wanted.received_to is not None:
        found.append(submissions.c.received_on <= wanted.received_to)
    if wanted.state is not None:
        found.append(_rank() == _RANKS.get(wanted.state, _VOID_RANK))
    return found


async def _with_counts(connection: AsyncConnection, rows: list[Row[Any]]) -> tuple[SubmissionRow, ...]:
    ids = [row.id for row in rows]
    query = (
        select(
            tests.c.submission_id,
            tests.c.name,
            plates.c.id,
            plates.c.state,
            func.count(run_records.c.run_id).label("runs"),
            func.max(runs.c.received_at).label("last_received_at"),
        )
        .outerjoin(plates, plates.c.test_id == tests.c.id)
        .outerjoin(run_records, run_records.c.plate_id == plates.c.id)
        .outerjoin(runs, runs.c.id == run_records.c.run_id)
        .where(tests.c.submission_id.in_(ids))
        .group_by(tests.c.submission_id, tests.c.name, plates.c.id, plates.c.state)
    )
    parts: dict[str, list[Row[Any]]] = {each: [] for each in ids}
    if ids:
        for part in await connection.execute(query):
            parts[part.submission_id].append(part)
    return tuple(_submission_row(row, parts[row.id]) for row in rows)


def _submission_row(row: Row[Any], parts: list[Row[Any]]) -> SubmissionRow:
    own = {name: row._mapping[name] for name in SubmissionRow.__struct_fields__ if name in row._mapping}
    states = [PlateState(part.state) for part in parts if part.id is not None]
    received = [part.last_received_at for part in parts if part.last_received_at is not None]
    return SubmissionRow(
        **own
        | {
            "submission": row.name,
            "state": state_of(states, voided=row.voided_at is not None),
            "tests": tuple(sorted({part.name for part in parts})),
            "plates": len(states),
            "runs": sum(part.runs for part in parts),
            "last_received_at": max(received, default=None),
        }
    )


async def submissions_named(connection: AsyncConnection, sites: Sites, name: str) -> tuple[SubmissionRow, ...]:
    """The submissions of this name, one for each site that has it."""
    query = _submissions(sites).where(submissions.c.name == name).order_by(submissions.c.site_id)
    return await _with_counts(connection, list(await connection.execute(query)))


async def planned(connection: AsyncConnection, row: SubmissionRow) -> Planned:
    """All that is planned of one submission."""
    of_tests = list(
        await connection.execute(select(tests).where(tests.c.submission_id == row.id).order_by(tests.c.name))
    )
    of_plates = await _plates(connection, [test.id for test in of_tests])
    names = select(sera.c.name).where(sera.c.submission_id == row.id).order_by(sera.c.position)
    found = []
    for test in of_tests:
        own = {name: test._mapping[name] for name in TestRow.__struct_fields__ if name in test._mapping}
        mine = of_plates.get(test.id, ())
        state = state_of(plate.state for plate in mine)
        found.append(TestRow(**own | {"test": test.name, "state": state, "plates": mine}))
    return Planned(row, tuple(found), tuple(await connection.scalars(names)))


async def _plates(connection: AsyncConnection, test_ids: Collection[str]) -> dict[str, tuple[PlateRow, ...]]:
    query = select(plates).where(plates.c.test_id.in_(test_ids))
    rows = list(await connection.execute(query)) if test_ids else []
    placed = await placements_of(connection, [row.id for row in rows])
    found: dict[str, list[PlateRow]] = {}
    for row in sorted(rows, key=lambda each: (len(each.number), each.number)):
        found.setdefault(row.test_id, []).append(_plate_row(row, placed[row.id]))
    return {test: tuple(some) for test, some in found.items()}


def _plate_row(row: Row[Any], placed: dict[str, Placed]) -> PlateRow:
    in_order = dict(sorted(placed.items(), key=lambda entry: (len(entry[0]), entry[0])))
    return PlateRow(
        id=row.id,
        number=row.number,
        state=PlateState(row.state),
        revision=row.revision,
        location=row.location,
        rows=in_order,
    )


class PlateOf(msgspec.Struct, frozen=True):
    """A plate with what it is part of."""

    plate: PlateRow
    site_id: str
    submission: str
    test: str
    profile: str | None


async def get_plate(connection: AsyncConnection, sites: Sites, plate_id: str) -> PlateOf | None:
    """One plate; None where there is none, or it is another site's."""
    query = (
        select(
            plates,
            submissions.c.site_id,
            submissions.c.name.label("submission"),
            tests.c.name.label("test"),
            tests.c.profile,
        )
        .join(tests, tests.c.id == plates.c.test_id)
        .join(submissions, submissions.c.id == tests.c.submission_id)
        .where(plates.c.id == plate_id, sites.having(submissions.c.site_id))
    )
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        return None
    placed = await placements_of(connection, [plate_id])
    return PlateOf(_plate_row(row, placed[plate_id]), row.site_id, row.submission, row.test, row.profile)


async def find_plate(connection: AsyncConnection, site_id: str, submission: str, test: str, number: str) -> str | None:
    """The id of a plate by its code; None where a site has none of that."""
    query = (
        select(plates.c.id)
        .join(tests, tests.c.id == plates.c.test_id)
        .join(submissions, submissions.c.id == tests.c.submission_id)
        .where(
            submissions.c.site_id == site_id,
            submissions.c.name == submission,
            tests.c.name == test,
            plates.c.number == number,
        )
    )
    return await connection.scalar(query)
