"""What the reader may forget, decided from values alone. Pure: the outbox acts on it.

1. A reading that is not settled stays, and so does its picture.
2. A picture that central wants and has not got stays.
3. Of the rest, readings older than `keep_s` go, with their pictures.
4. If pictures still take more than `most_bytes`, the oldest of the rest go, and their readings stay.

Rules 1 and 2 win over 4: the limit is exceeded rather than something lost that only this reader has.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from protocol.delivery import State


@dataclass(frozen=True)
class Kept:
    """What the planner must know of a reading in the outbox. `picture_bytes` is 0 when its picture is gone."""

    seq: int
    state: State
    settled_at: datetime | None
    picture_sha256: str
    picture_bytes: int
    picture_wanted: bool


@dataclass(frozen=True)
class Plan:
    """Sequence numbers of readings to forget, and pictures to remove."""

    readings: tuple[int, ...]
    pictures: tuple[str, ...]


def plan_pruning(rows: Sequence[Kept], now: datetime, keep_s: float, most_bytes: int) -> Plan:
    """What to forget now."""
    held = {row.picture_sha256 for row in rows if row.state is not State.SETTLED or row.picture_wanted}
    gone = tuple(row.seq for row in rows if row.picture_sha256 not in held and _is_old(row, now, keep_s))
    forgotten = set(gone)
    staying = {row.picture_sha256 for row in rows if row.seq not in forgotten}
    sizes = {row.picture_sha256: row.picture_bytes for row in rows if row.picture_bytes}
    remove = [picture for picture in sizes if picture not in staying]
    total = sum(size for picture, size in sizes.items() if picture in staying)
    for picture in _oldest_first(rows, staying - held):
        if total <= most_bytes:
            break
        if picture in sizes:
            remove.append(picture)
            total -= sizes[picture]
    return Plan(gone, tuple(remove))


def _is_old(row: Kept, now: datetime, keep_s: float) -> bool:
    return row.state is State.SETTLED and row.settled_at is not None and (now - row.settled_at).total_seconds() > keep_s


def _oldest_first(rows: Sequence[Kept], pictures: set[str]) -> list[str]:
    newest_use = {row.picture_sha256: row.seq for row in sorted(rows, key=lambda row: row.seq)}
    return sorted(pictures, key=lambda picture: newest_use[picture])
