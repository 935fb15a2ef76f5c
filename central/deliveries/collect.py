"""What there is to hand over of a plate, a test or a submission: the runs that speak for its plates, as they stand."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final, Literal

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from central.deliveries.results import PlateResult, Results, Reviewed, RowResult, WellResult
from central.laboratory.states import PlateState
from central.results.aggregate import Run
from central.results.queries import speakers
from central.review.corrections import Correction
from central.review.dossier import Dossier, get_dossier, names_of
from central.tables import placements, plates, sera, submissions, tests

Subject = Literal["submission", "test", "plate"]

# A well's ring as the pages draw it, in pitches.
_RADIUS_PITCH: Final = 0.42


async def dossiers_of(connection: AsyncConnection, subject: Subject, subject_id: str) -> tuple[Dossier, ...]:
    """The run that speaks for each plate of it, by test and plate; plates that are void or unread have none."""
    owner = {"submission": tests.c.submission_id, "test": plates.c.test_id, "plate": plates.c.id}[subject]
    query = (
        select(plates.c.id)
        .join(tests, tests.c.id == plates.c.test_id)
        .where(owner == subject_id, plates.c.state != PlateState.VOID.value)
        .order_by(tests.c.name, plates.c.number)
    )
    ids = list(await connection.scalars(query))
    current = {run.plate_id: run.id for run in await speakers(connection, ids)}
    dossiers = [await get_dossier(connection, current[plate]) for plate in ids if plate in current]
    return tuple(each for each in dossiers if each is not None)


def subject_sha256(dossiers: Iterable[Dossier]) -> str:
    """What a delivery of these is of: while it is the same, nothing is delivered again."""
    return hashlib.sha256("\n".join(sorted(each.sha256 for each in dossiers)).encode()).hexdigest()


async def collect(
    connection: AsyncConnection, dossiers: Sequence[Dossier], test: str | None, *, at: datetime, revision: int
) -> Results:
    """The results of these runs, which are of one submission."""
    people = {said.user_id for one in dossiers for said in one.corrections}
    people |= {signed.user_id for one in dossiers for signed in one.signatures}
    names = await names_of(connection, people)
    placed = await _sera_of(connection, [one.run.plate_id for one in dossiers if one.run.plate_id is not None])
    found = tuple(plate_result(one, placed.get(one.run.plate_id or "", {}), names) for one in dossiers)
    return Results(submission=found[0].submission, test=test, plates=found, at=at, revision=revision)


async def title_of(connection: AsyncConnection, subject: Subject, subject_id: str) -> tuple[str, str | None] | None:
    """(submission, test) of what is delivered, the test None for a whole submission; None where it is not here."""
    query = select(submissions.c.name.label("submission"), tests.c.name.label("test")).join(
        tests, tests.c.submission_id == submissions.c.id, isouter=True
    )
    if subject == "submission":
        row = (await connection.execute(query.where(submissions.c.id == subject_id).limit(1))).one_or_none()
        return None if row is None else (row.submission, None)
    if subject == "plate":
        query = query.join(plates, plates.c.test_id == tests.c.id).where(plates.c.id == subject_id)
    else:
        query = query.where(tests.c.id == subject_id)
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else (row.submission, row.test)


def plate_result(dossier: Dossier, sera_by_row: Mapping[str, str], names: Mapping[str, str]) -> PlateResult:
    """One run as files say it. A control serum's row is no serum of the submission, so it is no row here."""
    run, made = dossier.run, dossier.reading
    submission, test, plate_number = run.submission, run.test, run.plate_number
    if submission is None or test is None or plate_number is None:
        raise ValueError(f"run {run.id} is of no plate (expected one that is registered)")
    held = [each for each in dossier.signatures if each.meaning == "approved" and dossier.holds(each)]
    return PlateResult(
        run_id=run.id,
        revision=run.revision,
        submission=submission,
        test=test,
        plate_number=plate_number,
        barcode="|".join((submission, test, plate_number)) if made.code is None else made.code.text,
        assay=run.assay,
        device_id=run.device_id,
        model_name=made.model.name,
        model_version=made.model.version,
        read_at=run.captured_at_corrected or run.captured_at,
        image_sha256=run.image_sha256,
        status=_status(dossier, held=bool(held)),
        wells=_wells(dossier, sera_by_row, names),
        rows=tuple(
            _row(run, series.row, sera_by_row) for series in run.assay.series if series.row not in run.control_rows
        ),
        reviewer=names.get(held[-1].user_id) if held else None,
    )


def _status(dossier: Dossier, *, held: bool) -> Literal["final", "preliminary", "corrected", "invalid"]:
    if dossier.validity.failed:
        return "invalid"
    if not held:
        return "preliminary"
    revisions = {each.revision for each in dossier.signatures if each.meaning == "approved"}
    return "corrected" if len(revisions) > 1 else "final"


def _row(run: Run, row: str, sera_by_row: Mapping[str, str]) -> RowResult:
    """A row that is not reportable has no endpoint here, whatever was seen in it."""
    found = run.endpoints.get(row)
    if found is None:
        return RowResult(row=row, endpoint=None, grade="low", flags=(), serum_id=sera_by_row.get(row))
    return RowResult(
        row=row,
        endpoint=found.reported(run.assay),
        grade=found.grade,
        flags=found.flags,
        serum_id=sera_by_row.get(row),
    )


def _wells(dossier: Dossier, sera_by_row: Mapping[str, str], names: Mapping[str, str]) -> tuple[WellResult, ...]:
    assay = dossier.run.assay
    row_of = {well: series.row for series in assay.series for well in series.wells}
    roles = assay.roles()
    half = dossier.reading.plate.pitch_px * _RADIUS_PITCH
    found = []
    for name in assay.format.names():
        well = dossier.now.wells[name]
        x, y = well.centre_px or (0.0, 0.0)
        found.append(
            WellResult(
                well=name,
                call=well.call,
                confidence=well.confidence,
                flags=well.flags,
                role=roles[name],
                sample_id=sera_by_row.get(row_of.get(name, "")),
                box_px=None if well.centre_px is None else (x - half, y - half, x + half, y + half),
                reviewed=_reviewed(dossier.now.overridden.get(name), names),
            )
        )
    return tuple(found)


def _reviewed(said: Correction | None, names: Mapping[str, str]) -> Reviewed | None:
    if said is None:
        return None
    return Reviewed(names.get(said.user_id, said.user_id), said.at, said.reason or said.reason_code)


async def _sera_of(connection: AsyncConnection, plate_ids: Sequence[str]) -> dict[str, dict[str, str]]:
    """Plate → row → the serum that is in it."""
    query = (
        select(placements.c.plate_id, placements.c.row, sera.c.name)
        .join(sera, sera.c.id == placements.c.serum_id)
        .where(placements.c.plate_id.in_(plate_ids))
    )
    found: dict[str, dict[str, str]] = {}
    for row in await connection.execute(query):
        found.setdefault(row.plate_id, {})[row.row] = row.name
    return found
