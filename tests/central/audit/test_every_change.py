"""Every operation that changes something leaves an entry: who, what, old or new, and the request that it came with."""

import shutil
from pathlib import Path

import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from central.app import create_app
from central.audit.queries import Wanted, search
from central.db import reading
from central.people.permissions import ROLES
from central.people.sites import EVERY_SITE
from central.settings import Settings
from central.tables import audit_entries
from tests.central.audit.examples import EXAMPLES, WITHOUT_ENTRY
from tests.central.audit.ground import Ground
from tests.central.web import central, people, runs

pytestmark = pytest.mark.anyio


@pytest.fixture
def database_url(tmp_path: Path, migrated_file: Path) -> str:
    """One database is enough here: what differs between them is below the web."""
    return f"sqlite+aiosqlite:///{shutil.copy(migrated_file, tmp_path / 'central.db')}"


def changing() -> set[str]:
    """Every operation in the OpenAPI document that is not a question."""
    app = create_app(Settings(), with_ingest=False)
    return {
        f"{method.upper()} {path}"
        for path, item in app.openapi_schema.to_schema()["paths"].items()
        for method in item
        if method in ("post", "put", "patch", "delete")
    }


def test_every_changing_operation_has_its_example() -> None:
    assert changing() - set(EXAMPLES) - set(WITHOUT_ENTRY) == set(), "add them to tests/central/audit/examples.py"


def test_no_example_is_of_an_operation_that_is_gone() -> None:
    assert (set(EXAMPLES) | set(WITHOUT_ENTRY)) - changing() == set()


@pytest.mark.parametrize("name", sorted(EXAMPLES))
async def test_a_successful_call_leaves_an_entry(engine: AsyncEngine, settings: Settings, name: str) -> None:
    await people(engine, *ROLES)
    device = await runs(engine, 1)

    async def count() -> int:
        async with reading(engine) as connection:
            return await connection.scalar(select(func.count()).select_from(audit_entries)) or 0

    async with central(settings) as client:
        ground = Ground(client, engine, device, count=count)
        answer = await EXAMPLES[name](ground)
        assert answer.status_code < 300, f"{answer.status_code} {answer.text}"
        async with reading(engine) as connection:
            entries = (await search(connection, Wanted(), EVERY_SITE))[: await count() - ground.before]
    assert entries, "nothing was written down"
    assert all(entry.old is not None or entry.new is not None for entry in entries), entries
    assert all(entry.actor_id and entry.request_id == answer.headers["x-request-id"] for entry in entries), entries
