"""The pages of administrators, and of everybody's own account: each form does what it says, or says what is wrong."""

import base64
import re

import msgspec
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from central.people.totp import STEP_S, code_at
from central.settings import Settings
from tests.central.web import PASSWORD, Client, Clock, central, csrf_token, people, sign_in

pytestmark = pytest.mark.anyio
OTHER = "another horse that reads plates"


async def form(client: Client, path: str, **fields: str | list[str]) -> tuple[int, str]:
    """A form that the signed-in person sends: (status, page)."""
    data = fields | {"csrf_token": await csrf_token(client)}
    answer = await client.post(path, data=data, follow_redirects=False)
    return answer.status_code, answer.text


async def test_somebody_is_invited_joins_by_the_link_and_is_shut_out(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine)
    async with central(settings) as client:
        await sign_in(client, "admin")
        status, page = await form(client, "/people", name="anna", role="reviewer", site_ids="main")
        found = re.search(r"(/join/[A-Za-z0-9_-]{43})", page)
        assert (status, found is not None) == (200, True)
        assert found is not None
        assert found[1] not in (await client.get("/people")).text  # shown once
        async with central(settings) as hers:
            joined = await hers.post(found[1], data={"new_password": PASSWORD}, follow_redirects=False)
            assert joined.status_code == 303
        everybody = (await client.get("/api/v1/users")).json()["items"]
        anna = next(one["id"] for one in everybody if one["name"] == "anna")
        assert (await form(client, f"/people/{anna}", role="operator", disabled="yes", reason="left"))[0] == 303
        page = (await client.get("/people")).text
        assert "shut out" in page
    async with central(settings) as client:
        refused = await client.post("/sign-in", data={"name": "anna", "password": PASSWORD})
        assert refused.status_code == 401


@pytest.mark.parametrize(
    ("path", "fields", "said"),
    [
        ("/people", {"name": "A B", "role": "viewer", "site_ids": "main"}, "not a user name"),
        ("/people", {"name": "anna", "role": "king", "site_ids": "main"}, "role"),
        ("/people", {"name": "anna", "role": "viewer", "site_ids": "elsewhere"}, "elsewhere"),
        ("/keys", {"title": "", "site_id": "main", "scopes": "results:read"}, "not a title"),
        ("/keys", {"title": "LIMS", "site_id": "main", "scopes": "everything"}, "scopes"),
        ("/keys", {"title": "LIMS", "site_id": "main", "scopes": "results:read", "until": "soon"}, "soon"),
        ("/keys", {"title": "LIMS", "site_id": "main", "scopes": "results:read", "until": "2020-01-01"}, "to come"),
        ("/sites", {"id": "UPPER", "title": "X"}, "regex"),
        ("/sites", {"id": "main", "title": "X"}, "main"),
    ],
)
async def test_what_is_wrong_in_a_form_is_said_on_its_page(
    engine: AsyncEngine, settings: Settings, path: str, fields: dict[str, str], said: str
) -> None:
    await people(engine)
    async with central(settings) as client:
        await sign_in(client, "admin")
        status, page = await form(client, path, **fields)
    assert status == 422
    assert said in re.findall(r'role="alert">(.*?)</p>', page, re.DOTALL)[0]


async def test_a_key_is_made_works_and_is_revoked(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine)
    async with central(settings) as client:
        await sign_in(client, "admin")
        status, page = await form(
            client, "/keys", title="LIMS", site_id="main", scopes=["results:read", "devices:read"], until="2026-12-31"
        )
        key = re.search(r"wr_([0-9a-f]{12})_[A-Za-z0-9_-]{43}", page)
        assert status == 200
        assert key is not None
        headers = {"authorization": f"Bearer {key[0]}"}
        assert (await client.get("/api/v1/runs", headers=headers)).status_code == 200
        assert key[0] not in (await client.get("/keys")).text
        assert (await form(client, f"/keys/{key[1]}/revoke"))[0] == 303
        assert (await client.get("/api/v1/runs", headers=headers)).status_code == 401


