"""Headers that a browser acts upon: how central is reached, and what a file is called that somebody downloads."""

import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncEngine

from central.settings import Settings
from central.web.headers import attachment
from tests.central.web import central

ROOT = Path(__file__).parents[2]


@pytest.mark.anyio
async def test_behind_tls_browsers_are_told_to_use_nothing_else_for_a_year_here_and_below(
    engine: AsyncEngine, settings: Settings
) -> None:
    async with central(msgspec.structs.replace(settings, secure_cookies=True)) as client:
        for path in ("/sign-in", "/healthz", "/nowhere", "/static/app.js", "/api/v1/runs"):
            policy = (await client.get(path)).headers["strict-transport-security"]
            found = re.fullmatch(r"max-age=(\d+); includeSubDomains", policy)
            assert found is not None, path
            assert int(found[1]) >= 365 * 24 * 3600
    async with central(settings) as client:
        assert "strict-transport-security" not in (await client.get("/sign-in")).headers


HOSTILE = (
    'a".csv',
    "a\r\nSet-Cookie: x=1",
    "a; filename*=UTF-8''evil.exe",
    "../../etc/passwd",
    "ä.csv",
    "a\\",
    "\0",
    "",
)


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_breaks_out_of_its_header(name: str) -> None:
    assert re.fullmatch(r'attachment; filename="[A-Za-z0-9._-]*"', attachment(name))


@given(st.text())
def test_no_text_at_all_breaks_out_of_its_header(name: str) -> None:
    assert re.fullmatch(r'attachment; filename="[A-Za-z0-9._-]*"', attachment(name))
    assert len(attachment(name)) == len(attachment("")) + len(name)


def test_nobody_writes_that_header_by_hand() -> None:
    sources = {path: path.read_text() for path in (ROOT / "central").rglob("*.py")}
    said = [path.name for path, text in sources.items() if re.search(r"attachment; *filename", text)]
    assert said == ["headers.py"]
    users = [text for text in sources.values() if re.search(r'"content-disposition": ', text)]
    assert len(users) >= 4
    assert all(re.search(r'"content-disposition": attachment\(', text) for text in users)
