"""The pages: what they show, that they need nothing from elsewhere, and that hostile names stay text."""

import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from central.dashboard import _HERE
from central.dashboard.terms import CALL_WORDS, LETTERS
from central.dashboard.words import bars
from central.db import transaction
from central.fleet.devices import record_status
from central.settings import Settings
from protocol.assay import Call
from protocol.messages import CalibrationUsed, DeviceStatus, ModelUsed, PlateCode, Refusal, Streak
from tests.central.web import Client, central, csrf_token, people, runs, sign_in
from tests.make import NOON, make_code, make_reading, make_reading_id, make_well, make_wells, replace

pytestmark = pytest.mark.anyio


@pytest.fixture
def database_url(tmp_path: Path, migrated_file: Path) -> str:
    """One database is enough here: what differs between them is below the web."""
    return f"sqlite+aiosqlite:///{shutil.copy(migrated_file, tmp_path / 'central.db')}"


HOSTILE = "\"><script>alert(1)</script><img src=x onerror=alert(2)>'{{7*7}}"
PAGES = ("/", "/submissions", "/submissions/S-1001", "/devices", "/api", f"/runs/{make_reading_id(1)}", "/sign-in")


class Elements(HTMLParser):
    """Every tag of a page with its attributes."""

    def __init__(self) -> None:
        """Nothing was parsed yet."""
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep the tag."""
        self.found.append((tag, dict(attrs)))


def elements(html: str) -> list[tuple[str, dict[str, str | None]]]:
    """The tags of a page."""
    parser = Elements()
    parser.feed(html)
    return parser.found


async def page(client: Client, path: str, name: str = "admin") -> str:
    """A page as a signed-in person sees it."""
    if "wellread_session" not in client.cookies:
        await sign_in(client, name)
    answer = await client.get(path)
    assert answer.status_code == 200, answer.text
    return answer.text


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_needs_nothing_from_elsewhere_and_nothing_inline(
    engine: AsyncEngine, settings: Settings, path: str
) -> None:
    await people(engine)
    await runs(engine, 1)
    async with central(settings) as client:
        found = elements(await page(client, path))
    addresses = [value for _, attributes in found for name, value in attributes.items() if name in ("src", "href")]
    assert [address for address in addresses if address and re.match(r"[a-z]+:|//", address)] == []
    assert [tag for tag, attributes in found if tag == "style" or "style" in attributes] == []
    assert [tag for tag, attributes in found if tag == "script" and "src" not in attributes] == []
    assert [name for _, attributes in found for name in attributes if name.startswith("on")] == []


def test_our_own_files_name_no_other_server() -> None:
    for file in (_HERE / "static").iterdir():
        assert re.findall(r"(?<!www\.w3\.org)https?://(?!www\.w3\.org/)", file.read_text()) == [], file


def test_our_script_stays_small() -> None:
    assert len((_HERE / "static" / "app.js").read_text().splitlines()) < 150


async def test_hostile_names_stay_text_on_every_page(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine)
    # A code's text and a model's name are free text; what else is free comes from the device's status.
    await runs(
        engine, 1,
        code=PlateCode(HOSTILE, "given", "S-1001", "NDV", "1"),
        model=ModelUsed(HOSTILE[:55], 1, "a" * 64, HOSTILE),
        agent=HOSTILE, quality={HOSTILE: 0.5},
    )  # fmt: skip
    async with transaction(engine) as connection:
        refusal = Refusal(NOON, HOSTILE, HOSTILE, HOSTILE)
        await record_status(
            connection, DeviceStatus(1, "bench-1", True, "s", NOON, HOSTILE, HOSTILE, None, refusal), now=NOON
        )
    async with central(settings) as client:
        await sign_in(client, "admin")
        await client.post("/devices/claims", data={"name": HOSTILE[:64], "csrf_token": await csrf_token(client)})
        for path in PAGES:
            html = await page(client, path)
            assert "<script>alert" not in html, path
            assert "onerror" not in {name for _, attributes in elements(html) for name in attributes}, path
            assert "49" not in re.findall(r"'(\d+)", html), path


async def test_the_list_is_newest_first_with_titres_grades_and_flags(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine)
    await runs(engine, 1, wells=make_wells({"A": 0, "B": 12}))
    await runs(engine, 2, code=None)
    async with central(settings) as client:
        html = await page(client, "/")
    assert re.findall(r'<tr data-run="([^"]+)"', html) == [make_reading_id(2), make_reading_id(1)]
    assert "plate code unknown" in html
    assert "row A: log₂ 0, &lt;1:2, grade" in html
    assert "at limit, below" in html


async def test_a_run_says_how_its_bench_had_drifted(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine)
    await runs(engine, 1)
    await runs(engine, 2, calibration=CalibrationUsed("0003-1a2b3c4d", NOON, ("place", "light")))
    async with central(settings) as client:
        before, after = [await page(client, f"/runs/{make_reading_id(number)}") for number in (1, 2)]
    assert "none: the bench was not calibrated" in before
    assert "0003-1a2b3c4d of 2026-11-20 12:00:00 UTC, DRIFTED: place, light" in after


async def test_a_run_shows_every_well_with_its_state(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine)
    odd = {
        "C3": make_well("not_read"),
        "C4": make_well("obscured"),
        "C5": make_well("button", 0.55, flags=("low_confidence",)),
    }
    await runs(engine, 1, wells=make_wells() | odd)
    async with central(settings) as client:
        html = await page(client, f"/runs/{make_reading_id(1)}")
    cells = {a["data-well"]: a for tag, a in elements(html) if tag == "td" and "data-well" in a}
    assert len(cells) == 96
    assert cells["C3"]["aria-label"] == "C3: not read"
    assert cells["C5"]["class"] == "well button unsure"
    assert (cells["C5"]["aria-label"] or "").endswith("low confidence")
    assert sum(cell["tabindex"] == "0" for cell in cells.values()) == 1


async def test_a_disputed_well_says_what_was_measured(engine: AsyncEngine, settings: Settings) -> None:
    streak = Streak("does_not_stream", 2.4, 1.62, 1.6, 0.83, 30.0, 25.0, 0.81)
    await people(engine)
    await runs(engine, 1, wells=make_wells() | {"A6": make_well("flowing", flags=("disputed",), streak=streak)})
    async with central(settings) as client:
        html = await page(client, f"/runs/{make_reading_id(1)}")
    [cell] = [found for _, found in elements(html) if found.get("data-well") == "A6" and "role" in found]
    measured = "measured 1.6 × 1.6 mm, tail 0.83, streaming ratio 0.81: it does not stream"
    assert (cell["aria-label"] or "").endswith(f"disputed: the measurement contradicts the call, {measured}")
    assert cell["class"] == "well flowing unsure"


def test_an_unread_well_shares_neither_letter_nor_words_with_a_negative_one() -> None:
    unread = {LETTERS[Call.OBSCURED], LETTERS[Call.NOT_READ]}
    assert not unread & {LETTERS[call] for call in Call if call.is_read}
    assert all("not read" in CALL_WORDS[call] for call in Call if not call.is_read)


def test_no_two_calls_share_a_letter() -> None:
    assert len(set(LETTERS.values())) == len(Call)


def test_bars_are_as_high_as_their_counts() -> None:
    assert [bar.height for bar in bars({0: 0, 1: 2, 2: 8})] == [0, 25, 100]
    assert [bar.height for bar in bars({0: 0})] == [0]


async def test_a_replaced_reading_says_that_it_does_not_count(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine)
    await runs(engine, 1, 2)
    async with central(settings) as client:
        old = await page(client, f"/runs/{make_reading_id(1)}")
        submission = await page(client, "/submissions/S-1001")
    assert "This plate was read again later" in old
    assert (submission.count(">counts<"), submission.count(">replaced<")) == (1, 1)


async def test_a_submission_shows_known_statistics(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine)
    ends = dict(zip("ABCDEFGH", (2, 4, 4, 5, 5, 5, 6, 6), strict=True))
    await runs(engine, 1, wells=make_wells(ends))
    async with central(settings) as client:
        html = await page(client, "/submissions/S-1001")
    figures = dict(re.findall(r"<dt>([^<]+)</dt><dd>([^<]+)</dd>", html))
    assert [figures[name] for name in ("Sera", "Mean log₂", "GMT", "SD", "CV %")] == [
        "8",
        "4.63",
        "24.68",
        "1.30",
        "28.16",
    ]
    assert 'href="/api/v1/submissions/S-1001/labware.csv"' in html


async def test_unread_sera_are_named_and_in_no_figure(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine)
    await runs(engine, 1, wells=make_wells() | {f"A{c}": make_well("not_read") for c in range(1, 13)})
    async with central(settings) as client:
        html = await page(client, "/submissions/S-1001")
    assert "1 serum was not read and is in no figure here" in html
    assert "<dt>Sera</dt><dd>7</dd>" in html


async def test_a_plate_of_unknown_orientation_says_why_it_has_no_titres(
    engine: AsyncEngine, settings: Settings
) -> None:
    await people(engine)
    await runs(engine, 1, plate=replace(make_reading().plate, a1_from="unknown"))
    async with central(settings) as client:
        html = await page(client, f"/runs/{make_reading_id(1)}")
    assert "Nobody knows which well of this plate is A1" in html
    assert "1:64" not in html


async def test_the_devices_page_makes_a_claim_code_for_an_administrator_only(
    engine: AsyncEngine, settings: Settings
) -> None:
    await people(engine)
    async with central(settings) as client:
        await sign_in(client, "admin")
        form = {"name": "Bench 7", "csrf_token": await csrf_token(client)}
        html = (await client.post("/devices/claims", data=form)).text
    assert "Claim code for Bench 7" in html
    assert re.search(r'class="code">[0-9A-Z-]{34}<', html)
    async with central(settings) as client:
        assert "Add a device" not in await page(client, "/devices", "viewer")


async def test_an_unknown_page_is_a_page(engine: AsyncEngine, settings: Settings) -> None:
    async with central(settings) as client:
        answer = await client.get("/nothing")
    assert answer.status_code == 404
    assert "<h1>Not Found</h1>" in answer.text


async def test_older_runs_are_a_page_further(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine)
    await runs(engine, *range(1, 56))
    async with central(settings) as client:
        first = await page(client, "/")
        address: Any = next(a["href"] for tag, a in elements(first) if tag == "a" and a.get("rel") == "next")
        second = await page(client, address)
    assert (first.count("data-run="), second.count("data-run=")) == (50, 5)
    assert 'id="live"' not in second  # an old page does not move under the reader


async def test_a_submission_with_a_slash_has_a_page(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine)
    await runs(engine, 1, code=make_code("2026/117"))
    async with central(settings) as client:
        listed = await page(client, "/submissions")
        address: Any = next(a["href"] for tag, a in elements(listed) if tag == "a" and "117" in (a.get("href") or ""))
        assert "Submission 2026/117" in await page(client, address)
