"""The pages of submissions: the list with a form for a new one, and one submission with its tests and statistics."""

from datetime import date
from typing import Annotated, Any, Final

import msgspec
from litestar import Response, get, post
from litestar.params import QueryParameter
from litestar.response import Redirect, Template

from central.api.overviews import labware_url, plan_out, summaries
from central.api.paths import SubmissionPath, TestFilter, from_segment, missing, segment, with_query
from central.api.plans import SiteChoice, refusals, site_for
from central.api.submissions import AfterSubmission, next_page, register_submission
from central.dashboard.fields import FORM, Revision, Short, Sought, Text, may
from central.dashboard.pages import PAGE_SIZE, figures, frame, page
from central.dashboard.words import bars, run_line
from central.db import one_moment, reading
from central.laboratory import editing
from central.laboratory.fields import LAB_ID
from central.laboratory.queries import (
    Planned,
    SubmissionRow,
    Wanted,
    list_submissions,
    planned,
    submissions_named,
)
from central.laboratory.said import comments_on, history
from central.laboratory.states import PlateState
from central.parts import CentralRequest, Parts, Wired, person_of
from central.people.permissions import OPERATORS, VIEWERS
from central.people.sites import Sites
from central.results.aggregate import Run, summarise
from central.results.queries import submission_runs
from central.web.problems import ProblemError

StateSought = Annotated[str, QueryParameter(name="state", max_length=16)]


class SubmissionForm(msgspec.Struct, frozen=True):
    """What is known of a submission; a field that is not on the form is not changed."""

    submission: Short = ""
    site: Short = ""
    revision: Revision = 1
    received_on: Short | None = None
    species: Short | None = None
    farm: Short | None = None
    flock: Short | None = None
    age_days: Short | None = None
    vaccine: Short | None = None
    vaccinated_on: Short | None = None
    customer: Short | None = None
    note: Text | None = None
    assignee_id: Short | None = None
    reason: Text = ""


@get("/submissions", access=VIEWERS, include_in_schema=False)
async def get_submissions_page(
    *,
    request: CentralRequest,
    parts: Wired,
    after: AfterSubmission = None,
    name: Sought = "",
    farm: Sought = "",
    in_state: StateSought = "",
    assignee: Sought = "",
    received_from: Sought = "",
    received_to: Sought = "",
) -> Template:
    """Submissions, the last registered first, with a form for a new one; a field that is empty asks for nothing."""
    wanted = Wanted(
        name=name or None,
        farm=farm or None,
        state=_state(in_state),
        assignee=assignee or None,
        received_from=_day(received_from),
        received_to=_day(received_to),
    )
    return await _submissions_page(request, parts, wanted, after)


def _state(text: str) -> PlateState | None:
    try:
        return PlateState(text) if text else None
    except ValueError as error:
        raise ProblemError(400, f"state {text!r} (expected {', '.join(PlateState)})") from error


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError as error:
        raise ProblemError(400, f"day {text!r} (expected one as 2026-11-20)") from error


async def _submissions_page(
    request: CentralRequest, parts: Parts, wanted: Wanted, after: str | None = None, **values: Any
) -> Template:
    sites = person_of(request).sites
    async with reading(parts.engine) as connection:
        rows = await list_submissions(connection, sites, wanted, after=after, limit=PAGE_SIZE + 1)
    blank: dict[str, Any] = {"message": None, "filled": dict.fromkeys(SubmissionForm.__struct_fields__, "")}
    return page(
        request,
        parts,
        "submissions.html",
        "/submissions",
        submissions=rows[:PAGE_SIZE],
        wanted=wanted,
        states=tuple(PlateState),
        next_link=next_page("/submissions", wanted, rows, PAGE_SIZE),
        operator=may(request, "operator"),
        sites=sorted(sites.ids or ()),
        me=person_of(request).id,
        **(blank | values),
    )


