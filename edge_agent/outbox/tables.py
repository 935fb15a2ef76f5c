"""The outbox's tables, and how a file of an older version becomes one of this.

What was captured lies in `documents`, with the digest that was made at capture; it is written once and proves itself.
`readings` says where each stands; `seal` is over the columns that must not change, so that a flipped bit in one of them
is seen before the reading leaves. `meta` holds the outbox's name and its counter, sealed too, and twice, so that one
flipped bit takes neither: a number that was given is never given again.
"""

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final, TypeAlias

import msgspec

from edge_agent.outbox.packing import Packer

VERSION: Final = 2

# Short enough that all of it lies on the file's first page, of which `salvage` keeps a copy.
TABLES: Final = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT, seal TEXT)",
    "CREATE TABLE readings (seq INTEGER PRIMARY KEY, id TEXT UNIQUE, digest TEXT, day TEXT, seal TEXT, state TEXT,"
    " moved INT, session TEXT, put_ns INT, put_at TEXT, captured_at TEXT, settled_at TEXT, rejected_code TEXT,"
    " rejected_detail TEXT, photo TEXT, picture_sha256 TEXT, picture_media_type TEXT, picture_bytes INT,"
    " packed_bytes INT, picture_state TEXT)",
    "CREATE TABLE documents (seq INTEGER PRIMARY KEY, digest TEXT, packed BLOB)",
    "CREATE INDEX by_state ON readings (state, seq)",
    "CREATE INDEX by_wait ON readings (state, session, put_ns)",
    "CREATE INDEX by_day ON readings (day, seq, digest, state, moved, rejected_code)",
    "CREATE INDEX by_picture ON readings (picture_sha256)",
    "CREATE INDEX by_picture_state ON readings (picture_state, seq)",
    "CREATE TABLE refused (number INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT, photo TEXT, reason TEXT,"
    " detail TEXT, file TEXT)",
    "CREATE TABLE captured (key TEXT PRIMARY KEY) WITHOUT ROWID",
)

# What nothing else in the file could tell, were it lost.
TWICE: Final = ("epoch", "last_seq")

_TABLES_1: Final = ("meta", "readings", "refused", "captured")

COLUMNS: Final = (
    "seq", "id", "digest", "day", "seal", "state", "moved", "session", "put_ns", "put_at", "captured_at", "settled_at",
    "rejected_code", "rejected_detail", "photo", "picture_sha256", "picture_media_type", "picture_bytes",
    "packed_bytes", "picture_state",
)  # fmt: skip

INSERT_READING: Final = f"INSERT INTO readings ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"
INSERT_DOCUMENT: Final = "INSERT INTO documents (seq, digest, packed) VALUES (?, ?, ?)"
PUT_META: Final = "INSERT OR REPLACE INTO meta (name, value, seal) VALUES (?, ?, ?)"


class NewerFileError(Exception):
    """The file is of a newer agent; the message names its version."""


class _Pictured(msgspec.Struct):
    name: str
    sha256: str
    bytes: int
    media_type: str


class Captured(msgspec.Struct):
    """What the outbox's columns take from a reading."""

    id: str
    device_id: str
    captured_at: datetime
    picture: _Pictured


def captured(document: bytes) -> Captured:
    """The parts of a reading that its row repeats."""
    return msgspec.json.decode(document, type=Captured)


def sealed(*values: object) -> str:
    """A checksum of these values, 16 hexadecimal signs."""
    return sha256("\n".join(map(str, values)).encode(errors="replace")).hexdigest()[:16]


def row_seal(row: dict[str, Any]) -> str:
    """The seal that a row of `readings` must have."""
    return sealed(
        row["seq"], row["id"], row["digest"], row["day"], row["picture_sha256"], row["picture_media_type"]
    )  # fmt: skip


