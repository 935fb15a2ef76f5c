"""The pages of the laboratory's plans: submissions, worklists, runs of no known plate, alarms, titres over time.

Every form carries the revision that was seen. What is refused is said on the page that the form was on.
"""

import base64
import binascii
from collections.abc import Awaitable, Callable
from datetime import date
from typing import Annotated, Any, Final

import msgspec
from litestar import Response, get, post
from litestar.datastructures import UploadFile
from litestar.enums import RequestEncodingType
from litestar.params import Body, QueryParameter
from litestar.response import Redirect, Template

from central.api.paths import After, RunPath, SubmissionPath, TestFilter, from_segment, missing, segment, with_query
from central.api.plans import PlatePath, SiteChoice, TestPath, refusals, site_for
from central.api.plates import register_plate, register_test
from central.api.submissions import (
    AfterSubmission,
    labware_url,
    next_page,
    plan_out,
    register_submission,
    summaries,
)
from central.api.unmatched import AlarmPath, Resolved
from central.api.worklists import MAX_WORKLIST_BODY, worklist_of
from central.dashboard.pages import PAGE_SIZE, figures, frame, page
from central.dashboard.words import bars, run_line
from central.db import reading, transaction
from central.laboratory import alarms, editing, importing, unmatched
from central.laboratory.importing import ConflictError, Preview
from central.laboratory.queries import (
    Planned,
    SubmissionRow,
    Wanted,
    add_comment,
    comments_on,
    find_plate,
    history,
    list_submissions,
    planned,
    site_of,
    submissions_named,
)
from central.laboratory.states import PlateState
from central.laboratory.trends import Point, trend
from central.laboratory.worklist import COLUMNS, LAB_ID, Placed
from central.parts import CentralRequest, Parts, Wired, actor_of, person_of
from central.people.permissions import OPERATORS, REVIEWERS, ROLES, VIEWERS
from central.people.sites import Sites
from central.results.aggregate import Run, display, summarise
from central.results.queries import submission_runs
from central.web.problems import ProblemError

# A form that is sent with an empty field asks for nothing in it.
Sought = Annotated[str, QueryParameter(pattern=r"^[^\x00-\x1f\x7f]{0,100}$")]
StateSought = Annotated[str, QueryParameter(name="state", max_length=16)]
_Form: Final = Body(media_type=RequestEncodingType.URL_ENCODED)
_Text = Annotated[str, msgspec.Meta(max_length=2000)]
_Short = Annotated[str, msgspec.Meta(max_length=200)]
_Revision = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
# A file in a hidden field, between its preview and the word to go on: a third longer than itself.
MAX_CONFIRM_BODY: Final = MAX_WORKLIST_BODY * 4 // 3 + 4096
# A chart in its own units.
CHART_WIDTH: Final = 640
CHART_HEIGHT: Final = 200


class SubmissionForm(msgspec.Struct, frozen=True):
    """What is known of a submission; a field that is not on the form is not changed."""

    submission: _Short = ""
    site: _Short = ""
    revision: _Revision = 1
    received_on: _Short | None = None
    species: _Short | None = None
    farm: _Short | None = None
    flock: _Short | None = None
    age_days: _Short | None = None
    vaccine: _Short | None = None
    vaccinated_on: _Short | None = None
    customer: _Short | None = None
    note: _Text | None = None
    assignee_id: _Short | None = None
    reason: _Text = ""


class TestForm(msgspec.Struct, frozen=True):
    """A new test."""

    test: _Short
    profile: _Short = ""
    antigen: _Short = ""
    antigen_lot: _Short = ""
    hau: _Short = ""


class PlateForm(msgspec.Struct, frozen=True):
    """A new plate, or a change of one; `rows` is a line for each: `A F-17`, or `A` alone to empty it."""

    back: _Short
    plate_number: _Short = ""
    revision: _Revision = 1
    location: _Short = ""
    rows: _Text = ""
    reason: _Text = ""


class WhyForm(msgspec.Struct, frozen=True):
    """Why, of the thing at a revision; `back` is the submission that the form was on."""

    reason: _Text = ""
    revision: _Revision = 1
    back: _Short = ""


