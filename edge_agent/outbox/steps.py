"""Every change of where a reading stands: `protocol.delivery` decides, and what it decides is written, even when full.

Sending, too, is counted here, in memory only: that a reading is under way is no durable fact.
"""

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import structlog

from edge_agent.outbox.backlog import DAMAGED
from edge_agent.outbox.file import OutboxFile, is_full
from edge_agent.outbox.room import Ballast, look
from edge_agent.outbox.rows import DamagedError, PictureState, state_of
from protocol.delivery import Event, State, next_state

# So many changes of state are one transaction: fewer cost a sync each, more make the log long.
_BATCH: Final = 500

_log = structlog.get_logger(__name__)


class Steps:
    """The changes of state in one outbox."""

    def __init__(self, file: OutboxFile, folder: Path, ballast: Ballast) -> None:
        """The outbox's file, its folder, and what is given up when the disk of that is full."""
        self._file, self._folder, self._ballast = file, folder, ballast
        self._attempts: dict[str, int] = {}

    def attempt(self, reading_id: str) -> int:
        """Count a sending; how many there were since the start."""
        count = self._attempts[reading_id] = self._attempts.get(reading_id, 0) + 1
        return count

    def take(self, column: str, keys: Sequence[object], event: Event, fields: Mapping[str, object]) -> int:
        """This happened to the readings that `column` names; the table decides on each. How many it changed."""
        return self.with_ballast(lambda: self._take(column, keys, event, fields)) if keys else 0

    def set_aside(self, row: dict[str, Any], damaged: DamagedError) -> None:
        """Quarantine a damaged reading, by its place: its id may be what is damaged. Its picture may be another's."""
        _log.error("a damaged reading is set aside", seq=row["seq"], id=row["id"], why=str(damaged))
        why = {"rejected_code": DAMAGED, "rejected_detail": str(damaged), "picture_state": PictureState.WAITING}
        self.take("seq", [row["seq"]], Event.REJECTED, why)

    def set_picture_state(self, pictures: Iterable[str], state: PictureState) -> None:
        """Of every reading with one of these pictures, unless the picture is gone. What is so already costs no sync."""
        sql = "UPDATE readings SET picture_state = ? WHERE picture_sha256 = ? AND picture_state NOT IN (?, ?)"
        self._write(sql, [(state, picture, PictureState.NONE, state) for picture in pictures])

    def have_picture(self, picture: str) -> None:
        """A picture that was gone is here (again): central may ask for it."""
        sql = "UPDATE readings SET picture_state = ? WHERE picture_sha256 = ? AND picture_state = ? AND state != ?"
        self._write(sql, [(PictureState.WAITING, picture, PictureState.NONE, State.SETTLED)])

    def with_ballast(self, write: Callable[[], int]) -> int:
        """A write that sending rests on: a full disk gives up its ballast for it."""
        try:
            return write()
        except sqlite3.OperationalError as error:
            if not (is_full(error) or look(self._folder).is_too_little(1)) or not self._ballast.release():
                raise
            _log.warning("the disk is full: the ballast is given up so that sending goes on")
            return write()

    def _write(self, sql: str, rows: Sequence[Sequence[object]]) -> None:
        def write() -> int:
            with self._file.transaction():
                for values in rows:
                    self._file.execute(sql, values)
            return len(rows)

        if rows:
            self.with_ballast(write)

    def _take(self, column: str, keys: Sequence[object], event: Event, fields: Mapping[str, object]) -> int:
        changed = 0
        for first in range(0, len(keys), _BATCH):
            with self._file.transaction():
                changed += self._step(column, keys[first : first + _BATCH], event, fields)
        return changed

    def _step(self, column: str, keys: Sequence[object], event: Event, fields: Mapping[str, object]) -> int:
        rows = self._file.rows(f"SELECT seq, id, state FROM readings WHERE {column} IN ({_marks(keys)})", *keys)
        moves: dict[State, list[int]] = {}
        for row in rows:
            before = state_of(row)
            after = next_state(before, event)
            if not after is before == row["state"]:
                moves.setdefault(after, []).append(row["seq"])
                self._attempts.pop(row["id"], None)
        for after, places in moves.items():
            values = {"state": after, **fields}
            columns = ", ".join(f"{name} = ?" for name in values)
            sql = f"UPDATE readings SET {columns} WHERE seq IN ({_marks(places)})"
            self._file.execute(sql, [*values.values(), *places])
        return sum(map(len, moves.values()))


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))
