"""The page of worklists: a file is looked at first, and taken by the word of who saw what it would do."""

import base64
import binascii
from typing import Annotated, Any, Final

import msgspec
from litestar import get, post
from litestar.datastructures import UploadFile
from litestar.response import Template

from central.api.plans import site_for
from central.api.worklists import MAX_WORKLIST_BODY, worklist_of
from central.dashboard.fields import FORM, Short
from central.dashboard.pages import frame
from central.laboratory import importing
from central.laboratory.comparing import ConflictError, Preview
from central.laboratory.fields import COLUMNS
from central.parts import CentralRequest, Parts, Wired, actor_of, person_of
from central.people.permissions import OPERATORS
from central.web.problems import ProblemError

# A file in a hidden field, between its preview and the word to go on: a third longer than itself.
MAX_CONFIRM_BODY: Final = MAX_WORKLIST_BODY * 4 // 3 + 4096


class ConfirmForm(msgspec.Struct, frozen=True):
    """A file that was looked at, and what was seen."""

    content: Annotated[str, msgspec.Meta(max_length=MAX_CONFIRM_BODY)]
    digest: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$(?!\n)")]
    site: Short = ""


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
    request: CentralRequest, parts: Wired, data: Annotated[ConfirmForm, FORM]
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


HANDLERS: Final = (
    get_worklists_page,
    post_worklist_form,
    post_worklist_confirm_form,
)