class CommentForm(msgspec.Struct, frozen=True):
    """What somebody says."""

    text: Annotated[str, msgspec.Meta(min_length=1, max_length=2000)]


class ConfirmForm(msgspec.Struct, frozen=True):
    """A file that was looked at, and what was seen."""

    content: Annotated[str, msgspec.Meta(max_length=MAX_CONFIRM_BODY)]
    digest: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$(?!\n)")]
    site: _Short = ""


class PlateOfRunForm(msgspec.Struct, frozen=True):
    """Which plate a run is of: as its code would say it."""

    code: _Short
    reason: _Text = ""


def may(request: CentralRequest, role: str) -> bool:
    """Whether the person may do what this role may."""
    return ROLES.index(person_of(request).role) >= [*ROLES].index(role)  # type: ignore[arg-type]


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
    request: CentralRequest, parts: Wired, data: Annotated[SubmissionForm, _Form]
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
    async with reading(parts.engine) as connection:
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


async def _do(
    request: CentralRequest, parts: Parts, name: str, site: str | None, doing: Callable[[], Awaitable[Any]]
) -> Response[Any]:
    """Do it and show the submission; or the submission with what was refused."""
    try:
        with refusals():
            await doing()
    except ProblemError as error:
        return await submission_page(request, parts, name, site=site, problem=error)
    return Redirect(with_query(f"/submissions/{segment(name)}", site=site), status_code=303)


async def _row(request: CentralRequest, parts: Parts, submission: str, site: str | None) -> SubmissionRow:
    async with reading(parts.engine) as connection:
        rows = await submissions_named(connection, person_of(request).sites, from_segment(submission))
    rows = tuple(row for row in rows if site in (None, row.site_id))
    if len(rows) != 1:
        raise missing("submission", from_segment(submission))
    return rows[0]


@post("/submissions/{submission:str}/change", access=OPERATORS, include_in_schema=False)
async def post_change_form(
    request: CentralRequest,
    parts: Wired,
    submission: SubmissionPath,
    data: Annotated[SubmissionForm, _Form],
    site: SiteChoice = None,
) -> Response[Any]:
    """Change what is known of a submission."""
    row = await _row(request, parts, submission, site)
    given = {name: value for name, value in msgspec.structs.asdict(data).items() if value is not None}

    async def doing() -> None:
        await editing.change(
            parts.engine,
            "submission",
            row.id,
            editing.checked("submission", given),
            seen=data.revision,
            sites=person_of(request).sites,
            actor=actor_of(request),
            now=parts.now(),
            reason=data.reason or None,
        )

    return await _do(request, parts, row.submission, row.site_id, doing)


@post("/submissions/{submission:str}/void", access=REVIEWERS, include_in_schema=False)
async def post_void_form(
    request: CentralRequest,
    parts: Wired,
    submission: SubmissionPath,
    data: Annotated[WhyForm, _Form],
    site: SiteChoice = None,
) -> Response[Any]:
    """Void a submission with all of its plates."""
    row = await _row(request, parts, submission, site)
    doing = _voiding(request, parts, "submission", row.id, data)
    return await _do(request, parts, row.submission, row.site_id, doing)


@post("/submissions/{submission:str}/tests", access=OPERATORS, include_in_schema=False)
async def post_test_form(
    request: CentralRequest,
    parts: Wired,
    submission: SubmissionPath,
    data: Annotated[TestForm, _Form],
    site: SiteChoice = None,
) -> Response[Any]:
    """Register a test."""
    row = await _row(request, parts, submission, site)

    async def doing() -> None:
        _check_name("test", data.test)
        fields = editing.checked("test", msgspec.structs.asdict(data))
        await register_test(request, parts, row.site_id, row.submission, name=data.test.strip(), fields=fields)

    return await _do(request, parts, row.submission, row.site_id, doing)


@post("/submissions/{submission:str}/comments", access=OPERATORS, include_in_schema=False)
async def post_comment_form(
    request: CentralRequest,
    parts: Wired,
    submission: SubmissionPath,
    data: Annotated[CommentForm, _Form],
    site: SiteChoice = None,
) -> Response[Any]:
    """Say something of a submission."""
    row = await _row(request, parts, submission, site)

    async def doing() -> None:
        text = "".join(sign for sign in data.text if sign.isprintable() or sign == "\n")
        async with transaction(parts.engine) as connection:
            sites = person_of(request).sites
            await add_comment(connection, sites, "submission", row.id, text, actor=actor_of(request), now=parts.now())

    return await _do(request, parts, row.submission, row.site_id, doing)


