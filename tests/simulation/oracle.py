"""Who knows what was promised: told of each event as a person at the bench would see it, believing no counter.

Invariants I1 to I8 are judged here. Some are looked at whenever something is settled or committed, all at the end, when
the last fault has healed and a person has had the time to retry what was set aside.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

from protocol.codec import digest

Place: TypeAlias = tuple[str, str, int]


class InvariantError(AssertionError):
    """Something happened that must never happen; the message names it and the reading."""


@dataclass
class Promise:
    """A reading, from the moment that the bench gave it to its outbox. `places` are where it was then saved."""

    id: str
    digest: str
    device: str
    plate: str
    places: list[Place] = field(default_factory=list)
    saved_s: float | None = None
    committed_s: float | None = None
    sendings: int = 0
    # Central has no rule for it: it must end as a dead letter and set aside, not as a run.
    is_unreadable: bool = False
    # Its bytes were damaged on the card, or the card is gone: nobody can send it any more.
    is_beyond_reach: bool = False


class Oracle:
    """Everything that was begun, saved, committed and refused."""

    def __init__(self) -> None:
        self.promises: dict[str, Promise] = {}
        self.faults: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.revoked: set[str] = set()
        self.ledgers = self.missed = self.lost_with_card = 0
        self.worst_wait_s = 0.0
        self._last_seq: dict[tuple[str, str, int], int] = {}

    def begun(self, promise: Promise) -> None:
        """The outbox is about to be given this reading."""
        self.promises[promise.id] = promise

    def saved(self, reading_id: str, place: Place, card: int, now_s: float) -> None:
        """The bench shows "saved". On one card numbers only grow."""
        promise = self.promises[reading_id]
        key = (*place[:2], card)
        if place[2] <= self._last_seq.get(key, 0):
            raise InvariantError(f"number {place[2]} was given again (after {self._last_seq[key]}): {reading_id}")
        self._last_seq[key] = place[2]
        promise.saved_s = now_s if promise.saved_s is None else promise.saved_s
        promise.places.append(place)

    def kept(self, reading_id: str, place: Place, card: int) -> None:
        """It was on the card when the bench died, before anything was shown: no promise, but its place is taken."""
        self.promises[reading_id].places.append(place)
        self._last_seq[*place[:2], card] = place[2]

    def sent(self, reading_id: str, document: bytes) -> None:
        """A reading leaves its device."""
        promise = self.promises[reading_id]
        promise.sendings += 1
        if digest(document) != promise.digest:
            raise InvariantError(f"I3: sent with other bytes than it was saved with: {reading_id}")

    def committed(self, reading_id: str, found: str, place: Place, now_s: float) -> None:
        """Central has a new run."""
        promise = self.promises.get(reading_id)
        if promise is None:
            raise InvariantError(f"I5: a run that no bench began: {reading_id}")
        if found != promise.digest:
            raise InvariantError(f"I3: a run with other bytes than were saved: {reading_id}")
        if place[0] != promise.device or (promise.places and place not in promise.places):
            raise InvariantError(f"I5: a run at {place}, saved at {promise.places}: {reading_id}")
        if promise.device in self.revoked:
            raise InvariantError(f"I5: a run of a device that was shut out: {reading_id}")
        if promise.committed_s is None:
            promise.committed_s = now_s
            self.worst_wait_s = max(self.worst_wait_s, now_s - (promise.saved_s or now_s))

    def settled(self, reading_id: str, found: str) -> None:
        """A device holds a reading for delivered: central must have committed it, these bytes, once."""
        promise = self.promises[reading_id]
        if promise.committed_s is None:
            raise InvariantError(f"I1: settled, but central never committed it: {reading_id}")
        if found != promise.digest:
            raise InvariantError(f"I3: settled with other bytes than were saved: {reading_id}")

    def forgotten(self, readings: Iterable[tuple[str, bool]], keep_s: float, now_s: float) -> None:
        """A device pruned these, each with whether it was settled; none may be that central has had for less.

        However far ahead its own clock may be: central may be set back to a backup from before.
        """
        for reading_id, was_settled in readings:
            promise = self.promises[reading_id]
            if not was_settled or promise.committed_s is None:
                raise InvariantError(f"I1: forgotten before it was settled: {reading_id}")
            if now_s - promise.committed_s < keep_s:
                raise InvariantError(
                    f"I1: forgotten {now_s - promise.committed_s:.0f} s after its commit: {reading_id}"
                )

    def beyond_reach(self, reading_ids: Iterable[str]) -> None:
        """Nobody can send these any more: the only card that has them is gone, or they were damaged on it."""
        for reading_id in reading_ids:
            self.promises[reading_id].is_beyond_reach = True

    def is_beyond_reach(self, place: Place) -> bool:
        """Whether nobody can send what was saved at this place any more."""
        return any(promise.is_beyond_reach for promise in self.promises.values() if place in promise.places)

    def judge_runs(self, runs: Iterable[tuple[str, str, bytes, Place]], lines: Iterable[str]) -> None:
        """I2, I3, I5 on what central holds (id, digest, document, place) and what it delivered (one line per run)."""
        ids: set[str] = set()
        places: set[Place] = set()
        for reading_id, found, document, place in runs:
            promise = self.promises.get(reading_id)
            if promise is None:
                raise InvariantError(f"I5: a run that no bench began: {reading_id}")
            if not digest(document) == found == promise.digest:
                raise InvariantError(f"I3: a run with other bytes than were saved: {reading_id}")
            if place not in promise.places or promise.plate.encode() not in document:
                raise InvariantError(f"I5: a run at {place}, saved at {promise.places}: {reading_id}")
            if reading_id in ids or place in places:
                raise InvariantError(f"I2: two runs of {reading_id}, or at {place}")
            ids.add(reading_id)
            places.add(place)
        if Counter(line.split(",")[0] for line in lines) != Counter(dict.fromkeys(ids, 1)):
            raise InvariantError("I2: the delivered file has not one line per run")

    def judge_loss(self, there: dict[str, str], held: dict[str, str], letters: Counter[str]) -> None:
        """I1, I6: each saved reading is in central; or, where central has no rule for it, held and in dead letters.

        `there` and `held` are id → digest in central and on the cards; `letters` says how often an id was refused.
        """
        self.lost_with_card = 0
        for promise in self.promises.values():
            if promise.saved_s is None or there.get(promise.id) == promise.digest:
                continue
            if promise.is_unreadable and held.get(promise.id) == promise.digest and letters[promise.id]:
                continue
            if promise.is_beyond_reach:
                self.lost_with_card += 1
                continue
            raise InvariantError(f"I1: saved at {promise.places} and lost: {promise.id}")
        for reading_id, times in self.refused.items():
            if letters[reading_id] < times:
                raise InvariantError(f"I6: refused {times} times, {letters[reading_id]} dead letters: {reading_id}")

    @property
    def acknowledged(self) -> int:
        """How many readings a bench showed as saved."""
        return sum(promise.saved_s is not None for promise in self.promises.values())

    @property
    def sendings(self) -> int:
        """How often readings were sent, repeats counted."""
        return sum(promise.sendings for promise in self.promises.values())
