"""A tiny web server for tests: one function per request, on a free port of loopback."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


@dataclass(frozen=True)
class Request:
    """What a client asked."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Answer:
    """What it is told; `cut` closes the connection without a word instead."""

    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    cut: bool = False


@contextmanager
def serving(answer: Callable[[Request], Answer]) -> Iterator[str]:
    """The address of a server that answers as the function says."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def reply(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            made = answer(Request(self.command, self.path, dict(self.headers), body))
            self.close_connection = made.cut
            if made.cut:
                return
            self.send_response(made.status)
            for name, value in (*made.headers, ("Content-Length", str(len(made.body)))):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(made.body)

        do_GET = do_POST = do_PUT = do_HEAD = reply  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Tests say what matters themselves."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
