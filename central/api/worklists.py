"""`/api/v1/worklists`: files that say what is to be done. First what they would do, then doing just that.

The body is the file itself (CSV or XLSX). `POST /worklists` names the preview's digest: what changed in between is
refused.
"""

from typing import Annotated, Final

import anyio.to_thread
import msgspec
from litestar import Response, post
from litestar.exceptions import ClientException
from litestar.params import QueryParameter

from central.api.plans import SiteChoice, refusals, site_for
from central.laboratory import importing
from central.laboratory.comparing import Preview
from central.laboratory.sheets import MAX_BYTES, SheetError, lines_of
from central.laboratory.worklist import Worklist, parse
from central.parts import CentralRequest, Wired, actor_of, caller_sites
from central.people.permissions import OPERATORS
from central.web.problems import ProblemError

# The largest file, and a little more: what is too large is said by name.
MAX_WORKLIST_BODY: Final = MAX_BYTES + 1024

Digest = Annotated[
    str, QueryParameter(pattern=r"^[0-9a-f]{64}$", description="Of the preview: what it says is what is done.")
]


class StepOut(msgspec.Struct, frozen=True):
    """Something that would be made or filled in, or stands in the way: `what` of which thing, by line of the file."""

    kind: str
    name: str
    line: int
    what: str


class PreviewOut(msgspec.Struct, frozen=True, kw_only=True):
    """What a worklist does at a laboratory. `same`: so many things are there already as the file says them.

    `ignored` are columns that say nothing to central. Nothing can be done while there are `conflicts`.
    """

    site: str
    create: tuple[StepOut, ...]
    change: tuple[StepOut, ...]
    conflicts: tuple[StepOut, ...]
    same: int
    sera: int
    ignored: tuple[str, ...]
    digest: str


@post(
    "/worklists/preview",
    access=OPERATORS.with_key("samples:write"),
    status_code=200,
    request_max_body_size=MAX_WORKLIST_BODY,
    summary="What a worklist would do",
    description="Nothing is written. 422 with every error by line and column where the file is not understood whole.",
)
async def post_preview(request: CentralRequest, parts: Wired, site: SiteChoice = None) -> PreviewOut:
    """The preview of a worklist."""
    chosen = site_for(caller_sites(request), site)
    wanted = await worklist_of(await body_of(request))
    return preview_out(await importing.preview(parts.engine, chosen, wanted))


@post(
    "/worklists",
    access=OPERATORS.with_key("samples:write"),
    status_code=200,
    request_max_body_size=MAX_WORKLIST_BODY,
    summary="Register what a worklist says",
    description="All of it or nothing; the same file again changes nothing. 409 where something stands against it, or "
    "where it would not do what the preview said.",
)
async def post_worklist(
    request: CentralRequest, parts: Wired, digest: Digest, site: SiteChoice = None
) -> Response[PreviewOut]:
    """Do what the preview said."""
    chosen = site_for(caller_sites(request), site)
    wanted = await worklist_of(await body_of(request))
    with refusals():
        done = await importing.put(
            parts.engine,
            chosen,
            wanted,
            actor=actor_of(request),
            origin="worklist",
            now=parts.now(),
            digest=digest,
        )
    return Response(preview_out(done))


async def body_of(request: CentralRequest) -> bytes:
    """The body, no longer than a worklist may be."""
    try:
        return await request.body()
    except ClientException as error:
        raise ProblemError(
            error.status_code, f"{error.detail} (expected a file of at most {MAX_BYTES} bytes)"
        ) from error


async def worklist_of(content: bytes) -> Worklist:
    """What a file wants; every error of it where it is not understood."""
    with refusals():
        try:
            return await anyio.to_thread.run_sync(_parsed, content)
        except SheetError as error:
            raise ProblemError(422, str(error)) from error


def _parsed(content: bytes) -> Worklist:
    return parse(lines_of(content))


def preview_out(preview: Preview) -> PreviewOut:
    """A preview as the API shows it."""
    steps = {
        name: tuple(StepOut(**msgspec.structs.asdict(step)) for step in getattr(preview, name))
        for name in ("create", "change", "conflicts")
    }
    return PreviewOut(
        site=preview.site,
        same=preview.same,
        sera=preview.sera,
        ignored=preview.ignored,
        digest=preview.digest,
        **steps,
    )


HANDLERS = [post_preview, post_worklist]
