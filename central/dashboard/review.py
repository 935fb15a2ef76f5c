"""The pages of review: what waits, one run with everything that can be said of it, and the approval of a whole test.

Every form carries the revision that was seen; where somebody else was quicker the page comes again with what he said.
"""

from typing import Annotated, Any, Final

import msgspec
from litestar import Response, get, post
from litestar.params import QueryParameter
from litestar.response import Redirect, Template

from central.api.dossiers import in_words
from central.api.paths import After, RunPath, missing, with_query
from central.api.review import interpreted, next_page, said, signed
from central.assays.registry import active_versions
from central.dashboard.fields import FORM
from central.dashboard.pages import frame
from central.dashboard.terms import CALL_WORDS
from central.dashboard.words import endpoint_lines, facts, heads, legend, plate_map, run_line
from central.db import one_moment, reading
from central.parts import CentralRequest, Parts, Wired, person_of
from central.people.permissions import REVIEWERS, VIEWERS
from central.review.approval import Meaning
from central.review.corrections import REASONS, Action, Step, is_doubtful, possible_calls
from central.review.dossier import Dossier, get_dossier, names_of
from central.review.queue import Filters, count_waiting, list_queue, neighbours
from central.web.problems import ProblemError
from protocol.assay import Call

_Word = Annotated[str, QueryParameter(max_length=64, pattern=r"^[A-Za-z0-9._:/-]*$")]
# The crop around a well: so many times its radius in each direction.
_CROP_RADII: Final = 4.0
NO_FILTERS: Final = Filters()


