"""Objects in a bucket: put once, never over another; a bucket that refuses says so."""

import http.server
import threading
from collections.abc import Iterator

import obstore
import pytest
from obstore.store import MemoryStore, S3Store

from central.deliveries.targets.s3 import S3
from central.deliveries.targets.target import Outgoing, TargetError

pytestmark = pytest.mark.anyio
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
