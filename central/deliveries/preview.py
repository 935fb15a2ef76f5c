"""What a dialect makes of a run, plate, test or submission now: the file itself, what it leaves out and why. Nothing is
kept and nothing is sent.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final, Literal

import msgspec
from sqlalchemy import Row, select
from sqlalchemy.ext.asyncio import AsyncConnection

from central.deliveries.collect import collect, dossiers_of, title_of
from central.deliveries.dialect import Dialect
from central.deliveries.render import Rendered, RenderError, render
from central.deliveries.results import PlateResult, Results, WellResult
from central.deliveries.tables import without_required
from central.laboratory.states import PlateState
from central.people.sites import Sites
from central.review.dossier import Dossier, get_dossier
from central.tables import plates, submissions, tests

Previewed = Literal["run", "plate", "test", "submission"]

_SENT: Final = frozenset({PlateState.APPROVED, PlateState.DELIVERED})


class LeftOut(msgspec.Struct, frozen=True):
    """Something that the file says nothing of: `row H` or `well A1` of a plate, or the plate itself; and why."""

    plate: str
    what: str
    why: str


class Preview(msgspec.Struct, frozen=True):
    """The file, what it leaves out, and what stands against sending it now."""

    file: Rendered
    left_out: tuple[LeftOut, ...]
    against: tuple[str, ...]


class UnknownSubjectError(LookupError):
    """No such run, plate, test or submission among what the caller sees."""


async def preview(
    connection: AsyncConnection, of: Previewed, subject_id: str, dialect: Dialect, *, sites: Sites, now: datetime
) -> Preview:
    """The file as it would be now. UnknownSubjectError, or RenderError where there is none."""
    if of == "run":
        dossiers, test, rows = await _run(connection, subject_id, sites)
    else:
        rows = await _plates(connection, of, subject_id, sites)
        title = await title_of(connection, of, subject_id)
        if title is None or (of != "submission" and not rows):
            raise UnknownSubjectError(f"no {of} {subject_id!r} here")
        dossiers, test = await dossiers_of(connection, of, subject_id), title[1]
    if not dossiers:
        raise RenderError("none of its plates has a run (expected at least one)")
    results = await collect(connection, dossiers, test, at=now, revision=1)
    left_out = [*_plates_left_out(rows, dossiers), *_left_out(dialect, results.valid(), dossiers)]
    return Preview(render(dialect, results), tuple(left_out), tuple(_against(rows, dossiers)))


async def titres_of(
    connection: AsyncConnection, submission_id: str, test: str | None, dialect: Dialect, *, now: datetime
) -> Rendered:
    """The file of what a submission's sera have for titres now; plates of other assays are not in it.

    RenderError where the dialect cannot say it.
    """
    found = await dossiers_of(connection, "submission", submission_id)
    titred = [each for each in found if each.run.assay.reports == "serum_titre" and test in {None, each.run.test}]
    if not titred:
        raise RenderError("no plate with titres of sera was read (expected at least one)")
    return render(dialect, await collect(connection, titred, test, at=now, revision=1))


async def subject_named(
    connection: AsyncConnection, submission: str, test: str | None, sites: Sites
) -> tuple[Previewed, str]:
    """What people call it: a submission, or a test of one. UnknownSubjectError where it is not here, or is two."""
    wanted = (submissions.c.name == submission, sites.having(submissions.c.site_id))
    if test is None:
        query = select(submissions.c.id).where(*wanted)
    else:
        query = select(tests.c.id).join(submissions).where(*wanted, tests.c.name == test)
    found = list(await connection.scalars(query.limit(2)))
    named = f"submission {submission!r}" + ("" if test is None else f", test {test!r}")
    if len(found) != 1:
        raise UnknownSubjectError(f"{named} is of two laboratories" if found else f"no {named} here")
    return ("submission" if test is None else "test"), str(found[0])


async def _run(
    connection: AsyncConnection, run_id: str, sites: Sites
) -> tuple[tuple[Dossier, ...], str | None, Sequence[Row[Any]]]:
    found = await get_dossier(connection, run_id, sites)
    if found is None:
        raise UnknownSubjectError(f"no run {run_id!r} here")
    if found.run.plate_id is None:
        raise RenderError(f"run {run_id} is of no known plate (expected one that is registered)")
    return (found,), found.run.test, await _plates(connection, "plate", found.run.plate_id, sites)


async def _plates(connection: AsyncConnection, of: Previewed, subject_id: str, sites: Sites) -> Sequence[Row[Any]]:
    owner = {"submission": tests.c.submission_id, "test": plates.c.test_id}.get(of, plates.c.id)
    query = (
        select(plates.c.id, plates.c.state, plates.c.number, tests.c.name.label("test"))
        .join(tests, tests.c.id == plates.c.test_id)
        .join(submissions, submissions.c.id == tests.c.submission_id)
        .where(owner == subject_id, sites.having(submissions.c.site_id))
        .order_by(tests.c.name, plates.c.number)
    )
    return (await connection.execute(query)).all()


def _title(test: str | None, number: str | None) -> str:
    return f"{test}, plate {number}"


def _plates_left_out(rows: Sequence[Row[Any]], dossiers: Sequence[Dossier]) -> Iterator[LeftOut]:
    held = {one.run.plate_id for one in dossiers}
    for row in rows:
        if row.id not in held:
            void = row.state == PlateState.VOID.value
            yield LeftOut(_title(row.test, row.number), "the plate", "it is void" if void else "it was not read")


def _against(rows: Sequence[Row[Any]], dossiers: Sequence[Dossier]) -> Iterator[str]:
    for row in rows:
        state = PlateState(row.state)
        if state not in _SENT and state is not PlateState.VOID:
            yield f"{_title(row.test, row.number)} is {state} (expected approved)"
    for one in dossiers:
        if not one.run.current:
            yield f"run {one.run.id} does not speak for its plate (expected the newest that is not void)"
        yield from (f"a control of {_title(one.run.test, one.run.plate_number)} failed: {said}" for said in one.failed)


def _left_out(dialect: Dialect, results: Results, dossiers: Sequence[Dossier]) -> Iterator[LeftOut]:
    for plate, dossier in zip(results.plates, dossiers, strict=True):
        title = _title(plate.test, plate.plate_number)
        yield from (LeftOut(title, f"row {row}", "it holds a control serum") for row in dossier.run.control_rows)
        yield from (
            LeftOut(title, what, f"it has no {', '.join(fields)}, which the dialect requires")
            for what, fields in without_required(dialect, plate)
        )
        if dialect.missing == "say":
            continue
        for each in plate.rows:
            if each.endpoint is None:
                yield LeftOut(title, f"row {each.row}", _why(each.row, plate, dossier))
        if dialect.shape in {"grid", "asm", "xlsx"} or (dialect.shape == "table" and dialect.source == "wells"):
            unread = (well for well in plate.wells if well.role != "unused" and not well.call.is_read)
            yield from (LeftOut(title, f"well {well.well}", _why_unread(well)) for well in unread)


def _why(row: str, plate: PlateResult, dossier: Dossier) -> str:
    if row in dossier.run.not_reportable:
        return "a reviewer set it not reportable"
    if dossier.failed:
        return "a control of the plate failed"
    flags = next((", ".join(each.flags) for each in plate.rows if each.row == row and each.flags), "")
    return f"it has no endpoint ({flags})" if flags else "it has no endpoint"


def _why_unread(well: WellResult) -> str:
    said = f"{well.call.value}: {', '.join(well.flags)}" if well.flags else well.call.value
    return f"it was not read ({said})"
