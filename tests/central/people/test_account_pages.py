"""The pages of one's own account: setting a password by a link, and ending sign-ins, without scripts."""

import re
import shutil
from html import unescape
from pathlib import Path

import cv2
import numpy as np
import pytest
import zxingcpp
from sqlalchemy.ext.asyncio import AsyncEngine

from central.audit.chain import COMMAND
from central.people.links import make_link
from central.people.users import add_user
from central.settings import Settings
from tests.central.dashboard.test_dashboard_browser import browser_page
from tests.central.dashboard.test_dashboard_browser import sign_in as sign_in_there
from tests.central.web import PASSWORD, bearer, central, csrf_token, people, serving, sign_in
from tests.make import NOON

pytestmark = pytest.mark.anyio


@pytest.fixture
def database_url(tmp_path: Path, migrated_file: Path) -> str:
    """One database is enough here: what differs between them is below the web."""
    return f"sqlite+aiosqlite:///{shutil.copy(migrated_file, tmp_path / 'central.db')}"


async def test_a_link_opens_a_form_that_sets_the_password(engine: AsyncEngine, settings: Settings) -> None:
    anna = await add_user(engine, name="anna", password=None, role="viewer", now=NOON)
    link = await make_link(engine, anna.id, actor=COMMAND, now=NOON)
    async with central(settings) as client:
        assert "anna" in (await client.get(f"/join/{link.code}")).text
        weak = await client.post(f"/join/{link.code}", data={"new_password": "password123"})
        assert (weak.status_code, "first to be guessed" in weak.text) == (422, True)
        good = await client.post(f"/join/{link.code}", data={"new_password": PASSWORD}, follow_redirects=False)
        assert (good.status_code, good.headers["location"]) == (303, "/sign-in")
        used = await client.get(f"/join/{link.code}")
        assert (used.status_code, "anna" in used.text) == (404, False)
        await sign_in(client, "anna")


async def test_the_account_page_ends_one_sign_in_or_all(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine)
    async with central(settings) as client:
        program = await bearer(client)
        await sign_in(client)
        page = (await client.get("/account")).text
        assert (page.count("/end"), "this one" in page) == (2, True)
        session_id = page.split("/account/sessions/")[1].split("/")[0]
        form = {"csrf_token": await csrf_token(client)}
        assert (await client.post(f"/account/sessions/{session_id}/end", data=form)).status_code == 200
        cookies = dict(client.cookies)
        assert (await client.get("/api/v1/runs", headers=program)).status_code == 401
        ended = await client.post("/account/sessions/end", data=form, follow_redirects=False)
        assert ended.headers["location"] == "/sign-in"
        client.cookies.update(cookies)
        assert (await client.get("/account", follow_redirects=False)).headers["location"].startswith("/sign-in")


@pytest.mark.system
async def test_a_telephones_camera_reads_the_secret_that_the_page_shows(
    engine: AsyncEngine, settings: Settings
) -> None:
    await people(engine)
    async with serving(settings) as (url, _), browser_page(url) as (page, complaints):
        page.set_default_timeout(60_000)
        await sign_in_there(page)
        await page.goto("/account")
        form = page.locator("form[action='/account/codes']")
        await form.get_by_label("Password").fill(PASSWORD)
        await form.get_by_role("button").click()
        picture = page.get_by_alt_text("The secret below, for the camera of a telephone")
        seen = cv2.imdecode(np.frombuffer(await picture.screenshot(), np.uint8), cv2.IMREAD_GRAYSCALE)
        link = re.search(r'href="(otpauth://[^"]+)"', await page.content())
        typed = await page.locator("p.code").inner_text()
    assert seen is not None
    assert link is not None
    assert [found.text for found in zxingcpp.read_barcodes(seen)] == [unescape(link[1])]
    assert typed.replace(" ", "") in link[1]
    assert complaints == []
