"""One request straight into the app, byte by byte as written: no client library mends it on the way."""

import asyncio
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from litestar import Litestar

from tests.security.hostile import Request


@dataclass(frozen=True)
class Answer:
    """What came back, and which operation the app says it was."""

    status: int
    headers: dict[str, str]
    body: bytes
    scope: dict[str, Any]


async def send(app: Litestar, request: Request, credentials: tuple[tuple[str, str], ...] = ()) -> Answer:
    """The answer; an endless stream is left after its first bytes."""
    headers = [("host", "testserver.local"), *credentials, *request.headers]
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": "http",
        "path": _decoded(request.path),
        "raw_path": request.path.encode("latin-1", "replace"),
        "query_string": request.query.encode(),
        "root_path": "",
        "headers": [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers],
        "client": ("127.0.0.1", 50000),
        "server": ("testserver.local", 80),
        "state": dict(app.state),
        "extensions": {},
    }
    parts = [{"type": "http.request", "body": request.body, "more_body": False}]
    found: dict[str, Any] = {"status": 0, "headers": {}, "body": b""}

    async def receive() -> Any:
        if parts:
            return parts.pop()
        await asyncio.sleep(0)
        return {"type": "http.disconnect"}

    async def take(message: Any) -> None:
        if message["type"] == "http.response.start":
            found["status"] = message["status"]
            found["headers"] = {
                name.decode("latin-1").lower(): value.decode("latin-1") for name, value in message["headers"]
            }
        elif message["type"] == "http.response.body":
            found["body"] += message.get("body", b"")

    await asyncio.wait_for(app(scope, receive, take), 20)  # type: ignore[arg-type]
    return Answer(found["status"], found["headers"], found["body"], scope)


def _decoded(path: str) -> str:
    """As a server does it: percent signs undone once, what is no UTF-8 replaced."""
    return unquote(path)
