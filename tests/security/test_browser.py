"""A real browser: a page of somewhere else changes nothing here, and hostile names are text on every page."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from litestar import Litestar
from playwright.async_api import Page
from sqlalchemy import String, Text, select, text, update
from sqlalchemy.ext.asyncio import AsyncEngine

from central.db import reading, transaction
from central.people.access import operations
from central.settings import Settings
from central.tables import devices, metadata
from central.tables.frozen import FROZEN
from tests.central.dashboard.test_dashboard_browser import browser_page, sign_in
from tests.central.web import serving
from tests.security.seeded import seed

pytestmark = [pytest.mark.anyio, pytest.mark.system]

HOSTILE = (
    "<script>document.title='pwned'</script>",
    "\"><img src=x onerror=\"document.title='pwned'\">",
    "'><svg/onload=document.title='pwned'>",
    "</title><script>document.title='pwned'</script>",
    "javascript:document.title='pwned'",
    "{{7*7}}${7*7}<%=7*7%>",
    "</textarea></style></script><b id=pwned>",
    "\" autofocus onfocus=document.title='pwned' x=\"",
)  # fmt: skip

# Free text that people, devices and files bring in; the rest holds identifiers that are checked when they come.
FREE = {
    "name", "title", "farm", "flock", "species", "vaccine", "customer", "note", "location", "text", "detail", "reason",
    "antigen", "antigen_lot", "agent", "lot", "address",
}  # fmt: skip
LOOK = """() => ({
    hostile: document.body.innerText.includes("pwned"),
    live: document.title === 'pwned' || [...document.scripts].some(each => !each.src)
        || !!document.querySelector('#pwned, img[src="x"], svg[onload], [onfocus], [onerror], a[href^="javascript:"]'),
})"""
FORGED = """<!doctype html><form id=f method=post action="{url}"><input name=name value=evil></form>
<script>document.getElementById('f').submit()</script>"""


@contextmanager
def elsewhere(content: str) -> Iterator[str]:
    """A page of another origin."""

    class Answering(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = content.encode()
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    server = HTTPServer(("127.0.0.1", 0), Answering)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://localhost:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


async def test_a_form_of_another_origin_is_refused(engine: AsyncEngine, settings: Settings) -> None:
    await seed(engine)
    async with serving(settings) as (url, _), browser_page(url) as (page, _complaints):
        await sign_in(page, "admin")
        for path in ("/devices/claims", "/devices/bench-1/revoke", "/sign-out"):
            with elsewhere(FORGED.format(url=url + path)) as other:
                async with page.expect_response(lambda answer: answer.request.method == "POST") as answered:
                    await page.goto(other)
                answer = await answered.value
                assert answer.status in (401, 403) or "/sign-in" in answer.headers.get("location", "")
        await page.goto(f"{url}/devices")
        assert await page.get_by_role("heading", name="Devices").count() == 1  # and is still signed in
    async with reading(engine) as connection:
        assert await connection.scalar(select(devices.c.revoked_at).where(devices.c.id == "bench-1")) is None


async def spoil(engine: AsyncEngine) -> None:
    """Hostile text wherever there may be free text, past every check."""
    async with transaction(engine) as connection:
        await connection.execute(text("PRAGMA foreign_keys = OFF"))
        for table in metadata.sorted_tables:
            names = [
                column.name
                for column in table.columns
                if column.name in FREE and isinstance(column.type, String | Text) and not column.foreign_keys
            ]
            if table.name in FROZEN or table.name in ("users", "submissions", "tests", "plates"):
                names = [name for name in names if name != "name" and table.name not in FROZEN]
            for row_number, row in enumerate(await _keys(connection, table)):
                values = {name: HOSTILE[(row_number + at) % len(HOSTILE)] for at, name in enumerate(names)}
                if values:
                    await connection.execute(update(table).where(*row).values(values))


async def _keys(connection: Any, table: Any) -> list[list[Any]]:
    rows = await connection.execute(select(*table.primary_key.columns))
    return [[column == row[at] for at, column in enumerate(table.primary_key.columns)] for row in rows]


async def addresses(app: Litestar, engine: AsyncEngine) -> list[str]:
    """Every page, with every id that fits into it."""
    names = [name.split(" ", 1)[1] for name in operations(app) if name.startswith("GET ")]
    pages = [
        name
        for name in names
        if not name.startswith(("/api", "/static", "/swagger", "/healthz", "/readyz", "/metrics"))
    ]
    ids: dict[str, list[str]] = {}
    async with reading(engine) as connection:
        for table in metadata.sorted_tables:
            if "id" in table.columns:
                ids[table.name] = [str(value) for value in await connection.scalars(select(table.c.id).limit(3))]
    found = []
    for template in pages:
        if "{" not in template:
            found.append(template)
            continue
        for some in ids.values():
            found += [_filled(template, value) for value in some]
    return [*found, "/submissions/S-CANARY-7351", "/audit?text=<script>", "/?submission=S-NORTH"]


def _filled(template: str, value: str) -> str:
    return "/".join(value if part.startswith("{") else part for part in template.split("/"))


async def test_hostile_names_are_text_on_every_page(engine: AsyncEngine, settings: Settings) -> None:
    await seed(engine)
    await spoil(engine)
    async with serving(settings) as (url, app), browser_page(url) as (page, complaints):
        dialogs: list[str] = []
        page.on("dialog", lambda dialog: dialogs.append(dialog.message))
        await sign_in(page, "admin")
        seen = [(address, await look(page, url + address)) for address in await addresses(app, engine)]
    assert [address for address, found in seen if found.get("live")] == []
    assert dialogs == []
    assert [line for line in complaints if "Content Security Policy" in line or "pwned" in line] == []
    shown = [address for address, found in seen if found["hostile"]]
    assert len(shown) >= 2, f"the hostile names were on {shown} alone (expected them where they are shown)"


async def look(page: Page, address: str) -> dict[str, bool]:
    """Whether hostile text is on the page, and whether any of it lives."""
    answer = await page.goto(address)
    assert answer is not None
    assert answer.status < 500, address
    await asyncio.sleep(0)
    return await page.evaluate(LOOK)
