"""What this reader has read and central may not have yet: put, due, send, settle, prune.

A reading and its picture are on the disk, synced, before `put` returns; only then may anything say "saved". A row is
forgotten only after central's own `accepted`. Every change of a row's state goes through `protocol.delivery`, and the
digest written at capture is checked again before a row is sent: a damaged one is set aside, never sent.
"""

import os
import secrets
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from threading import RLock
from typing import Any, Final

import msgspec
from sqlite_utils import Database

from edge_agent.clock import Moment, read_clocks
from edge_agent.durable import make_folder, write_durably
from edge_agent.outbox_file import lock_folder, open_file
from edge_agent.outbox_rows import Outgoing, PictureState, Reconciled, WantedPicture, damage, day_of, kept
from edge_agent.retention import plan_pruning
from edge_agent.window import Waiting
from protocol import codec
from protocol.delivery import Event, State, next_state
from protocol.errors import LocalProtocolError
from protocol.ledger import Entry, by_day, judge, ledger_day
from protocol.messages import Held, LedgerDay, OutboxDepth, Refusal

# A reading that waited longer than this is history: it must not delay one that a person is waiting for.
LIVE_S: Final = 60.0

# Refused photographs may be of any size; they must not crowd out readings.
MOST_REFUSED_BYTES: Final = 500_000_000

DAMAGED: Final = "damaged"

_SUFFIXES: Final = {"image/jpeg": ".jpg", "image/png": ".png"}

_COUNTS: Final = "SELECT state, count(*) AS n FROM readings WHERE state != ? GROUP BY state"
_SENDABLE: Final = "SELECT * FROM readings WHERE id = ? AND state = ?"
# A damaged row is no longer what was captured: it is shown to a person, and no account rests on it.
_ENTRIES: Final = (
    "SELECT seq, id, digest, document, state FROM readings WHERE rejected_code IS NOT 'damaged' ORDER BY seq"
)
_FOR_PRUNING: Final = (
    "SELECT seq, state, settled_at, picture_sha256, picture_bytes, picture_state FROM readings ORDER BY seq"
)


