"""Room on the disk: capture stops before sending does, and a disk that is full to the last byte still lets go."""

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path
from threading import Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.config import KeepConfig
from edge_agent.outbox.backlog import Backlog
from edge_agent.outbox.outbox import Outbox
from edge_agent.outbox.room import (
    BALLAST_BYTES,
    BALLAST_FILE,
    LEAST_FREE_NAMES,
    Ballast,
    Room,
    ballast_plan,
    hours_left,
)
from tests.edge_agent.bench import kept, open_outbox, picture_bytes, put, states
from tests.make import make_reading_id
from tests.standins import ManualClock

MB = 1_000_000
ROOMS = st.builds(Room, st.integers(0, 10**12), st.none() | st.integers(0, 10**6))


@given(ROOMS, st.integers(0, 10**9), st.integers(0, 10**8), st.booleans())
def test_the_ballast_never_takes_the_room_that_capture_needs(
    room: Room, needed: int, ballast: int, is_there: bool
) -> None:
    if ballast_plan(room, needed, ballast, is_there=is_there) == "make":
        left = Room(room.free_bytes - ballast, room.free_names)
        assert not is_there
        assert not left.is_too_little(needed)


def test_few_names_are_too_little_room_as_well() -> None:
    assert Room(10**12, LEAST_FREE_NAMES - 1).is_too_little(0)
    assert not Room(10**12, None).is_too_little(0)


def test_the_room_lasts_as_long_as_the_last_day_says() -> None:
    assert hours_left(240 * MB, 24 * MB, 24.0) == 240.0
    assert hours_left(-5, 24 * MB, 24.0) == 0.0
    assert hours_left(240 * MB, 0, 24.0) is None


def test_the_ballast_is_made_of_blocks_not_of_a_hole(tmp_path: Path) -> None:
    ballast = Ballast(tmp_path, MB)
    assert not ballast.is_there()
    assert ballast.make()
    assert (tmp_path / BALLAST_FILE).stat().st_blocks * 512 >= MB
    assert ballast.is_there()
    assert ballast.release()
    assert not ballast.release()


def test_a_hole_is_no_ballast(tmp_path: Path) -> None:
    with (tmp_path / BALLAST_FILE).open("wb") as file:
        file.truncate(MB)
    assert not Ballast(tmp_path, MB).is_there()


def test_the_hours_left_follow_the_pace_of_the_captures(tmp_path: Path) -> None:
    clock = ManualClock()
    with closing(small_outbox(tmp_path, clock)) as outbox:
        assert outbox.depth().hours_left is None
        put(outbox, 1)
        clock.advance(timedelta(hours=2).total_seconds())
        put(outbox, 2)
        slow = outbox.depth().hours_left
        put(outbox, 3, 4, 5, 6)
        fast = outbox.depth().hours_left
    assert slow is not None
    assert fast is not None
    assert fast < slow
    with closing(small_outbox(tmp_path, clock)) as outbox:
        assert outbox.depth().hours_left == pytest.approx(fast, rel=0.2)


def test_depth_says_how_much_and_since_when(tmp_path: Path) -> None:
    with closing(small_outbox(tmp_path, ManualClock())) as outbox:
        ids = put(outbox, 1, 2)
        outbox.settle(ids[:1])
        depth = outbox.depth()
        files = sum(path.stat().st_size for path in tmp_path.glob("outbox.db*") if path.suffix != ".db-shm")
        assert depth.bytes == files + picture_bytes(1, 2)
        assert depth.oldest_at is not None
        assert f"{depth.oldest_at:%S}" == "02"
        outbox.settle(ids)
        assert outbox.depth().oldest_at is None


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 24 MiB and 300 names, for this test only."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=24m,nr_inodes=300", "wellread-test", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a small disk needs the right to mount one")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def small_outbox(folder: Path, clock: ManualClock | None = None) -> Outbox:
    keep = KeepConfig(free_mb=2)
    return Outbox(folder, session="s", clocks=clock or ManualClock(), keep=keep, ballast_bytes=4 * MB)


def fill(folder: Path) -> Path:
    """Something else takes every byte."""
    path = folder / "something else"
    with suppress(OSError), path.open("wb", buffering=0) as file:
        while file.write(bytes(4096)) == 4096:
            pass
    return path