def _check_name(what: str, text: str) -> None:
    if not LAB_ID.fullmatch(text.strip()):
        expected = "1 to 64 letters, digits and . _ : / -, the first a letter or digit"
        raise editing.RefusedError(f"{what} {text[:80]!r} (expected {expected})")


@post("/tests/{test_id:str}/plates", access=OPERATORS, include_in_schema=False)
async def post_plate_form(
    request: CentralRequest, parts: Wired, test_id: TestPath, data: Annotated[PlateForm, _Form]
) -> Response[Any]:
    """Register a plate."""

    async def doing() -> None:
        _check_name("plate", data.plate_number)
        await register_plate(
            request,
            parts,
            test_id,
            number=data.plate_number.strip(),
            location=editing.checked("plate", {"location": data.location})["location"],
            rows=_rows(data.rows),
        )

    return await _do(request, parts, *_back(data.back), doing)


@post("/plates/{plate_id:str}/change", access=OPERATORS, include_in_schema=False)
async def post_plate_change_form(
    request: CentralRequest, parts: Wired, plate_id: PlatePath, data: Annotated[PlateForm, _Form]
) -> Response[Any]:
    """Say where a plate is, and what is in its rows."""

    async def doing() -> None:
        common: dict[str, Any] = {
            "sites": person_of(request).sites,
            "actor": actor_of(request),
            "now": parts.now(),
            "reason": data.reason or None,
        }
        values = editing.checked("plate", {"location": data.location})
        seen = await editing.change(parts.engine, "plate", plate_id, values, seen=data.revision, **common)
        rows = _rows(data.rows)
        if rows:
            await editing.place(parts.engine, plate_id, rows, seen=seen, **common)

    return await _do(request, parts, *_back(data.back), doing)


@post("/plates/{plate_id:str}/void", access=REVIEWERS, include_in_schema=False)
async def post_plate_void_form(
    request: CentralRequest, parts: Wired, plate_id: PlatePath, data: Annotated[WhyForm, _Form]
) -> Response[Any]:
    """Void a plate."""
    return await _do(request, parts, *_back(data.back), _voiding(request, parts, "plate", plate_id, data))


def _voiding(
    request: CentralRequest, parts: Parts, kind: str, object_id: str, data: WhyForm
) -> Callable[[], Awaitable[Any]]:
    async def doing() -> None:
        if not data.reason.strip():
            raise editing.RefusedError("no reason (expected why it is void)")
        await editing.void(
            parts.engine,
            kind,
            object_id,
            seen=data.revision,
            sites=person_of(request).sites,
            actor=actor_of(request),
            now=parts.now(),
            reason=data.reason.strip(),
        )

    return doing


def _back(text: str) -> tuple[str, str | None]:
    """(submission, site) that a form says it was on: `S-1@main`."""
    name, _, site = text.rpartition("@")
    return name, site or None


def _rows(text: str) -> dict[str, Placed | None]:
    """`A F-17` in a line each; `A` alone empties the row."""
    found: dict[str, Placed | None] = {}
    for line in text.splitlines():
        row, _, serum = line.strip().partition(" ")
        if row:
            found[row.upper()[:8]] = Placed(serum=serum.strip()) if serum.strip() else None
    return found


@get("/worklists", access=OPERATORS, include_in_schema=False)
async def get_worklists_page(request: CentralRequest, parts: Wired) -> Template:
    """Where a worklist is uploaded."""
    return _worklist_page(request, parts)


def _worklist_page(request: CentralRequest, parts: Parts, status_code: int = 200, **values: Any) -> Template:
    blank = {"preview": None, "problem": None, "content": "", "site": "", "done": False}
    sites = person_of(request).sites
    context = frame(request, parts, "/worklists") | blank | {"sites": sorted(sites.ids or ()), "columns": COLUMNS}
    return Template("worklist.html", context=context | values, status_code=status_code)


