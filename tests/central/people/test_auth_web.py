"""Sign-in, sessions and forms over HTTP: what a wrong password, a foreign page or a stale form gets."""

import shutil
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from central.settings import Settings
from tests.central.web import PASSWORD, central, csrf_token, people, sign_in

pytestmark = pytest.mark.anyio


@pytest.fixture
def database_url(tmp_path: Path, migrated_file: Path) -> str:
    """One database is enough here: what differs between them is below the web."""
    return f"sqlite+aiosqlite:///{shutil.copy(migrated_file, tmp_path / 'central.db')}"


async def test_a_wrong_password_says_so_and_then_delays(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine)
    wrong = {"name": "viewer", "password": "not this one"}
    async with central(settings) as client:
        answers = [await client.post("/api/v1/tokens", json=wrong) for _ in range(4)]
        page = await client.post("/sign-in", data=wrong)
    assert [answer.status_code for answer in answers] == [401, 401, 401, 429]
    assert answers[0].json()["detail"] == "name or password is wrong"
    assert int(answers[3].headers["retry-after"]) >= 1
    assert page.status_code == 429
    assert "Try again in" in page.text


async def test_the_page_says_that_the_name_or_the_password_is_wrong(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine)
    async with central(settings) as client:
        answer = await client.post("/sign-in", data={"name": "viewer", "password": "<script>"})
    assert answer.status_code == 401
    assert "The name or the password is wrong." in answer.text
    assert "<script>" not in answer.text.split("</head>")[1]


async def test_the_session_cookie_is_for_pages_of_ours_only(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine)
    async with central(settings) as client:
        data = {"name": "viewer", "password": PASSWORD}
        cookie = (await client.post("/sign-in", data=data, follow_redirects=False)).headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie


@pytest.mark.parametrize(
    "target", ["//evil.example", "https://evil.example/", "/\\evil.example", "javascript:alert(1)"]
)
async def test_nobody_is_sent_elsewhere_after_signing_in(engine: AsyncEngine, settings: Settings, target: str) -> None:
    await people(engine)
    async with central(settings) as client:
        data = {"name": "viewer", "password": PASSWORD, "next": target}
        answer = await client.post("/sign-in", data=data, follow_redirects=False)
    assert answer.headers["location"] == "/"


async def test_a_page_that_was_asked_for_comes_after_signing_in(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine)
    async with central(settings) as client:
        asked = await client.get("/?submission=S-1", follow_redirects=False)
        assert asked.headers["location"] == "/sign-in"
        asked = await client.get("/submissions?x=1", follow_redirects=False)
        assert asked.headers["location"] == "/sign-in?next=/submissions%3Fx%3D1"


async def test_signing_out_ends_the_session(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine)
    async with central(settings) as client:
        await sign_in(client)
        kept = client.cookies["wellread_session"]
        token = await csrf_token(client)
        assert (await client.post("/sign-out", data={"csrf_token": token}, follow_redirects=False)).status_code == 303
        client.cookies.set("wellread_session", kept)
        assert (await client.get("/submissions", follow_redirects=False)).headers["location"].startswith("/sign-in")


async def test_a_form_without_its_csrf_token_changes_nothing(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine)
    async with central(settings) as client:
        await sign_in(client, "admin")
        for data in ({"name": "Bench"}, {"name": "Bench", "csrf_token": "0" * 64}):
            answer = await client.post("/devices/claims", data=data)
            assert answer.status_code == 403
            assert "csrf_token" in answer.text


async def test_a_session_may_call_the_api_with_its_csrf_token(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine)
    async with central(settings) as client:
        await sign_in(client, "admin")
        refused = await client.post("/api/v1/claims", json={"name": "Bench"})
        token = {"x-csrf-token": await csrf_token(client)}
        taken = await client.post("/api/v1/claims", json={"name": "Bench"}, headers=token)
    assert (refused.status_code, taken.status_code) == (403, 201)


@pytest.mark.parametrize(
    "headers", [{"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}, {"origin": "null"}]
)
async def test_a_foreign_page_cannot_post_a_form(
    engine: AsyncEngine, settings: Settings, headers: dict[str, str]
) -> None:
    await people(engine)
    async with central(settings) as client:
        data = {"name": "viewer", "password": PASSWORD}
        answer = await client.post("/sign-in", data=data, headers=headers, follow_redirects=False)
        assert answer.status_code == 403
        await sign_in(client, "admin")
        form = {"name": "Bench", "csrf_token": await csrf_token(client)}
        assert (await client.post("/devices/claims", data=form, headers=headers)).status_code == 403


@pytest.mark.parametrize("value", ["Basic YTpi", "Bearer", "Bearer x", "Bearer a.b.c", "Bearer \x7f", "bearer  "])
async def test_a_bad_credential_is_401_and_problem_json(engine: AsyncEngine, settings: Settings, value: str) -> None:
    async with central(settings) as client:
        answer = await client.get("/api/v1/runs", headers={"authorization": value})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.json()["title"] == "Unauthorized"
