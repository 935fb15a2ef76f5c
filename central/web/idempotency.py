"""A POST that says by `Idempotency-Key` which one it is has its effect once, however often it is sent.

The same key with the same request gets the first answer again; with another request 422; while the first one is worked
on, 409. A key means something to its caller only, for 24 hours. A refusal is not kept: nothing happened, so the same
key may try again. The note of a request is written before the request is worked on and its answer after, so one that
central did not survive stays without an answer: it is never worked on a second time, and who asks is told to look.
"""

import gzip
import hashlib
import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any, Final

import structlog
from litestar import Request, Response
from litestar.datastructures import Headers
from litestar.types import Message, Scope
from sqlalchemy import ColumnElement, delete, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from central.db import DATABASE_ERRORS, EFFECTS, Effects, insert_ignore, transaction
from central.seal import Seal, SealError
from central.tables import answers
from central.web.problems import ProblemError

HEADER: Final = "idempotency-key"
REPLAYED: Final = "idempotency-replayed"
KEPT_FOR: Final = timedelta(hours=24)
# Longer than any request of ours is worked on.
WORKED_ON: Final = timedelta(minutes=2)

# The draft writes it as a string in quotes, and everybody without.
_KEY: Final = re.compile(r'"([\x21\x23-\x7e]{1,255})"|([\x21\x23-\x7e]{1,255})')
_KEPT: Final = ("content-type", "etag", "location", "content-disposition")
_STATE: Final = "first_answer"

_log: Final = structlog.get_logger(__name__)


class ReplayError(Exception):
    """The answer is known: it was given before."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        """As it was."""
        super().__init__("answered before")
        self.status, self.headers, self.body = status, headers, body


@dataclass(slots=True)
class _First:
    """A request that is worked on, and its answer as far as it is there."""

    engine: AsyncEngine
    seal: Seal
    caller: str
    key: str
    effects: Effects
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    packed: bool = False
    body: bytes = b""


async def begin(request: Request[Any, Any, Any], engine: AsyncEngine, seal: Seal, caller: str, now: datetime) -> None:
    """Note a request that names itself; ReplayError or a ProblemError where it was sent before."""
    said = request.headers.get(HEADER)
    if said is None or request.method != "POST":
        return
    found = _KEY.fullmatch(said.strip())
    if found is None:
        raise ProblemError(400, f"{HEADER} {said[:40]!r} (expected 1 to 255 printable characters without spaces)")
    key = found[1] or found[2]
    fingerprint = await _fingerprint(request)
    row = {"caller": caller, "key": key, "fingerprint": fingerprint, "begun_at": now}
    async with transaction(engine) as connection:
        await connection.execute(delete(answers).where(answers.c.begun_at < now - KEPT_FOR))
        noted = await connection.execute(insert_ignore(engine.dialect.name, answers).values(row))
        known = None
        if not noted.rowcount:
            known = (await connection.execute(select(answers).where(*_is(caller, key)))).one_or_none()
    if known is not None:
        _answer_again(known, fingerprint, seal, now)
    effects = Effects()
    EFFECTS.set(effects)
    request.scope.setdefault("state", {})[_STATE] = _First(engine, seal, caller, key, effects)


def _answer_again(known: Any, fingerprint: str, seal: Seal, now: datetime) -> None:
    if known.fingerprint != fingerprint:
        raise ProblemError(422, f"{HEADER} {known.key[:40]!r} was another request's (expected a new key)")
    if known.status is None and now - known.begun_at < WORKED_ON:
        raise ProblemError(409, "the same request is being worked on (try again in a moment)", {"retry-after": "1"})
    try:
        body = b"" if known.status is None else seal.open(known.body, _owner(known.caller, known.key))
    except SealError:
        known = None
    if known is None or known.status is None:
        raise ProblemError(409, "the same request was broken off: look whether it was done (expected a new key if not)")
    raise ReplayError(known.status, dict(known.headers), body)


async def _fingerprint(request: Request[Any, Any, Any]) -> str:
    asked = (request.method, request.url.path, request.url.query, request.headers.get("if-match", ""))
    digest = hashlib.sha256("\n".join(asked).encode("utf-8", "surrogatepass") + b"\n")
    digest.update(await request.body())
    return digest.hexdigest()


def replayed(_request: Request[Any, Any, Any], error: ReplayError) -> Response[bytes]:
    """The first answer again."""
    kept = {name: value for name, value in error.headers.items() if name != "content-type"}
    kind = error.headers.get("content-type", "application/json")
    return Response(error.body, status_code=error.status, headers=kept | {REPLAYED: "true"}, media_type=kind)


async def keep_answer(message: Message, scope: Scope) -> None:
    """Litestar's `before_send` hook: an answer is kept before the caller has it."""
    first = scope.get("state", {}).get(_STATE)
    if not isinstance(first, _First):
        return
    if message["type"] == "http.response.start":
        headers = Headers(message["headers"])
        first.status = message["status"]
        first.packed = headers.get("content-encoding") == "gzip"
        first.headers = {name: headers[name] for name in _KEPT if name in headers}
    elif message["type"] == "http.response.body":
        first.body += message["body"]
        if not message.get("more_body"):
            del scope["state"][_STATE]
            await _finish(first)


async def _finish(first: _First) -> None:
    """Keep what was done; forget what was refused. The caller has his answer either way."""
    try:
        async with transaction(first.engine) as connection:
            if first.status < HTTPStatus.BAD_REQUEST:
                body = gzip.decompress(first.body) if first.packed else first.body
                sealed = first.seal.close(body, _owner(first.caller, first.key))
                values = {"status": first.status, "headers": first.headers, "body": sealed}
                await connection.execute(update(answers).where(*_is(first.caller, first.key)).values(values))
            elif not _in_doubt(first):
                await connection.execute(delete(answers).where(*_is(first.caller, first.key)))
    except DATABASE_ERRORS:
        _log.warning("answer_not_kept", caller=first.caller, status=first.status)


def _in_doubt(first: _First) -> bool:
    """Nobody knows whether something was done: an error of ours, or a database that went away around a commit."""
    unavailable = first.status == HTTPStatus.SERVICE_UNAVAILABLE and first.effects.possible
    return first.status == HTTPStatus.INTERNAL_SERVER_ERROR or unavailable


def _is(caller: str, key: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return answers.c.caller == caller, answers.c.key == key


def _owner(caller: str, key: str) -> str:
    return f"answer\n{caller}\n{key}"