@post("/worklists", access=OPERATORS, include_in_schema=False, request_max_body_size=MAX_WORKLIST_BODY + 4096)
async def post_worklist_form(request: CentralRequest, parts: Wired) -> Template:
    """What the file would do, or every error in it."""
    form = await request.form()
    upload, site = form.get("file"), str(form.get("site") or "")
    content = await upload.read() if isinstance(upload, UploadFile) else b""
    return await _preview_page(request, parts, content, site)


async def _preview_page(request: CentralRequest, parts: Parts, content: bytes, site: str) -> Template:
    try:
        chosen = site_for(person_of(request).sites, site or None)
        preview = await importing.preview(parts.engine, chosen, await worklist_of(content))
    except ProblemError as error:
        return _worklist_page(request, parts, error.status, problem=error, site=site)
    text = base64.urlsafe_b64encode(content).decode()
    return _worklist_page(request, parts, preview=preview, content=text, site=chosen)


@post("/worklists/confirm", access=OPERATORS, include_in_schema=False, request_max_body_size=MAX_CONFIRM_BODY)
async def post_worklist_confirm_form(
    request: CentralRequest, parts: Wired, data: Annotated[ConfirmForm, _Form]
) -> Template:
    """Do what was seen; where it is no longer so, show what it would be now."""
    try:
        content = base64.urlsafe_b64decode(data.content)
    except (binascii.Error, ValueError) as error:
        raise ProblemError(400, "the file did not come back whole (expected the form as it was shown)") from error
    chosen = site_for(person_of(request).sites, data.site or None)
    wanted = await worklist_of(content)
    preview: Preview | None
    try:
        preview = await importing.put(
            parts.engine,
            chosen,
            wanted,
            actor=actor_of(request),
            origin="worklist",
            now=parts.now(),
            digest=data.digest,
        )
    except ConflictError as error:
        problem = ProblemError(409, str(error))
        return _worklist_page(
            request, parts, 409, problem=problem, preview=error.preview, content=data.content, site=chosen
        )
    return _worklist_page(request, parts, preview=preview, site=chosen, done=True)


@get("/unmatched", access=VIEWERS, include_in_schema=False)
async def get_unmatched_page(request: CentralRequest, parts: Wired, after: After = None) -> Template:
    """Runs of no known plate, with a form that says which it is."""
    return await _unmatched_page(request, parts, after)


async def _unmatched_page(
    request: CentralRequest, parts: Parts, after: int | None = None, problem: ProblemError | None = None
) -> Template:
    async with reading(parts.engine) as connection:
        rows = await unmatched.list_waiting(connection, person_of(request).sites, after=after, limit=PAGE_SIZE + 1)
    following = with_query("/unmatched", after=rows[PAGE_SIZE - 1].number) if len(rows) > PAGE_SIZE else None
    context = frame(request, parts, "/unmatched") | {
        "runs": rows[:PAGE_SIZE],
        "next_link": following,
        "problem": problem,
        "operator": may(request, "operator"),
    }
    return Template("unmatched.html", context=context, status_code=200 if problem is None else problem.status)


@post("/unmatched/{run_id:str}", access=OPERATORS, include_in_schema=False)
async def post_plate_of_run_form(
    request: CentralRequest, parts: Wired, run_id: RunPath, data: Annotated[PlateOfRunForm, _Form]
) -> Response[Any]:
    """This run is of this plate."""
    sites = person_of(request).sites
    try:
        with refusals():
            code = [part.strip() for part in data.code.replace("|", ",").split(",")]
            if len(code) != 3 or not data.reason.strip():
                raise editing.RefusedError(f"plate {data.code[:80]!r} (expected submission,test,plate and a reason)")
            async with reading(parts.engine) as connection:
                site = await site_of(connection, sites, "run", run_id)
                plate = None if site is None else await find_plate(connection, site, code[0], code[1], code[2])
            if plate is None:
                raise editing.RefusedError(f"no plate {data.code[:80]!r} in the run's laboratory (register it first)")
            await unmatched.say_plate(
                parts.engine,
                run_id,
                plate,
                sites=sites,
                actor=actor_of(request),
                now=parts.now(),
                reason=data.reason.strip(),
            )
    except ProblemError as error:
        return await _unmatched_page(request, parts, problem=error)
    return Redirect(f"/runs/{run_id}", status_code=303)


