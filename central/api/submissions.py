"""`/api/v1/submissions`: what came in together: its plan, and its results over the current run of each plate.

A submission is named by its number. Where two laboratories of one caller have that number, `?site=` says whose.
"""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Annotated

import msgspec
from litestar import Response, get, patch, post
from litestar.params import JSONBody, QueryParameter

from central.api.paths import Limit, SubmissionPath, TestFilter, from_segment, missing, segment, with_query
from central.api.plans import (
    LAB_ID,
    UUID,
    FieldsOfSubmission,
    Id,
    LabName,
    RevisionOut,
    SiteChoice,
    VoidIn,
    given,
    refusals,
    site_for,
)
from central.api.runs import EndpointOut, RunOut, endpoints_out, run_out
from central.db import reading
from central.laboratory import editing, importing
from central.laboratory.importing import ConflictError
from central.laboratory.queries import (
    HistoryEntry,
    Planned,
    PlateRow,
    SubmissionRow,
    Wanted,
    history,
    list_submissions,
    planned,
    submissions_named,
)
from central.laboratory.states import PlateState
from central.parts import CentralRequest, Parts, Wired, actor_of, caller_sites
from central.people.permissions import OPERATORS, REVIEWERS, VIEWERS
from central.people.sites import Sites
from central.results.aggregate import Run, Statistics, Summary, summarise
from central.results.dialects import labware, labware_name
from central.results.queries import submission_runs
from central.web.problems import ProblemError
from central.web.revisions import revision_tag, seen_revision

_SOUGHT = r"^[^\x00-\x1f\x7f]{1,100}$"

SiteFilter = Annotated[str | None, QueryParameter(pattern=LAB_ID, description="Only this laboratory's.")]
NameFilter = Annotated[str | None, QueryParameter(pattern=_SOUGHT, description="Part of the submission's number.")]
FarmFilter = Annotated[str | None, QueryParameter(pattern=_SOUGHT, description="Part of the farm's name.")]
StateFilter = Annotated[PlateState | None, QueryParameter(name="state", description="Where the slowest plate is.")]
AssigneeFilter = Annotated[str | None, QueryParameter(pattern=UUID, description="Only what this person has.")]
FromFilter = Annotated[date | None, QueryParameter(description="Received on this day or later.")]
ToFilter = Annotated[date | None, QueryParameter(description="Received on this day or earlier.")]
AfterSubmission = Annotated[str | None, QueryParameter(pattern=UUID, description="`next` of the page before.")]


