"""The guard that holds every route to what it says of who may call it. What says nothing is refused.

Order of the guard: who is it (401), may they (403), and did the request come from one of our own pages (403). A
bearer token cannot be sent by a foreign page, so only a cookie's POST needs the CSRF token.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import urlsplit

from litestar import Litestar, Request, WebSocket
from litestar.connection import ASGIConnection
from litestar.exceptions import PermissionDeniedException, WebSocketException
from litestar.handlers import BaseRouteHandler
from litestar.routes import HTTPRoute, WebSocketRoute

from central.db import reading
from central.fleet.devices import authenticate_device
from central.parts import Parts
from central.people import keys
from central.people.callers import DeviceCaller, KeyCaller, NotSignedInError, Person
from central.people.permissions import ANYONE, NOBODY, REVIEWERS, VIEWERS, Access
from central.web import idempotency
from central.web.limits import take_turn
from central.web.problems import ProblemError

_COOKIE: Final = "wellread_session"
CSRF_HEADER: Final = "x-csrf-token"
CSRF_FIELD: Final = "csrf_token"


# The framework's own routes, which cannot say it themselves.
FRAMEWORK: Final[dict[str, Access]] = {
    "GET /static/{file_path}": ANYONE,
    "HEAD /static/{file_path}": ANYONE,
    "GET /swagger-ui/{file_path}": ANYONE,
    "HEAD /swagger-ui/{file_path}": ANYONE,
    "GET /api/{path}": ANYONE,  # its "not found" below /api
    "GET /api": VIEWERS,
    "GET /api/openapi.json": VIEWERS,
}

# What somebody does with their own account, and leaving.
_OF_ONESELF: Final = ("/account", "/sign-out", "/api/v1/users/me", "/api/v1/sessions", "/api/v1/tokens")

# Stands where a request has its method.
SOCKET: Final = "SOCKET"

_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})


def session_cookie(secure: bool) -> str:
    """The name of a page's cookie. `__Host-` binds it to this host and to HTTPS: no neighbour can set it."""
    return f"__Host-{_COOKIE}" if secure else _COOKIE


def operation(method: str, path_template: str) -> str:
    """The name of a route: `GET /runs/{run_id}`."""
    return f"{method} {path_template}"


def access_of(handler: BaseRouteHandler, name: str) -> Access:
    """Who may call this operation: what its handler says; nobody where nothing is said."""
    said = handler.opt.get("access", FRAMEWORK.get(name, NOBODY))
    assert isinstance(said, Access), f"{name}: access={said!r} (expected an Access)"
    return said


def operations(app: Litestar) -> dict[str, Access]:
    """Who may call each operation of an app, by its name."""
    found = {}
    for route in app.routes:
        if isinstance(route, WebSocketRoute):
            name = operation(SOCKET, route.path_format)
            found[name] = access_of(route.route_handler, name)
            continue
        assert isinstance(route, HTTPRoute), f"{route.path}: {type(route).__name__} (expected HTTP or a socket)"
        for handler in route.route_handlers:
            for method in handler.http_methods - {"OPTIONS"}:
                name = operation(method, route.path_format)
                found[name] = access_of(handler, name)
    return found