def new_row(seq: int, document: bytes, digest: str, **where_it_stands: object) -> dict[str, Any]:
    """A row of `readings` for a document; `where_it_stands` are the columns that are not in the document."""
    reading = captured(document)
    row = {
        "seq": seq,
        "id": reading.id,
        "digest": digest,
        "day": reading.captured_at.astimezone(UTC).date().isoformat(),
        "moved": 0,
        "captured_at": reading.captured_at.astimezone(UTC).isoformat(),
        "settled_at": None,
        "rejected_code": None,
        "rejected_detail": None,
        "photo": reading.picture.name,
        "picture_sha256": reading.picture.sha256,
        "picture_media_type": reading.picture.media_type,
        "picture_bytes": reading.picture.bytes,
        **where_it_stands,
    }
    return row | {"seal": row_seal(row)}


def insert(connection: sqlite3.Connection, row: dict[str, Any], packed: bytes) -> None:
    """Write a reading's two rows."""
    connection.execute(INSERT_DOCUMENT, [row["seq"], row["digest"], packed])
    connection.execute(INSERT_READING, [row[name] for name in COLUMNS])


def put_meta(connection: sqlite3.Connection, name: str, value: object) -> None:
    """Write a sealed value; the name and the counter twice, each copy sealed under its own name."""
    for copy in _copies(name):
        connection.execute(PUT_META, [copy, str(value), sealed(copy, value)])


def meta(connection: sqlite3.Connection, name: str) -> str | None:
    """A sealed value, from whichever copy of it proves itself; None where none does.

    An agent from before there were two goes on with the first alone: the larger counter is the one that was reached.
    """
    return _told(connection.execute(_ROWS).fetchall(), name)


def rescued_meta(connection: sqlite3.Connection, name: str) -> str | None:
    """The same from a damaged file: each row is looked up by itself, so that one that cannot be read costs no other."""
    rows = []
    with suppress(sqlite3.DatabaseError):
        for (number,) in connection.execute("SELECT rowid FROM meta NOT INDEXED").fetchall():
            with suppress(sqlite3.DatabaseError):
                rows += connection.execute(f"{_ROWS} WHERE rowid = ?", [number]).fetchall()
    return _told(rows, name)


def half_lost(connection: sqlite3.Connection) -> bool:
    """Whether of something that is kept twice not both copies prove themselves and say the same."""
    rows = connection.execute(_ROWS).fetchall()
    return any(len(said) != len(_copies(name)) or len(set(said)) != 1 for name in TWICE if (said := _sound(rows, name)))


def rewrite_meta(connection: sqlite3.Connection) -> None:
    """Write what proves itself anew, all of it, so that neither its rows nor its index hold anything else."""
    rows = connection.execute(_ROWS).fetchall()
    named = {str(name).removesuffix(_AGAIN) for name, _, _ in rows}
    told = {name: _told(rows, name) for name in sorted(named)}
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("DELETE FROM meta")
    for name, value in told.items():
        if value is not None:
            put_meta(connection, name, value)
    connection.execute("COMMIT")


# Past the index: a damaged one hides rows that are whole.
_ROWS: Final = "SELECT name, value, seal FROM meta NOT INDEXED"
_AGAIN: Final = "_again"
_Rows: TypeAlias = "list[tuple[Any, Any, Any]]"


def _told(rows: _Rows, name: str) -> str | None:
    sound = _sound(rows, name)
    if not sound:
        return None
    return max(sound, key=int) if name == "last_seq" else sound[0]


def _copies(name: str) -> tuple[str, ...]:
    return (name, f"{name}{_AGAIN}") if name in TWICE else (name,)


def _sound(rows: _Rows, name: str) -> list[str]:
    """What the copies of a value say that prove themselves."""
    return [
        str(value)
        for copy in _copies(name)
        for found, value, seal in rows
        if (found, seal) == (copy, sealed(copy, value))
    ]


