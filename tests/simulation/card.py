"""A memory card and the outbox on it, without a disk: what is committed survives a crash, what is not is gone.

A model of `edge_agent.outbox.outbox.Outbox`, method for method, over the same state table, ledger and pruning plan; a
test plays the same seeds with either and compares the traces.
"""

from bisect import insort
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import groupby

import msgspec

from edge_agent.clock import BootClock
from edge_agent.link.window import Waiting
from edge_agent.outbox.outbox import LIVE_S
from edge_agent.outbox.retention import Kept, Limits, plan_pruning
from edge_agent.outbox.rows import Outgoing, PictureState, Reconciled
from protocol import codec, ledger
from protocol.delivery import Event, State, next_state
from protocol.messages import Held, LedgerDay, OutboxDepth, Refusal

_DAMAGED = "damaged"


@dataclass(frozen=True, slots=True)
class Row:
    """A reading on a card."""

    seq: int
    id: str
    document: bytes
    digest: str
    day: str
    picture: str
    session: str
    put_ns: int
    state: State = State.PENDING
    settled_at: datetime | None = None
    rejected_code: str | None = None
    picture_state: PictureState = PictureState.WAITING


class _Seen(msgspec.Struct):
    class Picture(msgspec.Struct):
        sha256: str

    id: str
    captured_at: datetime
    picture: Picture


class Card:
    """What a memory card holds: it outlives every crash, and is lost, copied or set back as a whole."""

    def __init__(self, number: int, epoch: str) -> None:
        """`number` tells two cards apart that claim the same epoch."""
        self.number, self.epoch, self.last_seq = number, epoch, 0
        # Whose it is, whether another card gives the same numbers, and the number of the card it is a copy of.
        self.owner, self.has_twin, self.copied_from = "", False, 0
        self.rows: dict[int, Row] = {}
        self.places: dict[str, int] = {}
        self.pending: list[int] = []
        # Counted when asked for, until something changes.
        self.depth: OutboxDepth | None = None

    def copy(self, number: int) -> "Card":
        """Another card with the same content: the same epoch, the same next number."""
        other = Card(number, self.epoch)
        other.copied_from = self.number
        other.last_seq, other.rows, other.owner = self.last_seq, dict(self.rows), self.owner
        other.places, other.pending = dict(self.places), list(self.pending)
        return other

    def put(self, row: Row) -> None:
        """Commit a new row."""
        self.last_seq, self.depth = row.seq, None
        self.rows[row.seq], self.places[row.id] = row, row.seq
        insort(self.pending, row.seq)

    def change(self, row: Row) -> None:
        """Commit a change of a row."""
        self.depth = None
        if row.state is not self.rows[row.seq].state:
            if self.rows[row.seq].state is State.PENDING:
                self.pending.remove(row.seq)
            if row.state is State.PENDING:
                insort(self.pending, row.seq)
        self.rows[row.seq] = row

    def forget(self, seq: int) -> None:
        """Commit that a row is gone."""
        self.depth = None
        row = self.rows.pop(seq)
        del self.places[row.id]

    def held(self) -> dict[str, str]:
        """Reading id → digest of the bytes that are here now."""
        return {row.id: codec.digest(row.document) for row in self.rows.values()}