@get("/alarms", access=VIEWERS, include_in_schema=False)
async def get_alarms_page(
    request: CentralRequest, parts: Wired, after: After = None, resolved: Resolved = False
) -> Template:
    """Alarms, newest first."""
    async with reading(parts.engine) as connection:
        rows = await alarms.list_alarms(
            connection, person_of(request).sites, after=after, limit=PAGE_SIZE + 1, resolved=resolved
        )
    following = None
    if len(rows) > PAGE_SIZE:
        more = "true" if resolved else None
        following = with_query("/alarms", after=rows[PAGE_SIZE - 1].number, resolved=more)
    return page(
        request,
        parts,
        "alarms.html",
        "/alarms",
        alarms=rows[:PAGE_SIZE],
        next_link=following,
        resolved=resolved,
        operator=may(request, "operator"),
    )


@post("/alarms/{number:int}/acknowledge", access=OPERATORS, include_in_schema=False)
async def post_acknowledge_form(request: CentralRequest, parts: Wired, number: AlarmPath) -> Redirect:
    """Somebody has seen it."""
    async with transaction(parts.engine) as connection:
        sites = person_of(request).sites
        found = await alarms.acknowledge(connection, sites, number, actor=actor_of(request), now=parts.now())
    if found is None:
        raise missing("alarm", str(number))
    return Redirect("/alarms", status_code=303)


@post("/alarms/{number:int}/resolve", access=OPERATORS, include_in_schema=False)
async def post_resolve_form(
    request: CentralRequest, parts: Wired, number: AlarmPath, data: Annotated[WhyForm, _Form]
) -> Redirect:
    """It is dealt with."""
    if not data.reason.strip():
        raise ProblemError(422, "no reason (expected how it was dealt with)")
    async with transaction(parts.engine) as connection:
        found = await alarms.resolve(
            connection,
            person_of(request).sites,
            number,
            reason=data.reason.strip(),
            actor=actor_of(request),
            now=parts.now(),
        )
    if found is None:
        raise missing("alarm", str(number))
    return Redirect("/alarms", status_code=303)


class ChartPoint(msgspec.Struct, frozen=True):
    """A point of the chart, in its own units."""

    x: float
    y: float
    words: str


@get("/trends", access=VIEWERS, include_in_schema=False)
async def get_trends_page(
    request: CentralRequest, parts: Wired, farm: Sought = "", test: Sought = "", antigen: Sought = ""
) -> Template:
    """Titres over time: a chart and the table behind it."""
    async with reading(parts.engine) as connection:
        points = await trend(
            connection, person_of(request).sites, farm=farm or None, test=test or None, antigen=antigen or None
        )
    return page(
        request,
        parts,
        "trends.html",
        "/trends",
        points=points,
        chart=chart(points),
        width=CHART_WIDTH,
        height=CHART_HEIGHT,
        wanted={"farm": farm, "test": test, "antigen": antigen},
        display=display,
    )


def chart(points: tuple[Point, ...]) -> tuple[ChartPoint, ...]:
    """Mean log₂ titres from left to right, 0 to 12 from below to above."""
    step = (CHART_WIDTH - 60) / max(len(points) - 1, 1)
    return tuple(
        ChartPoint(
            round(40 + at * step, 1),
            round(CHART_HEIGHT - 20 - min(point.mean_log2, 12) / 12 * (CHART_HEIGHT - 40), 1),
            f"{point.on}, {point.submission} {point.test}: mean log₂ {display(point.mean_log2, 2)} of {point.n} sera",
        )
        for at, point in enumerate(points)
    )


HANDLERS: Final = [
    get_submissions_page,
    post_submission_form,
    get_submission_page,
    post_change_form,
    post_void_form,
    post_test_form,
    post_comment_form,
    post_plate_form,
    post_plate_change_form,
    post_plate_void_form,
    get_worklists_page,
    post_worklist_form,
    post_worklist_confirm_form,
    get_unmatched_page,
    post_plate_of_run_form,
    get_alarms_page,
    post_acknowledge_form,
    post_resolve_form,
    get_trends_page,
]
