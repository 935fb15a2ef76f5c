"""The one map from exceptions to answers: RFC 9457 problem+json for the API, a plain page for people.

`title` is the reason phrase, `detail` says what was found and expected, `errors[]` points at fields, `request_id`
finds the line in the log. What nobody foresaw is a 500 that says nothing else.
"""

import errno
import traceback
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.response import Redirect, Template

from central.db import DATABASE_ERRORS, row_at_fault
from central.people.callers import NotSignedInError, TooManyTriesError
from central.web.headers import request_id_of
from central.web.refusals import operation_of

log: Final = structlog.get_logger(__name__)

PROBLEM_TYPE: Final = "application/problem+json"


class FieldError(msgspec.Struct, frozen=True):
    """One field that is wrong: `pointer` is a JSON pointer into the body, or `#/query/<name>`."""

    pointer: str
    detail: str


class Problem(msgspec.Struct, frozen=True):
    """RFC 9457 problem details."""

    status: int
    title: str
    detail: str
    request_id: str
    type: str = "about:blank"
    errors: tuple[FieldError, ...] = ()


class ProblemError(Exception):
    """A refusal with its status, said by a route: `raise ProblemError(404, "no run …")`."""

    def __init__(
        self,
        status: int,
        detail: str,
        headers: Mapping[str, str] | None = None,
        errors: Sequence[FieldError] = (),
    ) -> None:
        """`detail` and `errors` are shown to the caller."""
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})
        self.errors = tuple(errors)


def to_response(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """The answer to a request that ended in this exception."""
    status, detail, headers = _facts(error)
    if status >= 500:
        # As text: a log's own renderer may print local variables, and those hold passwords.
        trace = "".join(traceback.format_exception(error))
        log.error("request_failed", request_id=request_id(request), operation=operation_of(request.scope), trace=trace)
    _note(request, status)
    wants_page = not request.url.path.startswith(("/api", "/healthz", "/readyz", "/metrics"))
    if wants_page and isinstance(error, NotSignedInError):
        return _to_sign_in(request)
    problem = Problem(status, HTTPStatus(status).phrase, detail, request_id(request), errors=_field_errors(error))
    if wants_page:
        return Template(
            "problem.html", context={"problem": problem, "person": None}, status_code=status, headers=headers
        )
    return Response(problem, status_code=status, headers=headers, media_type=PROBLEM_TYPE)


def _note(request: Request[Any, Any, Any], status: int) -> None:
    """In the log, once central has started."""
    parts = getattr(request.app.state, "parts", None)
    if parts is not None:
        parts.refusals.note(request.scope, status, parts.now())


def request_id(request: Request[Any, Any, Any]) -> str:
    """The id that the request was given when it came in."""
    return request_id_of(request.scope)


def _facts(error: Exception) -> tuple[int, str, dict[str, str]]:
    """Status, detail and headers."""
    error = _their_fault(error) or error
    match error:
        case ProblemError():
            return error.status, error.detail, error.headers
        case NotSignedInError():
            return 401, str(error), {"www-authenticate": 'Bearer realm="wellread"'}
        case TooManyTriesError():
            return 429, str(error), {"retry-after": str(int(error.wait_s) + 1)}
        case HTTPException() if error.status_code < 500:
            return error.status_code, error.detail, dict(error.headers or {})
        case _ if isinstance(error, DATABASE_ERRORS) and not row_at_fault(error):
            # Connecting, a query, a disk that is full: the world's fault, and it passes.
            return 503, "database or disk do not answer; try again in a moment", {"retry-after": "5"}
        case _:
            return 500, "something went wrong here; the request id finds it in the log", {}


def _their_fault(error: Exception) -> ProblemError | None:
    """What the framework takes for an error of ours: JSON nested without end, a file name that no disk can hold."""
    if isinstance(error, RecursionError) and "deserializing" in str(error):
        return ProblemError(400, "the body is nested too deeply")
    if getattr(error.__cause__, "errno", None) == errno.ENAMETOOLONG or str(error).startswith("embedded null"):
        return ProblemError(404, "Not Found")
    return None


def _field_errors(error: Exception) -> tuple[FieldError, ...]:
    """Litestar's list of invalid fields, as pointers; or what a route itself says."""
    if isinstance(error, ProblemError):
        return error.errors
    extra = getattr(error, "extra", None)
    if not isinstance(error, HTTPException) or not isinstance(extra, list):
        return ()
    found = []
    for entry in extra:
        key, source = str(entry.get("key", "")), str(getattr(entry.get("source"), "value", "body"))
        pointer = "/" + key.replace(".", "/") if source == "body" else f"#/{source}/{key}"
        found.append(FieldError(pointer, str(entry.get("message", ""))))
    return tuple(found)


def _to_sign_in(request: Request[Any, Any, Any]) -> Redirect:
    """Send a person to the sign-in page, and back afterwards if that is a page."""
    path = request.url.path
    if request.method != "GET" or path == "/":
        return Redirect("/sign-in")
    query = f"?{request.url.query}" if request.url.query else ""
    return Redirect(f"/sign-in?next={quote(path + query, safe='/')}")
