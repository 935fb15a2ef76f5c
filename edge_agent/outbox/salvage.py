"""A damaged outbox: set aside whole, and every reading in it that proves itself brought into a new file.

A reading is brought over if its bytes have the digest that was made at capture. If the old file still knows its name
and its counter, the new one goes on under them; if not, it is another outbox, and what central has of the old one it
takes again without doubling it. The damaged file is never removed: a person may want to look at it.
"""

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from itertools import count
from pathlib import Path
from typing import Any, Final

import structlog

from edge_agent.durable import make_folder, sync_folder, write_durably
from edge_agent.outbox.packing import Packer, PackingError
from edge_agent.outbox.tables import (
    COLUMNS,
    TABLES,
    VERSION,
    altered_tables,
    captured,
    insert,
    new_row,
    put_meta,
    rescued_meta,
    row_seal,
)
from protocol import codec
from protocol.delivery import State

SET_ASIDE: Final = "damaged"
FIRST_PAGE: Final = "outbox.first-page"

_DONE: Final = "salvaged"
_TAILS: Final = ("", "-wal", "-shm")
# Where nothing of the counter can be read, this many numbers are tried.
_MOST_TRIED: Final = 2_000_000

_log = structlog.get_logger(__name__)


def set_aside(path: Path) -> Path:
    """Move the file and its log into a folder of their own, before they are salvaged; where the file is now."""
    folder = next(folder for number in count(1) if not (folder := path.parent / SET_ASIDE / str(number)).exists())
    make_folder(folder)
    # The file first: while it is gone from its place, `unfinished` finds it.
    _move(path, folder)
    return folder / path.name


def unfinished(path: Path) -> Path | None:
    """A file that was set aside by a start that was killed before it had salvaged it."""
    if path.exists():
        return None
    for folder in sorted((path.parent / SET_ASIDE).glob("*"), reverse=True):
        if (folder / path.name).is_file() and not (folder / _DONE).exists():
            _move(path, folder)
            return folder / path.name
    return None


def _move(path: Path, folder: Path) -> None:
    for tail in _TAILS:
        part = path.with_name(path.name + tail)
        if part.exists():
            part.replace(folder / part.name)
            sync_folder(folder)
            sync_folder(path.parent)


def keep_first_page(path: Path) -> None:
    """Remember the page on which everything else in the file hangs; it changes only when the tables do."""
    kept = path.with_name(FIRST_PAGE)
    with path.open("rb") as file:
        header = file.read(100)
        size = int.from_bytes(header[16:18], "big")
        content = header + file.read((65536 if size == 1 else size) - 100)
    # Past the header only: counters in it move on with every commit.
    if not kept.is_file() or kept.read_bytes()[100:] != content[100:]:
        write_durably(kept, content)


def salvage(damaged: Path, path: Path, new_epoch: Callable[[], str], moment: str) -> int:
    """Make a new file at `path` of what proves itself in the damaged one; how many readings that are."""
    partial = path.with_name(f".{path.name}.part")
    for tail in _TAILS:
        partial.with_name(partial.name + tail).unlink(missing_ok=True)
    with closing(sqlite3.connect(partial, isolation_level=None)) as new:
        new.execute("PRAGMA page_size = 2048")
        new.execute("PRAGMA synchronous = FULL")
        new.execute("BEGIN")
        for statement in TABLES:
            new.execute(statement)
        brought = _bring_over(damaged, new, new_epoch, moment)
        put_meta(new, "version", VERSION)
        new.execute(f"PRAGMA user_version = {VERSION}")
        new.execute("COMMIT")
    partial.replace(path)
    sync_folder(path.parent)
    write_durably(damaged.with_name(_DONE), f"{moment} {brought} readings\n".encode())
    return brought


def _bring_over(damaged: Path, new: sqlite3.Connection, new_epoch: Callable[[], str], moment: str) -> int:
    connection = _open_damaged(damaged)
    if connection is None:
        put_meta(new, "epoch", new_epoch())
        put_meta(new, "last_seq", 0)
        return 0
    with closing(connection) as old:
        epoch, last = rescued_meta(old, "epoch"), rescued_meta(old, "last_seq")
        trusted = epoch is not None and last is not None
        highest, brought = 0, 0
        for row, packed in _proven(old, int(last) if last else None, moment):
            row["moved"] = int(bool(row["moved"]) or not trusted)
            with suppress(sqlite3.IntegrityError):
                insert(new, row, packed)
                brought, highest = brought + 1, max(highest, row["seq"])
        for table in ("captured", "refused"):
            _copy(old, new, table)
    put_meta(new, "epoch", epoch if trusted else new_epoch())
    put_meta(new, "last_seq", last if trusted else highest)
    return brought


