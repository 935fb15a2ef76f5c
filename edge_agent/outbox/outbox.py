"""What this reader has read and central may not have yet: put, due, send, settle, prune.

A reading and its picture are on the disk, synced, before `put` returns; only then may anything say "saved". A row is
forgotten only after central's own `accepted`. Every change of a row's state goes through `protocol.delivery`, and the
digest made at capture is checked again before a reading leaves: a damaged one is set aside, never sent.
"""

import os
import secrets
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec

from edge_agent.clock import Moment, read_clocks
from edge_agent.config import KeepConfig
from edge_agent.durable import make_folder, write_durably
from edge_agent.link.window import Waiting
from edge_agent.outbox import accounts
from edge_agent.outbox.backlog import Backlog
from edge_agent.outbox.file import OutboxFile, lock_folder
from edge_agent.outbox.keeping import Keeping
from edge_agent.outbox.packing import Packer
from edge_agent.outbox.pruning import Pruning
from edge_agent.outbox.room import BALLAST_BYTES, Ballast, ballast_plan, look
from edge_agent.outbox.rows import (
    SEALED,
    DamagedError,
    Outgoing,
    PictureState,
    Reconciled,
    WantedPicture,
    check_seal,
    picture_file,
    proven_document,
    state_of,
)
from edge_agent.outbox.steps import Steps
from protocol.delivery import Event, State
from protocol.messages import Held, LedgerDay, OutboxDepth, Refusal, Trouble

# A reading that waited longer than this is history: it must not delay one that a person is waiting for.
LIVE_S: Final = 60.0


