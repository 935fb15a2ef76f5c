"""What both sides hold of one device's readings, compared day by day. Pure.

The ack of a reading may be lost, and central may be set back to yesterday's backup. So a device tells what it still
holds (`Ledger`), central answers where it differs (`Held`), and the device decides with `judge`: what central provably
has is settled, what it lacks is sent (again). Nothing is settled by its number alone: a cloned memory card gives the
same numbers to other readings, so the digests must agree, and where they do not, every reading of the day goes out
again and is answered by itself.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice, pairwise
from typing import Final

from protocol.messages import Held, LedgerDay

# More holes than this in one day are cut off: what lies behind is sent again, which central absorbs.
MOST_RANGES: Final = 1000


@dataclass(frozen=True, slots=True)
class Entry:
    """One reading in an account: its place, the digest of its bytes, and whether its device has an answer for it."""

    seq: int
    digest: str
    settled: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a device learns of one day: places that central has, and places that it has not."""

    held: tuple[int, ...]
    missed: tuple[int, ...]


def day_digest(entries: Iterable[Entry]) -> str:
    """SHA-256 of the lines `seq digest` in order of `seq`, each ended by a line feed."""
    total = sha256()
    for entry in sorted(entries, key=lambda entry: entry.seq):
        total.update(f"{entry.seq} {entry.digest}\n".encode("ascii"))
    return total.hexdigest()


def ledger_day(day: str, entries: Iterable[Entry]) -> LedgerDay:
    """A device's account of one day, of at least one entry."""
    entries = list(entries)
    ranges = _cut(entries)
    told = [entry for entry in entries if entry.seq <= ranges[-1][1]]
    return LedgerDay(day, ranges, sum(not entry.settled for entry in told), day_digest(told))


def compare(asked: LedgerDay, held: Iterable[Entry]) -> Held | None:
    """Central's answer for one day; None where both sides agree and the device waits for nothing.

    `held` is everything that central has of this day and outbox. What the device does not account for it has
    forgotten (accepted readings are kept for some weeks), or captured since: only places in its account count.
    """
    here = [entry for entry in held if _within(entry.seq, asked.ranges)]
    if not asked.unsettled and day_digest(here) == asked.digest:
        return None
    ranges = _cut(here)
    told = [entry for entry in here if ranges and entry.seq <= ranges[-1][1]]
    return Held(asked.day, max((last for _, last in asked.ranges), default=1), ranges, day_digest(told))


def judge(own: Iterable[Entry], held: Held) -> Verdict:
    """What central's answer means for the readings of that day that the device holds now.

    Where the digests differ nothing is settled: every reading of the account goes out again, and is answered alone.
    Readings captured since the account was sent are left as they are.
    """
    asked = [entry for entry in own if entry.seq <= held.through]
    there = [entry for entry in asked if _within(entry.seq, held.ranges)]
    told = sum(last - first + 1 for first, last in held.ranges)
    if len(there) != told or day_digest(there) != held.digest:
        there = []
    known = {entry.seq for entry in there}
    return Verdict(tuple(sorted(known)), tuple(sorted(entry.seq for entry in asked if entry.seq not in known)))


def ranges_of(seqs: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Places as ranges, both ends included, in order."""
    start: int | None = None
    last = 0
    for seq in sorted(set(seqs)):
        if start is None:
            start = seq
        elif seq != last + 1:
            yield start, last
            start = seq
        last = seq
    if start is not None:
        yield start, last


def missing(ranges: Sequence[tuple[int, int]], first: int, last: int) -> list[tuple[int, int]]:
    """The holes between `first` and `last`, both included, that these ordered ranges leave."""
    edges = [(first - 1, first - 1), *ranges, (last + 1, last + 1)]
    holes = ((before[1] + 1, after[0] - 1) for before, after in pairwise(edges))
    return [(max(start, first), min(end, last)) for start, end in holes if start <= end and start <= last]


def by_day(entries: Iterable[tuple[str, Entry]]) -> Mapping[str, list[Entry]]:
    """Entries in their days, days in order."""
    days: dict[str, list[Entry]] = {}
    for day, entry in entries:
        days.setdefault(day, []).append(entry)
    return dict(sorted(days.items()))


def _cut(entries: Iterable[Entry]) -> tuple[tuple[int, int], ...]:
    return tuple(islice(ranges_of(entry.seq for entry in entries), MOST_RANGES))


def _within(seq: int, ranges: Sequence[tuple[int, int]]) -> bool:
    place = bisect_right(ranges, seq, key=lambda reach: reach[0])
    return place > 0 and seq <= ranges[place - 1][1]
