"""The outbox's SQLite file: one connection of one process, with the two settings that "saved" rests on.

WAL with synchronous=FULL puts every commit on the disk before it returns; NORMAL is thirty times faster and loses the
last commits at a power cut. One process writes, through one connection: SQLite before 3.51.3 can damage a WAL that two
connections reset at the same time.

After an error of the disk, or a sign of damage, nothing that this connection says is believed: a failed fsync may have
dropped what it should have written, and the next one succeeds without it (Rebello et al., USENIX ATC 2020). It is
closed, and before anything else happens the file is opened anew, looked over, and its log written back; what cannot be
mended is set aside and salvaged.
"""

import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import RLock
from typing import Any, Final

import structlog

from edge_agent.durable import make_folder
from edge_agent.outbox.salvage import keep_first_page, salvage, set_aside, unfinished
from edge_agent.outbox.tables import (
    NewerFileError,
    altered_tables,
    bring_up_to_date,
    damaged_tables,
    half_lost,
    meta,
    put_meta,
    rewrite_meta,
)
from protocol.delivery import State

# The log is written back into the file above this, and after each new reading.
MOST_LOG_BYTES: Final = 2 * 1024 * 1024
# And cut down to this, should a transaction have been larger. The ballast is four times this (`room`).
LOG_CAP_BYTES: Final = 8 * 1024 * 1024

_BUSY_S: Final = 1.0
_log = structlog.get_logger(__name__)


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


def is_damage(error: BaseException) -> bool:
    """Whether SQLite found the file itself wrong."""
    return _code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def is_full(error: BaseException) -> bool:
    """Whether SQLite found no room on the disk."""
    return _code(error) == sqlite3.SQLITE_FULL


def _code(error: BaseException) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


class OutboxFile:
    """The file, open. Its methods may be called by several threads; a transaction belongs to one of them."""

    def __init__(self, path: Path, new_epoch: Callable[[], str]) -> None:
        """Open or make it. `on_reopened` is called after trouble, when the file is there again."""
        self._path, self._new_epoch = path, new_epoch
        self.lock, self._depth, self._in_doubt, self._damaged = RLock(), 0, False, False
        self.on_reopened: Callable[[], None] = lambda: None
        # Counts transactions: what was counted of the rows holds until it changes.
        self.changes = 0
        self._connection = open_file(path, new_epoch)

    @property
    def epoch(self) -> str:
        """The outbox's name."""
        return str(self.told("epoch"))

    def told(self, name: str) -> str | None:
        """A value of the table `meta`."""
        with self.lock:
            self._ready()
            return meta(self._connection, name)

    def rows(self, sql: str, *values: object) -> list[dict[str, Any]]:
        """What a query gives."""
        with self.lock, self._watched():
            self._ready()
            cursor = self._connection.execute(sql, values)
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor]

    def each(self, sql: str, *values: object) -> Iterator[tuple[Any, ...]]:
        """The same, row by row; hold `lock` until it ends, so that nothing changes meanwhile."""
        with self.lock, self._watched():
            self._ready()
            yield from self._connection.execute(sql, values)

    def execute(self, sql: str, values: Sequence[object]) -> None:
        """Change something, within a `transaction`."""
        with self.lock:
            self._connection.execute(sql, values)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All of it or nothing, on the disk when it ends. One within another is part of it."""
        with self.lock, self._watched():
            if self._depth == 0:
                self._ready()
                self._connection.execute("BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield self._connection
                if self._depth == 1:
                    self._connection.execute("COMMIT")
                    self.changes += 1
            except BaseException:
                if self._depth == 1:
                    with suppress(sqlite3.Error):
                        self._connection.execute("ROLLBACK")
                raise
            finally:
                self._depth -= 1
            if self._depth == 0 and self._log_bytes() > MOST_LOG_BYTES:
                self.write_back()

    def document(self, seq: int) -> dict[str, Any] | None:
        """A reading's digest and packed bytes; None where they are gone or lie on a damaged page.

        That says nothing of the rest of the file, so it is no reason to doubt it.
        """
        with self.lock:
            self._ready()
            try:
                found = self._connection.execute("SELECT digest, packed FROM documents WHERE seq = ?", [seq]).fetchone()
            except sqlite3.DatabaseError as error:
                if not is_damage(error):
                    self._in_doubt = True
                    raise
                return None
        return {"digest": found[0], "packed": found[1]} if found else None

    def write_back(self) -> None:
        """Write the log into the file and empty it, unless someone is looking at it.

        A bit that turns over in the log cuts off everything behind it, so what was captured does not stay there.
        """
        with self.lock, self._watched():
            if self._depth == 0:
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    def file_bytes(self) -> int:
        """The size of the file and its log."""
        return self._path.stat().st_size + self._log_bytes()

    def close(self) -> None:
        """Release it."""
        with self.lock:
            self._connection.close()

    def _log_bytes(self) -> int:
        try:
            return self._path.with_name(self._path.name + "-wal").stat().st_size
        except FileNotFoundError:
            return 0

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Notice what puts this connection in doubt."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            if is_damage(error):
                self._in_doubt = self._damaged = True
                _log.error("the outbox's file is damaged", error=str(error))
                raise sqlite3.OperationalError(f"the outbox's file is damaged and will be mended: {error}") from error
            self._in_doubt |= _code(error) == sqlite3.SQLITE_IOERR
            raise

    def _ready(self) -> None:
        if not self._in_doubt or self._depth:
            return
        with suppress(sqlite3.Error):
            self._connection.close()
        self._connection = open_file(self._path, self._new_epoch, thorough=self._damaged)
        self._in_doubt = self._damaged = False
        self.changes += 1
        self.on_reopened()


def open_file(path: Path, new_epoch: Callable[[], str], *, thorough: bool = False) -> sqlite3.Connection:
    """The outbox's file, made if it is not there, looked over (`thorough`: every page of it), its settings asserted."""
    damaged = unfinished(path)
    if damaged is None:
        try:
            return _opened(path, new_epoch, thorough=thorough)
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            _log.error("the outbox's file is damaged", error=str(error), path=str(path))
        damaged = set_aside(path)
    brought = salvage(damaged, path, new_epoch, datetime.now(UTC).isoformat())
    _log.error("damaged outbox set aside, and what proves itself salvaged", damaged=str(damaged), readings=brought)
    return _opened(path, new_epoch)


