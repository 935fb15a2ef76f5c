"""What a person must mend at this bench: shown in the device's status, by `doctor`, as an event, and in the log.

Each part has at most one trouble. It is told once when it comes and once when it goes, however often it is found; a
detail whose figures only change is told again after a while.
"""

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from threading import Lock
from typing import Any, Final

import msgspec
import structlog

from protocol.messages import PartInTrouble, Trouble

TROUBLES_FILE: Final = "troubles.json"
# Free megabytes change by the second; a status for each of them would be noise.
SAME_FOR: Final = timedelta(seconds=60)

_log = structlog.get_logger(__name__)


class Troubles:
    """The troubles of now, for any thread to see and change."""

    def __init__(self, now: Callable[[], datetime], say: Callable[[dict[str, Any]], None]) -> None:
        """`say` tells the person at the bench."""
        self._now, self._say, self._lock = now, say, Lock()
        self._file: Path | None = None
        self._found: dict[PartInTrouble, Trouble] = {}
        self._told_at: dict[PartInTrouble, datetime] = {}
        self._reflected: set[PartInTrouble] = set()

    def __call__(self) -> tuple[Trouble, ...]:
        """All of them, oldest first."""
        with self._lock:
            return tuple(sorted(self._found.values(), key=lambda one: one.since))

    def __contains__(self, part: PartInTrouble) -> bool:
        """Whether this part is in trouble."""
        with self._lock:
            return part in self._found

    def found(self, part: PartInTrouble, detail: str) -> None:
        """This is wrong; `detail` says what, and what to do."""
        now = self._now()
        with self._lock:
            before = self._found.get(part)
            if before and _kind(before.detail) == _kind(detail) and abs(now - self._told_at[part]) < SAME_FOR:
                return
            self._found[part] = Trouble(part, detail, before.since if before else now)
            self._told_at[part] = now
            self._leave()
        if before is None or _kind(before.detail) != _kind(detail):
            _log.error("trouble", part=part, detail=detail)
            self._say({"event": "trouble", "part": part, "detail": detail})

    def mended(self, part: PartInTrouble) -> None:
        """Nothing is wrong with this part (any more), as far as the caller can tell: not what was reflected."""
        if part not in self._reflected:
            self._forget(part)

    def reflect(self, others: Sequence[Trouble]) -> None:
        """What another part of this program has found by itself, and what of that is mended."""
        details: dict[PartInTrouble, str] = {}
        for trouble in others:
            before = details.get(trouble.part)
            details[trouble.part] = f"{before}; {trouble.detail}" if before else trouble.detail
        for part in self._reflected - details.keys():
            self._forget(part)
        # A part that is in trouble by our own finding keeps that detail.
        self._reflected = {part for part in details if part in self._reflected or part not in self}
        for part in self._reflected:
            self.found(part, details[part])

    def leave_in(self, state_dir: Path) -> None:
        """From now on leave them in this folder, for `doctor` to see."""
        with self._lock:
            self._file = state_dir / TROUBLES_FILE
            self._leave()

    def close(self) -> None:
        """Nobody looks after the bench any more: what is left for `doctor` would be a rumour."""
        if self._file:
            with suppress(OSError):
                self._file.unlink(missing_ok=True)

    def _forget(self, part: PartInTrouble) -> None:
        with self._lock:
            if part not in self._found:
                return
            del self._found[part]
            self._leave()
        _log.info("mended", part=part)
        self._say({"event": "mended", "part": part})

    def _leave(self) -> None:
        """Not synced: it means nothing after a power cut, and a full disk must not stop anything here."""
        if self._file is not None:
            partial = self._file.with_name(f".{self._file.name}.part")
            with suppress(OSError):
                partial.write_bytes(msgspec.json.encode(tuple(self._found.values())))
                partial.replace(self._file)


def left_troubles(state_dir: Path) -> tuple[Trouble, ...]:
    """What the agent that runs on this state folder has left for others to see."""
    try:
        return msgspec.json.decode((state_dir / TROUBLES_FILE).read_bytes(), type=tuple[Trouble, ...])
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return ()


def _kind(detail: str) -> str:
    return re.sub(r"\d+", "#", detail)
