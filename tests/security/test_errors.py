"""What nobody should send is refused by name, and is no error of ours; a refusal tells nothing of the inside."""

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from central.settings import Settings
from tests.central.web import PASSWORD, bearer, central, people
from tests.security.asgi import send
from tests.security.hostile import Request

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("body", [b"[" * 50_000, b'{"a":' * 10_000])
async def test_json_nested_without_end_is_refused(engine: AsyncEngine, settings: Settings, body: bytes) -> None:
    async with central(settings) as client:
        answer = await client.post("/api/v1/tokens", content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["detail"]) == (400, "the body is nested too deeply")


@pytest.mark.parametrize("name", ["9" * 400, "a%00b", "%00", "%2e%2e%2f%2e%2e%2fpyproject.toml", "../app.py"])
@pytest.mark.parametrize("folder", ["static", "swagger-ui"])
async def test_a_file_name_that_is_none_is_not_found(
    engine: AsyncEngine, settings: Settings, folder: str, name: str
) -> None:
    async with central(settings) as client:
        answer = await send(client.app, Request("GET", f"/{folder}/{name}", "", (), b""))
    assert answer.status in (400, 404)
    assert b"[project]" not in answer.body


async def test_an_unknown_name_and_a_wrong_password_look_the_same(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine)
    async with central(settings) as client:
        unknown = await client.post("/api/v1/tokens", json={"name": "nobody", "password": PASSWORD})
        wrong = await client.post("/api/v1/tokens", json={"name": "viewer", "password": "another long password"})
    assert unknown.status_code == wrong.status_code == 401
    assert unknown.json() | {"request_id": ""} == wrong.json() | {"request_id": ""}


async def test_every_list_is_bounded_and_says_so(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine)
    async with central(settings) as client:
        document = (await client.get("/api/openapi.json", headers=await bearer(client))).json()
    limits = [
        (path, each["schema"].get("maximum"))
        for path, item in document["paths"].items()
        for each in item.get("get", {}).get("parameters", [])
        if each["name"] == "limit"
    ]
    assert limits
    assert [path for path, most in limits if most is None or most > 1000] == []