class SayForm(msgspec.Struct, frozen=True):
    """The fields of every form that says something of a run."""

    revision: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
    action: Action
    target: Annotated[str, msgspec.Meta(max_length=8)] = ""
    call: Annotated[str, msgspec.Meta(max_length=16)] = ""
    reason_code: Annotated[str, msgspec.Meta(max_length=32)] = ""
    reason: Annotated[str, msgspec.Meta(max_length=1000, pattern=r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*$(?!\n)")] = ""


class InterpretForm(msgspec.Struct, frozen=True):
    """The version of its profile that a run is to be interpreted by."""

    revision: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
    version: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]


class SignForm(msgspec.Struct, frozen=True):
    """The fields of the signature."""

    revision: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
    password: Annotated[str, msgspec.Meta(max_length=256)]
    meaning: Meaning = "approved"
    code: Annotated[str, msgspec.Meta(max_length=16)] = ""


@get("/review", access=VIEWERS, include_in_schema=False)
async def get_queue_page(
    *,
    request: CentralRequest,
    parts: Wired,
    after: After = None,
    site: _Word = "",
    device: _Word = "",
    profile: _Word = "",
    assignee: _Word = "",
) -> Template:
    """What waits for a reviewer, oldest first. A field that is left empty is no filter."""
    filters = _filters(site, device, profile, assignee)
    sites = person_of(request).sites
    async with reading(parts.engine) as connection:
        found = await list_queue(connection, sites, filters, after=after)
        waiting = await count_waiting(connection, sites)
    return _page(
        request,
        parts,
        "review-queue.html",
        runs=tuple({"run": run_line(run), "why": _why_it_waits(run.endpoints)} for run in found.runs),
        waiting=waiting,
        filters=msgspec.structs.asdict(filters),
        mine=person_of(request).id,
        query=_query(filters),
        next_link=next_page("/review", found, filters),
    )


@get("/review/{run_id:str}", access=VIEWERS, include_in_schema=False)
async def get_review_page(
    *,
    request: CentralRequest,
    parts: Wired,
    run_id: RunPath,
    well: _Word = "",
    site: _Word = "",
    device: _Word = "",
    profile: _Word = "",
    assignee: _Word = "",
) -> Template:
    """One run with everything that can be said of it."""
    return await review_page(request, parts, run_id, well=well, filters=_filters(site, device, profile, assignee))


@get("/runs/{run_id:str}", access=VIEWERS, include_in_schema=False)
async def get_run_page(request: CentralRequest, parts: Wired, run_id: RunPath) -> Template:
    """One run as it stands: controls, endpoints, plate map, picture, and what it was made with."""
    async with one_moment(parts.engine) as connection:
        found = await get_dossier(connection, run_id, person_of(request).sites)
        if found is None:
            raise missing("run", run_id)
        names = await names_of(connection, _people(found))
    context = frame(request, parts, "/") | run_context(found, names)
    return Template("run.html", context=context)


@post("/review/{run_id:str}", access=REVIEWERS, include_in_schema=False)
async def post_say_form(
    request: CentralRequest, parts: Wired, run_id: RunPath, data: Annotated[SayForm, FORM]
) -> Response[Any]:
    """Say it and show the run again; or say why not."""
    try:
        call = Call(data.call) if data.call else None
    except ValueError as error:
        raise ProblemError(400, f"call {data.call!r} (expected one of the assay's)") from error
    step = Step(data.action, data.target or None, call, data.reason_code, data.reason or None)
    of_well = {Action.OVERRIDE, Action.WITHDRAW}
    try:
        await said(request, parts, run_id, [step], data.revision)
    except ProblemError as error:
        return await _again(request, parts, run_id, error, data.target if data.action in of_well else "")
    well = {"well": data.target} if data.action in of_well else {}
    return Redirect(with_query(f"/review/{run_id}", **well), status_code=303)


@post("/review/{run_id:str}/sign", access=REVIEWERS, include_in_schema=False)
async def post_sign_form(
    request: CentralRequest, parts: Wired, run_id: RunPath, data: Annotated[SignForm, FORM]
) -> Response[Any]:
    """Sign it and show the run again; or say why not."""
    seen = {run_id: data.revision}
    try:
        await signed(request, parts, seen, meaning=data.meaning, password=data.password, code=data.code or None)
    except ProblemError as error:
        return await _again(request, parts, run_id, error)
    return Redirect(f"/review/{run_id}", status_code=303)


@post("/review/{run_id:str}/interpretation", access=REVIEWERS, include_in_schema=False)
async def post_interpretation_form(
    request: CentralRequest, parts: Wired, run_id: RunPath, data: Annotated[InterpretForm, FORM]
) -> Response[Any]:
    """Work its titres out by that version and show the run again; or say why not."""
    try:
        await interpreted(request, parts, run_id, data.version, data.revision)
    except ProblemError as error:
        return await _again(request, parts, run_id, error)
    return Redirect(f"/review/{run_id}", status_code=303)


async def review_page(
    request: CentralRequest,
    parts: Parts,
    run_id: str,
    *,
    well: str = "",
    filters: Filters = NO_FILTERS,
    error: ProblemError | None = None,
) -> Template:
    """The page of one run's review; `well` is the one that is looked at."""
    person = person_of(request)
    async with one_moment(parts.engine) as connection:
        found = await get_dossier(connection, run_id, person.sites)
        if found is None:
            raise missing("run", run_id)
        names = await names_of(connection, _people(found))
        active = (await active_versions(connection)).get(found.run.profile)
        before, following = await neighbours(connection, person.sites, filters, found.run.number)
    chosen = well if well in found.reading.wells else None
    query = _query(filters)
    return _page(
        request,
        parts,
        "review.html",
        status=200 if error is None else error.status,
        error=error,
        query=query,
        before=None if before is None else f"/review/{before}{query}",
        following=None if following is None else f"/review/{following}{query}",
        well=None if chosen is None else _well(found, chosen),
        calls=[(call.value, CALL_WORDS[call]) for call in possible_calls(found.run.assay)],
        reasons={action.value: known for action, known in REASONS.items()},
        may_review=person.role in ("reviewer", "admin"),
        asks_code=person.has_code,
        against=found.why_not(person.id),
        active=active,
        **run_context(found, names),
    )


def run_context(found: Dossier, names: dict[str, str]) -> dict[str, Any]:
    """What the run page and the review page both show of a run as it stands."""
    now, run = found.now, found.run
    shown = msgspec.structs.replace(found.reading, wells=now.wells)
    rows = {
        row: {"open": row in now.open_rows, "doubtful": is_doubtful(one), "uncertain": "uncertain" in one.flags}
        for row, one in run.endpoints.items()
    }
    return {
        "run": run_line(run),
        "image_url": f"/api/v1/images/{run.image_sha256}" if run.image_stored else None,
        "image_removed_on": None if run.image_removed_at is None else run.image_removed_at.date().isoformat(),
        "picture": found.reading.picture,
        "radius_px": round(found.reading.plate.pitch_px * 0.42, 1),
        "rows": plate_map(shown, run.assay),
        "columns": found.reading.plate.columns,
        "endpoints": endpoint_lines(run),
        "of_rows": rows,
        "heads": heads(run),
        "legend": legend(run),
        "facts": facts(run, found.reading),
        "dossier": found,
        "state": None if found.state is None else found.state.value.replace("_", " "),
        "history": [
            {"revision": each.revision, "at": each.at, "words": in_words(each, names)} for each in found.corrections
        ],
        "signed": [
            {"signature": each, "by": names.get(each.user_id, each.user_id), "holds": found.holds(each)}
            for each in found.signatures
        ],
    }


def _well(found: Dossier, name: str) -> dict[str, Any]:
    """The well that is looked at: both calls, and where to crop the picture."""
    machine, now = found.reading.wells[name], found.now.wells[name]
    reach = found.reading.plate.pitch_px * 0.42 * _CROP_RADII
    crop = None
    if machine.centre_px is not None:
        x, y = machine.centre_px
        crop = f"{x - reach:.1f} {y - reach:.1f} {2 * reach:.1f} {2 * reach:.1f}"
    return {
        "name": name,
        "call": now.call.value,
        "call_words": CALL_WORDS[now.call],
        "machine_words": CALL_WORDS[machine.call],
        "confidence": machine.confidence,
        "overridden": name in found.now.overridden,
        "crop": crop,
        "centre": machine.centre_px,
    }


async def _again(request: CentralRequest, parts: Parts, run_id: str, error: ProblemError, well: str = "") -> Template:
    """The run's page with what was wrong; a run that is not here is a refusal of its own."""
    if error.status == 404:
        raise error
    return await review_page(request, parts, run_id, well=well, error=error)


def _why_it_waits(endpoints: dict[str, Any]) -> str:
    rows = [row for row, endpoint in endpoints.items() if is_doubtful(endpoint)]
    return f"rows {', '.join(rows)}" if rows else "no endpoints"


def _people(found: Dossier) -> list[str]:
    return [each.user_id for each in found.corrections] + [each.user_id for each in found.signatures]


def _filters(site: str, device: str, profile: str, assignee: str) -> Filters:
    return Filters(site=site or None, device=device or None, profile=profile or None, assignee=assignee or None)


def _query(filters: Filters) -> str:
    """The filters as they go on to the next page."""
    return with_query("", **msgspec.structs.asdict(filters))


def _page(request: CentralRequest, parts: Parts, template: str, *, status: int = 200, **values: Any) -> Template:
    return Template(template, context=frame(request, parts, "/review") | values, status_code=status)


HANDLERS: Final = (
    get_run_page,
    get_queue_page,
    get_review_page,
    post_say_form,
    post_sign_form,
    post_interpretation_form,
)