def _opened(path: Path, new_epoch: Callable[[], str], *, thorough: bool = False) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
    # A flipped bit makes a text that is none; it must be seen for what it is, not stop every look at its row.
    connection.text_factory = lambda content: content.decode(errors="replace")
    try:
        for pragma in (
            "page_size = 2048", "journal_mode = WAL", "synchronous = FULL", "wal_autocheckpoint = 0",
            f"journal_size_limit = {LOG_CAP_BYTES}", "cell_size_check = ON", "temp_store = MEMORY",
        ):  # fmt: skip
            connection.execute(f"PRAGMA {pragma}")
        check_settings(connection)
        # Before anything is asked of them: a column under another name is no error of a file, but ours.
        _refuse_altered(damaged_tables(connection))
        bring_up_to_date(connection, new_epoch)
        _look_over(connection, new_epoch, thorough=thorough)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        keep_first_page(path)
    except NewerFileError as error:
        connection.close()
        raise OutboxError(str(error)) from error
    except UnicodeDecodeError as error:
        connection.close()
        raise _malformed(f"a name in it is no text: {error}") from error
    except BaseException:
        connection.close()
        raise
    return connection


def _look_over(connection: sqlite3.Connection, new_epoch: Callable[[], str], *, thorough: bool) -> None:
    """Mend what can be mended in place; an error of damage for the rest.

    The small table and its indexes are compared each time the file is opened. The documents prove themselves when they
    are sent, and are a gigabyte after a month without a line: they are looked through only after trouble.
    """
    _refuse_altered(altered_tables(connection))
    wrong = _wrong(connection, "'readings'")
    if wrong:
        _log.warning("the outbox's indexes are made anew", why=wrong)
        connection.execute("REINDEX readings")
        wrong = _wrong(connection, "'readings'")
    wrong = wrong or (_wrong(connection, "1") if thorough else "")
    if wrong:
        raise _malformed(wrong)
    # A state that is none of them is a damaged byte: it is sent again, which central absorbs.
    known = (State.PENDING, State.SETTLED, State.QUARANTINED)
    bad = "state IS NULL OR state NOT IN (?, ?, ?)"
    if connection.execute(f"SELECT 1 FROM readings WHERE {bad} LIMIT 1", known).fetchone():
        _log.warning("readings in no known state wait to be sent again")
        connection.execute(f"UPDATE readings SET state = '{State.PENDING}' WHERE {bad}", known)
    wrong = _wrong(connection, "'meta'")
    if wrong or half_lost(connection):
        _log.warning("a value of the outbox and its second copy were not the same: mended", why=wrong)
        rewrite_meta(connection)
    if meta(connection, "epoch") is None or meta(connection, "last_seq") is None:
        # Under another name no number can be given twice.
        _log.error("the outbox's name or counter is damaged: it goes on under another name")
        connection.execute("BEGIN IMMEDIATE")
        put_meta(connection, "epoch", new_epoch())
        put_meta(connection, "last_seq", connection.execute("SELECT coalesce(max(seq), 0) FROM readings").fetchone()[0])
        connection.execute("UPDATE readings SET moved = 1")
        connection.execute("COMMIT")


def _refuse_altered(altered: list[str]) -> None:
    if altered:
        raise _malformed(f"not as it was made: {altered[0][:60]}")


def _malformed(why: str) -> sqlite3.DatabaseError:
    error = sqlite3.DatabaseError(f"the outbox's file is malformed: {why}")
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error


def _wrong(connection: sqlite3.Connection, what: str) -> str:
    (verdict,) = connection.execute(f"PRAGMA integrity_check({what})").fetchone()
    return "" if verdict == "ok" else str(verdict)


def check_settings(connection: sqlite3.Connection) -> None:
    """OutboxError unless a commit on this connection is on the disk when it returns."""
    for pragma, expected in (("journal_mode", "wal"), ("synchronous", 2)):
        (found,) = connection.execute(f"PRAGMA {pragma}").fetchone()
        if found != expected:
            raise OutboxError(f"SQLite's {pragma} is {found!r} (expected {expected!r})")
