"""Objects in a bucket: put once, never over another; a bucket that refuses says so.

The server is one that others wrote, which speaks as Amazon's does.
"""

import http.server
import ipaddress
import threading
from collections.abc import Iterator

import httpx
import obstore
import pytest
from moto.server import ThreadedMotoServer
from obstore.store import MemoryStore, S3Store

from central.deliveries.places import Bounds, PlaceError, target_of
from central.deliveries.targets.s3 import S3
from central.deliveries.targets.target import Outgoing, TargetError
from tests.make import NOON

pytestmark = pytest.mark.anyio
LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)
FILE = Outgoing("d0000001", "a.csv", "text/csv", b"1,2\n")


async def test_an_object_is_put_once_and_taken_when_it_is_gone() -> None:
    target = S3(MemoryStore(), "lims/in/")
    place = await target.prepare(FILE)
    for _ in range(2):  # the second: after a crash before it was written down
        assert not await target.finish(FILE, place)
    assert not await target.taken(FILE, place)
    await obstore.delete_async(target.store, "lims/in/a.csv")
    assert await target.taken(FILE, place)


async def test_somebody_elses_object_is_never_written_over() -> None:
    target = S3(MemoryStore())
    place = await target.prepare(FILE)
    await obstore.put_async(target.store, "a.csv", b"somebody's")
    for attempt in (target.prepare(FILE), target.finish(FILE, place)):
        with pytest.raises(TargetError, match="not of this delivery"):
            await attempt
    assert bytes(await (await obstore.get_async(target.store, "a.csv")).bytes_async()) == b"somebody's"


class Refusing(http.server.BaseHTTPRequestHandler):
    """A bucket that lets nobody in."""

    def do_GET(self) -> None:
        """403."""
        self.send_response(403)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def refusing() -> Iterator[str]:
    """Its address."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def test_a_bucket_that_refuses_is_said_without_the_key(refusing: str) -> None:
    store = S3Store(
        "results", endpoint=refusing, region="eu", access_key_id="id", secret_access_key="swordfish",
        client_options={"allow_http": True}, retry_config={"max_retries": 0},
    )  # fmt: skip
    with pytest.raises(TargetError, match="does not answer as it should") as caught:
        await S3(store).prepare(FILE)
    assert "swordfish" not in str(caught.value)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of an S3 server that others wrote."""
    running = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


def bucket(server: str, name: str, *, make: bool = True) -> S3:
    """A bucket there, as a target."""
    if make:
        httpx.put(f"{server}/{name}").raise_for_status()
    store = S3Store(
        name, endpoint=server, region="us-east-1", access_key_id="id", secret_access_key="swordfish",
        client_options={"allow_http": True}, retry_config={"max_retries": 0},
    )  # fmt: skip
    return S3(store, "in")


async def test_a_real_server_keeps_the_first_object_of_a_name(server: str) -> None:
    target = bucket(server, "kept")
    place = await target.prepare(FILE)
    assert not await target.finish(FILE, place)
    assert not await target.finish(FILE, place)  # after a crash: the same bytes are there, that was us
    other = Outgoing(FILE.id, FILE.name, FILE.media_type, b"3,4\n")
    with pytest.raises(TargetError, match="not of this delivery") as caught:
        await target.finish(other, place)
    assert caught.value.final
    assert not await target.taken(FILE, place)
    await obstore.delete_async(target.store, "in/a.csv")
    assert await target.taken(FILE, place)


async def test_a_bucket_that_is_gone_has_taken_nothing_and_says_what_to_do(server: str) -> None:
    target = bucket(server, "gone", make=False)
    for attempt in (target.prepare(FILE), target.finish(FILE, {}), target.taken(FILE, {})):
        with pytest.raises(TargetError, match="make the bucket again") as caught:
            await attempt
        assert not caught.value.final
        assert "swordfish" not in str(caught.value)


async def test_a_server_that_is_not_there_is_tried_again() -> None:
    with pytest.raises(TargetError, match="it is tried again"):
        await bucket("http://127.0.0.1:1", "away", make=False).prepare(FILE)


def place(endpoint: str, inside: tuple[ipaddress.IPv4Network, ...] = ()) -> S3:
    """The target of a rule that names this endpoint."""
    bounds = Bounds(roots=(), networks=inside, file_url=str, now=lambda: NOON)
    said = {"bucket": "results", "region": "eu", "access_key_id": "id", "endpoint": endpoint}
    found = target_of("s3", said, "swordfish", bounds)
    assert isinstance(found, S3)
    return found


INSIDE = ["https://127.0.0.1:9000", "https://localhost", "https://10.1.2.3/minio", "https://[::1]:9000"]


@pytest.mark.parametrize("endpoint", [*INSIDE, "https://169.254.169.254"])
async def test_an_endpoint_inside_that_is_not_listed_is_asked_nothing(endpoint: str) -> None:
    target = place(endpoint)
    for attempt in (target.prepare(FILE), target.finish(FILE, {}), target.taken(FILE, {})):
        with pytest.raises(TargetError, match=r"which is inside.*WELLREAD_DELIVERY_NETWORKS") as caught:
            await attempt
        assert caught.value.final


async def test_an_endpoint_inside_that_is_listed_is_asked() -> None:
    with pytest.raises(TargetError, match="does not answer as it should"):
        await place("https://127.0.0.1:1", LOOPBACK).prepare(FILE)


@pytest.mark.parametrize(
    "endpoint",
    ["http://s3.example", "https://", "https://user@10.0.0.1", "https://s3.example\\@10.0.0.1", "https://s3.example:0",
     "https://s3.example:99999", "https://s3.example#@10.0.0.1", "https://s3.example?x", "https://s3.example\n"],
)  # fmt: skip
def test_an_endpoint_that_two_readers_could_read_differently_is_refused(endpoint: str) -> None:
    with pytest.raises(PlaceError, match="expected an https address"):
        place(endpoint)