class Outbox:
    """The outbox in a state folder. Safe to use from several threads of the one process that holds it."""

    def __init__(
        self,
        folder: Path,
        *,
        session: str,
        clocks: Callable[[], Moment] = read_clocks,
        new_epoch: Callable[[], str] = lambda: secrets.token_hex(8),
    ) -> None:
        """Open or create it. `session` names this start of the agent."""
        self._session, self._clocks, self._lock = session, clocks, RLock()
        self._attempts: dict[str, int] = {}
        self._held = lock_folder(folder)
        self._pictures, self._refused = folder / "pictures", folder / "refused"
        try:
            for child in (self._pictures, self._refused):
                make_folder(child)
            self._db = Database(open_file(folder / "outbox.db", new_epoch))
        except BaseException:
            os.close(self._held)
            raise
        self.epoch = str(self._rows("SELECT value FROM meta WHERE name = 'epoch'")[0]["value"])
        self._take_up()

    def close(self) -> None:
        """Release the file."""
        with self._lock:
            self._db.close()
            os.close(self._held)

    def put(self, document: bytes, photograph: bytes, key: str | None = None) -> int:
        """Keep a reading (canonical JSON) and its photograph; returns its sequence number once both are on the disk."""
        reading = codec.decode_reading(document)
        found = sha256(photograph).hexdigest()
        if found != reading.picture.sha256:
            raise LocalProtocolError(f"the photograph's SHA-256 is {found} (expected {reading.picture.sha256})")
        name = f"{found}{_SUFFIXES[reading.picture.media_type]}"
        moment = self._clocks()
        # Under the lock so that pruning cannot remove the file between its writing and its row.
        with self._lock:
            write_durably(self._pictures / name, photograph)
            with self._db.atomic():
                self._remember(key)
                cursor = self._db.execute(
                    "INSERT INTO readings (id, digest, document, state, session, put_ns, put_at, photo, picture_sha256,"
                    " picture_file, picture_bytes, picture_media_type, picture_state)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    [reading.id, codec.digest(document), document, State.PENDING, self._session, moment.monotonic_ns,
                     moment.at.isoformat(), reading.picture.name, found, name, len(photograph),
                     reading.picture.media_type, PictureState.WAITING],
                )  # fmt: skip
        return int(cursor.lastrowid or 0)

    def refuse(self, refusal: Refusal, photograph: bytes, key: str | None = None, keep: int = 200) -> None:
        """Record a photograph that could not be read, and keep the newest `keep` of them for a person to see."""
        name = f"{refusal.at:%Y%m%dT%H%M%S%f}-{sha256(photograph).hexdigest()[:12]}{_suffix(refusal.photo)}"
        with self._lock:
            write_durably(self._refused / name, photograph)
            with self._db.atomic():
                self._remember(key)
                self._db.table("refused").insert(
                    {"at": refusal.at.isoformat(), "photo": refusal.photo, "reason": refusal.reason,
                     "detail": refusal.detail, "file": name}
                )  # fmt: skip
            self._trim_refused(keep)

    def was_captured(self, key: str) -> bool:
        """Whether the file of this key has been read or refused, in this run or an earlier one."""
        return bool(self._rows("SELECT 1 FROM captured WHERE key = ?", key))

    def due(self, count: int, beside: Collection[str] = ()) -> list[Waiting]:
        """Up to `count` live and up to `count` older readings that wait, without those of `beside`, each in order."""
        live_from_ns = self._clocks().monotonic_ns - int(LIVE_S * 1e9)
        live = "session = ? AND put_ns >= ?"
        chosen: list[Waiting] = []
        for condition, historical in ((live, False), (f"NOT ({live})", True)):
            rows = self._rows(
                f"SELECT id, seq FROM readings WHERE state = ? AND {condition} ORDER BY seq LIMIT ?",
                State.PENDING, self._session, live_from_ns, count + len(beside),
            )  # fmt: skip
            fresh = [Waiting(row["id"], row["seq"], historical) for row in rows if row["id"] not in beside]
            chosen += fresh[:count]
        return chosen

    def send(self, ids: Iterable[str]) -> list[Outgoing]:
        """The bytes of these readings, as they were hashed at capture, each counted as one attempt of this session.

        That a reading is under way is no durable fact, so sending writes nothing. One that is damaged is quarantined
        instead; one that was answered meanwhile is left alone.
        """
        outgoing, damaged = [], {}
        with self._lock:
            for reading_id in ids:
                for row in self._rows(_SENDABLE, reading_id, State.PENDING):
                    wrong = damage(row)
                    if wrong:
                        damaged[reading_id] = wrong
                        continue
                    self._attempts[reading_id] = self._attempts.get(reading_id, 0) + 1
                    outgoing.append(Outgoing(reading_id, row["seq"], self._attempts[reading_id], row["document"]))
            for reading_id, wrong in damaged.items():
                self.quarantine(reading_id, DAMAGED, wrong)
        return outgoing

    def settle(self, ids: Iterable[str]) -> None:
        """Central has committed these readings. Unknown ids are nothing to us: an ack may be very old."""
        with self._transaction():
            for reading_id in ids:
                self._step(reading_id, Event.ACCEPTED, settled_at=self._clocks().at.isoformat())

    def quarantine(self, reading_id: str, code: str, detail: str) -> None:
        """Central will never accept this reading: set aside, kept, shown."""
        with self._transaction():
            self._step(reading_id, Event.REJECTED, rejected_code=code, rejected_detail=detail)

    def requeue(self, ids: Iterable[str]) -> list[str]:
        """A person wants these quarantined readings sent again; returns the ids that now wait."""
        with self._transaction():
            wanted = set(ids)
            found = [row["id"] for row in self._in_state(State.QUARANTINED) if row["id"] in wanted or "all" in wanted]
            for reading_id in found:
                self._step(reading_id, Event.REQUEUE, rejected_code=None, rejected_detail=None)
        return found

    def ledger(self) -> tuple[LedgerDay, ...]:
        """The account of everything here, day by day."""
        days = self._entries().items()
        return tuple(ledger_day(day, entries) for day, entries in days)

    def reconcile(self, held: Sequence[Held]) -> Reconciled:
        """Settle what central provably has of these days, and let wait again what it turns out to lack."""
        settled = missed = 0
        with self._transaction():
            own = self._entries()
            for day in held:
                verdict = judge(own.get(day.day, ()), day)
                settled += sum(
                    self._step_at(seq, Event.ACCEPTED, settled_at=self._clocks().at.isoformat()) for seq in verdict.held
                )
                missed += sum(self._step_at(seq, Event.MISSED, settled_at=None) for seq in verdict.missed)
        return Reconciled(settled, missed)

    def id_of(self, seq: int) -> str | None:
        """The reading with this sequence number."""
        rows = self._rows("SELECT id FROM readings WHERE seq = ?", seq)
        return rows[0]["id"] if rows else None

    def want(self, pictures: Iterable[str]) -> None:
        """Central lacks these pictures. One that is no longer here cannot be given."""
        self._set_picture_state(pictures, PictureState.WANTED)

    def wanted(self) -> list[WantedPicture]:
        """The pictures to upload, oldest first."""
        rows = self._rows(
            "SELECT picture_sha256, picture_file, picture_media_type FROM readings WHERE picture_state = ?"
            " GROUP BY picture_sha256 ORDER BY min(seq) LIMIT 100",
            PictureState.WANTED,
        )
        return [
            WantedPicture(row["picture_sha256"], self._pictures / row["picture_file"], row["picture_media_type"])
            for row in rows
        ]

    def mark_uploaded(self, picture: str) -> None:
        """Central has this picture."""
        self._set_picture_state([picture], PictureState.UPLOADED)

    def mark_lost(self, picture: str) -> None:
        """The picture's file is missing or damaged: it can never be given."""
        self._set_picture_state([picture], PictureState.NONE)

    def depth(self) -> OutboxDepth:
        """How much is still here that central lacks."""
        with self._lock:
            counts = {row["state"]: row["n"] for row in self._rows(_COUNTS, State.SETTLED)}
            pictures = self._rows(
                "SELECT count(DISTINCT picture_sha256) AS n FROM readings WHERE picture_state = ?", PictureState.WANTED
            )
            last = self._rows("SELECT seq FROM sqlite_sequence WHERE name = 'readings'")
        quarantined = counts.pop(State.QUARANTINED, 0)
        return OutboxDepth(
            self.epoch, last[0]["seq"] if last else 0, sum(counts.values()), quarantined, pictures[0]["n"]
        )

    def last_refusal(self) -> Refusal | None:
        """The newest photograph that could not be read."""
        rows = self._rows("SELECT at, photo, reason, detail FROM refused ORDER BY number DESC LIMIT 1")
        return msgspec.convert(rows[0], Refusal) if rows else None

    def prune(self, keep: timedelta, most_picture_bytes: int) -> None:
        """Forget what central has and nobody needs here any more (see `retention`)."""
        with self._lock:
            rows = [kept(row) for row in self._rows(_FOR_PRUNING)]
            plan = plan_pruning(rows, self._clocks().at, keep.total_seconds(), most_picture_bytes)
            files = {
                row["picture_file"]
                for picture in plan.pictures
                for row in self._rows("SELECT picture_file FROM readings WHERE picture_sha256 = ?", picture)
            }
            with self._db.atomic():
                self._set_picture_state(plan.pictures, PictureState.NONE)
                for seq in plan.readings:
                    self._db.execute("DELETE FROM readings WHERE seq = ?", [seq])
            # Only after the commit: a picture without a row is swept at the next start, a row without one is a loss.
            for name in files:
                (self._pictures / name).unlink(missing_ok=True)

    def _take_up(self) -> None:
        """What an earlier session left: readings sent and not answered, files whose row was never written."""
        with self._transaction():
            # A state that is none of them is a damaged byte: sent again, which central absorbs.
            self._db.execute(
                "UPDATE readings SET state = ? WHERE state NOT IN (?, ?, ?)",
                [next_state(State.SENT, Event.UNANSWERED), State.PENDING, State.SETTLED, State.QUARANTINED],
            )
        known = {row["picture_file"] for row in self._rows("SELECT DISTINCT picture_file FROM readings")}
        for path in self._pictures.iterdir():
            if path.name not in known:
                path.unlink()

    def _trim_refused(self, keep: int) -> None:
        held_bytes = 0
        rows = self._rows("SELECT number, file FROM refused WHERE file IS NOT NULL ORDER BY number DESC")
        for place, row in enumerate(rows):
            path = self._refused / row["file"]
            held_bytes += path.stat().st_size if path.is_file() else 0
            if place >= keep or held_bytes > MOST_REFUSED_BYTES:
                path.unlink(missing_ok=True)
                self._db.execute("UPDATE refused SET file = NULL WHERE number = ?", [row["number"]])

    def _entries(self) -> Mapping[str, list[Entry]]:
        return by_day(
            (day_of(row["document"]), Entry(row["seq"], row["digest"], row["state"] == State.SETTLED))
            for row in self._rows(_ENTRIES)
        )

    def _step_at(self, seq: int, event: Event, **fields: object) -> bool:
        reading_id = self.id_of(seq)
        return reading_id is not None and self._step(reading_id, event, **fields)

    def _step(self, reading_id: str, event: Event, **fields: object) -> bool:
        """Let the table decide; whether the state is another one now."""
        for row in self._rows("SELECT state FROM readings WHERE id = ?", reading_id):
            before = State(row["state"])
            after = next_state(before, event)
            if after is before:
                return False
            values = {"state": after, **fields}
            columns = ", ".join(f"{name} = ?" for name in values)
            self._db.execute(f"UPDATE readings SET {columns} WHERE id = ?", [*values.values(), reading_id])
            self._attempts.pop(reading_id, None)
            return True
        return False

    def _set_picture_state(self, pictures: Iterable[str], state: PictureState) -> None:
        with self._transaction():
            for picture in pictures:
                self._db.execute(
                    "UPDATE readings SET picture_state = ? WHERE picture_sha256 = ? AND picture_state != ?",
                    [state, picture, PictureState.NONE],
                )

    def _remember(self, key: str | None) -> None:
        if key is not None:
            self._db.execute("INSERT OR IGNORE INTO captured VALUES (?)", [key])

    def _in_state(self, state: State) -> list[dict[str, Any]]:
        return self._rows("SELECT id FROM readings WHERE state = ? ORDER BY seq", state)

    def _rows(self, sql: str, *values: object) -> list[dict[str, Any]]:
        with self._lock:
            return list(self._db.query(sql, list(values)))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock, self._db.atomic():
            yield


def _suffix(photo: str) -> str:
    suffix = Path(photo).suffix.lower()
    return suffix if suffix in {".jpg", ".jpeg", ".png"} else ".bin"
