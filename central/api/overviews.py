"""What the API answers of a submission: a line of the list, its plan with results, its figures."""

from collections.abc import Sequence
from datetime import date, datetime

import msgspec

from central.api.paths import segment, with_query
from central.api.runs import EndpointOut, RunOut, endpoints_out
from central.laboratory.queries import (
    Planned,
    PlateRow,
    SubmissionRow,
)
from central.laboratory.said import HistoryEntry
from central.laboratory.states import PlateState
from central.results.aggregate import Run, Statistics, Summary, summarise


class SubmissionLine(msgspec.Struct, frozen=True, kw_only=True):
    """One submission in the list. `state` is where the slowest of its plates is."""

    id: str
    site_id: str
    submission: str
    url: str
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
    tests: tuple[str, ...]
    plates: int
    runs: int
    last_received_at: datetime | None


class SubmissionsOut(msgspec.Struct, frozen=True):
    """A page of submissions; `next` is the address of the following one, null at the end (also as a `Link` header)."""

    items: tuple[SubmissionLine, ...]
    next: str | None


class SummaryOut(msgspec.Struct, frozen=True, kw_only=True):
    """Sera by endpoint and their statistics, over current runs. `unread` rows are in no figure: they are not negative.

    `uncertain` of them were read, and have no titre until somebody has judged their wells. `low_grade` rows are
    counted, and a person should look at them.
    """

    test: str | None
    plates: int
    superseded: int
    sera: int
    unread: int
    low_grade: int
    distribution: dict[int, int]
    statistics: Statistics | None
    not_reportable: int
    uncertain: int
    labware_url: str


class PlateRowOut(msgspec.Struct, frozen=True, kw_only=True):
    """What is in a row of a plate, and what was read there by the run that counts."""

    serum: str | None
    control: str | None
    control_lot: str | None
    result: EndpointOut | None


class PlateOut(msgspec.Struct, frozen=True, kw_only=True):
    """A plate with its rows; `run_id` is the run that counts, null while there is none."""

    id: str
    plate_number: str
    state: PlateState
    revision: int
    location: str | None
    run_id: str | None
    rows: dict[str, PlateRowOut]


class TestOut(msgspec.Struct, frozen=True, kw_only=True):
    """A test as it is planned, with its plates."""

    id: str
    test: str
    state: PlateState
    revision: int
    profile: str | None
    antigen: str | None
    antigen_lot: str | None
    hau: int | None
    plates: tuple[PlateOut, ...]


class PlanOut(msgspec.Struct, frozen=True):
    """A submission as it is planned: what is known of it, its tests with plates and rows, its sera in order."""

    about: SubmissionLine
    tests: tuple[TestOut, ...]
    sera: tuple[str, ...]


class SubmissionOut(msgspec.Struct, frozen=True, kw_only=True):
    """One submission: all of it, then each test, then every run; those that count have `current` true. And its plan."""

    submission: str
    url: str
    revision: int
    state: PlateState
    summary: SummaryOut
    tests: tuple[SummaryOut, ...]
    runs: tuple[RunOut, ...]
    plan: PlanOut


class HistoryOut(msgspec.Struct, frozen=True):
    """What became of a submission, its tests and plates, oldest first (the newest 500 changes)."""

    items: tuple[HistoryEntry, ...]


def summaries(submission: str, runs: tuple[Run, ...]) -> tuple[Summary, tuple[Summary, ...]]:
    """The whole submission, then each of its tests by name."""
    tests = sorted({run.test for run in runs if run.test is not None})
    return summarise(submission, None, runs), tuple(summarise(submission, test, runs) for test in tests)


def url_of(row: SubmissionRow) -> str:
    """Where a submission is."""
    return f"/api/v1/submissions/{segment(row.submission)}"


def labware_url(submission: str, test: str | None) -> str:
    """Where the `labware` file of a submission (and test) is."""
    return with_query(f"/api/v1/submissions/{segment(submission)}/labware.csv", test=test)


def line_out(row: SubmissionRow) -> SubmissionLine:
    """A submission as the list shows it."""
    return SubmissionLine(**msgspec.structs.asdict(row), url=url_of(row))


def plan_out(plan: Planned, runs: Sequence[Run]) -> PlanOut:
    """A plan with the results that are there."""
    current = {run.plate_id: run for run in runs if run.current}
    tests = []
    for test in plan.tests:
        values = msgspec.structs.asdict(test)
        plates = tuple(plate_out(plate, current.get(plate.id)) for plate in test.plates)
        tests.append(TestOut(**values | {"plates": plates}))
    return PlanOut(line_out(plan.submission), tuple(tests), plan.sera)


def plate_out(plate: PlateRow, run: Run | None) -> PlateOut:
    """A plate with what was read in its rows."""
    results = {} if run is None else endpoints_out(run)
    rows = {}
    for row in sorted({*plate.rows, *results}, key=lambda label: (len(label), label)):
        holds = plate.rows.get(row)
        rows[row] = PlateRowOut(
            serum=None if holds is None else holds.serum,
            control=None if holds is None else holds.control,
            control_lot=None if holds is None else holds.lot,
            result=results.get(row),
        )
    return PlateOut(
        id=plate.id,
        plate_number=plate.number,
        state=plate.state,
        revision=plate.revision,
        location=plate.location,
        run_id=None if run is None else run.id,
        rows=rows,
    )


def summary_out(summary: Summary) -> SummaryOut:
    """A summary as the API shows it."""
    values = {name: getattr(summary, name) for name in SummaryOut.__struct_fields__ if name != "labware_url"}
    return SummaryOut(**values, labware_url=labware_url(summary.submission, summary.test))
