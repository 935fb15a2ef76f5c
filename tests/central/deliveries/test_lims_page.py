"""docs/lims.md is followed as a new integrator would: its code runs against a real central, its table is the truth."""

import asyncio
import os
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import get_args

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from central.app import create_app
from central.audit.chain import COMMAND
from central.deliveries.changes import Kind
from central.deliveries.dialect import Dialect, shipped
from central.people.access import operations
from central.people.keys import create_key
from central.settings import Settings
from tests.central.deliveries.test_at_once import with_control
from tests.central.review.reviews import accept, dossier, override, people, read_plate, say, sign, withhold
from tests.central.web import serving
from tests.make import NOON, make_wells

pytestmark = pytest.mark.anyio
PAGE = Path(__file__).parents[3] / "docs" / "lims.md"


def puller() -> str:
    """The program on the page."""
    found = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found is not None
    return found[1]


async def pull(url: str, key: str, folder: Path) -> list[str]:
    """Run it once in its folder; every line that it has written so far."""
    program = folder / "puller.py"
    program.write_text(puller())
    environment = {"WELLREAD": url, "KEY": key, "PATH": os.environ["PATH"]}
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, str(program)], cwd=folder, env=environment, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    written = folder / "titres.csv"
    return written.read_text().splitlines() if written.exists() else []


async def test_the_program_on_the_page_gets_each_approved_titre_once(
    engine: AsyncEngine, settings: Settings, tmp_path: Path
) -> None:
    folder = tmp_path / "lims"
    folder.mkdir()
    rita = (await people(engine))["rita"]
    run_id = await read_plate(engine, wells=make_wells(6))
    _, key = await create_key(
        engine, title="LIMS", site_id="main", scopes=["results:read"], expires_at=NOON + timedelta(days=1),
        actor=COMMAND, now=NOON,
    )  # fmt: skip
    async with serving(settings) as (url, _):
        assert await pull(url, key, folder) == []  # nobody has approved it
        await say(engine, rita, accept(), withhold("H"))
        await sign(engine, rita)
        first = await pull(url, key, folder)
        assert [line.split(",")[5:7] for line in first] == [[row, "6"] for row in "ABCDEFG"]
        assert await pull(url, key, folder) == first  # nothing new
        await say(engine, rita, override("A6"))
        await say(engine, rita, accept())
        await sign(engine, rita)
        again = (await pull(url, key, folder))[len(first) :]
        assert [line.split(",")[5:7] for line in again] == [["A", "5"], *([row, "6"] for row in "BCDEFG")]
        assert {line.split(",")[0] for line in again} == {run_id}


async def test_the_program_on_the_page_writes_no_control_serum_and_nothing_that_was_changed_since(
    engine: AsyncEngine, settings: Settings, tmp_path: Path
) -> None:
    await with_control(engine)
    _, key = await create_key(
        engine, title="LIMS", site_id="main", scopes=["results:read"], expires_at=NOON + timedelta(days=1),
        actor=COMMAND, now=NOON,
    )  # fmt: skip
    async with serving(settings) as (url, _):
        (there := tmp_path / "there").mkdir()
        assert [line.split(",")[5] for line in await pull(url, key, there)] == list("BCDEFGH")
        await say(engine, (await dossier(engine)).signatures[0].user_id, override("B6"))
        (late := tmp_path / "late").mkdir()
        assert await pull(url, key, late) == []


def test_the_program_on_the_page_has_forty_lines() -> None:
    assert len([line for line in puller().splitlines() if line.strip()]) <= 40


def test_the_page_lists_every_dialect() -> None:
    text = PAGE.read_text()
    for dialect in shipped().values():
        assert f"| `{dialect.name}` | {dialect.title} |" in text


def test_the_page_tells_of_every_kind_of_change_and_of_no_other() -> None:
    table = PAGE.read_text().partition("| `kind` |")[2].partition("\n\n")[0]
    assert re.findall(r"(?m)^\| `([a-z.]+)` \|", table) != []
    assert set(re.findall(r"(?m)^\| `([a-z.]+)` \|", table)) == set(get_args(Kind))


def test_the_page_explains_every_field_of_a_dialect() -> None:
    explained = set(re.findall(r"`([a-z_]+)`", PAGE.read_text()))
    assert set(Dialect.__struct_fields__) <= explained


def test_every_address_on_the_page_is_one_of_the_api() -> None:
    said = {
        found.split("?")[0].rstrip("/.,`") for found in re.findall(r"/api/v1/[A-Za-z0-9$/_?=&.~{}-]+", PAGE.read_text())
    }
    ours = {name.split(" ")[1] for name in operations(create_app(Settings(), with_ingest=False))}
    patterns = [re.compile(re.sub(r"\{\w+\}", "[^/]+", path)) for path in ours]
    unknown = {each for each in said if not any(pattern.fullmatch(each) for pattern in patterns)}
    assert unknown == set()
    assert len(said) > 10
