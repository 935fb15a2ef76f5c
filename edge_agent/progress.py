"""Whether every loop of the agent still gets on: systemd's watchdog is fed only while all of them do.

Each loop says, every time it comes round, how soon it will be heard of again: a second or two while it waits, a minute
while it reads a plate on a slow machine. One that is silent for longer is frozen, or kept from running by another; then
`WATCHDOG=1` stops, with the reason in the log first, and systemd starts the agent anew.
"""

import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event, Lock, get_ident
from typing import Final

import structlog

# A loop that waits comes round several times a second; an SD card may hold up any of them for some seconds.
USUAL_S: Final = 7.0
# With USUAL_S this is how long it takes at most until the watchdog hears nothing more: 8 s.
FEED_EVERY_S: Final = 1.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Word:
    """A loop's last word: what it does, by when it will be heard of again, and in which thread it spoke."""

    doing: str
    said_s: float
    within_s: float
    thread_id: int


class Progress:
    """The last words of all loops. Any thread may speak."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        """`now_s` is a monotonic clock in seconds."""
        self._now_s, self._lock = now_s, Lock()
        self._words: dict[str, Word] = {}

    def beat(self, part: str, within_s: float = USUAL_S, doing: str = "") -> None:
        """This part is alive, and will be heard of again within so many seconds."""
        with self._lock:
            self._words[part] = Word(doing, self._now_s(), within_s, get_ident())

    def gone(self, part: str) -> None:
        """This part has nothing to do: nothing more is expected of it."""
        with self._lock:
            self._words.pop(part, None)

    def late(self) -> dict[str, Word]:
        """The parts that have been silent for longer than they said."""
        now_s = self._now_s()
        with self._lock:
            return {part: word for part, word in self._words.items() if now_s - word.said_s > word.within_s}


class Pulse(Event):
    """The agent's stop event as one loop sees it: whoever asks whether to stop is alive.

    Handed to the loops in place of the event itself, so that none can forget to speak.
    """

    def __init__(self, stop: Event, progress: Progress, part: str) -> None:
        """Setting it sets `stop`."""
        super().__init__()
        self._stop, self._progress, self._part = stop, progress, part

    def is_set(self) -> bool:
        """Whether to stop."""
        self._progress.beat(self._part)
        return self._stop.is_set()

    def set(self) -> None:
        """Stop all."""
        self._stop.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is time to stop, at most `timeout` seconds; whether it is."""
        until_s = None if timeout is None else time.monotonic() + timeout
        while True:
            self._progress.beat(self._part, doing="waiting")
            left_s = FEED_EVERY_S if until_s is None else min(FEED_EVERY_S, until_s - time.monotonic())
            if self._stop.wait(max(0.0, left_s)):
                return True
            if until_s is not None and time.monotonic() >= until_s:
                self._progress.beat(self._part)
                return False


def feed(progress: Progress, notify: Callable[[str], None], stop: Event, every_s: float = FEED_EVERY_S) -> None:
    """Tell systemd that all is well, once a second, while it is; until `stop`."""
    known: frozenset[str] = frozenset()
    while not stop.wait(every_s):
        late = progress.late()
        for part in sorted(late.keys() - known):
            word = late[part]
            _log.error(
                "no progress: the watchdog is not fed until there is",
                part=part, doing=word.doing, expected_within_s=word.within_s, stack=_stack(word.thread_id),
            )  # fmt: skip
        for part in sorted(known - late.keys()):
            _log.warning("progress again", part=part)
        known = frozenset(late)
        if not late:
            notify("WATCHDOG=1")


def _stack(thread_id: int) -> str:
    """Where a thread is now."""
    frame = sys._current_frames().get(thread_id)
    return "".join(traceback.format_stack(frame)) if frame else "its thread has ended"
