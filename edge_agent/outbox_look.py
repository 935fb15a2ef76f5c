"""Looks at an outbox beside a running agent, read-only: what the command line and `doctor` show of it."""

import sqlite3
from pathlib import Path
from typing import Any

import msgspec

from edge_agent.outbox_file import OutboxError
from edge_agent.packing import Packer, PackingError
from protocol import codec
from protocol.delivery import State


def open_for_looking(path: Path) -> sqlite3.Connection:
    """The same file, read-only, beside a running agent; OutboxError if there is none."""
    if not path.is_file():
        raise OutboxError(f"no outbox at {path} (expected the state folder of a reader that has run)")
    connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
    connection.row_factory = sqlite3.Row
    connection.text_factory = lambda content: content.decode(errors="replace")
    return connection


def count_states(connection: sqlite3.Connection) -> dict[str, int]:
    """How many readings are in each state, pictures that central waits for, and photographs refused."""
    counts = dict.fromkeys(State, 0) | dict(connection.execute("SELECT state, count(*) FROM readings GROUP BY state"))
    (pictures,) = connection.execute("SELECT count(*) FROM readings WHERE picture_state = 'wanted'").fetchone()
    (refused,) = connection.execute("SELECT count(*) FROM refused").fetchone()
    return {str(state): n for state, n in counts.items()} | {"pictures_wanted": pictures, "refused": refused}


def list_rows(connection: sqlite3.Connection, everything: bool) -> list[dict[str, Any]]:
    """The readings, oldest first; without `everything` only those that central lacks."""
    columns = "seq, id, state, photo, put_at, settled_at, rejected_code, rejected_detail, picture_state"
    rows = connection.execute(
        f"SELECT {columns} FROM readings WHERE ? OR state != 'settled' ORDER BY seq", [everything]
    )
    return [dict(row) for row in rows]


def newest_document(connection: sqlite3.Connection) -> bytes | None:
    """The canonical JSON of the reading that was captured last; PackingError if it is damaged."""
    row = connection.execute("SELECT packed FROM documents ORDER BY seq DESC LIMIT 1").fetchone()
    return Packer().unpack(row["packed"]) if row else None


def show_row(connection: sqlite3.Connection, reading_id: str) -> dict[str, Any] | None:
    """Everything about one reading; its document as far as it can be unpacked."""
    row = connection.execute("SELECT * FROM readings WHERE id = ?", [reading_id]).fetchone()
    if row is None:
        return None
    shown: dict[str, Any] = dict(row)
    found = connection.execute("SELECT packed FROM documents WHERE seq = ?", [row["seq"]]).fetchone()
    try:
        document = Packer().unpack(found["packed"] if found else None)
        shown["document_sha256"] = codec.digest(document)
        shown["reading"] = msgspec.json.decode(document)
    except (PackingError, msgspec.DecodeError, UnicodeDecodeError) as error:
        shown["damage"] = str(error)
    return shown
