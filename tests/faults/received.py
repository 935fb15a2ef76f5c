"""What was approved and what a laboratory system got, written down outside central, and the verdict: set algebra.

As with `oracle`, one append-only file, a line for each event, each written with a single system call. Who approves says
`approved`; the system says `file` when one has its name in its folder, `call` and `fetched` for a webhook and what it
was called about, `change` for what it read in the feed, `acknowledged` for what it was let say. `partial` is what must
never be: a file that was made or written under the name that importers look for. `refused` is an answer with a 5xx.
"""

import csv
import hashlib
import io
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal, TypeAlias

import msgspec

Kind = Literal["approved", "file", "partial", "call", "fetched", "change", "acknowledged", "refused"]
# (place, submission, how many-th approval of it)
Effect: TypeAlias = tuple[str, str, int]
WEBHOOK: Final = "webhook"

_NAME: Final = re.compile(r"[a-z]+_([^_]+)_\d{8}_\d{6}(?:_r(\d+))?\.csv")


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line. `titres` are log₂ by row, `number` a place in the feed, `id` a delivery's or a run's."""

    kind: Kind
    place: str = ""
    name: str = ""
    id: str = ""
    submission: str = ""
    revision: int = 0
    number: int = 0
    sha256: str = ""
    titres: Mapping[str, int] = {}
    detail: str = ""


class Notes:
    """The file of events. Several processes and threads may write to it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)

    def say(self, kind: Kind, **fields: object) -> None:
        """One event, whole or not at all."""
        os.write(self._file, msgspec.json.encode(msgspec.convert({"kind": kind, **fields}, Event)) + b"\n")


class Reader:
    """Reads the file on as it grows."""

    def __init__(self, path: Path) -> None:
        self.path, self._at = path, 0
        self.events: list[Event] = []

    def read_on(self) -> list[Event]:
        """Everything so far, in order; a line that is being written now is left out."""
        if self.path.exists():
            with self.path.open("rb") as file:
                file.seek(self._at)
                whole = file.read().rpartition(b"\n")[0]
            self._at += len(whole) + 1 if whole else 0
            self.events += [msgspec.json.decode(line, type=Event) for line in whole.splitlines()]
        return self.events


def contents(content: bytes) -> dict[str, object]:
    """What an event says of a file's bytes: their digest, and the titres, none where they are no whole file."""
    lines = list(csv.DictReader(io.StringIO(content.decode("utf-8", "replace"))))
    try:
        titres = {line["row"]: int(line["titre_log2"]) for line in lines}
    except (KeyError, TypeError, ValueError):
        titres = {}
    return {"sha256": hashlib.sha256(content).hexdigest(), "titres": titres}


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong, by name. `strange`: nobody approved it. `feed`: skipped, doubled, out of order."""

    approved: int
    arrived: int
    lost: tuple[str, ...] = ()
    doubled: tuple[str, ...] = ()
    altered: tuple[str, ...] = ()
    strange: tuple[str, ...] = ()
    partial: tuple[str, ...] = ()
    feed: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()

    @property
    def clean(self) -> bool:
        """Nothing is wrong."""
        return not any(getattr(self, name) for name in self.__struct_fields__ if name not in ("approved", "arrived"))


def judge(found: Iterable[Event], places: Sequence[str]) -> Verdict:
    """What became of what was approved, at each of these places.

    The last approval of a submission arrives once. One before it may have been overtaken by its correction: it arrives
    once or not at all.
    """
    by_kind: dict[Kind, list[Event]] = defaultdict(list)
    for event in found:
        by_kind[event.kind].append(event)
    approved = {(event.submission, event.revision): event for event in by_kind["approved"]}
    effects, altered = _effects(by_kind)
    known = {each: event for each, event in effects if each[1:] in approved}
    last = {submission: max(n for one, n in approved if one == submission) for submission, _ in approved}
    wanted = {(place, submission, n) for submission, n in last.items() for place in places}
    wrong = {each for each, event in effects if each in known and dict(event.titres) != approved[each[1:]].titres}
    return Verdict(
        approved=len(approved),
        arrived=len(known),
        lost=_said(wanted - known.keys()),
        doubled=_said(each for each, n in Counter(each for each, _ in effects).items() if n > 1),
        altered=_said(wrong | altered),
        strange=_said(each for each, _ in effects if each not in known),
        partial=tuple(sorted({f"{event.place} {event.name}: {event.detail}" for event in by_kind["partial"]})),
        feed=tuple(_of_feed(by_kind["change"], by_kind["approved"])),
        refused=tuple(sorted({event.detail for event in by_kind["refused"]})),
    )


def _effects(by_kind: Mapping[Kind, Sequence[Event]]) -> tuple[list[tuple[Effect, Event]], set[Effect]]:
    """What arrived, each as often as it did, and what came in two versions. A call is known by its id: once, however
    often it rings."""
    effects = [(effect_of(event), event) for event in by_kind["file"]]
    calls: dict[str, set[str]] = defaultdict(set)
    fetched: dict[str, Event] = {}
    for event in (*by_kind["call"], *by_kind["fetched"]):
        calls[event.id].add(event.sha256)
    for event in by_kind["fetched"]:
        fetched.setdefault(event.id, event)
    effects += [(effect_of(event), event) for event in fetched.values()]
    return effects, {effect_of(event) for key, event in fetched.items() if len(calls[key]) > 1}


def effect_of(event: Event) -> Effect:
    """What a file or a call says, by its name."""
    match = _NAME.fullmatch(event.name)
    return (event.place, event.name, 0) if match is None else (event.place, match[1], int(match[2] or 1))


def _of_feed(feed: Sequence[Event], approved: Sequence[Event]) -> Iterator[str]:
    numbers = [event.number for event in feed]
    if numbers != list(range(1, len(numbers) + 1)):
        at = next(at for at, number in enumerate(numbers, 1) if number != at)
        yield f"number {numbers[at - 1]} where {at} was expected"
    told = Counter(event.id for event in feed if event.detail == "run.approved")
    for run_id, times in (Counter(event.id for event in approved)).items():
        if told[run_id] != times:
            yield f"run {run_id} approved {times} times, told {told[run_id]} times"


def _said(effects: Iterable[Effect]) -> tuple[str, ...]:
    return tuple(f"{submission} r{revision} at {place}" for place, submission, revision in sorted(effects))
