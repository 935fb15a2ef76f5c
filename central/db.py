"""The database: engine, transactions, migration. The same calls on SQLite and PostgreSQL.

SQLite runs with a write-ahead log and synchronous FULL, because an acknowledged run must survive a power cut, and
with one writer at a time: a write transaction begins IMMEDIATE under the engine's own lock, so that writers of this
process never wait in SQLite's busy loop and no checkpoint runs beside a writer.
"""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import asyncpg  # type: ignore[import-untyped]
import msgspec
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Table, event, make_url, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    IntegrityError,
    InvalidatePoolError,
    SQLAlchemyError,
    StatementError,
)
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from central.settings import Settings

# A connection that nobody used for so long is asked whether it still holds before it is used again.
PING_AFTER_S: Final = 1.0

# Longer than any transaction of ours; then the writer is told instead of waiting for ever.
BUSY_TIMEOUT_MS: Final = 10_000
LOG_RETRY_MS: Final = 20

# Keys that one statement is asked with: PostgreSQL takes 32,767 parameters in one, and a plate's code is four.
CHUNK: Final = 5_000

# Any constant of our own: two centrals that start together migrate one after the other.
_MIGRATION_LOCK: Final = 0x77656C6C

_LEFT_S: Final = "left_s"

# Everything that executing a statement can raise: SQLAlchemy wraps neither the errors of connecting to PostgreSQL nor
# a number that SQLite cannot hold.
DATABASE_ERRORS: Final = (SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, OverflowError)

# SQLSTATE classes "data exception" and "integrity constraint violation".
_STATES_OF_A_ROW: Final = ("22", "23")


def row_at_fault(error: BaseException) -> bool:
    """Whether one row caused this database error and another may do better; otherwise the database is not available."""
    if isinstance(error, DBAPIError) and not isinstance(error, IntegrityError | DataError):
        return str(getattr(error.orig, "sqlstate", None) or "")[:2] in _STATES_OF_A_ROW
    return isinstance(error, StatementError | OverflowError)


def make_engine(url: str, *, foreign_keys: bool = True, command_timeout_s: float | None = 30.0) -> AsyncEngine:
    """An engine for this URL; nothing is opened yet. Close it with `await engine.dispose()`."""
    if make_url(url).get_backend_name() == "sqlite":
        return _sqlite_engine(url, foreign_keys=foreign_keys)
    return _postgresql_engine(url, command_timeout_s=command_timeout_s)


def _postgresql_engine(url: str, *, command_timeout_s: float | None) -> AsyncEngine:
    engine = create_async_engine(
        url,
        pool_size=10,
        max_overflow=5,
        pool_timeout=10,
        json_serializer=_json_text,
        json_deserializer=msgspec.json.decode,
        connect_args={"timeout": 5, "command_timeout": command_timeout_s},
    )
    # Each statement sees a moment of its own there, in a transaction or not: so none is begun and ended to read.
    engine.update_execution_options(
        reader=engine.execution_options(isolation_level="AUTOCOMMIT"),
        moment=engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True),
    )

    @event.listens_for(engine.sync_engine, "checkin")
    def _checkin(_connection: Any, record: Any) -> None:
        record.info[_LEFT_S] = time.monotonic()

    @event.listens_for(engine.sync_engine, "checkout")
    def _checkout(connection: Any, record: Any, _proxy: Any) -> None:
        left_s = record.info.get(_LEFT_S)
        if left_s is not None and not _holds(engine, connection, time.monotonic() - left_s):
            raise InvalidatePoolError

    return engine


def _holds(engine: AsyncEngine, connection: Any, idle_s: float) -> bool:
    """Whether a connection of the pool is good. SQLAlchemy's own ping is three round trips before every use."""
    if connection.driver_connection.is_closed():
        return False
    try:
        return idle_s < PING_AFTER_S or engine.dialect.do_ping(connection)
    except engine.dialect.loaded_dbapi.Error:
        return False


