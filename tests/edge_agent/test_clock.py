"""What a reader makes of its clocks: ids that sort by time; and no moment that was certainly past before."""

import uuid
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.clock import (
    EARLIEST,
    BootClock,
    Jump,
    Moment,
    read_boot_id,
    read_clocks,
    reading_id,
    system_quality,
)
from edge_agent.clock_floor import CLOCK_FILE, floor, save_clock, saved_clock
from protocol.messages import ReadingId
from tests.edge_agent.bench import open_outbox, put
from tests.make import NOON
from tests.standins import ManualClock

TIMES = st.datetimes(datetime(1969, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@given(TIMES, st.binary(min_size=10, max_size=10))
def test_a_reading_id_is_a_uuid_of_version_7(at: datetime, chance: bytes) -> None:
    made = uuid.UUID(msgspec.convert(reading_id(at, chance), ReadingId))
    assert (made.version, made.variant) == (7, uuid.RFC_4122)


def test_later_readings_have_later_ids() -> None:
    ids = [reading_id(NOON + timedelta(milliseconds=n), bytes([255 - n] * 10)) for n in range(50)]
    assert ids == sorted(ids)


def test_clocks_and_boot_are_read() -> None:
    first, second = read_clocks(), read_clocks()
    assert second.monotonic_ns >= first.monotonic_ns
    assert read_boot_id()


SETTLED = ManualClock().moment


class Wall:
    """A machine's two clocks: the monotonic one goes on, the wall clock is set by the test."""

    def __init__(self, at: datetime = NOON, quality: str = "unknown") -> None:
        self.moment, self.quality = Moment(at, SETTLED.monotonic_ns), quality

    def boot(self, floor: datetime = EARLIEST) -> BootClock:
        return BootClock("boot-1", floor=floor, clocks=lambda: self.moment, quality=lambda: self.quality)  # type: ignore[arg-type,return-value]

    def advance(self, seconds: float, *, jump_s: float = 0.0) -> None:
        at = self.moment.at + timedelta(seconds=seconds + jump_s)
        self.moment = Moment(at, self.moment.monotonic_ns + int(seconds * 1e9))


def test_a_wall_clock_that_is_ahead_of_the_floor_is_used() -> None:
    wall = Wall()
    clock = wall.boot(NOON - timedelta(days=1))
    assert (clock(), clock.trouble()) == (wall.moment, None)


def test_a_reader_that_wakes_up_in_1970_goes_on_from_what_it_has_seen() -> None:
    wall = Wall(datetime(1970, 1, 1, tzinfo=UTC))
    clock = wall.boot(NOON)
    wall.advance(90)
    moment = clock()
    assert moment.at == NOON + timedelta(seconds=90)
    assert clock.clock(moment).quality == "unsynchronised"
    assert "the clock says 1970-01-01 00:01 (expected after 2026-11-20 12:01" in str(clock.trouble())


def test_a_clock_that_is_set_right_is_used_again() -> None:
    wall = Wall(datetime(1970, 1, 1, tzinfo=UTC))
    clock = wall.boot(NOON)
    clock()
    wall.moment = Moment(NOON + timedelta(days=3), wall.moment.monotonic_ns)
    assert (clock().at, clock.trouble()) == (NOON + timedelta(days=3), None)
    assert [round(jump.by_s / 86400) for jump in clock.jumps()] == [20777 + 3]


def test_no_moment_is_before_another_of_this_boot_when_the_clock_is_set_back() -> None:
    wall = Wall()
    clock = wall.boot()
    before = clock()
    wall.advance(10, jump_s=-3600)
    assert clock().at == before.at + timedelta(seconds=10)
    assert [jump.by_s for jump in clock.jumps()] == [-3600]
    assert clock.trouble() is not None


@pytest.mark.parametrize("seconds", [30 * 86400, -30 * 86400])
def test_a_synchronised_clock_is_believed_wherever_it_goes(seconds: float) -> None:
    wall = Wall(quality="synchronised")
    clock = wall.boot(NOON - timedelta(days=60))
    clock()
    wall.advance(1, jump_s=seconds)
    # Set back to before this program was written, it would not be.
    wall.moment = Moment(max(wall.moment.at, EARLIEST), wall.moment.monotonic_ns)
    assert (clock(), clock.trouble()) == (wall.moment, None)


def test_a_clock_that_agrees_with_central_is_believed_though_a_floor_is_in_the_future() -> None:
    wall = Wall()
    clock = wall.boot(NOON + timedelta(days=4000))
    assert clock.trouble() is None
    assert clock().at == NOON + timedelta(days=4000)
    clock.heard(wall.moment.at + timedelta(seconds=2), clock())
    assert (clock().at, clock.trouble()) == (wall.moment.at, None)


def test_no_clock_from_before_this_program_is_believed_whoever_vouches_for_it() -> None:
    wall = Wall(datetime(1970, 1, 1, tzinfo=UTC), quality="synchronised")
    clock = wall.boot()
    clock.heard(wall.moment.at, wall.moment)
    assert clock().at == EARLIEST


def test_the_distance_from_central_stays_right_when_the_clock_is_set() -> None:
    wall = Wall()
    clock = wall.boot()
    clock.heard(NOON - timedelta(seconds=3), clock())
    assert clock.clock(clock()).offset_s == 3.0
    wall.advance(5, jump_s=100)
    assert clock.clock(clock()).offset_s == 103.0


def test_the_time_is_remembered_over_a_power_cut(tmp_path: Path) -> None:
    at, jump = NOON + timedelta(days=9000), Jump(NOON, -3.5)
    save_clock(tmp_path, at, [jump])
    assert floor(tmp_path) == at
    saved = saved_clock(tmp_path)
    assert saved is not None
    assert saved.jumps == (jump,)


def test_a_reading_is_a_floor_too(tmp_path: Path) -> None:
    clock = ManualClock()
    clock.advance(9000 * 86400)
    with closing(open_outbox(tmp_path, clock)) as outbox:
        put(outbox, 1)
    assert floor(tmp_path) == clock.moment.at


def test_without_anything_saved_the_installation_is_the_floor(tmp_path: Path) -> None:
    assert floor(tmp_path) >= EARLIEST


@given(st.data())
def test_a_saved_time_with_a_wrong_bit_is_never_another_time(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("state")
    save_clock(folder, NOON, [])
    content = bytearray((folder / CLOCK_FILE).read_bytes()[:-1])
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    (folder / CLOCK_FILE).write_bytes(content)
    saved = saved_clock(folder)
    assert saved is None or saved.at == NOON


def test_the_kernel_says_what_it_knows_of_its_clock() -> None:
    assert system_quality() in {"synchronised", "unsynchronised", "unknown"}
