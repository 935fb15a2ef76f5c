"""`/api/v1/submissions`: what came in together: its plan, and its results over the current run of each plate.

A submission is named by its number. Where two laboratories of one caller have that number, `?site=` says whose.
"""

from collections.abc import Sequence
from datetime import date
from typing import Annotated

import msgspec
from litestar import Response, get, patch, post
from litestar.params import JSONBody, QueryParameter

from central.api.overviews import (
    HistoryOut,
    SubmissionOut,
    SubmissionsOut,
    line_out,
    plan_out,
    summaries,
    summary_out,
    url_of,
)
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
from central.api.runs import run_out
from central.db import one_moment, reading
from central.deliveries.dialect import shipped
from central.deliveries.preview import titres_of
from central.deliveries.render import RenderError
from central.laboratory import editing, importing
from central.laboratory.comparing import ConflictError
from central.laboratory.queries import (
    Planned,
    SubmissionRow,
    Wanted,
    list_submissions,
    planned,
    submissions_named,
)
from central.laboratory.said import history
from central.laboratory.states import PlateState
from central.parts import CentralRequest, Parts, Wired, actor_of, caller_sites
from central.people.permissions import OPERATORS, REVIEWERS, VIEWERS
from central.people.sites import Sites
from central.results.aggregate import Run
from central.results.queries import submission_runs
from central.web.headers import attachment
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
    async with one_moment(parts.engine) as connection:
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
    """The `labware` file of a submission, or of one test of it, as the dialect of that name has it."""
    name = from_segment(submission)
    row = await the_one(parts, caller_sites(request), name, site)
    if test is not None and test not in row.tests:
        raise missing("submission", f"{name} with test {test}")
    async with one_moment(parts.engine) as connection:
        try:
            file = await titres_of(connection, row.id, test, shipped()["labware"], now=parts.now())
        except RenderError as error:
            raise ProblemError(409, str(error)) from error
    return Response(
        file.content,
        media_type="text/csv; charset=utf-8",
        headers={"content-disposition": attachment(file.name)},
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
    async with one_moment(parts.engine) as connection:
        runs = await submission_runs(connection, name, sites=Sites.of([row.site_id]))
        return await planned(connection, row), runs


HANDLERS = [
    get_submissions,
    post_submission,
    get_submission,
    patch_submission,
    post_submission_void,
    get_submission_history,
    get_labware,
]
