"""A provider that others wrote, a real browser, two sites: the way there and back, without a script of ours."""

import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import httpx
import msgspec
import pytest
from litestar import Litestar
from sqlalchemy.ext.asyncio import AsyncEngine

from central.people.users import add_user
from central.settings import Settings
from tests.central.dashboard.test_dashboard_browser import browser_page
from tests.central.waiting import until
from tests.central.web import serving

pytestmark = [pytest.mark.anyio, pytest.mark.system]
ANNA = '{"sub": "a-17", "email": "anna@lab.example", "email_verified": true}'
BERT = '{"sub": "b-18", "email": "bert@lab.example", "email_verified": true}'


@pytest.fixture
def database_url(tmp_path: Path, migrated_file: Path) -> str:
    """One database is enough here: what differs between them is below the web."""
    return f"sqlite+aiosqlite:///{shutil.copy(migrated_file, tmp_path / 'central.db')}"


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    """The provider, which knows Anna and Bert. `localhost` is another site than `127.0.0.1`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["-m", "oidc_provider_mock", "-p", str(port), "--require-nonce", "true"]
    words += ["--user-claims", ANNA, "--user-claims", BERT]
    with subprocess.Popen([sys.executable, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        yield f"http://localhost:{port}"
        process.terminate()


def up(issuer: str) -> bool:
    """Whether it answers."""
    try:
        return httpx.get(f"{issuer}/.well-known/openid-configuration").status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.parametrize(("who", "comes_in"), [("a-17", True), ("b-18", False)])
async def test_a_person_signs_in_at_a_provider_of_another_site(
    engine: AsyncEngine, settings: Settings, issuer: str, who: str, comes_in: bool
) -> None:
    await until(lambda: up(issuer), "the provider answers", 60)
    now = lambda: datetime.now(UTC)  # noqa: E731
    await add_user(engine, name="anna", password=None, role="operator", email="anna@lab.example", now=now())
    named = {
        "oidc_issuer": issuer,
        "oidc_client_id": "wellread",
        "oidc_client_secret": "any",
        "oidc_title": "Institute",
    }
    async with (
        serving(msgspec.structs.replace(settings, **named), now) as (url, app),  # type: ignore[arg-type]
        browser_page(url) as (page, _),
    ):
        page.set_default_timeout(60_000)
        known_at(app, url)
        await page.goto("/sign-in?next=/account")
        await page.get_by_role("button", name="Sign in with Institute").click()
        await page.get_by_role("button", name=who).click()
        if comes_in:
            await page.get_by_role("heading", name="anna").wait_for()
            assert page.url == f"{url}/account"
        else:
            await page.get_by_text("Nobody here is linked to that account").wait_for()
            await page.goto("/account")
            assert "/sign-in" in page.url


def known_at(app: Litestar, url: str) -> None:
    """The address that central got when it began to serve is the one that people reach it by."""
    parts = app.state.parts
    app.state.parts = replace(parts, settings=msgspec.structs.replace(parts.settings, public_url=url))
