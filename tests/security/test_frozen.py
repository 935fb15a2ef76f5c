"""Records stay as they were made: by triggers, whoever asks; and a role that owns nothing cannot take those off."""

from collections.abc import Iterator
from pathlib import Path

import asyncpg  # type: ignore[import-untyped]
import pytest
from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from central.db import make_engine, transaction
from central.tables.frozen import FROZEN
from tests.central.audit.trails import write
from tests.central.postgres import PostgresServer
from tests.central.web import runs

pytestmark = pytest.mark.anyio

# As a superuser would begin; a role that central runs as may not.
WAYS_ROUND = (
    "ALTER TABLE {table} DISABLE TRIGGER ALL",
    "DROP TRIGGER frozen_{table} ON {table}",
    "SET session_replication_role = replica",
    "DROP TABLE {table}",
    "CREATE OR REPLACE FUNCTION wellread_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$",
)


@pytest.mark.parametrize("table", FROZEN)
@pytest.mark.parametrize("statement", ["UPDATE {table} SET {column} = {column}", "DELETE FROM {table}"])
async def test_no_row_is_changed_or_deleted_on_sqlite(
    engine: AsyncEngine, tmp_path: Path, table: str, statement: str
) -> None:
    await fill(engine, tmp_path)
    column = {"runs": "submission", "corrections": "reason", "signatures": "meaning"}.get(table, "hash")
    async with transaction(engine) as connection:
        count = (await connection.execute(text(f"SELECT count(*) FROM {table}"))).scalar()
    if not count:
        pytest.skip(f"no row of {table} is made here; its trigger is the same")
    with pytest.raises(DBAPIError, match="never changed or deleted"):
        async with transaction(engine) as connection:
            await connection.execute(text(statement.format(table=table, column=column)))


async def fill(engine: AsyncEngine, tmp_path: Path) -> None:
    await runs(engine, 1)
    await write(engine, tmp_path)


@pytest.fixture
def url(postgres: PostgresServer) -> Iterator[str]:
    """A PostgreSQL database of this test alone."""
    url = postgres.new_database()
    yield url
    postgres.drop(url)


async def test_the_role_that_central_runs_as_can_neither_change_them_nor_take_the_triggers_off(
    url: str, tmp_path: Path
) -> None:
    owner = make_engine(url)
    await fill(owner, tmp_path)
    async with transaction(owner) as connection:
        for statement in (
            "DROP ROLE IF EXISTS wellread_app",
            "CREATE ROLE wellread_app LOGIN PASSWORD 'one of our own'",
            "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO wellread_app",
            "GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO wellread_app",
        ):
            await connection.execute(text(statement))
    try:
        allowed = await attempts(url)
    finally:
        async with transaction(owner) as connection:
            await connection.execute(text("DROP OWNED BY wellread_app"))
            await connection.execute(text("DROP ROLE wellread_app"))
        await owner.dispose()
    assert allowed == []


async def attempts(url: str) -> list[str]:
    """Everything that central's own role got through with."""
    found = []
    plain = make_url(url).set(drivername="postgresql").render_as_string(False)
    connection = await asyncpg.connect(plain)
    await connection.execute("SET ROLE wellread_app")
    for table in FROZEN:
        tries = [f"UPDATE {table} SET {await first_column(connection, table)} = NULL", f"DELETE FROM {table}"]
        tries += [f"TRUNCATE {table} CASCADE", *(way.format(table=table) for way in WAYS_ROUND)]
        held = await connection.fetchval(f"SELECT count(*) FROM {table}")
        for statement in tries:
            try:
                await connection.execute(statement)
            except asyncpg.PostgresError:
                continue
            if held or not statement.startswith(("UPDATE", "DELETE")):  # of no rows at all nothing is changed
                found.append(statement)
    await connection.close()
    return found


async def first_column(connection: object, table: str) -> str:
    query = "SELECT column_name FROM information_schema.columns WHERE table_name = $1 AND is_nullable = 'YES' LIMIT 1"
    return await connection.fetchval(query, table) or "number"  # type: ignore[attr-defined]
