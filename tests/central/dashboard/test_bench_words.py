"""What the pages say of a device, from values alone."""

from datetime import timedelta

import pytest

from central.api.devices import device_out
from central.dashboard.bench import backlog, holes, remarks, size, span
from central.fleet.queries import DeviceRow
from central.intake.gaps import account
from protocol.messages import Clock, DeviceStatus, OutboxDepth
from tests.make import NOON


def row(outbox: OutboxDepth | None = None, **fields: object) -> DeviceRow:
    """A device that is online with this outbox."""
    status = DeviceStatus(1, "bench-1", True, "s", NOON, outbox=outbox, clock=Clock("b", 1, "synchronised"))
    return DeviceRow("bench-1", "Bench", NOON, None, status, NOON, "main", 0, **fields)


def shorts(device: DeviceRow) -> list[str]:
    """What there is to look at."""
    return [remark.short for remark in remarks(device_out(device))]


def test_all_well_is_nothing_to_look_at() -> None:
    depth = OutboxDepth("e", 3, 0, 0, 0, 9000, None, 700.0)
    here = account("e", [(1, 3)], (), 3, NOON)
    assert shorts(row(depth, outboxes=(here,), clock_offset_s=0.4)) == []
    assert backlog(device_out(row(depth)), NOON) == "nothing waits, 9.0 kB held"


def test_a_backlog_that_waits_is_not_missing_but_what_nobody_has_is() -> None:
    depth = OutboxDepth("e", 9, 4, 0, 0)
    assert shorts(row(depth, outboxes=(account("e", [(1, 5)], (), 9, NOON),))) == []
    assert shorts(row(depth, outboxes=(account("e", [(1, 3)], (), 9, NOON),))) == ["2 missing"]


def test_what_an_old_card_never_sent_is_missing() -> None:
    old = account("old", [(1, 3), (6, 7)], (), None, NOON)
    assert shorts(row(OutboxDepth("e", 0, 0, 0, 0), outboxes=(old,))) == ["2 missing"]


def test_a_full_disk_comes_first_and_one_soon_full_is_said() -> None:
    full = OutboxDepth("e", 9, 9, 1, 0, full=True, hours_left=0.0)
    assert shorts(row(full, clock_offset_s=-9.0)) == ["full", "1 set aside", "clock wrong"]
    assert shorts(row(OutboxDepth("e", 9, 0, 0, 0, hours_left=12.0))) == ["full in 12 h"]


def test_the_age_of_the_oldest_reading_is_by_the_clock_that_captured_it() -> None:
    depth = OutboxDepth("e", 9, 1, 0, 2, 48_200_000, NOON - timedelta(days=20_000))
    device = device_out(row(depth, clock_offset_s=-timedelta(days=20_000, hours=-3).total_seconds()))
    assert backlog(device, NOON) == "1 reading, 2 pictures, 48.2 MB; the oldest for 3 h"


@pytest.mark.parametrize(("bytes_", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (3_120_000_000, "3.1 GB")])
def test_sizes_are_said_in_the_unit_that_fits(bytes_: int, text: str) -> None:
    assert size(bytes_) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (119, "119 s"), (600, "10 min"), (9000, "2 h"), (1e6, "12 days")]
)
def test_times_are_said_in_the_unit_that_fits(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_holes_are_named_until_there_are_too_many() -> None:
    assert holes(account("e", [(1, 2), (4, 4), (7, 7)], (), 7, None)) == "3, 5–6"
    many = account("e", [(n, n) for n in range(1, 99, 2)], (), 97, None)
    assert holes(many).endswith("and more")
