"""Databases for central's tests: every test that takes `engine` runs on SQLite and on PostgreSQL."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import hypothesis
import pytest
from argon2 import PasswordHasher
from sqlalchemy.ext.asyncio import AsyncEngine

from central.db import make_engine, migrate
from central.people import passwords
from central.settings import Settings
from tests.central.postgres import PostgresServer, postgres_server

# A machine that others use too takes its time, and an example that waited is no finding.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")

DATABASES = ("sqlite", "postgresql")
COSTLY = passwords._hasher


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Asynchronous tests are marked `anyio` and run on asyncio."""
    return "asyncio"


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """The one PostgreSQL server of this test run, started when the first test asks for it."""
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty SQLite database with central's tables, to be copied."""
    folder = tmp_path_factory.mktemp("template")
    asyncio.run(migrate(Settings(data_dir=folder)))
    return folder / "central.db"


@pytest.fixture(scope="session", autouse=True)
def cheap_passwords() -> Iterator[None]:
    """Passwords cost next to nothing to keep and compare, except where the cost is the matter: `costly_passwords`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "_hasher", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
        yield


@pytest.fixture
def costly_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords cost what they cost a laboratory."""
    monkeypatch.setattr(passwords, "_hasher", COSTLY)


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of an empty, migrated database of this test alone."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("migrated_file"), tmp_path / "central.db")
        yield f"sqlite+aiosqlite:///{tmp_path / 'central.db'}"
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    url = server.new_database()
    yield url
    server.drop(url)


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    """Settings of a central on this test's database and folder."""
    return Settings(data_dir=tmp_path, database_url=database_url, port=0)


@pytest.fixture
async def engine(settings: Settings) -> AsyncIterator[AsyncEngine]:
    """An engine on this test's migrated database."""
    engine = make_engine(settings.database)
    yield engine
    await engine.dispose()
