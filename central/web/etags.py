"""Strong ETags: whatever is read as JSON says which version it is, and is not sent again to who has it (304).

A thing's revision counts what people change of it; what is shown with it may change by itself. So a revision's tag is
lengthened by a digest of what is shown: `"7-9c1d…"`. As `If-Match` either says revision 7.
"""

import hashlib
import re
from typing import Any, Final

from litestar import Request, Response
from litestar.response.base import ASGIResponse

_REVISION: Final = re.compile(r'"([0-9]+)"')
_DIGEST_CHARACTERS: Final = 32


def matches(if_none_match: str, etag: str) -> bool:
    """Whether a request's `If-None-Match` names this version."""
    tags = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
    return etag in tags or "*" in tags


class _Versioned(Response[Any]):
    """An answer that knows its version once it is written."""

    def to_asgi_response(self, app: Any, request: Request[Any, Any, Any], **options: Any) -> ASGIResponse:
        """Itself, or 304 where the caller has it."""
        answer = super().to_asgi_response(app, request, **options)
        if request.method not in ("GET", "HEAD") or answer.status_code != 200 or not answer.body:
            return answer
        etag = _version(self.headers.get("etag"), answer.body)
        answer.headers["etag"] = etag
        if not matches(request.headers.get("if-none-match", ""), etag):
            return answer
        kept = {name: value for name, value in self.headers.items() if name != "etag"}
        unchanged = Response(None, status_code=304, headers=kept | {"etag": etag})
        return unchanged.to_asgi_response(None, request)


def _version(said: str | None, body: bytes) -> str:
    """What the route says of its version, with a digest where that is a revision only."""
    revision = None if said is None else _REVISION.fullmatch(said)
    if said is not None and revision is None:
        return said
    digest = hashlib.sha256(body).hexdigest()[:_DIGEST_CHARACTERS]
    return f'"{digest}"' if revision is None else f'"{revision[1]}-{digest}"'


async def versioned(response: Response[Any]) -> Response[Any]:
    """A router's `after_request`: plain answers get their version; files, streams and pages have their own ways."""
    if type(response) is not Response:
        return response
    return _Versioned(
        response.content,
        background=response.background,
        cookies=response.cookies,
        encoding=response.encoding,
        headers=response.headers,
        media_type=response.media_type,
        status_code=response.status_code,
        type_encoders=response.response_type_encoders,
    )
