"""The pages in a real browser: sign in, runs that appear by themselves, one run by keyboard, the CSV, the API page."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from litestar import Litestar
from playwright.async_api import Error, Page, Response, async_playwright
from sqlalchemy.ext.asyncio import AsyncEngine

from central.settings import Settings
from tests.central.web import PASSWORD, people, runs, serving
from tests.make import make_code, make_reading_id, make_well, make_wells

pytestmark = [pytest.mark.anyio, pytest.mark.system]

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = ("--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--headless=new")


@pytest.fixture
def database_url(tmp_path: Path, migrated_file: Path) -> str:
    """One database is enough here: what differs between them is below the web."""
    return f"sqlite+aiosqlite:///{shutil.copy(migrated_file, tmp_path / 'central.db')}"


@asynccontextmanager
async def browser_page(url: str) -> AsyncIterator[tuple[Page, list[str]]]:
    """A page of a real browser, and what it complained about or asked of other servers."""
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"no browser here (expected one of {', '.join(BROWSERS)})")
    complaints: list[str] = []

    def check(answer: Response) -> None:
        if not answer.url.startswith((url, "data:")):
            complaints.append(f"asked {answer.url}")

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=found, args=list(ARGUMENTS))
        page = await browser.new_page(base_url=url)
        page.set_default_timeout(10_000)
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("response", check)
        try:
            yield page, complaints
        finally:
            await browser.close()


async def sign_in(page: Page, name: str = "viewer") -> None:
    """Through the form, as a person does."""
    await page.goto("/")
    await page.get_by_label("Name").fill(name)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in").click()
    await page.get_by_role("heading", name="Runs").wait_for()


async def announce(app: Litestar) -> None:
    """What ingest does after its commit."""
    app.state.parts.live.announce()


async def test_a_person_signs_in_sees_runs_come_in_and_takes_the_csv(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine)
    await runs(engine, 1)
    async with serving(settings) as (url, app), browser_page(url) as (page, complaints):
        await sign_in(page)
        await page.locator("#live.on").wait_for()
        assert await page.locator("tr[data-run]").count() == 1

        await runs(engine, 2, code=make_code("S-2002"))
        await announce(app)
        await page.locator(f'tr[data-run="{make_reading_id(2)}"]').wait_for()
        assert await page.locator("tr[data-run]").first.get_attribute("data-run") == make_reading_id(2)

        await page.get_by_role("link", name="S-2002", exact=True).click()
        async with page.expect_download() as download:
            await page.get_by_role("link", name="LabWare CSV").click()
        saved = await download.value
        assert saved.suggested_filename.startswith("interface_S-2002_")
        assert Path(await saved.path()).read_text().splitlines()[1] == "S-2002,S-2002,No.,8"
        assert complaints == []


async def test_wells_are_reached_by_arrow_keys_and_said_in_words(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine)
    await runs(engine, 1, wells=make_wells() | {"B2": make_well("not_read")})
    async with serving(settings) as (url, _), browser_page(url) as (page, complaints):
        await sign_in(page)
        await page.get_by_role("link", name="Open the run").click()
        await page.locator('td[data-well="A1"]').focus()
        await page.keyboard.press("ArrowDown")
        await page.keyboard.press("ArrowRight")
        assert await page.locator("#well-detail").text_content() == "B2: not read"
        await page.keyboard.press("Control+End")
        assert await page.evaluate("document.activeElement.dataset.well") == "H12"
        await page.keyboard.press("ArrowRight")
        assert await page.evaluate("document.activeElement.dataset.well") == "H12"
        assert complaints == []


async def test_the_api_page_draws_itself_without_internet(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine)
    async with serving(settings) as (url, _), browser_page(url) as (page, complaints):
        await sign_in(page)
        await page.goto("/api")
        await page.get_by_text("/api/v1/submissions/{submission}/labware.csv").wait_for()
        assert complaints == []


async def test_a_page_of_another_origin_cannot_use_the_session(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine)
    async with serving(settings) as (url, _), browser_page(url) as (page, _complaints):
        await sign_in(page, "admin")
        other = url.replace("127.0.0.1", "localhost")
        await page.goto(f"{other}/sign-in")
        with pytest.raises(Error):  # the browser itself refuses to hand over the answer
            await page.evaluate(f"fetch('{url}/api/v1/runs', {{credentials: 'include'}}).then(a => a.text())")
