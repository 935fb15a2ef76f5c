"""Looks at an outbox beside a running agent, read-only: what the command line and `doctor` show of it.

Looking is sqlite-utils' business; the agent's own connection, on which every commit must be on the disk, is not.
It is imported by whoever looks: an agent that starts on a small machine does not wait for it.
"""

import sqlite3
from pathlib import Path
from typing import Any

import msgspec

from edge_agent.outbox.file import OutboxError
from edge_agent.outbox.packing import Packer, PackingError
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
    from sqlite_utils import Database

    outbox = Database(connection)
    readings = outbox.table("readings")
    counts = {str(state): readings.count_where("state = ?", [state]) for state in State}
    wanted = readings.count_where("picture_state = 'wanted'")
    return counts | {"pictures_wanted": wanted, "refused": outbox.table("refused").count}


def list_rows(connection: sqlite3.Connection, everything: bool) -> list[dict[str, Any]]:
    """The readings, oldest first; without `everything` only those that central lacks."""
    from sqlite_utils import Database

    columns = "seq, id, state, photo, put_at, settled_at, rejected_code, rejected_detail, picture_state"
    readings = Database(connection).table("readings")
    return list(readings.rows_where("? OR state != 'settled'", [everything], select=columns, order_by="seq"))


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
