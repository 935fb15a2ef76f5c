"""Calls to other systems: signed, the same at every try, and never to an address inside."""

import base64
import http.server
import ipaddress
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import pytest

from central.deliveries.targets.target import Outgoing, TargetError
from central.deliveries.targets.webhook import Webhook, parse_secret, signature
from tests.make import NOON

pytestmark = pytest.mark.anyio
SECRET = b"k" * 32
FILE = Outgoing("d0000001", "a.csv", "text/csv", b"1,2\n")
LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)


class System(http.server.BaseHTTPRequestHandler):
    """A laboratory system that answers what the path says."""

    heard: list[tuple[dict[str, str], bytes]]

    def do_POST(self) -> None:
        """Keep what came, and answer."""
        body = self.rfile.read(int(self.headers["content-length"]))
        self.heard.append(({name.lower(): value for name, value in self.headers.items()}, body))
        if self.path == "/drip":
            self.drip()
            return
        status = int(self.path.strip("/"))
        self.send_response(status)
        if status == 302:
            self.send_header("location", "http://127.0.0.1:1/inside")
        self.end_headers()
        self.wfile.write(b"x" * 1_000_000)

    def drip(self) -> None:
        """An answer without an end, a little at a time."""
        with suppress(OSError):
            self.wfile.write(b"HTTP/1.1 200 OK\r\n")
            while True:
                self.wfile.write(b"x: y\r\n")
                time.sleep(0.05)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def system() -> Iterator[tuple[str, list[tuple[dict[str, str], bytes]]]]:
    """Its address, and what it heard."""
    System.heard = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), System)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", System.heard
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def webhook(url: str, **options: Any) -> Webhook:
    """A target at this address."""
    return Webhook(url, SECRET, lambda key: f"https://central/api/v1/deliveries/{key}/file", lambda: NOON, **options)


async def test_a_call_is_signed_and_the_same_at_every_try(
    system: tuple[str, list[tuple[dict[str, str], bytes]]],
) -> None:
    url, heard = system
    target = webhook(f"{url}/200", inside=LOOPBACK)
    for _ in range(2):
        assert await target.finish(FILE, await target.prepare(FILE))
    (headers, body), again = heard
    assert (headers["webhook-id"], body) == (again[0]["webhook-id"], again[1])
    moment = int(headers["webhook-timestamp"])
    assert headers["webhook-signature"] == signature(SECRET, FILE.id, moment, body)
    assert b"1,2" not in body  # the file is fetched, and not sent


def test_the_signature_is_that_of_the_standard() -> None:
    secret = parse_secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    found = signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert found == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize(
    ("status", "said", "final"),
    [
        (500, "answers 500 Internal Server Error", False),
        (429, "answers 429", False),
        (410, "wants no more", True),
        (302, "redirect is not followed", True),
    ],
)
async def test_what_is_not_a_yes_is_said(
    system: tuple[str, list[tuple[dict[str, str], bytes]]], status: int, said: str, final: bool
) -> None:
    url, heard = system
    with pytest.raises(TargetError, match=said) as caught:
        await webhook(f"{url}/{status}", inside=LOOPBACK).finish(FILE, {})
    assert caught.value.final is final
    assert len(heard) == 1


async def test_an_answer_without_an_end_is_broken_off_and_tried_again(
    system: tuple[str, list[tuple[dict[str, str], bytes]]],
) -> None:
    url, _ = system
    with pytest.raises(TargetError, match=r"(takes longer than|does not answer).*it is tried again") as caught:
        await webhook(f"{url}/drip", inside=LOOPBACK, whole_call_s=0.5).finish(FILE, {})
    assert not caught.value.final


async def test_nobody_there_is_tried_again() -> None:
    with pytest.raises(TargetError, match=r"does not answer.*it is tried again"):
        await webhook("http://127.0.0.1:1/", inside=LOOPBACK).finish(FILE, {})


INSIDE = [
    "http://127.0.0.1/", "https://127.0.0.1/", "https://localhost/", "https://2130706433/", "https://0177.0.0.1/",
    "https://0x7f.1/", "https://[::1]/", "https://[::ffff:127.0.0.1]/", "https://[::ffff:10.0.0.1]/",
    "https://10.1.2.3/", "https://172.16.0.1/", "https://192.168.1.1/", "https://169.254.169.254/latest/meta-data",
    "https://100.64.0.1/", "https://0.0.0.0/", "https://[::]/", "https://[fe80::1]/", "https://[fc00::1]/",
    "https://224.0.0.1/", "https://255.255.255.255/", "https://[64:ff9b::7f00:1]/", "https://[2002:7f00:1::]/",
    "https://198.18.0.1/", "https://[::127.0.0.1]/",
]  # fmt: skip


@pytest.mark.parametrize("url", INSIDE)
async def test_an_address_inside_is_never_called(url: str) -> None:
    with pytest.raises(TargetError, match=r"which is inside|not an address") as caught:
        await webhook(url).finish(FILE, {})
    assert caught.value.final


@pytest.mark.parametrize(
    "url",
    ["", "ftp://host/", "https://", "https://a b/", "https://user:word@host/", "https://host:0/", "https://host:99999/",
     "https://host/\r\nX: y", "https://hö.example/", "file:///etc/passwd", "https://host/#part", "https://[::1"],
)  # fmt: skip
async def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(TargetError, match="not an address"):
        await webhook(url).prepare(FILE)


async def test_a_name_with_one_address_inside_is_refused_whole() -> None:
    target = webhook("https://lims.example/", resolve=lambda *_: ["93.184.216.34", "127.0.0.1"])
    with pytest.raises(TargetError, match=r"is 127\.0\.0\.1, which is inside"):
        await target.finish(FILE, {})


async def test_a_name_that_changes_its_address_is_looked_up_once_and_called_where_it_was_checked(
    system: tuple[str, list[tuple[dict[str, str], bytes]]],
) -> None:
    url, heard = system
    asked: list[str] = []

    def rebinding(host: str, _: int) -> Sequence[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["10.0.0.1"]

    port = url.rpartition(":")[2]
    target = webhook(f"http://lims.example:{port}/200", inside=LOOPBACK, resolve=rebinding)
    assert await target.finish(FILE, {})
    assert asked == ["lims.example"]
    assert heard[0][0]["host"] == f"lims.example:{port}"


@pytest.mark.parametrize("text", ["", "whsec_", "whsec_!!", base64.b64encode(b"short").decode()])
def test_a_secret_that_is_none_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ValueError, match="webhook secret") as caught:
        parse_secret(text)
    assert not text or text not in str(caught.value)
