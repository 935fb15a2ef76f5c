"""The pages of what waits for somebody: runs of no known plate, and alarms."""

from typing import Annotated, Any, Final

import msgspec
from litestar import Response, get, post
from litestar.response import Redirect, Template

from central.api.paths import After, RunPath, missing, with_query
from central.api.plans import refusals
from central.api.unmatched import AlarmPath, Resolved
from central.dashboard.fields import FORM, Short, Text, WhyForm, may
from central.dashboard.pages import PAGE_SIZE, frame, page
from central.db import reading, transaction
from central.laboratory import alarms, editing, unmatched
from central.laboratory.queries import find_plate
from central.laboratory.said import site_of
from central.parts import CentralRequest, Parts, Wired, actor_of, person_of
from central.people.permissions import OPERATORS, VIEWERS
from central.web.problems import ProblemError


class PlateOfRunForm(msgspec.Struct, frozen=True):
    """Which plate a run is of: as its code would say it."""

    code: Short
    reason: Text = ""


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
    request: CentralRequest, parts: Wired, run_id: RunPath, data: Annotated[PlateOfRunForm, FORM]
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
    request: CentralRequest, parts: Wired, number: AlarmPath, data: Annotated[WhyForm, FORM]
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


HANDLERS: Final = (
    get_unmatched_page,
    post_plate_of_run_form,
    get_alarms_page,
    post_acknowledge_form,
    post_resolve_form,
)