def _sqlite_engine(url: str, *, foreign_keys: bool) -> AsyncEngine:
    engine = create_async_engine(
        url,
        # None: the driver begins nothing by itself; `_begin` below does.
        connect_args={"isolation_level": None, "timeout": BUSY_TIMEOUT_MS / 1000},
        execution_options={"writer": asyncio.Lock()},
        json_serializer=_json_text,
        json_deserializer=msgspec.json.decode,
    )

    @event.listens_for(engine.sync_engine, "connect")
    def _connect(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        keep_a_log(cursor)
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute(f"PRAGMA foreign_keys = {'ON' if foreign_keys else 'OFF'}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: Connection) -> None:
        immediate = connection.get_execution_options().get("immediate", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

    return engine


def keep_a_log(cursor: Any) -> None:
    """Write-ahead logging, which outlives the connection.

    Two programs that turn it on at once in a new file meet each other's lock, and SQLite refuses one at once instead of
    waiting as it does for every other statement: so it is asked again, as long as another would have waited.
    """
    for _ in range(BUSY_TIMEOUT_MS // LOG_RETRY_MS):
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
            time.sleep(LOG_RETRY_MS / 1000)
        else:
            return
    cursor.execute("PRAGMA journal_mode = WAL")


def _json_text(value: Any) -> str:
    return msgspec.json.encode(value).decode()


@dataclass(slots=True)
class Effects:
    """Whether a commit was tried since somebody began to look: then something may have been done."""

    possible: bool = False


# Whoever has to know sets one of his own, for what he calls from there on.
EFFECTS: Final[ContextVar[Effects | None]] = ContextVar("effects", default=None)


@asynccontextmanager
async def transaction(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A connection whose changes are committed at the end, or undone by an exception. The way to write."""
    async with engine.get_execution_options().get("writer") or nullcontext(), engine.connect() as connection:
        await connection.execution_options(immediate=True)
        async with connection.begin():
            yield connection
            if (effects := EFFECTS.get()) is not None:
                effects.possible = True


@asynccontextmanager
async def reading(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A connection to read with; on SQLite everything it sees is of one moment, on PostgreSQL every statement."""
    async with engine.get_execution_options().get("reader", engine).connect() as connection:
        yield connection


@asynccontextmanager
async def one_moment(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A connection to read with by statements whose answers must agree: everything it sees is of one moment."""
    async with engine.get_execution_options().get("moment", engine).connect() as connection:
        yield connection


def insert_ignore(dialect: str, table: Table) -> postgresql.Insert | sqlite.Insert:
    """An INSERT that leaves rows alone whose keys are taken, whichever it is; `dialect` is `engine.dialect.name`."""
    return upsert(dialect, table).on_conflict_do_nothing()


def upsert(dialect: str, table: Table) -> postgresql.Insert | sqlite.Insert:
    """An INSERT of this dialect, for `on_conflict_do_update`."""
    if dialect not in ("sqlite", "postgresql"):
        raise ValueError(f"not a database of ours: {dialect!r} (expected sqlite or postgresql)")
    return sqlite.insert(table) if dialect == "sqlite" else postgresql.insert(table)


async def migrate(settings: Settings) -> None:
    """Bring the database to the newest tables; creates it where it is a file that does not exist."""
    url = make_url(settings.database)
    if url.get_backend_name() == "sqlite" and url.database:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    # SQLite rebuilds a table to change it; with foreign keys on, that would empty the tables that point to it.
    # And a step over a million runs takes longer than anything that central does otherwise.
    engine = make_engine(settings.database, foreign_keys=False, command_timeout_s=None)
    try:
        async with transaction(engine) as connection:
            if engine.dialect.name == "postgresql":
                await connection.execute(text(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})"))
            await connection.run_sync(_upgrade)
    finally:
        await engine.dispose()


def migration_config(connection: Connection | None = None) -> Config:
    """Alembic's configuration, made here instead of an ini file."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    return config


def _upgrade(connection: Connection) -> None:
    command.upgrade(migration_config(connection), "head")
