"""`Idempotency-Key`: a POST that is sent again has its effect once, and its answer is the first one."""

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import pytest
from litestar import Litestar, Request
from litestar import post as route
from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncEngine

from central.audit.chain import COMMAND
from central.db import insert_ignore, reading, transaction
from central.people.keys import create_key
from central.seal import Seal
from central.settings import Settings
from central.tables import answers, api_keys, sites, submissions
from central.web import idempotency
from central.web.idempotency import KEPT_FOR, WORKED_ON
from central.web.problems import to_response
from tests.central.web import Client, Clock, bearer, central, people
from tests.make import NOON

pytestmark = pytest.mark.anyio

PATH = "/api/v1/submissions"
KEY = {"idempotency-key": '"one-of-ours"'}


@pytest.fixture
async def key(engine: AsyncEngine) -> dict[str, str]:
    """The header of a laboratory system."""
    return await new_key(engine)


async def new_key(engine: AsyncEngine) -> dict[str, str]:
    _, key = await create_key(
        engine, title="LIMS", site_id="main", scopes=["samples:write"], expires_at=None, actor=COMMAND, now=NOON
    )
    return {"authorization": f"Bearer {key}"}


async def post(client: Client, headers: dict[str, str], name: str = "S-1", path: str = PATH) -> httpx.Response:
    """Register a submission."""
    return await client.post(path, json={"submission": name, "farm": "Hillside"}, headers=headers)


async def many(engine: AsyncEngine, table: Any) -> int:
    """How many rows there are."""
    async with reading(engine) as connection:
        return await connection.scalar(select(func.count()).select_from(table)) or 0


async def test_the_same_request_again_is_answered_as_the_first_time(
    engine: AsyncEngine, settings: Settings, key: dict[str, str]
) -> None:
    async with central(settings) as client:
        first, again = await post(client, key | KEY), await post(client, key | {"idempotency-key": "one-of-ours"})
        assert (first.status_code, again.status_code) == (201, 201)
        assert first.content == again.content
        assert [again.headers[name] for name in ("etag", "location", "content-type")] == [
            first.headers[name] for name in ("etag", "location", "content-type")
        ]
        assert ("idempotency-replayed" in first.headers, again.headers["idempotency-replayed"]) == (False, "true")
        assert (await post(client, key)).status_code == 409  # without a key it is another request
    assert await many(engine, submissions) == 1


async def test_the_key_of_another_request_is_refused(
    engine: AsyncEngine, settings: Settings, key: dict[str, str]
) -> None:
    async with central(settings) as client:
        assert (await post(client, key | KEY)).status_code == 201
        other = [await post(client, key | KEY, "S-2"), await post(client, key | KEY, path="/api/v1/submissions?a=b")]
        assert [answer.status_code for answer in other] == [422, 422]
        assert "expected a new key" in other[0].json()["detail"]
    assert await many(engine, submissions) == 1


async def test_a_key_means_something_to_its_caller_only(
    engine: AsyncEngine, settings: Settings, key: dict[str, str]
) -> None:
    await people(engine, "operator")
    async with central(settings) as client:
        callers = [key, await new_key(engine), await bearer(client, "operator")]
        found = [await post(client, caller | KEY, f"S-{at}") for at, caller in enumerate(callers)]
    assert [answer.status_code for answer in found] == [201] * 3


async def test_a_refusal_is_not_kept(engine: AsyncEngine, settings: Settings, key: dict[str, str]) -> None:
    async with central(settings) as client:
        assert (await post(client, key | KEY, "not a name")).status_code in (400, 422)
        assert (await post(client, key | KEY)).status_code == 201


async def test_twenty_at_once_have_their_effect_once(
    engine: AsyncEngine, settings: Settings, key: dict[str, str]
) -> None:
    async with central(settings) as client:
        found = await asyncio.gather(*(post(client, key | KEY) for _ in range(20)))
        statuses = {answer.status_code for answer in found}
        assert 201 in statuses
        assert statuses <= {201, 409}
        assert len({answer.content for answer in found if answer.status_code == 201}) == 1
        assert all("being worked on" in answer.json()["detail"] for answer in found if answer.status_code == 409)
        assert (await post(client, key | KEY)).headers["idempotency-replayed"] == "true"
    assert await many(engine, submissions) == 1


