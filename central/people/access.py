"""Who may do what: one table, and the guard that holds every route to it. What is not in the table is refused.

Order of the guard: who is it (401), may they (403), and did the request come from one of our own pages (403). A
bearer token cannot be sent by a foreign page, so only a cookie's POST needs the CSRF token.
"""

from enum import StrEnum
from typing import Any, Final
from urllib.parse import urlsplit

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.exceptions import PermissionDeniedException
from litestar.handlers import BaseRouteHandler

from central.db import reading
from central.fleet.devices import authenticate_device
from central.parts import Parts
from central.people.auth import DeviceCaller, NotSignedInError, Person

SESSION_COOKIE: Final = "wellread_session"
CSRF_HEADER: Final = "x-csrf-token"
CSRF_FIELD: Final = "csrf_token"


class Who(StrEnum):
    """The kinds of caller."""

    ANYONE = "anyone"
    VIEWER = "viewer"
    ADMIN = "admin"
    DEVICE = "device"


_ANYONE: Final = frozenset(Who)
_PEOPLE: Final = frozenset({Who.VIEWER, Who.ADMIN})
_ADMIN: Final = frozenset({Who.ADMIN})
_DEVICE: Final = frozenset({Who.DEVICE})

ACCESS: Final[dict[str, frozenset[Who]]] = {
    "GET /healthz": _ANYONE,
    "GET /readyz": _ANYONE,
    "GET /metrics": _ANYONE,
    "GET /static/{file_path}": _ANYONE,
    "HEAD /static/{file_path}": _ANYONE,
    "GET /swagger-ui/{file_path}": _ANYONE,
    "HEAD /swagger-ui/{file_path}": _ANYONE,
    "GET /api/{path}": _ANYONE,  # the framework's "not found" below /api
    "GET /sign-in": _ANYONE,
    "POST /sign-in": _ANYONE,
    "POST /api/v1/tokens": _ANYONE,
    "POST /api/v1/enrolments": _ANYONE,  # the claim code is the credential
    "POST /sign-out": _PEOPLE,
    "GET /": _PEOPLE,
    "GET /runs/{run_id}": _PEOPLE,
    "GET /submissions": _PEOPLE,
    "GET /submissions/{submission}": _PEOPLE,
    "GET /devices": _PEOPLE,
    "GET /devices/{device_id}": _PEOPLE,
    "POST /devices/claims": _ADMIN,
    "POST /devices/{device_id}/revoke": _ADMIN,
    "GET /api": _PEOPLE,
    "GET /api/openapi.json": _PEOPLE,
    "GET /api/v1/users/me": _PEOPLE,
    "GET /api/v1/runs": _PEOPLE,
    "GET /api/v1/runs/{run_id}": _PEOPLE,
    "GET /api/v1/submissions": _PEOPLE,
    "GET /api/v1/submissions/{submission}": _PEOPLE,
    "GET /api/v1/submissions/{submission}/labware.csv": _PEOPLE,
    "GET /api/v1/events": _PEOPLE,
    "GET /api/v1/devices": _PEOPLE,
    "GET /api/v1/devices/{device_id}": _PEOPLE,
    "POST /api/v1/devices/{device_id}/revoke": _ADMIN,
    "POST /api/v1/claims": _ADMIN,
    "GET /api/v1/dead-letters": _ADMIN,
    "GET /api/v1/dead-letters/{number}/payload": _ADMIN,
    "GET /api/v1/images/{sha256}": _PEOPLE,
    "HEAD /api/v1/images/{sha256}": _DEVICE,
    "PUT /api/v1/images/{sha256}": _DEVICE,
}

_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})


def operation(method: str, path_template: str) -> str:
    """The key of a route in `ACCESS`."""
    return f"{method} {path_template}"


async def authorise(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """Guard of every route: sets `connection.user`, or raises."""
    assert isinstance(connection, Request)
    method = connection.scope["method"]
    if method == "OPTIONS":  # answers only which methods a path has
        return
    allowed = ACCESS.get(operation(method, connection.scope["path_template"]), frozenset())
    if not allowed:
        raise PermissionDeniedException("this operation is open to nobody")
    parts: Parts = connection.app.state.parts
    public = Who.ANYONE in allowed
    caller = await _caller(connection, parts, required=not public)
    connection.scope["user"] = caller
    if not public and _kind(caller) not in allowed:
        raise PermissionDeniedException(f"not open to a {_kind(caller)} (expected {' or '.join(sorted(allowed))})")
    if method not in _SAFE:
        await _check_origin(connection, parts, caller)


def _kind(caller: Person | DeviceCaller | None) -> Who:
    if isinstance(caller, DeviceCaller):
        return Who.DEVICE
    return Who.ANYONE if caller is None else Who(caller.role)


async def _caller(connection: Request[Any, Any, Any], parts: Parts, *, required: bool) -> Person | DeviceCaller | None:
    """Who it is, by bearer token or by session cookie."""
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    if scheme:
        if not required:
            return None  # sign-in and enrolment bring their own proof
        return await _bearer(parts, scheme, token.strip())
    session = connection.cookies.get(SESSION_COOKIE)
    if session is None:
        if required:
            raise NotSignedInError("not signed in (expected a bearer token or a session)")
        return None
    try:
        return await parts.people.of_token(session, "pages")
    except NotSignedInError:
        if required:
            raise
        return None


async def _bearer(parts: Parts, scheme: str, token: str) -> Person | DeviceCaller:
    """A person's JSON web token has two dots; a device's upload token has none."""
    if scheme.lower() != "bearer":
        raise NotSignedInError(f"authorization scheme {scheme[:20]!r} (expected Bearer)")
    if token.count(".") == 2:
        return await parts.people.of_token(token, "api")
    async with reading(parts.engine) as connection:
        device_id = await authenticate_device(connection, token)
    if device_id is None:
        raise NotSignedInError("the bearer token is not valid (any more)")
    return DeviceCaller(device_id)


async def _check_origin(request: Request[Any, Any, Any], parts: Parts, caller: Person | DeviceCaller | None) -> None:
    """Refuse what a foreign page made a browser send."""
    if "authorization" in request.headers:
        return
    site = request.headers.get("sec-fetch-site")
    if site is not None and site not in ("same-origin", "none"):
        raise PermissionDeniedException(f"sent by a {site} page (expected one of our own)")
    origin = request.headers.get("origin")
    ours = {request.headers.get("host"), urlsplit(parts.public_url).netloc}
    if origin is not None and urlsplit(origin).netloc not in ours:
        raise PermissionDeniedException("sent by a page of another origin (expected one of our own)")
    if isinstance(caller, Person) and caller.session is not None:
        found = request.headers.get(CSRF_HEADER) or str((await request.form()).get(CSRF_FIELD, ""))
        if not parts.people.key.is_csrf_token(caller.session.token_id, found):
            raise PermissionDeniedException(f"the {CSRF_FIELD} is missing or stale (open the page again)")
