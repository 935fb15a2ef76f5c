"""`/api/v1/delivery-previews`: what a dialect makes of something now. Nothing is kept and nothing is sent."""

import base64
import hashlib
from typing import Annotated, Final

import msgspec
from litestar import post
from litestar.params import JSONBody

from central.api.delivery_rules import dialect_of
from central.api.paths import missing
from central.db import one_moment
from central.deliveries.dialect import Dialect
from central.deliveries.preview import LeftOut, Preview, Previewed, UnknownSubjectError, preview
from central.deliveries.render import RenderError
from central.parts import CentralRequest, Wired, caller_sites
from central.people.permissions import VIEWERS
from central.web.problems import ProblemError

_ID: Final = r"^[0-9a-f-]{36}$(?!\n)"


class PreviewIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Of what, by its id, and in which dialect: a shipped one by its name, or one that is written here."""

    of: Previewed
    id: Annotated[str, msgspec.Meta(pattern=_ID)]
    dialect: Annotated[str, msgspec.Meta(max_length=64, examples=["titres"])] | None = None
    dialect_toml: Annotated[str, msgspec.Meta(max_length=20_000)] | None = None


class PreviewOut(msgspec.Struct, frozen=True, kw_only=True):
    """The file as it would be now, as text or, where it is none, as base64; what it leaves out, and why.

    `against` says what stands against sending it now: empty where it would be sent.
    """

    name: str
    media_type: str
    bytes: int
    sha256: str
    text: str | None
    base64: str | None
    left_out: tuple[LeftOut, ...]
    against: tuple[str, ...]


@post(
    "/delivery-previews",
    access=VIEWERS.with_key("results:read"),
    status_code=200,
    summary="Preview a file",
    description="Nothing is kept and nothing is sent. 409 where the dialect cannot say these results.",
)
async def post_preview(request: CentralRequest, parts: Wired, data: JSONBody[PreviewIn]) -> PreviewOut:
    """What there would be."""
    dialect = dialect_of(data.dialect, data.dialect_toml)
    async with one_moment(parts.engine) as connection:
        try:
            found = await preview(connection, data.of, data.id, dialect, sites=caller_sites(request), now=parts.now())
        except UnknownSubjectError as error:
            raise missing(data.of, data.id) from error
        except RenderError as error:
            raise ProblemError(409, str(error)) from error
    return preview_out(dialect, found)


def preview_out(dialect: Dialect, found: Preview) -> PreviewOut:
    """A preview as programs get it."""
    file = found.file
    text = text_of(dialect, found)
    return PreviewOut(
        name=file.name,
        media_type=file.media_type,
        bytes=len(file.content),
        sha256=hashlib.sha256(file.content).hexdigest(),
        text=text,
        base64=base64.b64encode(file.content).decode() if text is None else None,
        left_out=found.left_out,
        against=found.against,
    )


def text_of(dialect: Dialect, found: Preview) -> str | None:
    """What people can read of the file; None of a workbook."""
    if dialect.shape == "xlsx":
        return None
    return found.file.content.decode("utf-8" if dialect.shape == "asm" else dialect.encoding)


HANDLERS: Final = (post_preview,)
