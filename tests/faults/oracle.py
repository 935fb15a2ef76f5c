"""What was promised and what arrived, written down outside the system under test, and the verdict: set algebra.

The oracle is an append-only file on another file system than the outbox's: one line per event, written with a single
system call, so that it survives the writer's SIGKILL and the outbox's power cut. Nothing in it comes from the system's
own counters. Three events: `begun` before the outbox is given a reading, `saved` when the bench is shown that it is
safe, `arrived` for what central holds at the end.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec

Kind = Literal["begun", "saved", "arrived"]


class Fact(msgspec.Struct, frozen=True):
    """A reading as one place knows it. `plate` is what it was of; `seq` and `epoch` are unknown before it is saved."""

    id: str
    digest: str
    device: str
    plate: str = ""
    epoch: str = ""
    seq: int = 0
    day: str = ""


class _Line(msgspec.Struct, frozen=True):
    kind: Kind
    fact: Fact


class Oracle:
    """The file of events. Several processes may write to it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)

    def close(self) -> None:
        """Release the file."""
        os.close(self._file)

    def say(self, kind: Kind, fact: Fact) -> None:
        """One event, whole or not at all."""
        os.write(self._file, msgspec.json.encode(_Line(kind, fact)) + b"\n")


def facts(path: Path, kind: Kind) -> list[Fact]:
    """The events of one kind so far, in order; a line that is being written now is left out."""
    return list(_facts(path, kind))


def _facts(path: Path, kind: Kind) -> Iterator[Fact]:
    if not path.exists():
        return
    for line in path.read_bytes().split(b"\n")[:-1]:
        event = msgspec.json.decode(line, type=_Line)
        if event.kind == kind:
            yield event.fact


@dataclass(frozen=True)
class Verdict:
    """Reading ids by what is wrong with them. `strange`: arrived, although no bench ever began it."""

    saved: int
    arrived: int
    lost: tuple[str, ...] = ()
    doubled: tuple[str, ...] = ()
    altered: tuple[str, ...] = ()
    misattributed: tuple[str, ...] = ()
    strange: tuple[str, ...] = ()
    plates_doubled: tuple[str, ...] = field(default=())

    @property
    def clean(self) -> bool:
        """Nothing is wrong."""
        return not (self.lost or self.doubled or self.altered or self.misattributed or self.strange) and (
            not self.plates_doubled
        )


def judge(
    begun: Iterable[Fact], saved: Iterable[Fact], arrived: Iterable[Fact], held: Iterable[str] = (), *,
    one_per_plate: bool = False,
) -> Verdict:  # fmt: skip
    """What became of the readings. `held` are ids that the device can still send, with their bytes unharmed.

    `one_per_plate`: each plate was photographed once, so a second reading of it is a doubled one.
    """
    begun, saved, arrived, held = list(begun), list(saved), list(arrived), set(held)
    known = {fact.id: fact for fact in begun} | {fact.id: fact for fact in saved}
    there = {fact.id for fact in arrived}
    plates = Counter(plate for plate, _ in {(fact.plate, fact.id) for fact in arrived})
    return Verdict(
        saved=len(saved),
        arrived=len(there),
        lost=_ids(fact for fact in saved if fact.id not in there and fact.id not in held),
        doubled=_ids(_doubled(arrived)),
        altered=_ids(fact for fact in arrived if fact.id in known and fact.digest != known[fact.id].digest),
        misattributed=_ids(fact for fact in arrived if fact.id in known and not _same_owner(known[fact.id], fact)),
        strange=_ids(fact for fact in arrived if fact.id not in known),
        plates_doubled=tuple(plate for plate, n in plates.items() if n > 1) if one_per_plate else (),
    )


def _same_owner(known: Fact, fact: Fact) -> bool:
    """Whether a reading arrived as what it set out as: device, plate and, where they are known, place."""
    if (known.device, known.plate) != (fact.device, fact.plate):
        return False
    return known.seq == 0 or (known.epoch, known.seq) == (fact.epoch, fact.seq)


def _doubled(arrived: list[Fact]) -> Iterator[Fact]:
    """Second rows under one id, or in one place of one outbox."""
    ids = Counter(fact.id for fact in arrived)
    places = Counter((fact.device, fact.epoch, fact.seq) for fact in arrived if fact.seq)
    for fact in arrived:
        if ids[fact.id] > 1 or places[fact.device, fact.epoch, fact.seq] > 1:
            yield fact


def _ids(found: Iterable[Fact]) -> tuple[str, ...]:
    return tuple(sorted({fact.id for fact in found}))


class Follower:
    """Reads an oracle's file on as it grows, and keeps what it means: for a judge who is asked after each fault."""

    def __init__(self, path: Path) -> None:
        self._path, self._at = path, 0
        self.events: dict[Kind, list[Fact]] = {"begun": [], "saved": [], "arrived": []}
        self.waiting: dict[str, Fact] = {}
        self._there: set[str] = set()

    def read_on(self) -> None:
        """Take up the whole lines that have come since."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._at)
            lines = file.read().rpartition(b"\n")[0]
        self._at += len(lines) + 1 if lines else 0
        for line in lines.splitlines():
            event = msgspec.json.decode(line, type=_Line)
            self.events[event.kind].append(event.fact)
            if event.kind == "arrived":
                self._there.add(event.fact.id)
                self.waiting.pop(event.fact.id, None)
            elif event.kind == "saved" and event.fact.id not in self._there:
                self.waiting[event.fact.id] = event.fact

    def lost(self, sendable: Mapping[str, str]) -> list[str]:
        """What was saved, has not arrived, and is not with its device either: its digest there must be right."""
        return [one for one, fact in self.waiting.items() if sendable.get(one) != fact.digest]

    def forget(self, reading_id: str) -> None:
        """Let a promise go that nobody heard."""
        self.waiting.pop(reading_id, None)
        self.events["saved"] = [fact for fact in self.events["saved"] if fact.id != reading_id]

    def verdict(self, held: Iterable[str] = (), *, one_per_plate: bool = False) -> Verdict:
        """The judgement on everything so far."""
        events = self.events
        return judge(events["begun"], events["saved"], events["arrived"], held, one_per_plate=one_per_plate)
