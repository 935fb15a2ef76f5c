"""Runs of assays other than HI: accepted, shown in their own words, and in no count of titres."""

import shutil
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from central.settings import Settings
from protocol.messages import Colour
from protocol.profiles import PROFILES
from tests.central.dashboard.test_dashboard import page
from tests.central.web import bearer, central, people, runs
from tests.make import make_code, make_reading_id, make_well

pytestmark = pytest.mark.anyio
MIC = PROFILES["mic-96"]
RED = Colour(62.0, 40.0, 5.0, -38.0, 40.0, 5.0, "plate_light", 0.5, 0.0)
GROWN = {name: make_well("growth" if int(name[1:]) <= 3 else "clear", colour=RED) for name in MIC.format.names()}


@pytest.fixture
def database_url(tmp_path: Path, migrated_file: Path) -> str:
    """One database is enough here: what differs between them is below the web."""
    return f"sqlite+aiosqlite:///{shutil.copy(migrated_file, tmp_path / 'central.db')}"


def other(profile: str) -> dict:
    """A reading of another assay; its wells say nothing of cells."""
    if profile == "mic-96":
        return {"profile": profile, "wells": GROWN}
    if profile == "colour-96":
        return {"profile": profile, "wells": {name: make_well("negative") for name in MIC.format.names()}}
    dilutions = {name: make_well("diffuse" if int(name[1:]) <= 6 else "flowing") for name in MIC.format.names()}
    return {"profile": profile, "wells": dilutions}


@pytest.mark.parametrize(
    ("profile", "result", "titre"),
    [("mic-96", "MIC 0.032 mg/L", None), ("ha-titration", "1:64", "1:64")],
)
async def test_a_run_has_its_result_in_the_words_of_its_assay(
    engine: AsyncEngine, settings: Settings, profile: str, result: str, titre: str | None
) -> None:
    await people(engine)
    await runs(engine, 1, **other(profile))
    async with central(settings) as client:
        answer = await client.get(f"/api/v1/runs/{make_reading_id(1)}", headers=await bearer(client))
    endpoint = answer.json()["endpoints"]["A"]
    assert (endpoint["result"], endpoint["titre"], endpoint["last_flowing"]) == (result, titre, None)


@pytest.mark.parametrize("profile", ["mic-96", "colour-96"])
async def test_the_page_of_a_run_says_nothing_of_titres_or_of_flowing(
    engine: AsyncEngine, settings: Settings, profile: str
) -> None:
    await people(engine)
    await runs(engine, 1, **other(profile))
    async with central(settings) as client:
        found = (await page(client, f"/runs/{make_reading_id(1)}")).lower()
    assert "flowing" not in found
    assert "titre" not in found
    assert ("mic 0.032 mg/l" in found) == (profile == "mic-96")


async def test_a_measured_colour_is_told_with_its_reference(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine)
    await runs(engine, 1, **other("mic-96"))
    async with central(settings) as client:
        found = await page(client, f"/runs/{make_reading_id(1)}")
    assert "L* 62, a* 40, b* 5, against the plate light" in found


@pytest.mark.parametrize("profile", ["mic-96", "colour-96", "ha-titration"])
async def test_only_titres_of_sera_are_counted_and_exported(
    engine: AsyncEngine, settings: Settings, profile: str
) -> None:
    await people(engine)
    await runs(engine, 1)
    async with central(settings) as client:
        headers = await bearer(client)
        before = (await client.get("/api/v1/submissions/S-1001/labware.csv", headers=headers)).content
        await runs(engine, 2, **other(profile), code=make_code(test="OTHER"), device_id="bench-2")
        after = (await client.get("/api/v1/submissions/S-1001/labware.csv", headers=headers)).content
        summary = (await client.get("/api/v1/submissions/S-1001", headers=headers)).json()["summary"]
    assert before == after
    assert (summary["plates"], summary["sera"], summary["unread"]) == (2, 8, 0)