class CardOutbox:
    """The outbox of one life of the agent, on a card."""

    def __init__(self, card: Card, session: str, clocks: BootClock) -> None:
        """`session` names this life."""
        self.card, self._session, self._clocks = card, session, clocks

    @property
    def epoch(self) -> str:
        """Names this outbox."""
        return self.card.epoch

    def close(self) -> None:
        """Nothing is open."""

    def put(self, document: bytes, photograph: bytes) -> int:
        """Keep a reading; its sequence number."""
        seen = msgspec.json.decode(document, type=_Seen)
        if seen.id in self.card.places:
            raise ValueError(f"reading {seen.id} is here already")
        day = seen.captured_at.astimezone(UTC).date().isoformat()
        seq = self.card.last_seq + 1
        self.card.put(
            Row(seq, seen.id, document, codec.digest(document), day, seen.picture.sha256, self._session,
                self._clocks().monotonic_ns)
        )  # fmt: skip
        return seq

    def due(self, count: int, beside: Collection[str] = ()) -> list[Waiting]:
        """Up to `count` live and `count` older readings that wait, each in order."""
        rows, live_from_ns = self.card.rows, self._clocks().monotonic_ns - int(LIVE_S * 1e9)
        live: list[Waiting] = []
        older: list[Waiting] = []
        for seq in self.card.pending:
            row = rows[seq]
            is_live = row.session == self._session and row.put_ns >= live_from_ns
            lane = live if is_live else older
            if len(lane) < count and row.id not in beside:
                lane.append(Waiting(row.id, seq, not is_live))
        return live + older

    def send(self, ids: Iterable[str]) -> list[Outgoing]:
        """The bytes of those that wait and are undamaged."""
        outgoing = []
        for row in self._rows(ids):
            if row.state is not State.PENDING:
                continue
            found = codec.digest(row.document)
            if found == row.digest:
                outgoing.append(Outgoing(row.id, row.seq, 1, row.digest, row.document))
            else:
                self._step(row, Event.REJECTED, rejected_code=_DAMAGED)
        return outgoing

    def settle(self, ids: Iterable[str]) -> None:
        """Central has committed these."""
        for row in self._rows(ids):
            self._step(row, Event.ACCEPTED, settled_at=self._clocks.central_now())

    def quarantine(self, reading_id: str, code: str, detail: str) -> None:
        """Central will never accept this one."""
        for row in self._rows([reading_id]):
            self._step(row, Event.REJECTED, rejected_code=code)

    def requeue(self, ids: Iterable[str]) -> list[str]:
        """A person wants these sent again."""
        wanted = list(ids)
        found = [row for row in self.card.rows.values() if row.state is State.QUARANTINED]
        found = [row for row in found if "all" in wanted or row.id in wanted]
        for row in found:
            self._step(row, Event.REQUEUE, rejected_code=None)
        return [row.id for row in found]

    def ledger(self) -> tuple[LedgerDay, ...]:
        """The account of everything here, day by day."""
        rows = sorted(self._accounted(), key=lambda row: (row.day, row.seq))
        days = groupby(rows, key=lambda row: row.day)
        return tuple(ledger.ledger_day(day, map(_entry, of_day)) for day, of_day in days)

    def reconcile(self, held: Sequence[Held]) -> Reconciled:
        """Settle what central provably has, let wait again what it lacks."""
        settled = missed = 0
        for day in held:
            verdict = ledger.judge([_entry(row) for row in self._accounted() if row.day == day.day], day)
            rows = self.card.rows
            now = self._clocks.central_now()
            settled += sum(self._step(rows[seq], Event.ACCEPTED, settled_at=now) for seq in verdict.held)
            missed += sum(self._step(rows[seq], Event.MISSED, settled_at=None) for seq in verdict.missed)
        return Reconciled(settled, missed)

    def id_of(self, seq: int) -> str | None:
        """The reading with this sequence number."""
        row = self.card.rows.get(seq)
        return row.id if row else None

    def want(self, pictures: Iterable[str]) -> None:
        """Central lacks these pictures."""
        self._set_pictures(pictures, PictureState.WANTED)

    def wanted_pictures(self) -> list[str]:
        """The pictures to upload, oldest first."""
        rows = self.card.rows.values()
        return list(dict.fromkeys(row.picture for row in rows if row.picture_state is PictureState.WANTED))

    def mark_uploaded(self, picture: str) -> None:
        """Central has this picture."""
        self._set_pictures([picture], PictureState.UPLOADED)

    def depth(self) -> OutboxDepth:
        """How much is here that central lacks."""
        card = self.card
        if card.depth is None:
            quarantined = sum(row.state is State.QUARANTINED for row in card.rows.values())
            wanted = len(self.wanted_pictures())
            card.depth = OutboxDepth(card.epoch, card.last_seq, len(card.pending), quarantined, wanted)
        return card.depth

    def last_refusal(self) -> Refusal | None:
        """No photograph is refused here."""
        return None

    def prune(self, keep: timedelta, most_picture_bytes: int) -> list[tuple[str, bool]]:
        """Forget what may be forgotten; the ids, each with whether it was settled."""
        rows = list(self.card.rows.values())
        needed = {
            row.picture for row in rows if row.state is not State.SETTLED or row.picture_state is PictureState.WANTED
        }
        kept = [
            Kept(row.seq, row.state, row.settled_at, row.picture,
                 0 if row.picture_state is PictureState.NONE else 1000, row.picture in needed, len(row.document))
            for row in rows
        ]  # fmt: skip
        limits = Limits(keep.total_seconds(), most_picture_bytes, 1 << 40)
        held_bytes = sum(one.picture_bytes for one in kept)
        plan = plan_pruning(kept, self._clocks.central_now(), limits, picture_bytes=held_bytes, reading_bytes=0)
        self._set_pictures(plan.pictures, PictureState.NONE)
        gone = [self.card.rows[seq] for seq in plan.readings]
        for row in gone:
            self.card.forget(row.seq)
        return [(row.id, row.state is State.SETTLED) for row in gone]

    def _rows(self, ids: Iterable[str]) -> list[Row]:
        places = self.card.places
        return [self.card.rows[places[one]] for one in ids if one in places]

    def _accounted(self) -> list[Row]:
        return [row for row in self.card.rows.values() if row.rejected_code != _DAMAGED]

    def _step(self, row: Row, event: Event, **fields: object) -> bool:
        after = next_state(row.state, event)
        if after is row.state:
            return False
        self.card.change(replace(row, state=after, **fields))  # type: ignore[arg-type]
        return True

    def _set_pictures(self, pictures: Iterable[str], state: PictureState) -> None:
        wanted = list(pictures)
        if wanted:
            for row in list(self.card.rows.values()):
                if row.picture in wanted and row.picture_state is not PictureState.NONE:
                    self.card.change(replace(row, picture_state=state))


def _entry(row: Row) -> ledger.Entry:
    return ledger.Entry(row.seq, row.digest, row.state is State.SETTLED)
