"""The example of a proxy with TLS, run: which TLS it speaks, what it tells central, and that nothing is smuggled by it.

Needs nginx, which a test machine may lack; the requests that parsers disagree about are tried on the web server alone.
"""

import asyncio
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from tests.central.waiting import until
from tests.security.test_lines import authority, says_hello

ROOT = Path(__file__).parents[2]
CONF = ROOT / "provisioning" / "central" / "nginx.conf"
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")

pytestmark = [pytest.mark.anyio, pytest.mark.system]
needs_nginx = pytest.mark.skipif(NGINX is None, reason="no nginx on this machine")

# Each is one request at most, whatever a parser makes of its length; the inner one must never be answered.
INNER = b"GET /inner HTTP/1.1\r\nHost: x\r\n\r\n"
AMBIGUOUS = {
    "two lengths": b"Content-Length: 5\r\nContent-Length: 0\r\n\r\n",
    "length and chunks": b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\nContent-Length: 0\r\n\r\n",
    "chunks with a tab": b"Transfer-Encoding:\tchunked, identity\r\nContent-Length: 0\r\n\r\n",
    "a blank before the colon": b"Content-Length : 0\r\nTransfer-Encoding : chunked\r\n\r\n",
    "a length with a sign": b"Content-Length: +0\r\n\r\n",
    "a length in hexadecimal": b"Content-Length: 0x0\r\n\r\n",
    "a folded header": b"X: a\r\n Content-Length: 0\r\nContent-Length: 0, 0\r\n\r\n",
}


class Heard:
    """An application that writes down what reaches it."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.requests: list[tuple[str, dict[str, str]]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Take the body, answer 200."""
        headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
        self.requests.append((scope["path"], headers))
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    @property
    def paths(self) -> list[str]:
        """What was asked for."""
        return [path for path, _ in self.requests]


@asynccontextmanager
async def listening() -> AsyncIterator[tuple[int, Heard]]:
    """The web server that central runs on, with its parser; the port."""
    heard = Heard()
    server = uvicorn.Server(uvicorn.Config(heard, port=0, log_config=None, lifespan="off", server_header=False))
    running = asyncio.create_task(server.serve())
    await until(lambda: server.started, "the web server")
    try:
        yield server.servers[0].sockets[0].getsockname()[1], heard
    finally:
        server.should_exit = True
        await running


@contextmanager
def proxy(folder: Path, central: int) -> Iterator[tuple[int, int]]:
    """The example before this port, with its names, files and ports put in; its own ports, with and without TLS."""
    ports = []
    for _ in range(2):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            ports.append(int(free.getsockname()[1]))
    authority(folder, "central", "central.example")
    text = CONF.read_text().replace("127.0.0.1:8000", f"127.0.0.1:{central}")
    text = text.replace("listen 443 ssl", f"listen 127.0.0.1:{ports[0]} ssl").replace(
        "listen 80;", f"listen 127.0.0.1:{ports[1]};"
    )
    text = text.replace("/etc/wellread/tls", str(folder)).replace("/var/log/nginx", str(folder))
    paths = "\n".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    begin = f"daemon off; pid {folder}/pid; error_log {folder}/errors;\nevents {{}}\n"
    # As Debian has it: whatever a server of ours says nothing about is written there, whole.
    whole = f"{begin}http {{\naccess_log {folder}/access.log;\n{paths}\n{text}\n}}\n"
    (folder / "nginx.conf").write_text(whole)
    words = [str(NGINX), "-p", str(folder), "-e", str(folder / "errors"), "-c", str(folder / "nginx.conf")]
    with subprocess.Popen(words) as process:
        try:
            yield ports[0], ports[1]
        finally:
            process.terminate()


def trusting(folder: Path) -> ssl.SSLContext:
    """Whoever believes the proxy's authority."""
    return ssl.create_default_context(cafile=str(folder / "central.crt"))


async def said(port: int, request: bytes, trust: ssl.SSLContext | None = None) -> bytes:
    """What comes back for these bytes."""
    named = {"ssl": trust, "server_hostname": "central.example"} if trust else {}
    reader, writer = await asyncio.open_connection("127.0.0.1", port, **named)  # type: ignore[arg-type]
    writer.write(request)
    await writer.drain()
    try:
        return await asyncio.wait_for(reader.read(65_536), 5)
    except TimeoutError:
        return b""
    finally:
        writer.close()


