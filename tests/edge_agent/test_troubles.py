"""Each trouble is told once when it comes and once when it goes, and can be seen from outside."""

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from edge_agent.troubles import TROUBLES_FILE, Troubles, left_troubles
from protocol.messages import Trouble
from tests.make import NOON


class Bench:
    """Troubles whose clock the test moves, and what was said of them."""

    def __init__(self) -> None:
        self.now, self.said = NOON, list[dict[str, Any]]()
        now: Callable[[], datetime] = lambda: self.now  # noqa: E731
        self.troubles = Troubles(now, self.said.append)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_trouble_that_is_found_again_is_told_once(bench: Bench) -> None:
    for free_mb in (20, 19, 18):
        bench.troubles.found("disk", f"{free_mb} MB free (expected at least 256 MB)")
    assert bench.said == [{"event": "trouble", "part": "disk", "detail": "20 MB free (expected at least 256 MB)"}]
    assert bench.troubles() == (Trouble("disk", "20 MB free (expected at least 256 MB)", NOON),)


def test_figures_that_change_are_shown_anew_after_a_minute_but_not_told(bench: Bench) -> None:
    bench.troubles.found("disk", "20 MB free")
    bench.now += timedelta(seconds=61)
    bench.troubles.found("disk", "3 MB free")
    assert [(one.detail, one.since) for one in bench.troubles()] == [("3 MB free", NOON)]
    assert len(bench.said) == 1


def test_another_trouble_of_the_same_part_is_told_and_began_with_the_first(bench: Bench) -> None:
    bench.troubles.found("camera", "it hangs")
    bench.now += timedelta(seconds=5)
    bench.troubles.found("camera", "it is gone")
    assert [event["detail"] for event in bench.said] == ["it hangs", "it is gone"]
    assert [one.since for one in bench.troubles()] == [NOON]


def test_what_is_mended_is_told_once_and_gone(bench: Bench) -> None:
    bench.troubles.found("camera", "it hangs")
    bench.troubles.mended("camera")
    bench.troubles.mended("camera")
    assert bench.said[1:] == [{"event": "mended", "part": "camera"}]
    assert bench.troubles() == ()
    assert "camera" not in bench.troubles


def test_what_others_have_found_is_shown_until_they_find_it_no_more(bench: Bench) -> None:
    both = [Trouble("outbox", "set aside", NOON), Trouble("outbox", "3 damaged", NOON)]
    bench.troubles.reflect(both)
    bench.troubles.reflect(both)
    bench.troubles.mended("outbox")
    assert [one.detail for one in bench.troubles()] == ["set aside; 3 damaged"]
    bench.troubles.reflect([])
    assert bench.troubles() == ()
    assert [event["event"] for event in bench.said] == ["trouble", "mended"]


def test_our_own_finding_comes_before_what_others_found(bench: Bench) -> None:
    bench.troubles.found("outbox", "a reading cannot be kept")
    bench.troubles.reflect([Trouble("outbox", "3 damaged", NOON)])
    assert [one.detail for one in bench.troubles()] == ["a reading cannot be kept"]
    bench.troubles.reflect([])
    assert "outbox" in bench.troubles


def test_troubles_are_left_for_others_to_see_while_the_agent_runs(bench: Bench, tmp_path: Path) -> None:
    bench.troubles.found("camera", "it hangs")
    bench.troubles.leave_in(tmp_path)
    assert left_troubles(tmp_path) == bench.troubles()
    bench.troubles.mended("camera")
    assert left_troubles(tmp_path) == ()
    bench.troubles.close()
    assert not (tmp_path / TROUBLES_FILE).exists()


def test_a_disk_that_is_full_stops_no_trouble_from_being_told(bench: Bench, tmp_path: Path) -> None:
    bench.troubles.leave_in(tmp_path / "gone")
    bench.troubles.found("disk", "full")
    assert "disk" in bench.troubles
    assert left_troubles(tmp_path / "gone") == ()
