"""What the pages of sign-in promise: cookies, fields, what is left in a browser, and what operations.md says of it."""

import math
import re
import shutil
from pathlib import Path

import msgspec
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from central.audit.chain import COMMAND
from central.people.access import operations
from central.people.flow import begin
from central.people.links import GOOD_FOR, make_link
from central.people.passwords import MAX_LENGTH, MIN_LENGTH
from central.people.sessions import IDLE, LIFE
from central.people.throttle import ACCOUNT_TRIES, ACCOUNT_WINDOW, FREE_TRIES, LONGEST_DELAY_S
from central.people.totp import new_secret
from central.people.users import add_user
from central.settings import Settings
from tests.central.web import PASSWORD, Clock, bearer, central, csrf_token, people, sign_in
from tests.make import NOON

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parents[2]
SCRIPTS = sorted((ROOT / "central" / "dashboard" / "static").glob("*.js"))
TEMPLATES = sorted((ROOT / "central" / "dashboard" / "templates").glob("*.html"))


async def test_behind_tls_the_cookie_is_secure_and_of_this_host_alone_and_so_is_its_end(
    engine: AsyncEngine, settings: Settings
) -> None:
    await people(engine)
    secure = msgspec.structs.replace(settings, secure_cookies=True)
    async with central(secure) as client:  # which speaks HTTP, and so sends no such cookie by itself
        data = {"name": "viewer", "password": PASSWORD}
        set_ = (await client.post("/sign-in", data=data, follow_redirects=False)).headers["set-cookie"]
        headers = {"cookie": set_.partition(";")[0]}
        page = (await client.get("/submissions", headers=headers)).text
        token = re.search(r'name="csrf_token" value="([0-9a-f]+)"', page)
        assert token is not None
        form = {"csrf_token": token[1]}
        left = (await client.post("/sign-out", data=form, headers=headers, follow_redirects=False)).headers
    for cookie in (set_, left["set-cookie"]):
        assert cookie.startswith("__Host-wellread_session=")
        assert {"Secure", "HttpOnly", "Path=/"} <= {part.strip() for part in cookie.split(";")}
        assert "domain" not in cookie.lower()
    assert "Max-Age=0" in left["set-cookie"]
    assert left["clear-site-data"] == '"cache", "storage"'


async def test_signing_in_ends_the_session_that_this_browser_had(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine)
    async with central(settings) as client:
        await sign_in(client)
        before = client.cookies["wellread_session"]
        await sign_in(client)
        after = client.cookies["wellread_session"]
        assert before != after
        client.cookies.clear()
        client.cookies.set("wellread_session", before)
        assert (await client.get("/account", follow_redirects=False)).status_code in (302, 303, 307)


async def test_every_page_has_the_button_that_ends_the_session_and_is_kept_by_nobody(
    engine: AsyncEngine, settings: Settings
) -> None:
    await people(engine)
    async with central(settings) as client:
        await sign_in(client, "admin")
        known = [(name.partition(" "), access) for name, access in operations(client.app).items()]
        paths = [
            path
            for (method, _, path), access in known
            if method == "GET" and not access.anyone and "{" not in path and not path.startswith("/api/")
        ]
        assert {"/", "/account", "/people", "/notices", "/quality", "/deliveries/preview", "/api"} <= set(paths)
        for path in paths:
            page = await client.get(path)
            assert page.status_code == 200, path
            assert page.headers["cache-control"] == "no-store", path
            assert 'action="/sign-out"' in page.text or path == "/api", path


async def test_a_password_is_typed_unseen_pasted_and_kept_by_a_manager(engine: AsyncEngine, settings: Settings) -> None:
    anna = await add_user(engine, name="anna", password=None, role="viewer", now=NOON)
    link = await make_link(engine, anna.id, actor=COMMAND, now=NOON)
    await people(engine)
    async with central(settings) as client:
        texts = [(await client.get(path)).text for path in ("/sign-in", f"/join/{link.code}")]
        await sign_in(client)
        texts.append((await client.get("/account")).text)
    fields = [field for text in texts for field in re.findall(r"<input[^>]+password[^>]*>", text)]
    assert len(fields) >= 5
    for field in fields:
        assert 'type="password"' in field
        assert re.search(r'autocomplete="(current|new)-password"', field), field
        assert "onpaste" not in field
    kept = [field for path in TEMPLATES for field in re.findall(r"<input[^>]+password[^>]*>", path.read_text())]
    assert len(kept) >= 8
    assert [field for field in kept if 'type="password"' not in field or "-password" not in field] == []
    assert not [path.name for path in SCRIPTS if re.search(r"paste|autocomplete", path.read_text())]


async def test_a_password_is_taken_as_it_is_typed(engine: AsyncEngine, settings: Settings) -> None:
    odd = "  A Horse, that READS plates\u00a0 "
    await add_user(engine, name="anna", password=odd, role="viewer", now=NOON)
    async with central(settings) as client:
        for wrong in (odd.strip(), odd.lower()):
            answer = await client.post("/api/v1/tokens", json={"name": "anna", "password": wrong})
            assert answer.status_code == 401
        assert (await client.post("/api/v1/tokens", json={"name": "anna", "password": odd})).status_code == 201


