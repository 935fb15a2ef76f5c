"""Systemd is told that all is well while every loop gets on, each within its own limit, and not otherwise."""

from threading import Event, Thread

import pytest
from structlog.testing import capture_logs

from edge_agent.progress import USUAL_S, Progress, Pulse, feed


class Seconds:
    """A monotonic clock that the test moves."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Rounds(Event):
    """A stop event that lets the feeder look so many times, each a second later; between them something happens."""

    def __init__(self, clock: Seconds, *happens: object) -> None:
        super().__init__()
        self._clock, self._happens = clock, list(happens)

    def wait(self, timeout: float | None = None) -> bool:
        if not self._happens:
            return True
        happens = self._happens.pop(0)
        if callable(happens):
            happens()
        self._clock.now_s += timeout or 0
        return False


def test_a_part_is_late_when_it_is_silent_for_longer_than_it_said() -> None:
    clock = Seconds()
    progress = Progress(clock)
    progress.beat("main")
    progress.beat("uploads", 300, "giving a picture")
    clock.now_s += USUAL_S + 1
    assert list(progress.late()) == ["main"]
    progress.beat("main")
    assert progress.late() == {}


def test_a_part_that_has_nothing_to_do_is_never_late() -> None:
    clock = Seconds()
    progress = Progress(clock)
    progress.beat("camera", 1)
    progress.gone("camera")
    clock.now_s += 1000
    assert progress.late() == {}


def test_the_watchdog_is_fed_while_every_part_gets_on_and_the_reason_is_logged_before_it_is_not() -> None:
    clock, heard = Seconds(), list[str]()
    progress = Progress(clock)
    progress.beat("main", 60, "reading a.jpg")
    progress.beat("sync", 2.5)
    with capture_logs() as logs:
        rounds = Rounds(clock, None, None, None, None, lambda: progress.beat("sync", 100), None)
        feed(progress, heard.append, rounds)
    assert heard == ["WATCHDOG=1"] * 4
    assert [(entry["log_level"], entry["part"]) for entry in logs] == [("error", "sync"), ("warning", "sync")]
    assert "test_progress.py" in logs[0]["stack"]


def test_a_loop_that_is_frozen_stops_the_feeding_and_a_thread_that_has_ended_is_named() -> None:
    clock, heard = Seconds(), list[str]()
    progress = Progress(clock)
    thread = Thread(target=lambda: progress.beat("uploads", 0.5))
    thread.start()
    thread.join()
    with capture_logs() as logs:
        feed(progress, heard.append, Rounds(clock, None))
    assert (heard, logs[0]["stack"]) == ([], "its thread has ended")


def test_asking_whether_to_stop_is_a_sign_of_life() -> None:
    clock = Seconds()
    progress, stop = Progress(clock), Event()
    pulse = Pulse(stop, progress, "sync")
    clock.now_s += 1000
    assert not pulse.is_set()
    assert not pulse.wait(0.01)
    assert progress.late() == {}
    clock.now_s += USUAL_S + 1
    assert list(progress.late()) == ["sync"]


def test_a_pulse_stops_when_all_do_and_stops_all() -> None:
    stop = Event()
    pulse, other = Pulse(stop, Progress(), "sync"), Pulse(stop, Progress(), "uploads")
    pulse.set()
    assert stop.is_set()
    assert other.is_set()
    assert other.wait(1000)
    assert other.wait()


@pytest.mark.parametrize("timeout_s", [0.0, 0.02])
def test_a_wait_that_is_over_says_so(timeout_s: float) -> None:
    assert not Pulse(Event(), Progress(), "main").wait(timeout_s)