async def test_a_request_that_central_did_not_survive_is_never_worked_on_again(
    engine: AsyncEngine, settings: Settings, key: dict[str, str]
) -> None:
    clock = Clock()
    async with central(settings, clock) as client:
        assert (await post(client, key | KEY)).status_code == 201
        async with transaction(engine) as connection:
            await connection.execute(answers.update().values(status=None, headers=None, body=None))
        assert "being worked on" in (await post(client, key | KEY)).json()["detail"]
        clock.tick(WORKED_ON.total_seconds())
        late = await post(client, key | KEY)
        assert (late.status_code, "look whether it was done" in late.json()["detail"]) == (409, True)


async def test_an_answer_is_forgotten_after_a_day(engine: AsyncEngine, settings: Settings, key: dict[str, str]) -> None:
    old = {"caller": "key:gone", "key": "old", "fingerprint": "0", "begun_at": NOON - timedelta(seconds=1)}
    async with transaction(engine) as connection:
        await connection.execute(insert_ignore(engine.dialect.name, answers).values(old))
    clock = Clock()
    async with central(settings, clock) as client:
        assert (await post(client, key | KEY)).status_code == 201
        clock.tick(KEPT_FOR.total_seconds())
        assert (await post(client, key | KEY)).headers["idempotency-replayed"] == "true"
        assert await many(engine, answers) == 1  # that of the caller who is gone was swept
        clock.tick(1)
        assert (await post(client, key | KEY)).status_code == 409  # the laboratory's own rule: it is registered
    assert await many(engine, answers) == 0


async def test_a_key_that_is_shown_once_is_not_in_the_database(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine)
    wanted = {"title": "LIMS", "site_id": "main", "scopes": ["results:read"]}
    async with central(settings) as client:
        admin = await bearer(client, "admin") | KEY
        first, again = [await client.post("/api/v1/keys", json=wanted, headers=admin) for _ in range(2)]
        assert first.json() == again.json()
    async with reading(engine) as connection:
        kept = await connection.scalar(select(answers.c.body))
    assert first.json()["key"].encode() not in kept
    assert await many(engine, api_keys) == 1


async def test_an_answer_without_a_body_is_given_again(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine)
    async with central(settings) as client:
        admin = await bearer(client, "admin")
        made = await client.post(
            "/api/v1/keys", json={"title": "x", "site_id": "main", "scopes": ["results:read"]}, headers=admin
        )
        path = f"/api/v1/keys/{made.json()['id']}/revoke"
        found = [await client.post(path, headers=admin | KEY) for _ in range(2)]
    assert [(answer.status_code, answer.content) for answer in found] == [(204, b""), (204, b"")]
    assert found[1].headers["idempotency-replayed"] == "true"


@pytest.mark.parametrize("name", ["", "a b", "x" * 256, '"open', "\t"])
async def test_a_key_that_is_none_is_refused(
    engine: AsyncEngine, settings: Settings, key: dict[str, str], name: str
) -> None:
    async with central(settings) as client:
        assert (await post(client, key | {"idempotency-key": name})).status_code == 400
    assert await many(engine, submissions) == 0


async def test_a_request_that_may_not_be_made_leaves_no_note(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine)
    async with central(settings) as client:
        assert (await post(client, await bearer(client, "viewer") | KEY)).status_code == 403
    assert await many(engine, answers) == 0


@pytest.mark.parametrize("committed", [False, True])
async def test_where_the_database_goes_away_there_is_a_clean_try_or_none(engine: AsyncEngine, committed: bool) -> None:
    troubles = [OSError("the database went away")]

    @route("/api/site")
    async def add_site(request: Request[Any, Any, Any]) -> None:
        """In two steps, the second of which fails the first time."""
        await idempotency.begin(request, engine, Seal(b"s" * 32), "key:lims", NOON)
        if not committed and troubles:
            raise troubles.pop()
        async with transaction(engine) as connection:
            values = {"title": "North", "created_at": NOON, "unregistered": "wait", "four_eyes": False, "revision": 1}
            values["id"] = f"s{await connection.scalar(select(func.count()).select_from(sites))}"
            await connection.execute(insert(sites).values(values))
        if troubles:
            raise troubles.pop()

    handlers: Any = {idempotency.ReplayError: idempotency.replayed, Exception: to_response}
    app = Litestar([add_site], before_send=[idempotency.keep_answer], exception_handlers=handlers)
    before = await many(engine, sites)
    wire = httpx.ASGITransport(app, raise_app_exceptions=False)  # in the test's own event loop, as its engine is
    async with httpx.AsyncClient(transport=wire, base_url="http://central.example") as client:
        found = [(await client.post("/api/site", headers=KEY)).status_code for _ in range(3)]
    assert found == ([503, 409, 409] if committed else [503, 201, 201])
    assert await many(engine, sites) == before + 1
