"""A GET changes nothing: every one of them is asked, as an administrator, and nothing is written to the database.

One is an exception by name: whoever takes the audit trail away is in it from then on.
"""

import re
import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path

import pytest
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import AsyncEngine

from central.people.access import operations
from central.settings import Settings
from tests.central.web import ENDLESS, central, sign_in
from tests.security.seeded import seed

pytestmark = pytest.mark.anyio

LEAVES_A_TRACE = {"/api/v1/audit/export", "/audit/export"}


def written(watching: sqlite3.Connection) -> int:
    """A number that is another one as soon as anybody else has committed a change."""
    return int(watching.execute("PRAGMA data_version").fetchone()[0])


def addresses(path: str, known: Sequence[object]) -> list[tuple[str, object]]:
    """A path with each of some ids in it; all parameters have the same one."""
    if "{" not in path:
        return [(path, "")]
    return [(re.sub(r"\{[^}]*\}", str(value), path), value) for value in known]


async def test_no_get_changes_anything(engine: AsyncEngine, settings: Settings) -> None:
    seeded = await seed(engine)
    known, answered, found, traces = list(seeded.known), set(), set(), set()
    file = make_url(settings.database).database
    async with central(settings) as client:
        await sign_in(client, "admin")
        gets = [name.split(" ", 1)[1] for name in operations(client.app) if name.startswith("GET ")]
        with closing(sqlite3.connect(str(file))) as watching:
            for path in gets:
                if path in ENDLESS:
                    continue
                before = written(watching)
                for address, value in islice(addresses(path, known), 20):
                    answer = await client.get(address, follow_redirects=False)
                    assert answer.status_code < 500 or path == "/readyz", address
                    answered.add(path)
                    if answer.status_code == 200:
                        found.add(path)
                        # What was found once is asked for first from now on.
                        known.sort(key=lambda each: each != value)
                        break
                if path in LEAVES_A_TRACE and written(watching) != before:
                    traces.add(path)
                assert written(watching) == before or path in LEAVES_A_TRACE, path
    assert answered == set(gets) - set(ENDLESS)
    assert traces, "a change was not noticed"
    # Most of them found something to show, those with an id in their path too.
    assert len(found) > 0.6 * len(answered), sorted(answered - found)
    assert len([path for path in found if "{" in path]) >= 10


@pytest.fixture
def database_url(tmp_path: Path, migrated_file: Path) -> str:
    """One kind of database is enough: what is asked is the same."""
    return f"sqlite+aiosqlite:///{shutil.copy(migrated_file, tmp_path / 'central.db')}"
