"""The page on which a test is approved: its runs, what stands against it, and a signature for all of them."""

from typing import Annotated, Any, Final

import msgspec
from litestar import Response, get, post
from litestar.response import Redirect, Template

from central.api.paths import missing
from central.api.review import TestPath, signed
from central.dashboard.fields import FORM
from central.dashboard.pages import page
from central.dashboard.words import run_line
from central.db import one_moment
from central.parts import CentralRequest, Parts, Wired, person_of
from central.people.permissions import REVIEWERS, VIEWERS
from central.review.dossier import get_dossier
from central.review.signing import runs_of_test
from central.web.problems import ProblemError


class SignTestForm(msgspec.Struct, frozen=True):
    """The fields of the approval of a test; `seen` is `run:revision run:revision …`."""

    seen: Annotated[str, msgspec.Meta(max_length=20_000, pattern=r"^([0-9a-f-]{36}:[0-9]{1,9} ?)+$(?!\n)")]
    password: Annotated[str, msgspec.Meta(max_length=256)]
    code: Annotated[str, msgspec.Meta(max_length=16)] = ""


@get("/approval/{test_id:str}", access=VIEWERS, include_in_schema=False)
async def get_approval_page(request: CentralRequest, parts: Wired, test_id: TestPath) -> Template:
    """Every plate of a test, and what stands against its approval."""
    return await _approval_page(request, parts, test_id)


@post("/approval/{test_id:str}", access=REVIEWERS, include_in_schema=False)
async def post_approval_form(
    request: CentralRequest, parts: Wired, test_id: TestPath, data: Annotated[SignTestForm, FORM]
) -> Response[Any]:
    """Approve all plates; or say why not."""
    pairs = (each.split(":") for each in data.seen.split())
    seen = {run_id: int(revision) for run_id, revision in pairs}
    try:
        await signed(
            request, parts, seen, meaning="approved", password=data.password, code=data.code or None, test_id=test_id
        )
    except ProblemError as error:
        if error.status == 404:
            raise
        return await _approval_page(request, parts, test_id, error)
    return Redirect(f"/approval/{test_id}", status_code=303)


async def _approval_page(
    request: CentralRequest, parts: Parts, test_id: str, error: ProblemError | None = None
) -> Template:
    person = person_of(request)
    async with one_moment(parts.engine) as connection:
        runs = await runs_of_test(connection, test_id, person.sites)
        if runs is None:
            raise missing("test", test_id)
        dossiers = {
            title: None if run is None else await get_dossier(connection, run.id, person.sites)
            for title, run in runs.items()
        }
    there = [each for each in dossiers.values() if each is not None]
    shown = page(
        request,
        parts,
        "approval.html",
        "/review",
        error=error,
        test_id=test_id,
        plates=[
            {
                "title": title,
                "run": None if each is None else run_line(each.run),
                "state": "without a run" if each is None or each.state is None else each.state.value,
                "against": ("it has no run",) if each is None else each.why_not(person.id),
            }
            for title, each in dossiers.items()
        ],
        seen=" ".join(f"{each.run.id}:{each.run.revision}" for each in there),
        may_review=person.role in ("reviewer", "admin"),
        asks_code=person.has_code,
    )
    shown.status_code = 200 if error is None else error.status
    return shown


HANDLERS: Final = (get_approval_page, post_approval_form)