def bring_up_to_date(connection: sqlite3.Connection, new_epoch: Callable[[], str]) -> None:
    """Make the tables, or change those of version 1, all in one transaction; NewerFileError for a later one.

    What is there decides, and the version in the file's header only where nothing else does: one bit of it turns 2
    into 66.
    """
    there = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    version = _version(connection, there)
    if version > VERSION:
        raise NewerFileError(f"the outbox is of version {version} (expected at most {VERSION}: a newer agent's)")
    if version < VERSION:
        # With an explicit BEGIN all of it comes into being together or not at all.
        connection.execute("BEGIN IMMEDIATE")
        try:
            if version == 1:
                _from_version_1(connection)
            else:
                _create(connection, new_epoch())
            put_meta(connection, "version", VERSION)
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK") if connection.in_transaction else None
            raise
    if connection.execute("PRAGMA user_version").fetchone() != (VERSION,):
        connection.execute(f"PRAGMA user_version = {VERSION}")


def damaged_tables(connection: sqlite3.Connection) -> list[str]:
    """What `altered_tables` names where most are as they were made: a damaged file of this version, no older one."""
    altered = altered_tables(connection)
    return altered if 2 * len(altered) < len(TABLES) else []


_SCHEMA: Final = "SELECT type, name, coalesce(sql, '') FROM sqlite_schema"


def altered_tables(connection: sqlite3.Connection) -> list[str]:
    """Which of the tables and indexes are not as they were made: a bit has turned over in their description."""
    here = set(connection.execute(_SCHEMA))
    return [made for made in TABLES if (made.split()[1].lower(), made.split()[2], made) not in here]


def _version(connection: sqlite3.Connection, there: set[str]) -> int:
    if "documents" in there:
        return int(meta(connection, "version") or VERSION)
    if "readings" in there:
        return 1
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return 0 if version <= VERSION else int(version)


def _create(connection: sqlite3.Connection, epoch: str) -> None:
    for statement in TABLES:
        connection.execute(statement)
    put_meta(connection, "epoch", epoch)
    put_meta(connection, "last_seq", 0)


def _from_version_1(connection: sqlite3.Connection) -> None:
    """Version 1 held documents unpacked beside their rows, and the counter in SQLite's own table."""
    (epoch,) = connection.execute("SELECT value FROM meta WHERE name = 'epoch'").fetchone()
    last = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'readings'").fetchone()
    for table in _TABLES_1:
        connection.execute(f"ALTER TABLE {table} RENAME TO {table}_1")
    for (name,) in connection.execute(
        "SELECT name FROM sqlite_schema WHERE type = 'index' AND tbl_name = 'readings_1' AND sql IS NOT NULL"
    ).fetchall():
        connection.execute(f"DROP INDEX {name}")
    _create(connection, epoch)
    put_meta(connection, "last_seq", last[0] if last else 0)
    packer = Packer()
    rows = connection.execute("SELECT * FROM readings_1 ORDER BY seq")
    names = [column[0] for column in rows.description]
    for values in rows:
        _move(connection, dict(zip(names, values, strict=True)), packer)
    connection.execute("INSERT INTO refused SELECT * FROM refused_1")
    connection.execute("INSERT INTO captured SELECT * FROM captured_1")
    for table in _TABLES_1:
        connection.execute(f"DROP TABLE {table}_1")


def _move(connection: sqlite3.Connection, old: dict[str, Any], packer: Packer) -> None:
    stored = old["document"]
    document = stored if isinstance(stored, bytes) else str(stored).encode(errors="replace")
    packed = packer.pack(document)
    same = ("session", "put_ns", "put_at", "settled_at", "rejected_code", "rejected_detail", "picture_state")
    stands = {name: old[name] for name in same} | {"packed_bytes": len(packed)}
    stands["state"] = old["state"] if old["state"] in ("settled", "quarantined") else "pending"
    try:
        row = new_row(old["seq"], document, old["digest"], **stands)
    except (msgspec.DecodeError, UnicodeDecodeError):
        # Damaged before: kept as it is, under what the row says of it; it will be set aside when it is to be sent.
        told = {name: old[name] for name in ("id", "digest", "photo", "picture_sha256", "picture_media_type")}
        row = told | stands | {"seq": old["seq"], "day": "", "moved": 0, "captured_at": old["put_at"], "seal": ""}
        row["picture_bytes"] = old["picture_bytes"]
    insert(connection, row, packed)