class Outbox:
    """The outbox in a state folder. Safe to use from several threads of the one process that holds it."""

    def __init__(
        self,
        folder: Path,
        *,
        session: str,
        clocks: Callable[[], Moment] = read_clocks,
        central_now: Callable[[], datetime | None] | None = None,
        new_epoch: Callable[[], str] = lambda: secrets.token_hex(8),
        keep: KeepConfig | None = None,
        ballast_bytes: int = BALLAST_BYTES,
    ) -> None:
        """Open or create it. `session` names this start of the agent.

        `central_now` is the time by which readings grow old; without it that of `clocks`, which may be years ahead.
        """
        self._folder, self._session, self._clocks, self._keep = folder, session, clocks, keep or KeepConfig()
        self._central_now = central_now or (lambda: clocks().at)
        self._held = lock_folder(folder)
        self.pictures = folder / "pictures"
        self._ballast, self._packer = Ballast(folder, ballast_bytes), Packer()
        try:
            for child in (self.pictures, folder / "refused"):
                make_folder(child)
            self.file = OutboxFile(folder / "outbox.db", new_epoch)
            self._backlog = Backlog(self.file, folder, clocks, self._keep.free_mb * 1_000_000)
            self._keeping = Keeping(self.file, folder, self._packer, self._backlog, session=session, clocks=clocks)
            self.file.on_reopened = self._keeping.forget_unsaid
            self._steps = Steps(self.file, folder, self._ballast)
            self._pruning = Pruning(self.file, self.pictures, folder / "refused")
            self._pruning.sweep()
        except BaseException:
            # Not held on to: the agent tries again in a while, in this very process.
            if (file := getattr(self, "file", None)) is not None:
                file.close()
            os.close(self._held)
            raise

    @property
    def epoch(self) -> str:
        """Names this outbox; another one begins its sequence anew."""
        return self.file.epoch

    def close(self) -> None:
        """Release the file."""
        with self.file.lock:
            self.file.close()
            os.close(self._held)

    def put(self, document: bytes, photograph: bytes, key: str | None = None) -> int:
        """Keep a reading (canonical JSON) and its photograph; returns its sequence number once both are on the disk."""
        return self._keeping.put(document, photograph, key)

    def refuse(self, refusal: Refusal, photograph: bytes, key: str | None = None, keep: int = 200) -> None:
        """Record a photograph that could not be read, and keep the newest `keep` of them for a person to see."""
        with self.file.lock:
            self._keeping.refuse(refusal, photograph, key)
            self._pruning.trim_refused(keep)

    def was_captured(self, key: str) -> bool:
        """Whether the file of this key has been read or refused, in this run or an earlier one."""
        return self._keeping.was_captured(key)

    def due(self, count: int, beside: Collection[str] = ()) -> list[Waiting]:
        """Up to `count` live and up to `count` older readings that wait, without those of `beside`, each in order."""
        live_from_ns = self._clocks().monotonic_ns - int(LIVE_S * 1e9)
        live = "session = ? AND put_ns >= ?"
        chosen: list[Waiting] = []
        for condition, historical in ((live, False), (f"NOT ({live})", True)):
            rows = self.file.rows(
                f"SELECT {SEALED} FROM readings WHERE state = ? AND {condition} ORDER BY seq LIMIT ?",
                State.PENDING, self._session, live_from_ns, count + len(beside),
            )  # fmt: skip
            fresh = [row for row in rows if row["id"] not in beside]
            chosen += [Waiting(row["id"], row["seq"], historical) for row in fresh[:count] if self._is_whole(row)]
        return chosen

    def send(self, ids: Iterable[str]) -> list[Outgoing]:
        """The bytes of these readings, as they were hashed at capture, each counted as one attempt of this session.

        That a reading is under way is no durable fact, so sending writes nothing. One that is damaged is quarantined
        instead; one that was answered meanwhile is left alone.
        """
        outgoing = []
        for reading_id in ids:
            for row in self.file.rows(f"SELECT {SEALED}, state FROM readings WHERE id = ?", reading_id):
                document = self._document(row) if state_of(row) is State.PENDING else None
                if document is not None:
                    attempt = self._steps.attempt(reading_id)
                    outgoing.append(Outgoing(reading_id, row["seq"], attempt, row["digest"], document))
        return outgoing

    def settle(self, ids: Iterable[str]) -> None:
        """Central has committed these readings. Unknown ids are nothing to us: an ack may be very old."""
        self._steps.take("id", list(ids), Event.ACCEPTED, {"settled_at": self._settled_at()})

    def quarantine(self, reading_id: str, code: str, detail: str) -> None:
        """This reading must not be sent as it is: set aside, kept, shown."""
        why = {"rejected_code": code, "rejected_detail": detail}
        self._steps.take("id", [reading_id], Event.REJECTED, why)

    def requeue(self, ids: Iterable[str]) -> list[str]:
        """A person wants these quarantined readings sent again; returns the ids that now wait."""
        wanted = set(ids)
        rows = self.file.rows("SELECT id FROM readings WHERE state = ? ORDER BY seq", State.QUARANTINED)
        found = [row["id"] for row in rows if row["id"] in wanted or "all" in wanted]
        nothing = {"rejected_code": None, "rejected_detail": None}
        self._steps.take("id", found, Event.REQUEUE, nothing)
        return found

    def ledger(self) -> tuple[LedgerDay, ...]:
        """The account of everything here, day by day."""
        return accounts.ledger(self.file)

    def reconcile(self, held: Sequence[Held]) -> Reconciled:
        """Settle what central provably has of these days, and let wait again what it turns out to lack."""
        return accounts.reconcile(self.file, self._steps, held, self._settled_at())

    def id_of(self, seq: int) -> str | None:
        """The reading with this sequence number."""
        rows = self.file.rows("SELECT id FROM readings WHERE seq = ?", seq)
        return rows[0]["id"] if rows else None

    def want(self, pictures: Iterable[str]) -> None:
        """Central lacks these pictures. One that is no longer here cannot be given."""
        self._steps.set_picture_state(pictures, PictureState.WANTED)

    def wanted(self) -> list[WantedPicture]:
        """The pictures to upload, oldest first."""
        rows = self.file.rows(
            f"SELECT {SEALED} FROM readings WHERE picture_state = ? ORDER BY seq LIMIT 100", PictureState.WANTED
        )
        once = {row["picture_sha256"]: row for row in rows if self._is_whole(row)}
        return [
            WantedPicture(picture, self.pictures / picture_file(row), row["picture_media_type"])
            for picture, row in once.items()
        ]

    def mark_uploaded(self, picture: str) -> None:
        """Central has this picture."""
        self._steps.set_picture_state([picture], PictureState.UPLOADED)

    def mark_lost(self, picture: str) -> None:
        """The picture's file is missing or damaged: it can never be given."""
        self._steps.set_picture_state([picture], PictureState.NONE)

    def depth(self) -> OutboxDepth:
        """How much is still here that central lacks, and for how long there is room."""
        return self._backlog.depth()

    def troubles(self) -> tuple[Trouble, ...]:
        """What a person must look at."""
        return self._backlog.troubles()

    def last_refusal(self) -> Refusal | None:
        """The newest photograph that could not be read."""
        rows = self.file.rows("SELECT at, photo, reason, detail FROM refused ORDER BY number DESC LIMIT 1")
        with suppress(msgspec.ValidationError):
            return msgspec.convert(rows[0], Refusal) if rows else None
        return None

    def prune(self, keep: timedelta, most_picture_bytes: int, most_reading_bytes: int | None = None) -> None:
        """Forget what central has and nobody needs here any more (see `retention`); see to the ballast."""
        most = self._keep.outbox_mb * 1_000_000 if most_reading_bytes is None else most_reading_bytes
        needed = self._keep.free_mb * 1_000_000

        def forget() -> int:
            # A ballast that was given up needs its room again.
            wanted = needed + (self._ballast.size_bytes if self._ballast.given_up else 0)
            if look(self._folder).shortage_bytes(wanted):
                self._pruning.trim_refused(self._keep.refused, most_bytes=0)
            shortage = look(self._folder).shortage_bytes(wanted)
            self._backlog.add_up()
            most_pictures = min(most_picture_bytes, max(0, self._backlog.picture_bytes - shortage))
            return self._pruning.prune(self._central_now(), keep, most_pictures, most, self._backlog)

        if self._steps.with_ballast(forget):
            self._backlog.add_up()
        if (
            ballast_plan(look(self._folder), needed, self._ballast.size_bytes, is_there=self._ballast.is_there())
            == "make"
        ):
            self._ballast.make()

    def document(self, reading_id: str) -> bytes:
        """A reading's canonical JSON; DamagedError if it is not as captured, KeyError if there is none."""
        with self.file.lock:
            for row in self.file.rows(f"SELECT {SEALED} FROM readings WHERE id = ?", reading_id):
                return proven_document(row, self.file.document(row["seq"]), self._packer)
        raise KeyError(reading_id)

    def state(self, reading_id: str) -> State | None:
        """Where a reading stands; None if it is not here."""
        rows = self.file.rows("SELECT state FROM readings WHERE id = ?", reading_id)
        return state_of(rows[0]) if rows else None

    def take_in(self, document: bytes, another_device: str | None = None) -> str | None:
        """Keep a reading from an archive; None if it is new here, "" if it was here, and else what is wrong with it.

        One that is damaged here is replaced. One of another device is kept aside, with these words as the reason.
        """
        return self._keeping.take_in(document, another_device)

    def take_in_picture(self, picture: str, media_type: str, content: bytes) -> None:
        """Keep a photograph from an archive: for a reading that comes next, or one here that lacks it."""
        path = self.pictures / picture_file({"picture_sha256": picture, "picture_media_type": media_type})
        with self.file.lock:
            if not path.is_file():
                write_durably(path, content)
            self._steps.have_picture(picture)

    def _settled_at(self) -> str | None:
        now = self._central_now()
        return None if now is None else now.isoformat()

    def _document(self, row: dict[str, Any]) -> bytes | None:
        """The bytes of a reading that are proven; None if it had to be set aside."""
        try:
            return proven_document(row, self.file.document(row["seq"]), self._packer)
        except DamagedError as damaged:
            self._steps.set_aside(row, damaged)
            return None

    def _is_whole(self, row: dict[str, Any]) -> bool:
        try:
            check_seal(row)
        except DamagedError as damaged:
            self._steps.set_aside(row, damaged)
            return False
        return True
