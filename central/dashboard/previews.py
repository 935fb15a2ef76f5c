"""The page on which a file is looked at before it is ever sent: shipped dialects, or one that is just being written."""

from typing import Annotated, Final

import msgspec
from litestar import get, post
from litestar.params import QueryParameter
from litestar.response import Template

from central.api.delivery_previews import PreviewOut, preview_out
from central.api.delivery_rules import dialect_of
from central.api.paths import SubmissionFilter, TestFilter
from central.dashboard.fields import FORM, Short
from central.dashboard.pages import page
from central.db import one_moment
from central.deliveries.dialect import shipped
from central.deliveries.preview import UnknownSubjectError, preview, subject_named
from central.deliveries.render import RenderError
from central.parts import CentralRequest, Parts, Wired, caller_sites
from central.people.permissions import VIEWERS
from central.web.problems import ProblemError

# So much of a file is shown; the API gives all of it.
MOST_SIGNS: Final = 20_000
_FIRST: Final = "titres"

DialectName = Annotated[str | None, QueryParameter(pattern=r"^[a-z0-9-]{1,64}$", description="A shipped dialect.")]


class PreviewForm(msgspec.Struct, frozen=True):
    """Of which submission (and test), in which dialect; `dialect_toml` where somebody writes one."""

    submission: Short = ""
    test: Short = ""
    dialect: Short = _FIRST
    dialect_toml: Annotated[str, msgspec.Meta(max_length=20_000)] = ""


@get("/deliveries/preview", access=VIEWERS, include_in_schema=False)
async def get_preview_page(
    *,
    request: CentralRequest,
    parts: Wired,
    submission: SubmissionFilter = None,
    test: TestFilter = None,
    dialect: DialectName = None,
) -> Template:
    """The form, and the file where a submission is named."""
    return await _page(request, parts, PreviewForm(submission or "", test or "", dialect or _FIRST))


@post("/deliveries/preview", access=VIEWERS, status_code=200, include_in_schema=False)
async def post_preview_form(request: CentralRequest, parts: Wired, data: Annotated[PreviewForm, FORM]) -> Template:
    """The file in a dialect that was pasted; the page again with what is wrong, line by line."""
    return await _page(request, parts, data)


async def _page(request: CentralRequest, parts: Parts, asked: PreviewForm) -> Template:
    found: PreviewOut | None = None
    wrong: tuple[str, ...] = ()
    status_code = 200
    if asked.submission:
        try:
            found = await _preview(request, parts, asked)
        except ProblemError as error:
            wrong = tuple(each.detail for each in error.errors) or (error.detail,)
            status_code = error.status
    answer = page(
        request,
        parts,
        "delivery-preview.html",
        "/deliveries",
        asked=asked,
        found=found,
        shown=None if found is None or found.text is None else found.text[:MOST_SIGNS],
        wrong=wrong,
        dialects=shipped().values(),
    )
    answer.status_code = status_code
    return answer


async def _preview(request: CentralRequest, parts: Parts, asked: PreviewForm) -> PreviewOut:
    toml = asked.dialect_toml.strip()
    dialect = dialect_of(None if toml else asked.dialect, asked.dialect_toml if toml else None)
    sites = caller_sites(request)
    try:
        async with one_moment(parts.engine) as connection:
            of, subject_id = await subject_named(connection, asked.submission, asked.test or None, sites)
            found = await preview(connection, of, subject_id, dialect, sites=sites, now=parts.now())
    except UnknownSubjectError as error:
        raise ProblemError(404, str(error)) from error
    except RenderError as error:
        raise ProblemError(409, str(error)) from error
    return preview_out(dialect, found)


HANDLERS: Final = (get_preview_page, post_preview_form)
