"""What goes before what on a bench's disk and line: numbers before clocks, syncs before names, names before "saved"."""

import os
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from edge_agent.durable import write_durably
from tests.edge_agent.bench import open_outbox, put, states
from tests.standins import ManualClock


@pytest.mark.parametrize("years", [-57, -1, 10])
def test_readings_leave_in_the_order_of_their_numbers_whatever_the_clock_says(tmp_path: Path, years: int) -> None:
    clock = ManualClock()
    with closing(open_outbox(tmp_path, clock)) as outbox:
        ids = put(outbox, 1)
        clock.moment = type(clock.moment)(clock.moment.at + timedelta(days=365 * years), clock.moment.monotonic_ns)
        ids += put(outbox, 2)
        clock.moment = type(clock.moment)(clock.moment.at - timedelta(days=365 * years), clock.moment.monotonic_ns)
        ids += put(outbox, 3)
        assert [one.id for one in outbox.due(10)] == ids
        assert [one.seq for one in outbox.due(10)] == [1, 2, 3]


def test_what_central_committed_is_settled_although_a_copy_of_it_was_refused(tmp_path: Path) -> None:
    """A copy that was damaged on its way is refused, and a whole one accepted: in either order it is delivered."""
    with closing(open_outbox(tmp_path)) as outbox:
        first, second = put(outbox, 1, 2)
        outbox.quarantine(first, "digest_mismatch", "damaged on its way")
        outbox.settle([first, second])
        outbox.quarantine(second, "digest_mismatch", "damaged on its way")
        assert set(states(tmp_path).values()) == {"settled"}


def test_pruning_keeps_what_was_set_aside_whatever_room_is_wanted(tmp_path: Path) -> None:
    with closing(open_outbox(tmp_path)) as outbox:
        refused, waiting, delivered = put(outbox, 1, 2, 3)
        outbox.quarantine(refused, "unknown_profile", "hi-96-x")
        outbox.settle([delivered])
        outbox.prune(timedelta(0), 0, 0)
        assert set(states(tmp_path)) == {refused, waiting}
        assert len(list((tmp_path / "pictures").iterdir())) == 2


def test_a_photograph_is_synced_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """File, then name, then folder: in any other order a power cut leaves a name without a photograph."""
    done: list[str] = []
    fsync, rename = os.fsync, Path.replace

    def synced(descriptor: int) -> None:
        is_folder = Path(os.readlink(f"/proc/self/fd/{descriptor}")) == tmp_path
        done.append("folder synced" if is_folder else "file synced")
        fsync(descriptor)

    def named(self: Path, target: Path) -> Path:
        done.append("named")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", named)
    write_durably(tmp_path / "picture.jpg", b"photograph")
    assert done == ["file synced", "named", "folder synced"]