@post("/submissions", access=OPERATORS, include_in_schema=False)
async def post_submission_form(
    request: CentralRequest, parts: Wired, data: Annotated[SubmissionForm, FORM]
) -> Response[Any]:
    """Register a submission, or say on the list why not."""
    filled = {name: value or "" for name, value in msgspec.structs.asdict(data).items()}
    try:
        with refusals():
            if not LAB_ID.fullmatch(data.submission.strip()):
                expected = "1 to 64 letters, digits and . _ : / -, the first a letter or digit"
                raise editing.RefusedError(f"number {data.submission[:80]!r} (expected {expected})")
            site = site_for(person_of(request).sites, data.site or None)
            values = editing.checked("submission", {name: filled[name] for name in editing.OWN_FIELDS})
            row = await register_submission(request, parts, site, data.submission.strip(), values)
    except ProblemError as error:
        template = await _submissions_page(request, parts, Wanted(), message=error.detail, filled=filled)
        template.status_code = error.status
        return template
    return Redirect(_page_of(row), status_code=303)


def _page_of(row: SubmissionRow) -> str:
    return with_query(f"/submissions/{segment(row.submission)}", site=row.site_id)


@get("/submissions/{submission:str}", access=VIEWERS, include_in_schema=False)
async def get_submission_page(
    request: CentralRequest,
    parts: Wired,
    submission: SubmissionPath,
    test: TestFilter = None,
    site: SiteChoice = None,
) -> Template:
    """One submission: plan, results, what was said and done; or whose is meant, where several have this number."""
    return await submission_page(request, parts, from_segment(submission), test=test, site=site)


async def submission_page(
    request: CentralRequest,
    parts: Parts,
    name: str,
    *,
    test: str | None = None,
    site: str | None = None,
    problem: ProblemError | None = None,
) -> Template:
    """The page of a submission, with what was refused where there is something."""
    sites = person_of(request).sites
    async with one_moment(parts.engine) as connection:
        rows = [row for row in await submissions_named(connection, sites, name) if site in (None, row.site_id)]
        if not rows:
            raise missing("submission", name)
        if len(rows) > 1:
            links = [(row.site_id, _page_of(row)) for row in rows]
            context = frame(request, parts, "/submissions") | {"name": name, "links": links}
            return Template("submission-choice.html", context=context, status_code=300)
        plan = await planned(connection, rows[0])
        here = Sites.of([rows[0].site_id])
        runs = await submission_runs(connection, name, sites=here)
        objects = [rows[0].id, *(each.id for each in plan.tests)]
        said = await comments_on(connection, here, objects)
        changes = await history(connection, here, plan)
    if test is not None and test not in rows[0].tests:
        raise missing("test", test)
    return _submission_template(request, parts, plan, runs, test=test, said=said, changes=changes, problem=problem)


def _submission_template(
    request: CentralRequest,
    parts: Parts,
    plan: Planned,
    runs: tuple[Run, ...],
    *,
    test: str | None,
    problem: ProblemError | None,
    **values: Any,
) -> Template:
    row = plan.submission
    whole = summarise(row.submission, test, runs)
    shown = [run for run in runs if test is None or run.test == test]
    lines = sorted((run_line(run) for run in shown), key=lambda run: (run.test or "", run.plate_number or ""))
    context = frame(request, parts, "/submissions") | {
        "about": row,
        "plan": plan_out(plan, runs),
        "summary": whole,
        "tests": summaries(row.submission, runs)[1],
        "bars": bars(whole.distribution),
        "figures": figures(whole.statistics),
        "runs": lines,
        "labware_url": labware_url(row.submission, test),
        "problem": problem,
        "operator": may(request, "operator"),
        "reviewer": may(request, "reviewer"),
        "me": person_of(request).id,
        **values,
    }
    return Template("submission.html", context=context, status_code=200 if problem is None else problem.status)


HANDLERS: Final = (
    get_submissions_page,
    post_submission_form,
    get_submission_page,
)
