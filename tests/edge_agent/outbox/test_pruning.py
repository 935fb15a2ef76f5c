"""How old a reading is: by central's clock, whatever the reader's own says; and from when that was first known."""

from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from edge_agent.clock import BootClock, Moment
from edge_agent.outbox.outbox import Outbox
from tests.edge_agent.bench import put
from tests.standins import ManualClock

KEEP = timedelta(days=35)
PLENTY = 10**9
TRUE_NOW = datetime.fromisoformat("2026-12-01T12:00:00+00:00")


@pytest.fixture
def device() -> ManualClock:
    return ManualClock()


@pytest.fixture
def clock(device: ManualClock) -> BootClock:
    return BootClock("boot-1", clocks=device)


@pytest.fixture
def outbox(tmp_path: Path, clock: BootClock) -> Iterator[Outbox]:
    with closing(Outbox(tmp_path, session="first", clocks=clock, central_now=clock.central_now)) as opened:
        yield opened


def is_set(device: ManualClock, *, by: timedelta) -> None:
    """A person, or a time server that is wrong, sets the reader's clock; its monotonic clock does not notice."""
    device.moment = Moment(device.moment.at + by, device.moment.monotonic_ns)


def left(outbox: Outbox, ids: list[str]) -> list[str]:
    outbox.prune(KEEP, PLENTY)
    return [one for one in ids if outbox.state(one) is not None]


def test_a_clock_that_is_years_ahead_makes_nothing_old(outbox: Outbox, clock: BootClock, device: ManualClock) -> None:
    ids = put(outbox, 1)
    clock.heard(TRUE_NOW, clock())
    outbox.settle(ids)
    is_set(device, by=timedelta(days=3650))
    assert left(outbox, ids) == ids
    device.advance(timedelta(days=34).total_seconds())
    assert left(outbox, ids) == ids
    device.advance(timedelta(days=2).total_seconds())
    assert left(outbox, ids) == []


def test_what_was_settled_when_the_clock_said_1970_is_not_old_when_it_is_right(
    outbox: Outbox, clock: BootClock, device: ManualClock
) -> None:
    ids = put(outbox, 1)
    is_set(device, by=-timedelta(days=20_000))
    clock.heard(TRUE_NOW, clock())
    outbox.settle(ids)
    is_set(device, by=timedelta(days=20_000))
    assert left(outbox, ids) == ids


def test_as_long_as_nobody_knows_what_time_it_is_nothing_grows_old(
    outbox: Outbox, clock: BootClock, device: ManualClock
) -> None:
    ids = put(outbox, 1)
    outbox.settle(ids)
    device.advance(timedelta(days=400).total_seconds())
    assert left(outbox, ids) == ids
    clock.heard(TRUE_NOW, clock())
    assert left(outbox, ids) == ids
    device.advance(timedelta(days=36).total_seconds())
    assert left(outbox, ids) == []