async def authorise(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Guard of every route: sets `connection.user`, or raises."""
    if isinstance(connection, WebSocket):
        with _as_close_code():
            await _authorise(connection, handler, SOCKET)
        return
    method = str(connection.scope["method"])  # type: ignore[typeddict-item]
    if method != "OPTIONS":  # which answers only which methods a path has
        await _authorise(connection, handler, method)


@contextmanager
def _as_close_code() -> Iterator[None]:
    """A socket that is refused is closed, with 4000 and the status that a request would have had."""
    try:
        yield
    except NotSignedInError as error:
        raise WebSocketException(detail=str(error), code=4401) from error
    except (ProblemError, PermissionDeniedException) as error:
        status = error.status if isinstance(error, ProblemError) else error.status_code
        raise WebSocketException(detail=error.detail, code=4000 + status) from error


async def _authorise(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler, method: str) -> None:
    access = access_of(handler, operation(method, connection.scope["path_template"]))
    if access == NOBODY:
        raise PermissionDeniedException("this operation is open to nobody")
    parts: Parts = connection.app.state.parts
    caller = await _known(connection, parts, handler, required=not access.anyone)
    connection.scope["user"] = caller
    if not access.anyone and not _may(caller, access):
        raise PermissionDeniedException(f"not open to {_words(caller)} (expected {access.words})")
    if not access.anyone and parts.settings.require_totp and _lacks_codes(caller, connection.scope["path"]):
        raise PermissionDeniedException("set up one-time codes first (on the page of your account)")
    if method == SOCKET:
        _check_page(connection, parts, must_say="authorization" not in connection.headers)
    elif method not in _SAFE:
        assert isinstance(connection, Request)
        # What is open to anyone does nothing in the name of who happens to be signed in.
        await _check_origin(connection, parts, None if access.anyone else caller)
        if caller is not None and not access.anyone:
            await idempotency.begin(connection, parts.engine, parts.people.seal, caller_name(caller), parts.now())


async def still_may(connection: ASGIConnection[Any, Any, Any, Any], access: Access) -> bool:
    """Whether who opened a stream may still listen, to the same things: it may last longer than a sign-in."""
    before = connection.scope["user"]
    try:
        caller = await _caller(connection, connection.app.state.parts, required=True, seen=False)
    except NotSignedInError:
        return False
    return _may(caller, access) and getattr(caller, "sites", None) == getattr(before, "sites", None)


async def _known(
    connection: ASGIConnection[Any, Any, Any, Any], parts: Parts, handler: BaseRouteHandler, *, required: bool
) -> Person | KeyCaller | DeviceCaller | None:
    """Who it is, and not one request too many. Probes are not counted: a flood must not look like a fault."""
    per_minute = parts.settings.requests_per_minute
    caller = None
    try:
        caller = await _caller(connection, parts, required=required)
    finally:
        if not handler.opt.get("uncounted"):
            take_turn(connection, parts.rates, caller, per_minute, parts.now())
    return caller


def _may(caller: Person | KeyCaller | DeviceCaller | None, access: Access) -> bool:
    if isinstance(caller, DeviceCaller):
        return access.device
    if isinstance(caller, KeyCaller):
        return access.scope in caller.scopes
    return caller is not None and access.allows(caller.role)


def _lacks_codes(caller: Person | KeyCaller | DeviceCaller | None, path: str) -> bool:
    """Whether somebody who must have one-time codes has none yet, and is not about to set them up."""
    must = isinstance(caller, Person) and REVIEWERS.allows(caller.role) and not caller.has_code
    return must and not path.startswith(_OF_ONESELF)


def caller_name(caller: Person | KeyCaller | DeviceCaller) -> str:
    """A name for whoever calls that nobody else has."""
    kind = {Person: "person", KeyCaller: "key", DeviceCaller: "device"}[type(caller)]
    return f"{kind}:{caller.id}"


def _words(caller: Person | KeyCaller | DeviceCaller | None) -> str:
    match caller:
        case DeviceCaller():
            return "a device"
        case KeyCaller():
            return f"a key for {', '.join(sorted(caller.scopes)) or 'nothing'}"
        case Person():
            return f"a {caller.role}"
        case None:
            return "nobody"


async def _caller(
    connection: ASGIConnection[Any, Any, Any, Any], parts: Parts, *, required: bool, seen: bool = True
) -> Person | KeyCaller | DeviceCaller | None:
    """Who it is, by bearer token or by session cookie; `seen` counts as a use of the session."""
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    if scheme:
        if not required:
            return None  # sign-in and enrolment bring their own proof
        return await _bearer(parts, scheme, token.strip(), seen=seen)
    session = connection.cookies.get(session_cookie(parts.settings.secure_cookies))
    if session is None:
        if required:
            raise NotSignedInError("not signed in (expected a bearer token or a session)")
        return None
    try:
        return await parts.people.of_token(session, "pages", seen=seen)
    except NotSignedInError:
        if required:
            raise
        return None


async def _bearer(parts: Parts, scheme: str, token: str, *, seen: bool) -> Person | KeyCaller | DeviceCaller:
    """A person's JSON web token has two dots, a machine's key begins with `wr_`; else it is a device's upload token."""
    if scheme.lower() != "bearer":
        # Not said which: whoever forgets the word sends the token in its place.
        raise NotSignedInError("another authorization scheme (expected Bearer)")
    if token.count(".") == 2:
        return await parts.people.of_token(token, "api", seen=seen)
    if token.startswith(keys.PREFIX):
        return await keys.caller_of(parts.engine, token, parts.now())
    async with reading(parts.engine) as connection:
        device_id = await authenticate_device(connection, token)
    if device_id is None:
        raise NotSignedInError("the bearer token is not valid (any more)")
    return DeviceCaller(device_id)


async def _check_origin(
    request: Request[Any, Any, Any], parts: Parts, caller: Person | KeyCaller | DeviceCaller | None
) -> None:
    """Refuse what a foreign page made a browser send."""
    if "authorization" in request.headers:
        return
    _check_page(request, parts, must_say=False)
    if isinstance(caller, Person) and caller.session is not None:
        found = request.headers.get(CSRF_HEADER) or str((await request.form()).get(CSRF_FIELD, ""))
        if not parts.people.key.is_csrf_token(caller.session.token_id, found):
            raise PermissionDeniedException(f"the {CSRF_FIELD} is missing or stale (open the page again)")


def _check_page(connection: ASGIConnection[Any, Any, Any, Any], parts: Parts, *, must_say: bool) -> None:
    """Refuse a page that is not ours; `must_say`: and one that does not say (for sockets every browser does)."""
    site = connection.headers.get("sec-fetch-site")
    if site is not None and site not in ("same-origin", "none"):
        raise PermissionDeniedException(f"sent by a {site} page (expected one of our own)")
    origin = connection.headers.get("origin")
    ours = {connection.headers.get("host"), urlsplit(parts.public_url).netloc}
    if must_say and origin is None:
        raise PermissionDeniedException("no origin said (expected one of our own pages)")
    if origin is not None and urlsplit(origin).netloc not in ours:
        raise PermissionDeniedException("sent by a page of another origin (expected one of our own)")
