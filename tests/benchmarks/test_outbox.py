"""What "saved" costs: a reading and its picture on the disk, against bare sqlite3 doing the least that survives."""

import itertools
import os
import sqlite3
from hashlib import sha256
from pathlib import Path

import pytest

from edge_agent.outbox.outbox import Outbox
from protocol.delivery import SEND_WINDOW
from tests.benchmarks.rounds import side_by_side
from tests.make import make_document, make_reading, replace

pytestmark = pytest.mark.benchmark

COMMITS = 50
PHOTOGRAPH_BYTES = 1_500_000


def test_saved_readings_per_second(tmp_path: Path) -> None:
    numbers = itertools.count(1)
    outbox = Outbox(tmp_path / "outbox", session="bench")
    bare = sqlite3.connect(tmp_path / "bare.db", isolation_level=None)
    bare.execute("PRAGMA journal_mode = WAL")
    bare.execute("PRAGMA synchronous = FULL")
    bare.execute("CREATE TABLE readings (seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE, document BLOB)")

    def put(size: int) -> int:
        for number in itertools.islice(numbers, COMMITS):
            photograph = number.to_bytes(8, "big") * (size // 8)
            picture = replace(make_reading(number).picture, sha256=sha256(photograph).hexdigest(), bytes=size)
            outbox.put(make_document(number, picture=picture), photograph)
        return COMMITS

    def insert() -> int:
        for number in itertools.islice(numbers, COMMITS):
            bare.execute("INSERT INTO readings (id, document) VALUES (?, ?)", [str(number), make_document(number)])
        return COMMITS

    def insert_and_write() -> int:
        for number in itertools.islice(numbers, COMMITS):
            with (tmp_path / f"{number}.jpg").open("wb") as file:
                file.write(number.to_bytes(8, "big") * (PHOTOGRAPH_BYTES // 8))
                file.flush()
                os.fsync(file.fileno())
            bare.execute("INSERT INTO readings (id, document) VALUES (?, ?)", [str(number), make_document(number)])
        return COMMITS

    side_by_side(
        f"saved readings, picture of {PHOTOGRAPH_BYTES / 1e6:.1f} MB (ceiling: file + fsync + sqlite3 commit)",
        {"outbox.put": lambda: put(PHOTOGRAPH_BYTES), "bare file and commit": insert_and_write},
    )
    side_by_side(
        "saved readings, picture of 8 bytes (ceiling: bare sqlite3 commit, WAL, synchronous FULL, no picture)",
        {"outbox.put": lambda: put(8), "bare commit": insert},
    )
    bare.close()
    outbox.close()


BACKLOG = 2_000


def test_readings_drained_per_second(tmp_path: Path) -> None:
    """The outbox's share of draining a backlog: what is due, its bytes proven, and the answer written."""
    outbox = Outbox(tmp_path / "outbox", session="bench")
    bare = sqlite3.connect(tmp_path / "bare.db", isolation_level=None)
    bare.execute("PRAGMA journal_mode = WAL")
    bare.execute("PRAGMA synchronous = FULL")
    bare.execute("CREATE TABLE readings (seq INTEGER PRIMARY KEY, document BLOB, settled INTEGER DEFAULT 0)")
    bare.execute("CREATE INDEX readings_by_settled ON readings (settled, seq)")
    with outbox.file.transaction():
        for number in range(BACKLOG):
            # Without pictures: only the rows are drained here.
            outbox.take_in(make_document(number))
    bare.execute("BEGIN")
    bare.executemany(
        "INSERT INTO readings (document) VALUES (?)", ((make_document(number),) for number in range(BACKLOG))
    )
    bare.execute("COMMIT")
    each = BACKLOG // 8

    def drain() -> int:
        drained = 0
        while drained < each:
            sent = outbox.send([one.id for one in outbox.due(SEND_WINDOW)])
            outbox.settle([one.id for one in sent])
            drained += len(sent)
        return drained

    def drain_bare() -> int:
        drained = 0
        while drained < each:
            rows = bare.execute(
                "SELECT * FROM readings WHERE settled = 0 ORDER BY seq LIMIT ?", [SEND_WINDOW]
            ).fetchall()
            bare.execute("BEGIN")
            bare.executemany("UPDATE readings SET settled = 1 WHERE seq = ?", ((row[0],) for row in rows))
            bare.execute("COMMIT")
            drained += len(rows)
        return drained

    side_by_side(
        f"readings drained, {SEND_WINDOW} at a time (ceiling: bare sqlite3, unpacked, unproven)",
        {"outbox: due, send, settle": drain, "bare select and update": drain_bare},
    )
    bare.close()
    outbox.close()
