"""Keeps readings: the one place where a reading's row is made, be it captured here or brought by hand.

The photograph is synced first, then the row; only then is anything said. What a failed commit may have left behind
unsaid is taken out again, because the plate will be read again: once only.
"""

import sqlite3
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Final

import structlog

from edge_agent.clock import Moment
from edge_agent.durable import write_durably
from edge_agent.outbox.backlog import Backlog
from edge_agent.outbox.file import OutboxFile
from edge_agent.outbox.packing import Packer
from edge_agent.outbox.rows import SEALED, DamagedError, PictureState, picture_file, proven_document
from edge_agent.outbox.tables import insert, new_row, put_meta
from protocol import codec
from protocol.delivery import State
from protocol.errors import LocalProtocolError
from protocol.messages import Picture, Refusal

ANOTHER_DEVICE: Final = "another_device"

_log = structlog.get_logger(__name__)


class Keeping:
    """Makes the rows of one outbox."""

    def __init__(
        self,
        file: OutboxFile,
        folder: Path,
        packer: Packer,
        backlog: Backlog,
        *,
        session: str,
        clocks: Callable[[], Moment],
    ) -> None:
        """`session` names this start of the agent; what is kept is told to the `backlog`."""
        self.file, self._session, self._clocks, self._backlog, self._packer = file, session, clocks, backlog, packer
        self.pictures, self.refused = folder / "pictures", folder / "refused"
        self._unsaid: list[tuple[str, str | None]] = []

    def put(self, document: bytes, photograph: bytes, key: str | None) -> int:
        """Keep a reading (canonical JSON) and its photograph; returns its sequence number once both are on the disk."""
        reading = codec.decode_reading(document)
        found = sha256(photograph).hexdigest()
        if found != reading.picture.sha256:
            raise LocalProtocolError(f"the photograph's SHA-256 is {found} (expected {reading.picture.sha256})")
        # Under the lock so that pruning cannot remove the file between its writing and its row.
        with self.file.lock:
            self.file.rows("SELECT 1")
            name = _picture_file(reading.picture)
            write_durably(self.pictures / name, photograph)
            self._unsaid.append((reading.id, key))
            seq = self._keep_row(document, PictureState.WAITING, key)
            self._unsaid.pop()
            self._tidy()
        return seq

    def refuse(self, refusal: Refusal, photograph: bytes, key: str | None) -> None:
        """Record a photograph that could not be read, and keep it for a person to see."""
        name = f"{refusal.at:%Y%m%dT%H%M%S%f}-{sha256(photograph).hexdigest()[:12]}{_suffix(refusal.photo)}"
        with self.file.lock:
            write_durably(self.refused / name, photograph)
            with self.file.transaction():
                self._remember(key)
                self.file.execute(
                    "INSERT INTO refused (at, photo, reason, detail, file) VALUES (?, ?, ?, ?, ?)",
                    [refusal.at.isoformat(), refusal.photo, refusal.reason, refusal.detail, name],
                )

    def was_captured(self, key: str) -> bool:
        """Whether the file of this key has been read or refused, in this run or an earlier one."""
        return bool(self.file.rows("SELECT 1 FROM captured WHERE key = ?", key))

    def take_in(self, document: bytes, another_device: str | None) -> str | None:
        """Keep a reading from an archive; see `Outbox.take_in`."""
        reading = codec.decode_reading(document)
        with self.file.lock:
            for row in self.file.rows(f"SELECT {SEALED} FROM readings WHERE id = ?", reading.id):
                try:
                    kept = proven_document(row, self.file.document(row["seq"]), self._packer)
                except DamagedError:
                    self._forget(row["seq"])
                    continue
                different = f"its digest is {codec.digest(document)} (expected {row['digest']}, which is here)"
                return "" if kept == document else different
            aside = {
                "state": State.QUARANTINED,
                "rejected_code": ANOTHER_DEVICE,
                "rejected_detail": another_device,
            }
            there = (self.pictures / _picture_file(reading.picture)).is_file()
            picture = PictureState.WAITING if there else PictureState.NONE
            stands = {"session": "import", "moved": 1} | (aside if another_device is not None else {})
            self._keep_row(document, picture, None, **stands)
            self._tidy()
        return None

    def forget_unsaid(self) -> None:
        """A commit that failed may have come through. Nobody was told, and the plate will be read again: once only."""
        unsaid, self._unsaid = self._unsaid, []
        for reading_id, key in unsaid:
            for row in self.file.rows("SELECT seq FROM readings WHERE id = ?", reading_id):
                with self.file.transaction():
                    self._forget(row["seq"])
                    self.file.execute("DELETE FROM captured WHERE key = ?", [key])
        self._backlog.add_up()

    def _keep_row(self, document: bytes, picture: PictureState, key: str | None, **stands: object) -> int:
        """Write a reading's row, synced; its sequence number."""
        moment, packed = self._clocks(), self._packer.pack(document)
        with self.file.transaction() as connection:
            self._remember(key)
            seq = int(self.file.told("last_seq") or 0) + 1
            defaults = {
                "state": State.PENDING, "session": self._session, "put_ns": moment.monotonic_ns,
                "put_at": moment.at.isoformat(), "packed_bytes": len(packed), "picture_state": picture,
            }  # fmt: skip
            row = new_row(seq, document, codec.digest(document), **(defaults | stands))
            put_meta(connection, "last_seq", seq)
            insert(connection, row, packed)
        there = row["picture_bytes"] if picture is not PictureState.NONE else 0
        self._backlog.added(moment.at, there, len(packed))
        return seq

    def _forget(self, seq: int) -> None:
        with self.file.transaction():
            self.file.execute("DELETE FROM documents WHERE seq = ?", [seq])
            self.file.execute("DELETE FROM readings WHERE seq = ?", [seq])

    def _tidy(self) -> None:
        """What was captured does not stay in the log. That it cannot leave it now makes it no less saved."""
        try:
            self.file.write_back()
        except sqlite3.DatabaseError as error:
            _log.warning("the outbox's log was not written back", error=str(error))

    def _remember(self, key: str | None) -> None:
        if key is not None:
            self.file.execute("INSERT OR IGNORE INTO captured VALUES (?)", [key])


def _picture_file(picture: Picture) -> str:
    return picture_file({"picture_sha256": picture.sha256, "picture_media_type": picture.media_type})


def _suffix(photo: str) -> str:
    suffix = Path(photo).suffix.lower()
    return suffix if suffix in {".jpg", ".jpeg", ".png"} else ".bin"