def test_on_a_full_disk_readings_still_leave_and_none_is_called_saved(disk: Path) -> None:
    with closing(small_outbox(disk / "state")) as outbox:
        ids = put(outbox, *range(1, 30))
        outbox.prune(timedelta(days=35), 10**9)
        assert (disk / "state" / BALLAST_FILE).exists()
        filler = fill(disk)
        assert outbox.depth().full
        with pytest.raises((OSError, sqlite3.OperationalError)):
            outbox.put(*kept(99))
        for one in ids:
            assert len(outbox.send([one])) == 1
            outbox.settle([one])
        outbox.prune(timedelta(0), 0)
        filler.unlink()
        outbox.prune(timedelta(days=35), 10**9)
        assert (disk / "state" / BALLAST_FILE).exists()
        outbox.put(*kept(100))
        assert not outbox.depth().full
    assert states(disk / "state")[make_reading_id(100)] == "pending"
    assert make_reading_id(99) not in states(disk / "state")


def test_without_a_free_name_nothing_is_called_saved_and_it_goes_on_when_there_is_one(disk: Path) -> None:
    with closing(small_outbox(disk / "state")) as outbox:
        ids = put(outbox, 1)
        made = []
        with suppress(OSError):
            for number in range(400):
                made.append(disk / f"name {number}")
                made[-1].touch()
        assert outbox.depth().full
        with pytest.raises((OSError, sqlite3.OperationalError)):
            outbox.put(*kept(2))
        outbox.settle(ids)
        for path in made:
            path.unlink(missing_ok=True)
        put(outbox, 2)
    assert states(disk / "state") == {ids[0]: "settled", make_reading_id(2): "pending"}


def test_pictures_that_central_has_go_before_the_disk_is_too_full(disk: Path) -> None:
    with closing(small_outbox(disk / "state")) as outbox:
        ids = put(outbox, *range(1, 10))
        outbox.settle(ids[:8])
        outbox.prune(timedelta(days=35), 10**9)
        filler = fill(disk)
        with filler.open("r+b") as file:
            file.truncate(filler.stat().st_size - 1000)
        outbox.prune(timedelta(days=35), 10**9)
        assert len(list((disk / "state" / "pictures").iterdir())) == 1
        assert len(states(disk / "state")) == 9


def test_the_ballast_is_four_full_logs() -> None:
    from edge_agent.outbox.file import LOG_CAP_BYTES

    assert BALLAST_BYTES == 4 * LOG_CAP_BYTES


class Failing:
    """A connection on a disk that fails: the commit says so, whether or not it came through."""

    def __init__(self, real: sqlite3.Connection, *, comes_through: bool) -> None:
        self._real, self._comes_through, self.closed = real, comes_through, False

    def __getattr__(self, name: str) -> object:
        return getattr(self._real, name)

    def execute(self, sql: str, *values: object) -> sqlite3.Cursor:
        if sql != "COMMIT":
            return self._real.execute(sql, *values)
        if self._comes_through:
            self._real.execute(sql)
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
        raise error

    def close(self) -> None:
        self.closed = True
        self._real.close()


@pytest.mark.parametrize("comes_through", [True, False])
def test_after_a_commit_that_failed_nothing_is_believed_and_the_reading_is_kept_once(
    tmp_path: Path, comes_through: bool
) -> None:
    with closing(small_outbox(tmp_path)) as outbox:
        put(outbox, 1)
        failing = Failing(outbox.file._connection, comes_through=comes_through)
        outbox.file._connection = failing  # type: ignore[assignment]
        with pytest.raises(sqlite3.OperationalError, match="I/O"):
            outbox.put(*kept(2), key="2.jpg")
        assert not outbox.was_captured("2.jpg")
        assert failing.closed
        assert outbox.depth().pending == 1
        assert outbox.put(*kept(3), key="2.jpg") in {2, 3}
    assert set(states(tmp_path)) == {make_reading_id(1), make_reading_id(3)}


def test_readings_are_kept_while_the_room_that_is_left_is_asked_for(tmp_path: Path) -> None:
    every_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    with closing(open_outbox(tmp_path)) as outbox:
        backlog = Backlog(outbox.file, tmp_path, ManualClock(), 0)

        def add() -> None:
            for _ in range(3000):
                backlog.added(ManualClock()().at, 1, 1)

        thread = Thread(target=add)
        thread.start()
        try:
            while thread.is_alive():
                backlog.depth()
        finally:
            thread.join()
            sys.setswitchinterval(every_s)
        assert backlog.picture_bytes == 3000
