"""What people change of one submission on its page: its fields, its tests, what is said of it, that it is void.

Every form carries the revision that was seen. What is refused is said on the page that the form was on.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final

import msgspec
from litestar import Response, post
from litestar.response import Redirect

from central.api.paths import SubmissionPath, from_segment, missing, segment, with_query
from central.api.plans import SiteChoice, refusals
from central.api.plates import register_test
from central.dashboard.fields import FORM, Short, WhyForm
from central.dashboard.submissions import SubmissionForm, submission_page
from central.db import reading, transaction
from central.laboratory import editing
from central.laboratory.fields import LAB_ID
from central.laboratory.queries import (
    SubmissionRow,
    submissions_named,
)
from central.laboratory.said import add_comment
from central.parts import CentralRequest, Parts, Wired, actor_of, person_of
from central.people.permissions import OPERATORS, REVIEWERS
from central.web.problems import ProblemError


class TestForm(msgspec.Struct, frozen=True):
    """A new test."""

    test: Short
    profile: Short = ""
    antigen: Short = ""
    antigen_lot: Short = ""
    hau: Short = ""


class CommentForm(msgspec.Struct, frozen=True):
    """What somebody says."""

    text: Annotated[str, msgspec.Meta(min_length=1, max_length=2000)]


async def do_on_page(
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
    data: Annotated[SubmissionForm, FORM],
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

    return await do_on_page(request, parts, row.submission, row.site_id, doing)


@post("/submissions/{submission:str}/void", access=REVIEWERS, include_in_schema=False)
async def post_void_form(
    request: CentralRequest,
    parts: Wired,
    submission: SubmissionPath,
    data: Annotated[WhyForm, FORM],
    site: SiteChoice = None,
) -> Response[Any]:
    """Void a submission with all of its plates."""
    row = await _row(request, parts, submission, site)
    doing = voiding(request, parts, "submission", row.id, data)
    return await do_on_page(request, parts, row.submission, row.site_id, doing)


@post("/submissions/{submission:str}/tests", access=OPERATORS, include_in_schema=False)
async def post_test_form(
    request: CentralRequest,
    parts: Wired,
    submission: SubmissionPath,
    data: Annotated[TestForm, FORM],
    site: SiteChoice = None,
) -> Response[Any]:
    """Register a test."""
    row = await _row(request, parts, submission, site)

    async def doing() -> None:
        check_name("test", data.test)
        fields = editing.checked("test", msgspec.structs.asdict(data))
        await register_test(request, parts, row.site_id, row.submission, name=data.test.strip(), fields=fields)

    return await do_on_page(request, parts, row.submission, row.site_id, doing)


@post("/submissions/{submission:str}/comments", access=OPERATORS, include_in_schema=False)
async def post_comment_form(
    request: CentralRequest,
    parts: Wired,
    submission: SubmissionPath,
    data: Annotated[CommentForm, FORM],
    site: SiteChoice = None,
) -> Response[Any]:
    """Say something of a submission."""
    row = await _row(request, parts, submission, site)

    async def doing() -> None:
        text = "".join(sign for sign in data.text if sign.isprintable() or sign == "\n")
        async with transaction(parts.engine) as connection:
            sites = person_of(request).sites
            await add_comment(connection, sites, "submission", row.id, text, actor=actor_of(request), now=parts.now())

    return await do_on_page(request, parts, row.submission, row.site_id, doing)


def check_name(what: str, text: str) -> None:
    """RefusedError for what is no number or name of a laboratory."""
    if not LAB_ID.fullmatch(text.strip()):
        expected = "1 to 64 letters, digits and . _ : / -, the first a letter or digit"
        raise editing.RefusedError(f"{what} {text[:80]!r} (expected {expected})")


def voiding(
    request: CentralRequest, parts: Parts, kind: str, object_id: str, data: WhyForm
) -> Callable[[], Awaitable[Any]]:
    """What voids this thing, with the reason of the form."""

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


HANDLERS: Final = (post_change_form, post_void_form, post_test_form, post_comment_form)
