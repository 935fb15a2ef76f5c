"""Forgets what `retention` plans, a stretch at a time: the bench is never held up by it, nor its memory filled."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, Protocol

import structlog

from edge_agent.outbox.file import OutboxFile
from edge_agent.outbox.retention import Kept, Limits, plan_pruning
from edge_agent.outbox.rows import DamagedError, PictureState, check_seal, kept, picture_file
from protocol.delivery import State

# Refused photographs may be of any size; they must not crowd out readings.
MOST_REFUSED_BYTES: Final = 500_000_000

_STRETCH: Final = 200
_BY_AGE: Final = "settled_at < ?"

_NEEDED: Final = (
    "EXISTS (SELECT 1 FROM readings AS other WHERE other.picture_sha256 = readings.picture_sha256"
    " AND (other.state != 'settled' OR other.picture_state = 'wanted'))"
)
_STRETCH_OF: Final = (
    "SELECT seq, id, digest, day, seal, state, settled_at, picture_sha256, picture_media_type, picture_bytes,"
    f" picture_state, packed_bytes, {_NEEDED} AS picture_needed FROM readings"
    " WHERE state = 'settled' AND seq > ? AND ({}) ORDER BY seq LIMIT ?"
)

_log = structlog.get_logger(__name__)


class Sums(Protocol):
    """What the outbox holds as a whole."""

    picture_bytes: int
    reading_bytes: int


class Pruning:
    """Forgetting, in one outbox."""

    def __init__(self, file: OutboxFile, pictures: Path, refused: Path) -> None:
        """The outbox's file, and the folders of its pictures and refused photographs."""
        self._file, self._pictures, self._refused = file, pictures, refused

    def prune(
        self, now: datetime | None, keep: timedelta, most_picture_bytes: int, most_reading_bytes: int, sums: Sums
    ) -> bool:
        """Forget what the limits ask for; whether that was anything. `now` by central's clock, None if unknown."""
        limits = Limits(keep.total_seconds(), most_picture_bytes, most_reading_bytes)
        picture_bytes, reading_bytes = sums.picture_bytes, sums.reading_bytes
        # Only as far as something is to be forgotten: by age first, then by size, each from the oldest on.
        looks: list[tuple[str, tuple[object, ...]]] = []
        if now is not None:
            self._begin_ages(now)
            looks.append((_BY_AGE, ((now - keep).isoformat(),)))
        if reading_bytes > most_reading_bytes:
            looks.append(("1", ()))
        if picture_bytes > most_picture_bytes:
            looks.append(("picture_state IN ('waiting', 'uploaded')", ()))
        anything = False
        for condition, values in looks:
            for stretch in self._stretches(condition, values):
                plan = plan_pruning(
                    stretch, now, limits, picture_bytes=picture_bytes, reading_bytes=reading_bytes
                )  # fmt: skip
                if not (plan.readings or plan.pictures):
                    # A stretch may hold nothing that can go; by size there is nothing left to go behind it either.
                    continue
                anything = True
                forgotten = set(plan.readings)
                reading_bytes -= sum(row.packed_bytes for row in stretch if row.seq in forgotten)
                picture_bytes -= sum(
                    row.picture_bytes for row in stretch if row.seq in forgotten or row.picture_sha256 in plan.pictures
                )
                self._forget(plan.readings, plan.pictures)
                if condition != _BY_AGE and reading_bytes <= most_reading_bytes and picture_bytes <= most_picture_bytes:
                    break
        return anything

    def sweep(self) -> None:
        """Remove pictures whose row was never written; none as long as a row may be damaged that names one."""
        strange = [path for path in self._pictures.iterdir() if not self._is_named(path.name)]
        if strange and self._every_row_is_whole():
            for path in strange:
                path.unlink(missing_ok=True)

    def trim_refused(self, most: int, most_bytes: int = MOST_REFUSED_BYTES) -> None:
        """Keep the newest refused photographs as files; what was refused stays on record."""
        held_bytes = 0
        rows = self._file.rows("SELECT number, file FROM refused WHERE file IS NOT NULL ORDER BY number DESC")
        for place, row in enumerate(rows):
            path = self._refused / Path(str(row["file"])).name
            held_bytes += path.stat().st_size if path.is_file() else 0
            if place >= most or held_bytes > most_bytes:
                path.unlink(missing_ok=True)
                with self._file.transaction():
                    self._file.execute("UPDATE refused SET file = NULL WHERE number = ?", [row["number"]])

    def _begin_ages(self, now: datetime) -> None:
        """What was settled while nobody knew what time it was grows old from now on."""
        if self._file.rows("SELECT 1 FROM readings WHERE state = ? AND settled_at IS NULL LIMIT 1", State.SETTLED):
            with self._file.transaction():
                change = "UPDATE readings SET settled_at = ? WHERE state = ? AND settled_at IS NULL"
                self._file.execute(change, [now.isoformat(), State.SETTLED])

    def _stretches(self, condition: str, values: tuple[object, ...]) -> Iterator[list[Kept]]:
        last = 0
        while rows := self._file.rows(_STRETCH_OF.format(condition), last, *values, _STRETCH):
            last = rows[-1]["seq"]
            yield [kept(row) for row in rows if _is_whole(row)]

    def _forget(self, readings: tuple[int, ...], pictures: tuple[str, ...]) -> None:
        with self._file.lock:
            files = {*self._files("seq", readings), *self._files("picture_sha256", pictures)}
            with self._file.transaction():
                for picture in pictures:
                    self._file.execute(
                        "UPDATE readings SET picture_state = ? WHERE picture_sha256 = ?", [PictureState.NONE, picture]
                    )
                for seq in readings:
                    self._file.execute("DELETE FROM readings WHERE seq = ? AND state = ?", [seq, State.SETTLED])
                    self._file.execute(
                        "DELETE FROM documents WHERE seq = ? AND seq NOT IN (SELECT seq FROM readings)", [seq]
                    )
            # Only after the commit: a picture without a row is swept at the next start, a row without one is a loss.
            for name, picture in files:
                if picture in pictures or not self._is_held(picture):
                    (self._pictures / name).unlink(missing_ok=True)

    def _files(self, column: str, keys: tuple[object, ...]) -> Iterator[tuple[str, str]]:
        for key in keys:
            for row in self._file.rows(
                f"SELECT picture_sha256, picture_media_type FROM readings WHERE {column} = ?", key
            ):  # fmt: skip
                yield picture_file(row), row["picture_sha256"]

    def _is_held(self, picture: str) -> bool:
        sql = "SELECT 1 FROM readings WHERE picture_sha256 = ? AND picture_state != ? LIMIT 1"
        return bool(self._file.rows(sql, picture, PictureState.NONE))

    def _is_named(self, name: str) -> bool:
        return bool(self._file.rows("SELECT 1 FROM readings WHERE picture_sha256 = ? LIMIT 1", Path(name).stem))

    def _every_row_is_whole(self) -> bool:
        last = 0
        columns = "seq, id, digest, day, seal, picture_sha256, picture_media_type"
        while rows := self._file.rows(f"SELECT {columns} FROM readings WHERE seq > ? ORDER BY seq LIMIT 1000", last):
            last = rows[-1]["seq"]
            if not all(map(_is_whole, rows)):
                _log.error("pictures without a row are kept: a damaged row may be theirs")
                return False
        return True


def _is_whole(row: dict[str, Any]) -> bool:
    try:
        check_seal(row)
    except DamagedError:
        return False
    return True
