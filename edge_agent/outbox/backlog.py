"""How much the outbox holds, for everyone who shows it: cheap to be asked each second with a month in the file."""

from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from edge_agent.clock import Moment
from edge_agent.outbox.file import OutboxFile
from edge_agent.outbox.room import hours_left, look
from edge_agent.outbox.rows import PictureState
from edge_agent.outbox.salvage import SET_ASIDE
from protocol.delivery import State
from protocol.messages import OutboxDepth, Trouble

DAMAGED: Final = "damaged"

_DAY: Final = timedelta(days=1)
# A plate every five seconds, round the clock.
_MOST_PUTS: Final = 20_000

_COUNTS: Final = "SELECT state, count(*) AS n FROM readings WHERE state != ? GROUP BY state"
_WANTED: Final = "SELECT count(*) AS n FROM readings WHERE picture_state = ?"
_DAMAGED: Final = "SELECT count(*) AS n FROM readings WHERE state = ? AND rejected_code = ?"
_OLDEST: Final = "SELECT captured_at FROM readings WHERE state = ? ORDER BY seq LIMIT 1"
_PICTURES: Final = "SELECT coalesce(sum(picture_bytes), 0) AS n FROM readings WHERE picture_state != ?"
_READINGS: Final = "SELECT coalesce(sum(packed_bytes), 0) AS n FROM readings"
_MAY_GO: Final = _PICTURES + " AND picture_state != ? AND state = ?"
_LAST_DAY: Final = (
    "SELECT put_at, picture_bytes + packed_bytes AS n FROM readings WHERE put_at >= ? ORDER BY seq DESC LIMIT ?"
)


class Backlog:
    """Counts of an outbox's file, held until the file changes; sums, held from pruning to pruning."""

    def __init__(self, file: OutboxFile, folder: Path, clocks: Callable[[], Moment], free_bytes: int) -> None:
        """`free_bytes` is what must be free on the disk of `folder` for something to be photographed."""
        self._file, self._folder, self._clocks, self._free_bytes = file, folder, clocks, free_bytes
        self._puts: deque[tuple[datetime, int]] = deque(maxlen=_MOST_PUTS)
        self._counted_at, self._depth, self._damaged = -1, OutboxDepth("", 0, 0, 0, 0), 0
        self._damaged_since: datetime | None = None
        self.picture_bytes = self.reading_bytes = self._may_go_bytes = 0
        since = (clocks().at - _DAY).isoformat()
        for row in reversed(file.rows(_LAST_DAY, since, _MOST_PUTS)):
            at = _moment(row["put_at"])
            if at is not None and isinstance(row["n"], int):
                self._puts.append((at, row["n"]))
        self.add_up()

    def add_up(self) -> None:
        """Sum everything anew: at the start, and when something was forgotten."""
        self.picture_bytes = self._number(_PICTURES, PictureState.NONE)
        self.reading_bytes = self._number(_READINGS)
        self._may_go_bytes = self._number(_MAY_GO, PictureState.NONE, PictureState.WANTED, State.SETTLED)

    def added(self, at: datetime, picture_bytes: int, reading_bytes: int) -> None:
        """A reading was kept."""
        with self._file.lock:
            self.picture_bytes += picture_bytes
            self.reading_bytes += reading_bytes
            self._puts.append((at, picture_bytes + reading_bytes))

    def depth(self) -> OutboxDepth:
        """How much is here that central lacks, and how long there is room for more."""
        self._count()
        counted, room = self._depth, look(self._folder)
        return OutboxDepth(
            counted.epoch, counted.last_seq, counted.pending, counted.quarantined, counted.pictures,
            bytes=self._file.file_bytes() + self.picture_bytes,
            oldest_at=counted.oldest_at,
            hours_left=self._hours_left(room.free_bytes - self._free_bytes + self._may_go_bytes),
            full=room.is_too_little(self._free_bytes),
        )  # fmt: skip

    def troubles(self) -> tuple[Trouble, ...]:
        """What a person must look at: a damaged file that was set aside, readings that are damaged."""
        self._count()
        troubles = []
        folders = sorted((self._folder / SET_ASIDE).glob("*"))
        if folders:
            since = datetime.fromtimestamp(folders[-1].stat().st_mtime, self._clocks().at.tzinfo)
            detail = f"its file was damaged; what could be read of it was kept, and it lies in {folders[-1]}"
            troubles.append(Trouble("outbox", f"{detail} (look at it, then move it away)", since))
        if self._damaged:
            detail = f"{self._damaged} readings are damaged and are not sent (see `wellread-agent queue list`)"
            troubles.append(Trouble("outbox", detail, self._damaged_since or self._clocks().at))
        return tuple(troubles)

    def _count(self) -> None:
        with self._file.lock:
            if self._counted_at == self._file.changes:
                return
            counts = {row["state"]: row["n"] for row in self._file.rows(_COUNTS, State.SETTLED)}
            oldest = [_moment(row["captured_at"]) for row in self._file.rows(_OLDEST, State.PENDING)]
            quarantined = counts.pop(State.QUARANTINED, 0)
            self._damaged = self._number(_DAMAGED, State.QUARANTINED, DAMAGED)
            self._damaged_since = (self._damaged_since or self._clocks().at) if self._damaged else None
            self._depth = OutboxDepth(
                self._file.epoch, int(self._file.told("last_seq") or 0), sum(counts.values()), quarantined,
                self._number(_WANTED, PictureState.WANTED), oldest_at=oldest[0] if oldest else None,
            )  # fmt: skip
            self._counted_at = self._file.changes

    def _hours_left(self, room_bytes: int) -> float | None:
        now = self._clocks().at
        with self._file.lock:  # the bench puts a reading while the line asks
            while self._puts and now - self._puts[0][0] > _DAY:
                self._puts.popleft()
            puts = tuple(self._puts)
        if not puts:
            return None
        # Before a day has gone by, at the pace since the first; a burst of minutes says nothing of a day.
        observed_hours = max(1.0, (now - puts[0][0]).total_seconds() / 3600)
        return hours_left(room_bytes, sum(size for _, size in puts), observed_hours)

    def _number(self, sql: str, *values: object) -> int:
        return int(self._file.rows(sql, *values)[0]["n"])


def _moment(text: object) -> datetime | None:
    """A stored time; None where a bit of it has turned over."""
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return moment if moment.tzinfo else None
