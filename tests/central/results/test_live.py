"""Live events: in order, resumed from the database, cleaned up behind a listener that left."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
import msgspec
import pytest
from litestar.response.sse import ServerSentEventMessage
from sqlalchemy.ext.asyncio import AsyncEngine

from central.api.events import runs_after
from central.intake.ingest import ingest
from central.intake.plan import Delivery
from central.people.sites import EVERY_SITE
from central.results.live import MAX_LISTENERS, Live, RunEvent, TooManyListenersError
from central.settings import Settings
from protocol.codec import decode, encode
from protocol.messages import ReadingEnvelope
from tests.central.web import bearer, central, people, runs, serving
from tests.central.wire import make_delivery
from tests.make import NOON, make_reading_id

pytestmark = pytest.mark.anyio


class Store:
    """Runs that a listener reads, as a database would hold them."""

    def __init__(self) -> None:
        """Starts empty."""
        self.events: list[RunEvent] = []

    def add(self, *numbers: int) -> None:
        """Accept runs."""
        self.events += [RunEvent(n, make_reading_id(n), "bench-1", "S-1", "NDV", "1") for n in numbers]

    async def after(self, number: int) -> list[RunEvent]:
        """The runs after this one."""
        return [event for event in self.events if event.number > number]


async def take(stream: AsyncIterator[ServerSentEventMessage], count: int) -> list[Any]:
    """The ids of the next `count` runs; comments are passed over."""
    found: list[Any] = []
    async with asyncio.timeout(5):
        while len(found) < count:
            message = await anext(stream)
            if message.event == "run":
                found.append(message.id)
    return found


async def test_a_listener_gets_what_it_missed_and_then_what_comes() -> None:
    live, store = Live(), Store()
    store.add(1, 2, 3)
    stream = live.open(1, store.after)
    assert await take(stream, 2) == [2, 3]
    store.add(4)
    live.announce()
    assert await take(stream, 1) == [4]


async def test_a_run_that_nobody_announced_is_found_at_the_next_heartbeat() -> None:
    live, store = Live(), Store()
    stream = live.open(0, store.after, heartbeat_s=0.01)
    await anext(stream)
    store.add(1)
    assert await take(stream, 1) == [1]


async def test_silence_is_broken_by_comments() -> None:
    stream = Live().open(0, Store().after, heartbeat_s=0.01)
    messages = [await anext(stream) for _ in range(3)]
    assert [message.comment for message in messages] == ["listening", "still here", "still here"]


async def test_a_listener_that_left_is_forgotten() -> None:
    live = Live()
    stream: Any = live.open(0, Store().after)
    await anext(stream)
    assert live.listeners == 1
    await stream.aclose()
    assert live.listeners == 0


async def test_closing_ends_every_stream() -> None:
    live = Live()
    stream = live.open(0, Store().after)
    await anext(stream)
    live.close()
    assert [message async for message in stream] == []
    assert live.listeners == 0


async def test_one_listener_too_many_is_refused() -> None:
    live, streams = Live(), []
    for _ in range(MAX_LISTENERS):
        streams.append(live.open(0, Store().after))
        await anext(streams[-1])
    with pytest.raises(TooManyListenersError):
        live.open(0, Store().after)
    for stream in streams:
        await stream.aclose()  # type: ignore[attr-defined]


Lines = AsyncIterator[str]


@asynccontextmanager
async def listening(settings: Settings, **headers: str) -> AsyncIterator[tuple[httpx.Response, Live]]:
    """A listener over HTTP, connected."""
    async with serving(settings) as (url, app), httpx.AsyncClient(base_url=url, timeout=5) as client:
        signed_in = await bearer(client)
        async with client.stream("GET", "/api/v1/events", headers=signed_in | headers) as answer:
            yield answer, app.state.parts.live


async def next_run(lines: Lines) -> tuple[str, Any]:
    """(id, data) of the next event."""
    number = ""
    async with asyncio.timeout(5):
        async for line in lines:
            if line.startswith("id: "):
                number = line.removeprefix("id: ")
            if line.startswith("data: "):
                return number, msgspec.json.decode(line.removeprefix("data: "))
    raise AssertionError("the stream ended (expected a run)")


async def test_events_over_http_begin_after_the_last_that_was_seen(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine)
    await runs(engine, 1, 2, 3)
    async with listening(settings, **{"last-event-id": "1"}) as (answer, _):
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert "content-encoding" not in answer.headers
        lines = answer.aiter_lines()
        found = [await next_run(lines) for _ in range(2)]
    assert [(number, run["id"]) for number, run in found] == [("2", make_reading_id(2)), ("3", make_reading_id(3))]


async def test_events_without_a_last_one_tell_of_new_runs_only(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine)
    await runs(engine, 1)
    async with listening(settings) as (answer, live):
        await runs(engine, 2)
        live.announce()
        number, run = await next_run(answer.aiter_lines())
    assert (number, run["submission"], run["device_id"]) == ("2", "S-1001", "bench-1")


async def test_a_run_that_waited_at_its_device_says_so(engine: AsyncEngine, settings: Settings) -> None:
    await runs(engine, 1)
    waited = make_delivery(2)
    envelope = msgspec.structs.replace(decode(waited.payload, ReadingEnvelope), historical=True)
    await ingest(engine, [Delivery(waited.topic, encode(envelope))], now=NOON)
    async with central(settings) as client:
        # The application's own engine belongs to the event loop that it runs on, which is not this one.
        found = await runs_after(replace(client.app.state.parts, engine=engine), 0, EVERY_SITE)
    assert [event.historical for event in found] == [False, True]


async def test_a_listener_that_hangs_up_is_forgotten(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine)
    async with serving(settings) as (url, app), httpx.AsyncClient(base_url=url, timeout=5) as client:
        live = app.state.parts.live
        async with client.stream("GET", "/api/v1/events", headers=await bearer(client)) as answer:
            await anext(answer.aiter_lines())
            assert live.listeners == 1
        async with asyncio.timeout(5):
            while live.listeners:
                await asyncio.sleep(0.01)


async def test_runs_after_a_number_come_oldest_first_over_many_pages(engine: AsyncEngine, settings: Settings) -> None:
    await runs(engine, *range(1, 121))
    async with central(settings) as client:
        found = await runs_after(replace(client.app.state.parts, engine=engine), 7, EVERY_SITE)
    assert [event.number for event in found] == list(range(8, 121))


@pytest.mark.parametrize("value", ["-1", "x", "1; DROP TABLE runs"])
async def test_a_last_event_id_that_is_no_number_is_refused(
    engine: AsyncEngine, settings: Settings, value: str
) -> None:
    await people(engine)
    async with central(settings) as client:
        answer = await client.get("/api/v1/events", headers=await bearer(client) | {"last-event-id": value})
    assert answer.status_code == 400


@pytest.mark.parametrize("path", ["/api/v1/sessions", "/api/v1/tokens"])
async def test_a_stream_ends_soon_after_its_listener_signed_out(
    engine: AsyncEngine, settings: Settings, path: str
) -> None:
    await people(engine)
    async with serving(settings) as (url, _), httpx.AsyncClient(base_url=url, timeout=60) as client:
        headers = await bearer(client)
        async with client.stream("GET", "/api/v1/events", headers=headers) as stream:
            lines = stream.aiter_lines()
            assert await anext(lines) == ": listening"
            assert (await client.delete(path, headers=headers)).status_code == 204
            async with asyncio.timeout(60):  # by itself it would go on for ten minutes
                assert not [line async for line in lines if line.startswith("data")]


async def test_a_stream_goes_on_while_its_listener_may() -> None:
    asked, live = [], Live()

    async def still() -> bool:
        asked.append(1)
        return len(asked) < 3

    stream = live.open(0, Store().after, heartbeat_s=30, still=still, check_s=0.01)
    async with asyncio.timeout(30):
        assert [message.comment async for message in stream] == ["listening"]
    assert (len(asked), live.listeners) == (3, 0)
