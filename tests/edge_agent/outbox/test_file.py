"""The outbox's file: older ones are taken up whole or not at all, and damage costs at most what it hit."""

import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from edge_agent.outbox.file import LOG_CAP_BYTES
from edge_agent.outbox.look import open_for_looking
from edge_agent.outbox.pruning import Pruning
from edge_agent.outbox.salvage import SET_ASIDE
from edge_agent.outbox.tables import PUT_META, put_meta, sealed
from protocol import codec
from protocol.codec import digest
from protocol.messages import VERSION, Ledger
from tests.edge_agent.bench import kept, open_outbox, put, states
from tests.make import make_reading_id

# Version 1 as agents before 0.2 made it; never to be changed.
VERSION_1 = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE readings (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, digest TEXT NOT NULL, document BLOB NOT NULL,
        state TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, session TEXT NOT NULL, put_ns INTEGER NOT NULL,
        put_at TEXT NOT NULL, settled_at TEXT, rejected_code TEXT, rejected_detail TEXT, photo TEXT NOT NULL,
        picture_sha256 TEXT NOT NULL, picture_file TEXT NOT NULL, picture_bytes INTEGER NOT NULL,
        picture_media_type TEXT NOT NULL, picture_state TEXT NOT NULL);
CREATE INDEX readings_by_state ON readings (state, seq);
CREATE INDEX readings_by_wait ON readings (state, session, put_ns);
CREATE INDEX readings_by_picture ON readings (picture_sha256);
CREATE INDEX readings_by_picture_state ON readings (picture_state, seq);
CREATE TABLE refused (
        number INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, photo TEXT NOT NULL, reason TEXT NOT NULL,
        detail TEXT NOT NULL, file TEXT);