async def test_a_new_password_by_a_link_does_not_go_round_the_one_time_codes(
    engine: AsyncEngine, settings: Settings
) -> None:
    from central.people.totp import STEP_S, code_at
    from tests.central.people.test_elsewhere import bytes_of

    await people(engine)
    clock = Clock()
    async with central(settings, clock) as client:
        headers = await bearer(client)
        shown = await client.post("/api/v1/users/me/second-factor", json={"password": PASSWORD}, headers=headers)
        code = code_at(bytes_of(shown.json()["secret"]), int(clock().timestamp()) // STEP_S)
        confirm = "/api/v1/users/me/second-factor/confirm"
        assert (await client.post(confirm, json={"code": code}, headers=headers)).status_code == 204
        user_id = (await client.get("/api/v1/users/me", headers=headers)).json()["id"]
        link = await make_link(engine, user_id, actor=COMMAND, now=clock())
        new = {"code": link.code, "new_password": "another horse that reads"}
        assert (await client.post("/api/v1/password-links", json=new)).status_code == 204
        alone = {"name": "viewer", "password": new["new_password"]}
        assert "one-time code" in (await client.post("/api/v1/tokens", json=alone)).json()["detail"]


async def test_who_lost_a_telephone_is_asked_for_no_codes_and_signed_in_nowhere(
    engine: AsyncEngine, settings: Settings
) -> None:
    from central.people.totp import STEP_S, code_at
    from tests.central.people.test_elsewhere import bytes_of

    await people(engine)
    clock = Clock()
    async with central(settings, clock) as client:
        theirs, admin = await bearer(client), await bearer(client, "admin")
        shown = await client.post("/api/v1/users/me/second-factor", json={"password": PASSWORD}, headers=theirs)
        code = code_at(bytes_of(shown.json()["secret"]), int(clock().timestamp()) // STEP_S)
        await client.post("/api/v1/users/me/second-factor/confirm", json={"code": code}, headers=theirs)
        user_id = (await client.get("/api/v1/users/me", headers=theirs)).json()["id"]
        gone = f"/api/v1/users/{user_id}/second-factor/remove"
        alone = {"name": "viewer", "password": PASSWORD}
        assert (await client.post("/api/v1/tokens", json=alone)).status_code == 401
        assert (await client.post(gone, json={"reason": "it fell into the sink"}, headers=admin)).status_code == 204
        assert (await client.get("/api/v1/users/me", headers=theirs)).status_code == 401
        assert (await client.post("/api/v1/tokens", json=alone)).status_code == 201
        trail = (await client.get("/api/v1/audit", headers=admin)).text
        assert "it fell into the sink" in trail
    assert "*A lost telephone:*" in (ROOT / "docs" / "operations.md").read_text()


async def test_an_administrator_signs_somebody_out_everywhere(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine)
    async with central(settings) as client:
        theirs, admin = await bearer(client), await bearer(client, "admin")
        user_id = (await client.get("/api/v1/users/me", headers=theirs)).json()["id"]
        address = f"/api/v1/users/{user_id}/sessions"
        assert (await client.delete(address, headers=theirs)).status_code == 403
        assert (await client.delete(address, headers=admin)).status_code == 204
        assert (await client.get("/api/v1/runs", headers=theirs)).status_code == 401
        assert (await client.delete(address, headers=admin)).status_code == 404
        assert (await client.get("/api/v1/runs", headers=admin)).status_code == 200
        again = await bearer(client)
        await sign_in(client, "admin")
        form = {"csrf_token": await csrf_token(client)}
        assert (await client.post(f"/people/{user_id}/sign-out", data=form)).status_code == 200
        client.cookies.clear()
        assert (await client.get("/api/v1/runs", headers=again)).status_code == 401


async def test_tokens_and_codes_have_128_random_bits_or_more(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine)
    async with central(settings) as client:
        made = [
            (await client.post("/api/v1/tokens", json={"name": "viewer", "password": PASSWORD})).json()["refresh_token"]
            for _ in range(3)
        ]
    asked = begin("/", "", NOON)
    for token in (*made, asked.state, asked.nonce, asked.verifier):
        assert len(token) * math.log2(64) >= 128
    assert len({*made, asked.state, asked.nonce, asked.verifier}) == 6
    assert len(new_secret()) * 8 >= 128
    assert new_secret() != new_secret()


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_no_script_keeps_anything_in_the_browser(path: Path) -> None:
    assert not re.search(r"localStorage|sessionStorage|indexedDB|document\.cookie|caches\.", path.read_text())


def test_operations_says_the_times_and_numbers_that_the_code_has() -> None:
    page = " ".join((ROOT / "docs" / "operations.md").read_text().split())
    hours, days = IDLE["pages"].seconds // 3600, LIFE["pages"].days
    for said in (
        f"after {hours} hours in which nobody used it, and after {days} days",
        f"after {IDLE['api'].days} days without a refresh, and after {LIFE['api'].days}",
        f"{FREE_TRIES} wrong tries are free",
        f"up to {LONGEST_DELAY_S:.0f} seconds",
        f"{ACCOUNT_TRIES} in {ACCOUNT_WINDOW.seconds // 60} minutes",
        f"{MIN_LENGTH} to {MAX_LENGTH} characters",
        f"{GOOD_FOR['invite'].days} days to join, {GOOD_FOR['reset'].days * 24} hours to set a new one",
    ):
        assert said in page, said


def test_operations_says_that_a_session_here_and_one_at_the_provider_end_apart() -> None:
    page = " ".join((ROOT / "docs" / "operations.md").read_text().split())
    hours, days = IDLE["pages"].seconds // 3600, LIFE["pages"].days
    assert f"*Sessions:* a page's ends after {hours} hours in which nobody used it, and after {days} days" in page
    assert (
        "Signing out here does not sign out there, nor the other way round: shut a person out in both places." in page
    )


def test_operations_names_every_way_in() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    for way in ("name and password", "one-time code", "provider", "key `wr_…`", "upload token", "claim code"):
        assert f"| {way}" in page, way


@pytest.fixture
def database_url(tmp_path: Path, migrated_file: Path) -> str:
    """One database is enough here: what differs between them is below the web."""
    return f"sqlite+aiosqlite:///{shutil.copy(migrated_file, tmp_path / 'central.db')}"