class SubmissionIn(FieldsOfSubmission, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A new submission. `site` may be left out by who belongs to one laboratory only."""

    submission: LabName
    site: LabName | None = None


class SubmissionChange(FieldsOfSubmission, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What to change of a submission; `assignee_id` is the person who sees to it."""

    assignee_id: Id | msgspec.UnsetType | None = msgspec.UNSET
    reason: Annotated[str, msgspec.Meta(max_length=1000)] | None = None


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


@get(
    "/submissions",
    access=VIEWERS.with_key("results:read"),
    summary="List submissions",
    description="The last registered first. Follow `next` (or the `Link` header) for older ones.",
)
async def get_submissions(
    *,
    request: CentralRequest,
    parts: Wired,
    after: AfterSubmission = None,
    limit: Limit = 50,
    name: NameFilter = None,
    farm: FarmFilter = None,
    in_state: StateFilter = None,
    assignee: AssigneeFilter = None,
    site: SiteFilter = None,
    received_from: FromFilter = None,
    received_to: ToFilter = None,
) -> Response[SubmissionsOut]:
    """A page of submissions."""
    wanted = Wanted(
        name=name,
        farm=farm,
        state=in_state,
        assignee=assignee,
        site=site,
        received_from=received_from,
        received_to=received_to,
    )
    async with reading(parts.engine) as connection:
        rows = await list_submissions(connection, caller_sites(request), wanted, after=after, limit=limit + 1)
    following = next_page("/api/v1/submissions", wanted, rows, limit)
    links = {"link": f'<{following}>; rel="next"'} if following else {}
    return Response(SubmissionsOut(tuple(line_out(row) for row in rows[:limit]), following), headers=links)


def next_page(path: str, wanted: Wanted, rows: Sequence[SubmissionRow], limit: int) -> str | None:
    """The address of the page after these rows, of which one more than the limit was asked for."""
    if len(rows) <= limit:
        return None
    filters = {name: getattr(wanted, name) for name in Wanted.__struct_fields__}
    return with_query(path, after=rows[limit - 1].id, limit=limit, **filters)


@post(
    "/submissions",
    access=OPERATORS.with_key("samples:write"),
    summary="Register a submission",
    description="409 where the laboratory has one of this number.",
)
async def post_submission(request: CentralRequest, parts: Wired, data: JSONBody[SubmissionIn]) -> Response[RevisionOut]:
    """A new submission."""
    site = site_for(caller_sites(request), data.site)
    with refusals():
        found = await register_submission(request, parts, site, data.submission, given(data, *editing.OWN_FIELDS))
    headers = {"etag": revision_tag(1), "location": f"/api/v1/submissions/{segment(data.submission)}"}
    return Response(RevisionOut(found.id, found.revision), headers=headers)


async def register_submission(
    request: CentralRequest, parts: Parts, site: str, name: str, fields: dict[str, object]
) -> SubmissionRow:
    """The submission that was just made; ConflictError where the laboratory has one of this number."""
    sites = Sites.of([site])
    async with reading(parts.engine) as connection:
        there = await submissions_named(connection, sites, name)
    if there:
        raise ConflictError(f"submission {name!r} is registered already (expected another number)")
    filled = {field: value for field, value in fields.items() if value is not None}
    await importing.put(
        parts.engine,
        site,
        importing.one(name, filled),  # type: ignore[arg-type]
        actor=actor_of(request),
        origin="by hand" if actor_of(request).kind == "person" else "api",
        now=parts.now(),
    )
    async with reading(parts.engine) as connection:
        (row,) = await submissions_named(connection, sites, name)
    return row


@get(
    "/submissions/{submission:str}",
    access=VIEWERS.with_key("results:read"),
    summary="One submission",
    description="Its plan; distribution and statistics over the current run of each plate, together and per test.",
)
async def get_submission(
    request: CentralRequest, parts: Wired, submission: SubmissionPath, site: SiteChoice = None
) -> Response[SubmissionOut]:
    """One submission with its plan, summary and runs."""
    plan, runs = await whole(parts, caller_sites(request), from_segment(submission), site)
    about = plan.submission
    all_of_it, tests = summaries(about.submission, runs)
    found = SubmissionOut(
        submission=about.submission,
        url=url_of(about),
        revision=about.revision,
        state=about.state,
        summary=summary_out(all_of_it),
        tests=tuple(summary_out(each) for each in tests),
        runs=tuple(run_out(run) for run in runs),
        plan=plan_out(plan, runs),
    )
    return Response(found, headers={"etag": revision_tag(about.revision)})


@patch(
    "/submissions/{submission:str}",
    access=OPERATORS.with_key("samples:write"),
    summary="Change a submission",
    description="With `If-Match`: 428 without, 412 with what changed where it is at another revision.",
)
async def patch_submission(
    request: CentralRequest,
    parts: Wired,
    submission: SubmissionPath,
    data: JSONBody[SubmissionChange],
    site: SiteChoice = None,
) -> Response[RevisionOut]:
    """Change what is known of a submission."""
    sites, seen = caller_sites(request), seen_revision(request)
    row = await the_one(parts, sites, from_segment(submission), site)
    with refusals():
        revision = await editing.change(
            parts.engine,
            "submission",
            row.id,
            given(data, *editing.OWN_FIELDS, "assignee_id"),
            seen=seen,
            sites=sites,
            actor=actor_of(request),
            now=parts.now(),
            reason=data.reason,
        )
    return Response(RevisionOut(row.id, revision), headers={"etag": revision_tag(revision)})


@post(
    "/submissions/{submission:str}/void",
    access=REVIEWERS,
    status_code=200,
    summary="Void a submission",
    description="And every plate of it, for ever: their runs count nowhere. With `If-Match`.",
)
async def post_submission_void(
    request: CentralRequest, parts: Wired, submission: SubmissionPath, data: JSONBody[VoidIn], site: SiteChoice = None
) -> Response[RevisionOut]:
    """Void a submission."""
    sites, seen = caller_sites(request), seen_revision(request)
    row = await the_one(parts, sites, from_segment(submission), site)
    with refusals():
        revision = await editing.void(
            parts.engine,
            "submission",
            row.id,
            seen=seen,
            sites=sites,
            actor=actor_of(request),
            now=parts.now(),
            reason=data.reason,
        )
    return Response(RevisionOut(row.id, revision), headers={"etag": revision_tag(revision)})


@get(
    "/submissions/{submission:str}/history",
    access=VIEWERS,
    summary="What became of a submission",
    description="Of itself, its tests and its plates, oldest first.",
)
async def get_submission_history(
    request: CentralRequest, parts: Wired, submission: SubmissionPath, site: SiteChoice = None
) -> HistoryOut:
    """The audit trail's entries of a submission."""
    sites = caller_sites(request)
    row = await the_one(parts, sites, from_segment(submission), site)
    async with reading(parts.engine) as connection:
        return HistoryOut(await history(connection, sites, await planned(connection, row)))


@get(
    "/submissions/{submission:str}/labware.csv",
    access=VIEWERS.with_key("results:read"),
    media_type="text/csv",
    summary="LabWare interface file",
    description="Total and number of sera at log₂ 0 to 12 over current runs. Rows that were not read are left out.",
)
async def get_labware(
    request: CentralRequest,
    parts: Wired,
    submission: SubmissionPath,
    test: TestFilter = None,
    site: SiteChoice = None,
) -> Response[bytes]:
    """The `labware` file of a submission, or of one test of it."""
    name = from_segment(submission)
    plan, runs = await whole(parts, caller_sites(request), name, site)
    if test is not None and test not in plan.submission.tests:
        raise missing("submission", f"{name} with test {test}")
    content = labware(name, test, summarise(name, test, runs).distribution)
    filename = labware_name(name, parts.now()).replace("/", "_").replace(":", "_")
    return Response(
        content,
        media_type="text/csv; charset=utf-8",
        headers={"content-disposition": f'attachment; filename="{filename}"'},
    )


async def the_one(parts: Parts, sites: Sites, name: str, site: str | None = None) -> SubmissionRow:
    """The submission of this name: 404 where there is none, 409 where several laboratories have it and none is said."""
    async with reading(parts.engine) as connection:
        found = await submissions_named(connection, sites, name)
    found = tuple(row for row in found if site in (None, row.site_id))
    if not found:
        raise missing("submission", name)
    if len(found) > 1:
        expected = ", ".join(row.site_id for row in found)
        raise ProblemError(409, f"several laboratories have a submission {name!r} (expected site, one of {expected})")
    return found[0]


async def whole(parts: Parts, sites: Sites, name: str, site: str | None) -> tuple[Planned, tuple[Run, ...]]:
    """The plan of a submission, and its runs."""
    row = await the_one(parts, sites, name, site)
    async with reading(parts.engine) as connection:
        runs = await submission_runs(connection, name, sites=Sites.of([row.site_id]))
        return await planned(connection, row), runs


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


HANDLERS = [
    get_submissions,
    post_submission,
    get_submission,
    patch_submission,
    post_submission_void,
    get_submission_history,
    get_labware,
]
