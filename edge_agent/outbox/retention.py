"""What the reader may forget, decided from values alone. Pure: the outbox acts on it.

1. A reading that is not settled stays, and so does its picture.
2. A picture that central wants and has not got stays, and so does its reading.
3. Of the rest, readings older than `keep_s` go, with their pictures: by central's clock, so that one here that is years
   ahead makes nothing old. As long as central's is unknown nothing is.
4. If pictures still take more than `most_picture_bytes`, the oldest of the rest go, and their readings stay.
5. If readings still take more than `most_reading_bytes`, the oldest of the rest go, with their pictures.

Rules 1 and 2 win over all others: a limit is exceeded rather than something lost that only this reader has. The plan is
made of a stretch of readings at a time, oldest first, so that a month of them never lies in memory.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from protocol.delivery import State


@dataclass(frozen=True)
class Kept:
    """What the planner must know of a reading in the outbox.

    `picture_bytes` is 0 when its picture is gone; `picture_needed`: some reading by rule 1 or 2 needs that picture.
    """

    seq: int
    state: State
    settled_at: datetime | None
    picture_sha256: str
    picture_bytes: int
    picture_needed: bool
    packed_bytes: int


@dataclass(frozen=True)
class Limits:
    """What stays at most: seconds after it was settled, bytes of pictures, bytes of readings."""

    keep_s: float
    most_picture_bytes: int
    most_reading_bytes: int


@dataclass(frozen=True)
class Plan:
    """Sequence numbers of readings to forget, and pictures to remove while their readings stay."""

    readings: tuple[int, ...]
    pictures: tuple[str, ...]


def plan_pruning(
    rows: Sequence[Kept], now: datetime | None, limits: Limits, *, picture_bytes: int, reading_bytes: int
) -> Plan:
    """What to forget now of these readings, oldest first, while the outbox as a whole holds so many bytes."""
    readings: list[int] = []
    pictures: dict[str, None] = {}
    for row in rows:
        if row.state is not State.SETTLED or row.picture_needed:
            continue
        if _is_old(row, now, limits.keep_s) or reading_bytes > limits.most_reading_bytes:
            readings.append(row.seq)
            reading_bytes -= row.packed_bytes
        elif not (picture_bytes > limits.most_picture_bytes and row.picture_bytes):
            continue
        elif row.picture_sha256 not in pictures:
            pictures[row.picture_sha256] = None
        else:
            continue
        picture_bytes -= row.picture_bytes
    return Plan(tuple(readings), tuple(pictures))


def _is_old(row: Kept, now: datetime | None, keep_s: float) -> bool:
    return now is not None and row.settled_at is not None and (now - row.settled_at).total_seconds() > keep_s