async def test_a_laboratory_is_added_and_changed_by_the_revision_that_was_seen(
    engine: AsyncEngine, settings: Settings
) -> None:
    await people(engine)
    async with central(settings) as client:
        await sign_in(client, "admin")
        assert (await form(client, "/sites", id="north", title="North"))[0] == 303
        wanted = {"title": "North", "unregistered": "wait", "four_eyes": "yes", "picture_days": "400"}
        assert (await form(client, "/sites/north", revision="1", **wanted))[0] == 303
        assert (await form(client, "/sites/north", revision="1", **wanted | {"title": "Late"}))[0] == 412
        sites = {one["id"]: one for one in (await client.get("/api/v1/sites")).json()["items"]}
        assert (sites["north"]["unregistered"], sites["north"]["four_eyes"]) == ("wait", True)
        assert sites["north"]["picture_days"] == 400


@pytest.mark.parametrize("path", ["/people", "/keys", "/sites"])
@pytest.mark.parametrize("role", ["viewer", "operator", "reviewer"])
async def test_nobody_else_sees_these_pages(engine: AsyncEngine, settings: Settings, path: str, role: str) -> None:
    await people(engine, "viewer", "operator", "reviewer")
    async with central(settings) as client:
        await sign_in(client, role)
        assert (await client.get(path)).status_code == 403


async def test_a_password_is_changed_by_who_knows_the_old_one(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine)
    async with central(settings) as client:
        await sign_in(client)
        assert (await form(client, "/account/password", password="wrong", new_password=OTHER))[0] == 422
        status, page = await form(client, "/account/password", password=PASSWORD, new_password="short")
        assert (status, "5 characters" in page) == (422, True)
        assert (await form(client, "/account/password", password=PASSWORD, new_password=OTHER))[0] == 303
        assert (await client.get("/account", follow_redirects=False)).headers["location"].startswith("/sign-in")
        await sign_in(client, password=OTHER)


async def test_one_time_codes_are_set_up_and_given_up(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine)
    clock = Clock()
    async with central(settings, clock) as client:
        await sign_in(client)
        _, page = await form(client, "/account/codes", password=PASSWORD)
        shown = re.search(r'<p class="code">([A-Z2-7 ]+)</p>', page)
        assert shown is not None
        secret = decoded(shown[1])
        assert (await form(client, "/account/codes/confirm", code="000000"))[0] == 422
        assert (await form(client, "/account/codes/confirm", code=now_code(secret, clock)))[0] == 303
        assert "A code is asked for" in (await client.get("/account")).text
        clock.tick(STEP_S)
        fields = {"password": PASSWORD, "code": now_code(secret, clock)}
        assert (await form(client, "/account/codes/remove", **fields))[0] == 303
        await sign_in(client)  # without a code


async def test_who_is_signed_in_may_sign_in_as_somebody_else(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine)
    async with central(settings) as client:
        await sign_in(client, "viewer")
        await sign_in(client, "admin")
        assert (await client.get("/people")).status_code == 200


async def test_where_codes_are_required_reviewers_and_administrators_set_them_up_before_anything_else(
    engine: AsyncEngine, settings: Settings
) -> None:
    await people(engine, "viewer", "reviewer", "admin")
    clock = Clock()
    async with central(msgspec.structs.replace(settings, require_totp=True), clock) as client:
        await sign_in(client, "viewer")
        assert (await client.get("/")).status_code == 200
        await sign_in(client, "admin")
        refused = await client.get("/")
        assert (refused.status_code, "set up one-time codes first" in refused.text) == (403, True)
        page = (await client.get("/account")).text
        token = {"csrf_token": re.findall(r'name="csrf_token" value="([0-9a-f]+)"', page)[0]}
        shown = (await client.post("/account/codes", data=token | {"password": PASSWORD})).text
        secret = decoded(re.findall(r'<p class="code">([A-Z2-7 ]+)</p>', shown)[0])
        await client.post("/account/codes/confirm", data=token | {"code": now_code(secret, clock)})
        assert (await client.get("/")).status_code == 200


def decoded(text: str) -> bytes:
    """A secret as an app takes it."""
    plain = text.replace(" ", "")
    return base64.b32decode(plain + "=" * (-len(plain) % 8))


def now_code(secret: bytes, clock: Clock) -> str:
    """What the app shows."""
    return code_at(secret, int(clock().timestamp()) // STEP_S)
