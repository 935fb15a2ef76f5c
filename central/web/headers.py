"""What every answer carries, errors and unknown paths too: a request id and the browser's safety belts.

The content policy allows nothing from elsewhere and nothing inline, so that a hostile plate name that slipped through
escaping would still not run, and every page works without internet.
"""

import re
import secrets
from collections.abc import Awaitable, Callable
from typing import Final

from litestar.datastructures import MutableScopeHeaders
from litestar.types import Message, Scope

CONTENT_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
# A year, as browsers' own lists ask; names below ours are ours, and must be reached by HTTPS as well.
TRANSPORT_POLICY: Final = "max-age=31536000; includeSubDomains"
_NOT_IN_A_NAME: Final = re.compile(r"[^A-Za-z0-9._-]")
_ALWAYS: Final = {
    "content-security-policy": CONTENT_POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # Not `no-referrer`: that would make the Origin of our own forms `null`.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


def request_id_of(scope: Scope) -> str:
    """The id of this request, made the first time that anyone asks."""
    state = scope.setdefault("state", {})
    return str(state.setdefault("request_id", secrets.token_hex(8)))


def attachment(name: str) -> str:
    """`Content-Disposition` of a file to be kept: no sign of its name ends the name, or the header (RFC 6266)."""
    return f'attachment; filename="{_NOT_IN_A_NAME.sub("_", name)}"'


def safety_headers(*, over_https: bool) -> Callable[[Message, Scope], Awaitable[None]]:
    """Litestar's `before_send` hook; `over_https` adds HSTS."""
    fixed = _ALWAYS | ({"strict-transport-security": TRANSPORT_POLICY} if over_https else {})

    async def add(message: Message, scope: Scope) -> None:
        if message["type"] != "http.response.start":
            return
        headers = MutableScopeHeaders.from_message(message)
        for name, value in fixed.items():
            headers[name] = value
        headers["x-request-id"] = request_id_of(scope)
        headers.setdefault("cache-control", "no-store")

    return add