def _open_damaged(damaged: Path) -> sqlite3.Connection | None:
    """The damaged file to be read, with its first page as it was if that is what is damaged; None if all is lost."""
    if not _describes_itself(damaged) and _mend_first_page(damaged):
        damaged = damaged.with_name(_MENDED)
    connection = _look_at(damaged)
    try:
        connection.execute("SELECT seq, digest, packed FROM documents LIMIT 0")
    except (sqlite3.DatabaseError, UnicodeDecodeError):
        connection.close()
        return None
    return connection


def _describes_itself(damaged: Path) -> bool:
    with closing(_look_at(damaged)) as connection:
        try:
            return not altered_tables(connection)
        except (sqlite3.DatabaseError, UnicodeDecodeError):
            return False


def _look_at(damaged: Path) -> sqlite3.Connection:
    # Only to be read: closing it must not write its log into it.
    connection = sqlite3.connect(f"{damaged.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None)
    connection.text_factory = lambda content: content.decode(errors="replace")
    return connection


_MENDED: Final = "mended.db"


def _mend_first_page(damaged: Path) -> bool:
    kept = damaged.parent.parent.parent / FIRST_PAGE
    if not kept.is_file():
        return False
    mended, page = damaged.with_name(_MENDED), kept.read_bytes()
    shutil.copyfile(damaged, mended)
    log = damaged.with_name(damaged.name + "-wal")
    if log.is_file():
        shutil.copyfile(log, mended.with_name(mended.name + "-wal"))
    pages = mended.stat().st_size // len(page)
    with mended.open("r+b") as file:
        # Without the list of free pages, and as long as the file is.
        file.write(page[:28] + pages.to_bytes(4, "big") + bytes(8) + page[40:])
    return True


def _proven(old: sqlite3.Connection, last: int | None, moment: str) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Each reading whose bytes have their digest, looked up one by one: a damaged page hides only what is on it."""
    packer = Packer()
    for seq in range(1, (last if last is not None else _highest(old)) + 1):
        with suppress(sqlite3.DatabaseError, PackingError, TypeError, ValueError):
            found = old.execute("SELECT digest, packed FROM documents WHERE seq = ?", [seq]).fetchone()
            if found is None:
                continue
            document = packer.unpack(found[1])
            if codec.digest(document) != found[0]:
                _log.error("a reading in the damaged outbox is damaged", seq=seq)
                continue
            yield _row(old, seq, document, len(found[1]), moment), found[1]


def _highest(old: sqlite3.Connection) -> int:
    for table in ("documents", "readings"):
        with suppress(sqlite3.DatabaseError):
            (highest,) = old.execute(f"SELECT max(seq) FROM {table}").fetchone()
            if highest is not None:
                return min(int(highest), _MOST_TRIED)
    return _MOST_TRIED if _any_document(old) else 0


def _any_document(old: sqlite3.Connection) -> bool:
    with suppress(sqlite3.DatabaseError):
        return old.execute("SELECT 1 FROM documents LIMIT 1").fetchone() is not None
    return True


def _row(old: sqlite3.Connection, seq: int, document: bytes, packed_bytes: int, moment: str) -> dict[str, Any]:
    """Where the reading stood, if that can be believed; if not, it waits: central takes nothing twice."""
    digest = codec.digest(document)
    with suppress(sqlite3.DatabaseError):
        names = ", ".join(COLUMNS)
        for values in old.execute(f"SELECT {names} FROM readings WHERE seq = ?", [seq]):
            row = dict(zip(COLUMNS, values, strict=True))
            if row["seal"] == row_seal(row) and row["digest"] == digest and row["id"] == captured(document).id:
                return row | {"state": row["state"] if row["state"] in set(State) else State.PENDING}
    return new_row(
        seq, document, digest, state=State.PENDING, session="salvaged", put_ns=0, put_at=moment,
        packed_bytes=packed_bytes, picture_state="waiting",
    )  # fmt: skip


def _copy(old: sqlite3.Connection, new: sqlite3.Connection, table: str) -> None:
    """As many rows as can be read: what has been photographed, what was refused."""
    with suppress(sqlite3.DatabaseError):
        for values in old.execute(f"SELECT * FROM {table}"):
            new.execute(f"INSERT OR IGNORE INTO {table} VALUES ({', '.join('?' * len(values))})", values)
