"""`/api/v1/submissions`: what came in together, summarised over the current run of each plate, and its CSV."""

from datetime import datetime

import msgspec
from litestar import Response, get

from central.api.paths import (
    Limit,
    SubmissionPath,
    TestFilter,
    from_segment,
    missing,
    segment,
    with_query,
)
from central.api.runs import RunOut, run_out
from central.db import reading
from central.parts import Wired
from central.people.permissions import VIEWERS
from central.results.aggregate import Run, Statistics, Summary, summarise
from central.results.dialects import labware, labware_name
from central.results.queries import list_submissions, submission_runs


class SubmissionLine(msgspec.Struct, frozen=True, kw_only=True):
    """One submission in the list."""

    submission: str
    url: str
    tests: tuple[str, ...]
    plates: int
    runs: int
    last_received_at: datetime


class SubmissionsOut(msgspec.Struct, frozen=True):
    """Submissions, the one with the newest run first."""

    items: tuple[SubmissionLine, ...]


class SummaryOut(msgspec.Struct, frozen=True, kw_only=True):
    """Sera by endpoint and their statistics, over current runs. `unread` rows are in no figure: they are not negative.

    `low_grade` rows are counted, and a person should look at them.
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
    labware_url: str


class SubmissionOut(msgspec.Struct, frozen=True, kw_only=True):
    """One submission: all of it, then each test, then every run; those that count have `current` true."""

    submission: str
    url: str
    summary: SummaryOut
    tests: tuple[SummaryOut, ...]
    runs: tuple[RunOut, ...]


@get("/submissions", access=VIEWERS, summary="List submissions", description="The one with the newest run first.")
async def get_submissions(parts: Wired, limit: Limit = 200) -> SubmissionsOut:
    """Submissions with how much of them is here."""
    async with reading(parts.engine) as connection:
        rows = await list_submissions(connection, limit=limit)
    return SubmissionsOut(
        tuple(
            SubmissionLine(
                submission=row.submission,
                url=f"/api/v1/submissions/{segment(row.submission)}",
                tests=row.tests,
                plates=row.plates,
                runs=row.runs,
                last_received_at=row.last_received_at,
            )
            for row in rows
        )
    )


@get(
    "/submissions/{submission:str}",
    access=VIEWERS,
    summary="One submission",
    description="Distribution and statistics over the current run of each plate, together and per test.",
)
async def get_submission(parts: Wired, submission: SubmissionPath) -> SubmissionOut:
    """One submission with its summary and runs."""
    name = from_segment(submission)
    runs = await runs_of(parts, name)
    whole, tests = summaries(name, runs)
    return SubmissionOut(
        submission=name,
        url=f"/api/v1/submissions/{segment(name)}",
        summary=summary_out(whole),
        tests=tuple(summary_out(each) for each in tests),
        runs=tuple(run_out(run) for run in runs),
    )


@get(
    "/submissions/{submission:str}/labware.csv",
    access=VIEWERS,
    media_type="text/csv",
    summary="LabWare interface file",
    description="Total and number of sera at log₂ 0 to 12 over current runs. Rows that were not read are left out.",
)
async def get_labware(parts: Wired, submission: SubmissionPath, test: TestFilter = None) -> Response[bytes]:
    """The `labware` file of a submission, or of one test of it."""
    name = from_segment(submission)
    runs = await runs_of(parts, name, test)
    content = labware(name, test, summarise(name, test, runs).distribution)
    filename = labware_name(name, parts.now()).replace("/", "_").replace(":", "_")
    return Response(
        content,
        media_type="text/csv; charset=utf-8",
        headers={"content-disposition": f'attachment; filename="{filename}"'},
    )


async def runs_of(parts: Wired, submission: str, test: str | None = None) -> tuple[Run, ...]:
    """The runs of a submission (and test), 404 where there are none."""
    async with reading(parts.engine) as connection:
        runs = await submission_runs(connection, submission, test)
    if not runs:
        raise missing("submission", submission if test is None else f"{submission} with test {test}")
    return runs


def summaries(submission: str, runs: tuple[Run, ...]) -> tuple[Summary, tuple[Summary, ...]]:
    """The whole submission, then each of its tests by name."""
    tests = sorted({run.test for run in runs if run.test is not None})
    return summarise(submission, None, runs), tuple(summarise(submission, test, runs) for test in tests)


def labware_url(submission: str, test: str | None) -> str:
    """Where the `labware` file of a submission (and test) is."""
    return with_query(f"/api/v1/submissions/{segment(submission)}/labware.csv", test=test)


def summary_out(summary: Summary) -> SummaryOut:
    """A summary as the API shows it."""
    values = {name: getattr(summary, name) for name in SummaryOut.__struct_fields__ if name != "labware_url"}
    return SummaryOut(**values, labware_url=labware_url(summary.submission, summary.test))