@pytest.mark.parametrize("what", AMBIGUOUS)
async def test_the_web_server_takes_no_second_request_out_of_one_whose_length_is_in_doubt(what: str) -> None:
    head = b"POST /outer HTTP/1.1\r\nHost: central.example\r\n"
    async with listening() as (port, heard):
        answer = await said(port, head + AMBIGUOUS[what] + INNER)
    assert "/inner" not in heard.paths, answer


@needs_nginx
@pytest.mark.parametrize("what", AMBIGUOUS)
async def test_nothing_is_smuggled_through_the_proxy(tmp_path: Path, what: str) -> None:
    head = b"POST /outer HTTP/1.1\r\nHost: central.example\r\n"
    async with listening() as (port, heard):
        with proxy(tmp_path, port) as (secure, _):
            await until(lambda: says_hello(secure), "the proxy")
            answer = await said(secure, head + AMBIGUOUS[what] + INNER, trusting(tmp_path))
            answers = len(re.findall(rb"HTTP/1\.1 \d{3}", answer))
    assert len(heard.paths) <= answers
    assert not (heard.paths and "/inner" in heard.paths and answers < 2), answer


@needs_nginx
async def test_the_proxy_speaks_new_tls_alone_and_tells_central_who_it_was(tmp_path: Path) -> None:
    async with listening() as (port, heard):
        with proxy(tmp_path, port) as (secure, plain):
            await until(lambda: says_hello(secure), "the proxy")
            for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
                trust = trusting(tmp_path)
                trust.minimum_version = trust.maximum_version = version
                forged = b"GET /healthz HTTP/1.1\r\nHost: central.example\r\nX-Forwarded-For: 6.6.6.6\r\n"
                forged += b"Connection: close\r\n\r\n"
                assert b" 200 " in await said(secure, forged, trust)
            assert {headers["x-forwarded-for"] for _, headers in heard.requests} == {"127.0.0.1"}
            asked = subprocess.run(
                ["openssl", "s_client", "-connect", f"127.0.0.1:{secure}", "-tls1_1", "-cipher", "ALL:@SECLEVEL=0"],
                input="", capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert asked.returncode != 0
            with pytest.raises(ssl.SSLCertVerificationError):
                await said(secure, b"", ssl.create_default_context())
            asking = b"GET /runs HTTP/1.1\r\nHost: central.example\r\nConnection: close\r\n\r\n"
            sent_on = await said(plain, asking)
            assert b" 308 " in sent_on
            assert b"https://central.example/runs\r\n" in sent_on
            assert b" 403 " in await said(plain, asking.replace(b"/runs", b"/api/v1/runs"))


@needs_nginx
@pytest.mark.parametrize("where", ["/join/S-CANARY", "/sign-in/elsewhere/answer?code=S-CANARY&state=S-CANARY"])
async def test_no_log_of_the_proxy_holds_a_code_also_without_tls_and_while_central_is_away(
    tmp_path: Path, where: str
) -> None:
    asked = f"GET {where} HTTP/1.1\r\nHost: central.example\r\nConnection: close\r\n\r\n".encode()
    async with listening() as (port, heard):
        with proxy(tmp_path, port) as (secure, plain):
            await until(lambda: says_hello(secure), "the proxy")
            assert b" 308 " in await said(plain, asked)
            assert b" 200 " in await said(secure, asked, trusting(tmp_path))
            assert heard.requests[0][1]["x-forwarded-for"] == "127.0.0.1"
            assert heard.requests[0][1]["x-forwarded-proto"] == "https"
    with proxy(tmp_path, port) as (secure, _):
        await until(lambda: says_hello(secure), "the proxy")
        assert b" 502 " in await said(secure, asked, trusting(tmp_path))
    logs = {name: (tmp_path / name).read_text() for name in ("wellread.log", "access.log", "errors")}
    assert logs["wellread.log"].count("/-") == 3
    assert "S-CANARY" not in repr(logs)
