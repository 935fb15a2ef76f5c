"""The outbox's SQLite file: its tables, and the two settings that "saved" rests on, asserted each time it is opened.

WAL with synchronous=FULL puts every commit on the disk before it returns; NORMAL is thirty times faster and loses the
last commits at a power cut. One process writes, through one connection: SQLite before 3.51.3 can damage a WAL that two
connections reset at the same time.
"""

import fcntl
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from edge_agent.durable import make_folder
from protocol.delivery import State

SCHEMA_VERSION: Final = 1

# AUTOINCREMENT: a sequence number is never given twice, even after the highest row is gone.
_TABLES: Final = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    """CREATE TABLE readings (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, digest TEXT NOT NULL, document BLOB NOT NULL,
        state TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, session TEXT NOT NULL, put_ns INTEGER NOT NULL,
        put_at TEXT NOT NULL, settled_at TEXT, rejected_code TEXT, rejected_detail TEXT, photo TEXT NOT NULL,
        picture_sha256 TEXT NOT NULL, picture_file TEXT NOT NULL, picture_bytes INTEGER NOT NULL,
        picture_media_type TEXT NOT NULL, picture_state TEXT NOT NULL)""",
    "CREATE INDEX readings_by_state ON readings (state, seq)",
    "CREATE INDEX readings_by_wait ON readings (state, session, put_ns)",
    "CREATE INDEX readings_by_picture ON readings (picture_sha256)",
    "CREATE INDEX readings_by_picture_state ON readings (picture_state, seq)",
    """CREATE TABLE refused (
        number INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, photo TEXT NOT NULL, reason TEXT NOT NULL,
        detail TEXT NOT NULL, file TEXT)""",
    "CREATE TABLE captured (key TEXT PRIMARY KEY) WITHOUT ROWID",
)


class OutboxError(Exception):
    """The outbox cannot be used as it must be; the message says what was expected."""


def lock_folder(folder: Path) -> int:
    """A file descriptor that holds the outbox for this process; OutboxError if another one has it."""
    make_folder(folder)
    descriptor = os.open(folder / "outbox.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise OutboxError(
            f"the outbox in {folder} is in use by another wellread-agent (stop that one first)"
        ) from error
    return descriptor


def open_file(path: Path, new_epoch: Callable[[], str]) -> sqlite3.Connection:
    """The outbox's file, made if it is not there, with its settings asserted."""
    connection = sqlite3.connect(path, check_same_thread=False)
    try:
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "journal_size_limit = 8388608"):
            connection.execute(f"PRAGMA {pragma}")
        check_settings(connection)
        _make_tables(connection, new_epoch)
    except BaseException:
        connection.close()
        raise
    return connection


def open_for_looking(path: Path) -> sqlite3.Connection:
    """The same file, read-only, beside a running agent; OutboxError if there is none."""
    if not path.is_file():
        raise OutboxError(f"no outbox at {path} (expected the state folder of a reader that has run)")
    connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
    connection.row_factory = sqlite3.Row
    return connection


def check_settings(connection: sqlite3.Connection) -> None:
    """OutboxError unless a commit on this connection is on the disk when it returns."""
    for pragma, expected in (("journal_mode", "wal"), ("synchronous", 2)):
        (found,) = connection.execute(f"PRAGMA {pragma}").fetchone()
        if found != expected:
            raise OutboxError(f"SQLite's {pragma} is {found!r} (expected {expected!r})")


def _make_tables(connection: sqlite3.Connection, new_epoch: Callable[[], str]) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > SCHEMA_VERSION:
        raise OutboxError(f"the outbox is of version {version} (expected at most {SCHEMA_VERSION}: a newer agent's)")
    if version == SCHEMA_VERSION:
        return
    # With an explicit BEGIN the tables, the epoch and the version come into being together or not at all.
    connection.execute("BEGIN")
    for statement in _TABLES:
        connection.execute(statement)
    connection.execute("INSERT INTO meta VALUES ('epoch', ?)", [new_epoch()])
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    connection.commit()


def count_states(connection: sqlite3.Connection) -> dict[str, int]:
    """How many readings are in each state, pictures that central waits for, and photographs refused."""
    counts = dict.fromkeys(State, 0) | dict(connection.execute("SELECT state, count(*) FROM readings GROUP BY state"))
    (pictures,) = connection.execute("SELECT count(*) FROM readings WHERE picture_state = 'wanted'").fetchone()
    (refused,) = connection.execute("SELECT count(*) FROM refused").fetchone()
    return {str(state): n for state, n in counts.items()} | {"pictures_wanted": pictures, "refused": refused}


def list_rows(connection: sqlite3.Connection, everything: bool) -> list[dict[str, Any]]:
    """The readings, oldest first; without `everything` only those that central lacks."""
    columns = "seq, id, state, attempts, photo, put_at, settled_at, rejected_code, rejected_detail, picture_state"
    rows = connection.execute(
        f"SELECT {columns} FROM readings WHERE ? OR state != 'settled' ORDER BY seq", [everything]
    )
    return [dict(row) for row in rows]
