"""The feed followed live, by events and by a socket: nothing skipped, nothing doubled, nothing that is another's."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import websockets
from litestar import Litestar
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from central.audit.chain import COMMAND
from central.db import transaction
from central.deliveries.changes import News, announce
from central.people.keys import create_key, revoke_key
from central.people.sites import EVERY_SITE
from central.results.followers import MAX_OF_ONE, Follower, Followers
from central.results.live import TooManyListenersError
from central.settings import Settings
from central.tables import sites
from tests.central.web import people, serving, sign_in_elsewhere
from tests.make import NOON

pytestmark = pytest.mark.anyio

PATH = "/api/v1/changes/events"
SOCKET = "/api/v1/changes/socket"


async def write(engine: AsyncEngine, *runs: str, site: str = "main") -> None:
    """A change of each of these runs."""
    async with transaction(engine) as connection:
        await announce(connection, [News(kind="run.changed", site_id=site, run_id=run) for run in runs], NOON)


async def new_key(engine: AsyncEngine, site: str = "main") -> tuple[str, dict[str, str]]:
    """(id, header) of a laboratory system."""
    key_id, key = await create_key(
        engine, title="LIMS", site_id=site, scopes=["results:read"], expires_at=None, actor=COMMAND, now=NOON
    )
    return key_id, {"authorization": f"Bearer {key}"}


@asynccontextmanager
async def fast(settings: Settings) -> AsyncIterator[tuple[str, Litestar]]:
    """Central whose followers look often."""
    async with serving(settings) as (url, app):
        object.__setattr__(app.state.parts, "followers", Followers(look_s=0.02, recheck_s=0.1, heartbeat_s=0.2))
        yield url, app


@asynccontextmanager
async def listening(url: str, headers: dict[str, str], query: str = "") -> AsyncIterator[AsyncIterator[str]]:
    """The lines of a stream."""
    async with (
        httpx.AsyncClient(base_url=url, timeout=30) as client,
        client.stream("GET", PATH + query, headers=headers) as answer,
    ):
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield answer.aiter_lines()


def socket_at(url: str, headers: dict[str, str], query: str = "") -> Any:
    """A socket that is about to open."""
    return websockets.connect(f"{url}{SOCKET}{query}".replace("http", "ws"), additional_headers=headers)


async def take(lines: AsyncIterator[str], count: int) -> list[tuple[int, str]]:
    """(number, run) of the next events."""
    found: list[tuple[int, str]] = []
    number = 0
    async with asyncio.timeout(20):
        while len(found) < count:
            line = await anext(lines)
            if line.startswith("id: "):
                number = int(line.removeprefix("id: "))
            if line.startswith("data: {"):
                change = json.loads(line.removeprefix("data: "))
                assert change["number"] == number
                found.append((number, change["run_id"]))
    return found


async def test_who_comes_back_with_the_number_he_has_misses_nothing_and_sees_nothing_twice(
    engine: AsyncEngine, settings: Settings
) -> None:
    _, key = await new_key(engine)
    await write(engine, *(f"r{number}" for number in range(1, 6)))
    seen: list[tuple[int, str]] = []
    async with fast(settings) as (url, _):
        for count in (2, 3, 4):
            last = {"last-event-id": str(seen[-1][0] if seen else 0)}
            async with listening(url, key | last) as lines:
                seen += await take(lines, count)
            await write(engine, *(f"r{len(seen) + at}" for at in range(1, 5)) if len(seen) >= 5 else ())
    assert [number for number, _ in seen] == list(range(1, 10))


async def test_who_says_no_number_hears_what_comes_from_now_on(engine: AsyncEngine, settings: Settings) -> None:
    _, key = await new_key(engine)
    await write(engine, "before")
    async with fast(settings) as (url, _), listening(url, key) as lines:
        assert await anext(lines)
        await write(engine, "after")
        assert await take(lines, 1) == [(2, "after")]


async def test_another_laboratorys_changes_are_not_told(engine: AsyncEngine, settings: Settings) -> None:
    other = {"id": "other", "title": "Other", "created_at": NOON, "revision": 1, "unregistered": "register"}
    async with transaction(engine) as connection:
        await connection.execute(insert(sites).values(other | {"four_eyes": False}))
    _, key = await new_key(engine, "other")
    await write(engine, "ours")
    await write(engine, "theirs", site="other")
    await write(engine, "ours")
    await write(engine, "theirs again", site="other")
    async with fast(settings) as (url, _):
        async with listening(url, key, "?after=0") as lines:
            assert await take(lines, 2) == [(2, "theirs"), (4, "theirs again")]
        async with socket_at(url, key, "?after=0") as socket:
            assert [json.loads(await socket.recv())["number"] for _ in range(2)] == [2, 4]


@pytest.mark.parametrize("road", ["events", "socket"])
async def test_a_stream_ends_when_the_key_is_revoked(engine: AsyncEngine, settings: Settings, road: str) -> None:
    key_id, key = await new_key(engine)
    await write(engine, "one")
    async with fast(settings) as (url, app), asyncio.timeout(30):
        if road == "events":
            async with listening(url, key, "?after=0") as lines:
                await take(lines, 1)
                await revoke_key(engine, key_id, actor=COMMAND, now=NOON)
                assert all(not line.startswith("data") for line in [line async for line in lines])
        else:
            async with socket_at(url, key, "?after=0") as socket:
                assert json.loads(await socket.recv())["run_id"] == "one"
                await revoke_key(engine, key_id, actor=COMMAND, now=NOON)
                with pytest.raises(websockets.ConnectionClosed):
                    await socket.recv()
        while app.state.parts.followers.many:
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 403), ({"authorization": f"Bearer wr_{'0' * 12}_{'A' * 43}"}, 403),
        ({"origin": "https://evil.example"}, 403), ({"origin": "ours"}, 101), ({"no": "origin"}, 403),
    ],
)  # fmt: skip
async def test_a_socket_opens_for_our_own_page_and_for_no_other(
    engine: AsyncEngine, settings: Settings, headers: dict[str, str], status: int
) -> None:
    await people(engine)
    async with fast(settings) as (url, _):
        if "origin" in headers or "no" in headers:
            headers = headers | {"cookie": await sign_in_elsewhere(url)}
            headers = headers | ({"origin": url} if headers.get("origin") == "ours" else {})
        try:
            async with socket_at(url, headers):
                found = 101
        except websockets.InvalidStatus as error:
            found = error.response.status_code
    assert found == status


async def test_a_socket_that_says_anything_is_closed(engine: AsyncEngine, settings: Settings) -> None:
    _, key = await new_key(engine)
    async with fast(settings) as (url, _), asyncio.timeout(30), socket_at(url, key) as socket:
        await socket.send("x" * 100)
        with pytest.raises(websockets.ConnectionClosed) as closed:
            await socket.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1008


def follower(after: int = 0, name: str = "key:a") -> Follower:
    async def still() -> bool:
        return True

    return Follower(name, EVERY_SITE, after, still)


async def test_pages_of_any_size_beside_a_writer_hold_every_change_once(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("central.results.followers.PAGE", 3)
    followers, seen = Followers(look_s=0), list[int]()
    await write(engine, *(f"r{number}" for number in range(10)))
    stream: Any = followers.follow(engine, follower(), lambda: False)
    async with asyncio.timeout(30):
        while len(seen) < 25:
            if len(seen) in (4, 10, 12, 13, 20):
                await write(engine, *("x" * 3))
            seen += [change.number for change in await anext(stream)]
            if len(seen) >= 10 and len(seen) < 25:
                await write(engine, "one")
    await stream.aclose()
    assert seen == list(range(1, len(seen) + 1))
    assert followers.many == 0


async def test_one_caller_does_not_take_every_place(engine: AsyncEngine) -> None:
    followers = Followers()
    streams: list[Any] = [followers.follow(engine, follower(), lambda: False) for _ in range(MAX_OF_ONE)]
    for stream in streams:
        followers.refuse_where_full("key:a")
        await anext(stream)
    with pytest.raises(TooManyListenersError):
        followers.refuse_where_full("key:a")
    followers.refuse_where_full("key:b")
    for stream in streams:
        await stream.aclose()
    followers.refuse_where_full("key:a")