CREATE TABLE captured (key TEXT PRIMARY KEY) WITHOUT ROWID;
INSERT INTO meta VALUES ('epoch', 'epoch-of-old');
PRAGMA user_version = 1;
"""

OPENING = """
import sys
from pathlib import Path
from tests.edge_agent.bench import open_outbox
print("opening", flush=True)
open_outbox(Path(sys.argv[1])).close()
"""


def make_version_1(folder: Path, *rows: tuple[int, str]) -> None:
    """An outbox of version 1 with these readings in these states, and a gap behind the last: it was pruned."""
    (folder / "pictures").mkdir(parents=True)
    with closing(sqlite3.connect(folder / "outbox.db")) as connection, connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(VERSION_1)
        for number, state in rows:
            document, photograph = kept(number)
            name = f"{digest(photograph)}.jpg"
            (folder / "pictures" / name).write_bytes(photograph)
            connection.execute(
                "INSERT INTO readings VALUES"
                " (?, ?, ?, ?, ?, 2, 'old', 5, '2026-11-01T00:00:00+00:00', ?, ?, ?, ?, ?, ?, ?,"
                " 'image/jpeg', 'waiting')",
                [number, make_reading_id(number), digest(document), document, state,
                 "2026-11-02T00:00:00+00:00" if state == "settled" else None,
                 "conflict" if state == "quarantined" else None, None, f"{number}.jpg", digest(photograph), name,
                 len(photograph)],
            )  # fmt: skip
        connection.execute("UPDATE sqlite_sequence SET seq = 70 WHERE name = 'readings'")
        connection.execute("INSERT INTO captured VALUES ('1.jpg')")
        connection.execute("INSERT INTO refused VALUES (7, '2026-11-01T00:00:00Z', 'x.jpg', 'no_plate', '', NULL)")


def test_a_file_of_version_1_is_taken_up_whole(tmp_path: Path) -> None:
    make_version_1(tmp_path, (1, "settled"), (2, "sent"), (3, "quarantined"), (4, "pending"))
    with closing(open_outbox(tmp_path)) as outbox:
        assert outbox.epoch == "epoch-of-old"
        assert [one.document for one in outbox.send([make_reading_id(2), make_reading_id(4)])] == [
            kept(2)[0],
            kept(4)[0],
        ]
        assert [(day.ranges, day.unsettled) for day in outbox.ledger()] == [(((1, 4),), 3)]
        assert outbox.was_captured("1.jpg")
        assert outbox.last_refusal() is not None
        assert outbox.put(*kept(5)) == 71
        assert len(list(outbox.pictures.iterdir())) == 5
    expected = {1: "settled", 2: "pending", 3: "quarantined", 4: "pending", 5: "pending"}
    assert states(tmp_path) == {make_reading_id(number): state for number, state in expected.items()}


def test_a_damaged_reading_of_version_1_is_kept_and_never_sent(tmp_path: Path) -> None:
    make_version_1(tmp_path, (1, "pending"), (2, "pending"))
    with closing(sqlite3.connect(tmp_path / "outbox.db")) as connection, connection:
        connection.execute("UPDATE readings SET document = 'not JSON' WHERE seq = 1")
    with closing(open_outbox(tmp_path)) as outbox:
        assert [one.seq for one in outbox.due(9)] == [2]
    assert states(tmp_path)[make_reading_id(1)] == "quarantined"


def test_killed_while_a_file_of_version_1_is_taken_up_nothing_is_lost(tmp_path: Path) -> None:
    chance = random.Random(3)
    make_version_1(tmp_path / "old", *((number, "pending") for number in range(1, 61)))
    for life in range(2):
        folder = shutil.copytree(tmp_path / "old", tmp_path / f"life {life}")
        command = [sys.executable, "-c", OPENING, str(folder)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(chance.uniform(0, 0.15))
            process.send_signal(signal.SIGKILL)
        with closing(open_outbox(folder)) as outbox:
            assert outbox.depth().pending == 60
            assert outbox.epoch == "epoch-of-old"
            assert len(list(outbox.pictures.iterdir())) == 60


def garble(path: Path, at: int, content: bytes) -> None:
    """Write over a stretch of a file."""
    with path.open("r+b") as file:
        file.seek(at)
        file.write(content)


def test_a_file_that_is_malformed_is_set_aside_and_every_whole_reading_brought_over(tmp_path: Path) -> None:
    with closing(open_outbox(tmp_path)) as outbox:
        ids = put(outbox, *range(1, 40))
        outbox.settle(ids[:5])
    with closing(sqlite3.connect(tmp_path / "outbox.db")) as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'by_day'").fetchone()
        (readings,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'readings'").fetchone()
    garble(tmp_path / "outbox.db", (page - 1) * 2048, bytes(2048))
    garble(tmp_path / "outbox.db", (readings - 1) * 2048, bytes(2048))
    with closing(open_outbox(tmp_path)) as outbox:
        assert outbox.epoch == "epoch-1"
        assert {one.id for one in outbox.send(ids)} == set(ids)
        assert outbox.put(*kept(99)) == 40
        (trouble,) = outbox.troubles()
    assert (trouble.part, SET_ASIDE in trouble.detail) == ("outbox", True)
    assert (tmp_path / SET_ASIDE / "1" / "outbox.db").stat().st_size > 50_000


def test_a_file_whose_first_page_is_damaged_is_salvaged_too(tmp_path: Path) -> None:
    with closing(open_outbox(tmp_path)) as outbox:
        ids = put(outbox, 1, 2, 3)
        outbox.settle(ids[:1])
    garble(tmp_path / "outbox.db", 0, bytes(100))
    garble(tmp_path / "outbox.db", 1500, b"\xff" * 100)
    with closing(open_outbox(tmp_path)) as outbox:
        assert outbox.epoch == "epoch-1"
    assert states(tmp_path) == {ids[0]: "settled", ids[1]: "pending", ids[2]: "pending"}


def test_killed_between_setting_aside_and_salvaging_nothing_is_lost(tmp_path: Path) -> None:
    with closing(open_outbox(tmp_path)) as outbox:
        ids = put(outbox, 1, 2)
    aside = tmp_path / SET_ASIDE / "1"
    aside.mkdir(parents=True)
    (tmp_path / "outbox.db").replace(aside / "outbox.db")
    with closing(open_outbox(tmp_path)) as outbox:
        assert [one.id for one in outbox.due(9)] == ids
        assert outbox.epoch == "epoch-1"


def test_an_index_that_disagrees_is_made_anew(tmp_path: Path) -> None:
    with closing(open_outbox(tmp_path)) as outbox:
        ids = put(outbox, 1, 2)
    with closing(sqlite3.connect(tmp_path / "outbox.db")) as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'by_state'").fetchone()
    content = (tmp_path / "outbox.db").read_bytes()
    at = content.index(b"pending", (page - 1) * 2048)
    garble(tmp_path / "outbox.db", at, b"pendyng")
    with closing(open_outbox(tmp_path)) as outbox:
        assert [one.id for one in outbox.due(9)] == ids
    assert not (tmp_path / SET_ASIDE).exists()


@pytest.mark.parametrize("name", ["epoch", "last_seq"])
def test_with_its_name_or_counter_damaged_it_goes_on_under_another_name(tmp_path: Path, name: str) -> None:
    with closing(open_outbox(tmp_path)) as outbox:
        ids = put(outbox, 1, 2)
        outbox.settle(ids[:1])
    with closing(sqlite3.connect(tmp_path / "outbox.db")) as connection, connection:
        connection.execute("UPDATE meta SET value = '1' WHERE name IN (?, ?)", [name, f"{name}_again"])
    with closing(open_outbox(tmp_path, new_epoch=lambda: "epoch-2")) as outbox:
        assert outbox.epoch == "epoch-2"
        assert outbox.put(*kept(3)) == 3
        assert [(day.ranges, day.unsettled) for day in outbox.ledger()] == [(((1, 3),), 2)]


@pytest.mark.parametrize("copy", ["epoch", "epoch_again", "last_seq", "last_seq_again"])
@pytest.mark.parametrize("change", ["value = '1'", "seal = 'f'", "name = 'x'"])
def test_with_one_copy_of_its_name_or_counter_damaged_it_goes_on_as_it_was(
    tmp_path: Path, copy: str, change: str
) -> None:
    with closing(open_outbox(tmp_path)) as outbox:
        put(outbox, 1, 2)
    with closing(sqlite3.connect(tmp_path / "outbox.db")) as connection, connection:
        connection.execute(f"UPDATE meta SET {change} WHERE name = ?", [copy])
    for number in (3, 4):  # and once more, when both copies are whole again
        with capture_logs() as logs, closing(open_outbox(tmp_path, new_epoch=lambda: "epoch-2")) as outbox:
            assert outbox.epoch == "epoch-1"
            assert outbox.put(*kept(number)) == number
        mended = [entry for entry in logs if "second copy" in entry["event"]]
        assert len(mended) == (number == 3)


COLUMNS = (
    "id", "digest", "day", "seal", "state", "session", "put_at", "captured_at", "photo", "picture_sha256",
    "picture_media_type", "picture_state",
)  # fmt: skip


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("change", [lambda text: "\xff" + text[1:], lambda _: None, lambda text: text.encode()])
def test_whatever_is_wrong_in_a_row_the_rest_goes_on_and_nothing_leaves_altered(
    tmp_path: Path, column: str, change: Callable[[str], object]
) -> None:
    with closing(open_outbox(tmp_path)) as outbox:
        ids = put(outbox, 1, 2, 3)
    with closing(sqlite3.connect(tmp_path / "outbox.db")) as connection, connection:
        (text,) = connection.execute(f"SELECT {column} FROM readings WHERE seq = 2").fetchone()
        connection.execute(f"UPDATE readings SET {column} = ? WHERE seq = 2", [change(text)])
    with closing(open_outbox(tmp_path, session="second")) as outbox:
        sent = {one.id: one.document for one in outbox.send([one.id for one in outbox.due(9)])}
        outbox.depth()
        account = Ledger(VERSION, "bench-1", outbox.epoch, outbox.ledger())
        assert codec.decode(codec.encode(account), Ledger) == account
        assert len(list(outbox.pictures.iterdir())) == 3
    assert sent.keys() >= {ids[0], ids[2]}
    assert sent == {reading_id: kept(ids.index(reading_id) + 1)[0] for reading_id in sent}


def test_the_log_stays_small_under_load(tmp_path: Path) -> None:
    largest = 0
    with closing(open_outbox(tmp_path)) as outbox:
        ids = put(outbox, *range(1, 30))
        with closing(open_for_looking(tmp_path / "outbox.db")) as looking:
            for _ in range(10):
                looking.execute("SELECT count(*) FROM readings").fetchone()
                outbox.requeue(ids)
                for one in ids:
                    outbox.quarantine(one, "conflict", "x" * 100)
                outbox.requeue(["all"])
                largest = max(largest, (tmp_path / "outbox.db-wal").stat().st_size)
    assert 0 < largest <= LOG_CAP_BYTES


def test_what_was_captured_does_not_stay_in_the_log(tmp_path: Path) -> None:
    with closing(open_outbox(tmp_path)) as outbox:
        put(outbox, 1)
        assert (tmp_path / "outbox.db-wal").stat().st_size == 0


@pytest.mark.parametrize("changed", [b"put_bt TEXT", b"put_\xf3t TEXT", b"put_at TEX\x00"])
def test_a_table_whose_description_is_damaged_is_salvaged(tmp_path: Path, changed: bytes) -> None:
    with closing(open_outbox(tmp_path)) as outbox:
        ids = put(outbox, 1, 2)
    garble(tmp_path / "outbox.db", (tmp_path / "outbox.db").read_bytes().index(b"put_at TEXT"), changed)
    with closing(open_outbox(tmp_path)) as outbox:
        assert [one.id for one in outbox.due(9)] == ids
        assert outbox.epoch == "epoch-1"


@pytest.mark.parametrize(
    ("said", "changed"),
    [
        (b"meta (name TEXT", b"meta (nbme TEXT"),
        (b"tabledocuments", b"tabledncuments"),
        (b"by_day", b"by_dax"),
        (b"tabledocuments", b"tablEdocuments"),
    ],
)
def test_a_table_or_column_under_another_name_is_damage_and_salvaged(
    tmp_path: Path, said: bytes, changed: bytes
) -> None:
    with closing(open_outbox(tmp_path)) as outbox:
        ids = put(outbox, 1, 2)
    content = (tmp_path / "outbox.db").read_bytes()
    garble(tmp_path / "outbox.db", content.index(said), changed)
    with closing(open_outbox(tmp_path)) as outbox:
        assert [one.id for one in outbox.due(9)] == ids
        assert (outbox.epoch, outbox.put(*kept(3))) == ("epoch-1", 3)


def test_an_outbox_that_could_not_be_opened_can_be_opened_by_the_same_process_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(open_outbox(tmp_path)) as outbox:
        ids = put(outbox, 1)

    def fails(_: Pruning) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patched:
        patched.setattr(Pruning, "sweep", fails)
        with pytest.raises(sqlite3.OperationalError, match="I/O"):
            open_outbox(tmp_path)
    with closing(open_outbox(tmp_path)) as outbox:
        assert [one.id for one in outbox.due(9)] == ids


def test_where_an_earlier_agent_went_on_with_the_first_copies_only_no_number_is_given_twice(tmp_path: Path) -> None:
    with closing(open_outbox(tmp_path)) as outbox:
        put(outbox, 1, 2, 3)
    path = tmp_path / "outbox.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(*_meta("last_seq", 9))
        connection.execute("DELETE FROM readings")
        connection.execute("DELETE FROM documents")
    open_outbox(tmp_path).close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE meta SET seal = 'f' WHERE name IN ('epoch', 'last_seq')")
    with closing(open_outbox(tmp_path)) as outbox:
        assert (outbox.epoch, outbox.put(*kept(4))) == ("epoch-1", 10)


def _meta(name: str, value: object) -> tuple[str, list[str]]:
    return PUT_META, [name, str(value), sealed(name, value)]


def test_a_value_that_cannot_be_read_costs_none_of_the_others(tmp_path: Path) -> None:
    with closing(open_outbox(tmp_path)) as outbox:
        ids = put(outbox, 1, 2)
    content = (tmp_path / "outbox.db").read_bytes()
    at = content.rindex(b"last_seq_again", 0, content.index(sealed("last_seq_again", 2).encode()))
    garble(tmp_path / "outbox.db", at - 1, bytes([content[at - 1] ^ 8]))  # its length no longer fits its row
    with closing(open_outbox(tmp_path, new_epoch=lambda: "epoch-2")) as outbox:
        assert [one.id for one in outbox.due(9)] == ids
        assert (outbox.epoch, outbox.put(*kept(3))) == ("epoch-1", 3)


@pytest.mark.parametrize("name", [b"last_seq", b"epoch"])
def test_a_damaged_index_of_the_values_hides_none_of_them(tmp_path: Path, name: bytes) -> None:
    with closing(open_outbox(tmp_path)) as outbox:
        put(outbox, 1, 2)
    with closing(sqlite3.connect(tmp_path / "outbox.db")) as connection:
        (page,) = connection.execute(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'sqlite_autoindex_meta_1'"
        ).fetchone()
    content = (tmp_path / "outbox.db").read_bytes()
    at = content.index(name, (page - 1) * 2048)
    garble(tmp_path / "outbox.db", at, bytes([content[at] ^ 128]))
    for number in (3, 4):
        with closing(open_outbox(tmp_path, new_epoch=lambda: "epoch-2")) as outbox:
            assert (outbox.epoch, outbox.put(*kept(number))) == ("epoch-1", number)


def test_mending_one_value_keeps_every_other(tmp_path: Path) -> None:
    with closing(open_outbox(tmp_path)) as outbox:
        put(outbox, 1)
    with closing(sqlite3.connect(tmp_path / "outbox.db")) as connection, connection:
        put_meta(connection, "another", "kept")
        connection.execute("UPDATE meta SET value = '1' WHERE name = 'epoch'")
    with closing(open_outbox(tmp_path)) as outbox:
        assert (outbox.epoch, outbox.file.told("another"), outbox.file.told("version")) == ("epoch-1", "kept", "2")
