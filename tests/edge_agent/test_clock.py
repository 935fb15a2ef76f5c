"""Ids made from a clock: valid UUIDv7s that sort by time, whatever the clock believes."""

import uuid
from datetime import UTC, datetime, timedelta

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.clock import read_boot_id, read_clocks, reading_id
from protocol.messages import ReadingId
from tests.make import NOON

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
