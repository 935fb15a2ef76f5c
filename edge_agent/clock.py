"""The one place where the agent reads clocks: wall, monotonic, boot id; and the ids that are made from them.

A reader without a battery clock may believe that it is 1970. So every moment carries the monotonic clock and the boot
it belongs to, and nothing is ever ordered by wall time.
"""

import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from protocol.messages import Clock

_BOOT_ID_FILE: Final = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Moment:
    """A wall time (UTC) and the monotonic clock at the same moment."""

    at: datetime
    monotonic_ns: int


def read_clocks() -> Moment:
    """The moment that this is called."""
    return Moment(datetime.now(UTC), time.monotonic_ns())


class BootClock:
    """What this boot knows of time: which boot it is, and how far its clock was from central's at the last answer.

    Written by the conversation, read by whoever captures; a single assignment, so no lock.
    """

    def __init__(self, boot_id: str) -> None:
        """`boot_id` is the kernel's name of this boot."""
        self.boot_id: Final = boot_id
        self._offset_s: float | None = None

    def heard(self, central_now: datetime, moment: Moment) -> None:
        """Central said what time it has, and it was `moment` here."""
        self._offset_s = (moment.at - central_now).total_seconds()

    def clock(self, monotonic_ns: int) -> Clock:
        """What a reading captured at this monotonic time says of the clock."""
        return Clock(self.boot_id, monotonic_ns, offset_s=self._offset_s)


def read_boot_id() -> str:
    """What the kernel calls this boot; `unknown` where it does not say."""
    try:
        return _BOOT_ID_FILE.read_text(encoding="ascii").strip()
    except OSError:
        return "unknown"


def reading_id(at: datetime, random_bytes: bytes) -> str:
    """A UUIDv7 (RFC 9562 §5.7) from a time and ten random bytes."""
    if len(random_bytes) != 10:
        raise ValueError(f"{len(random_bytes)} random bytes (expected 10)")
    milliseconds = max(0, int(at.timestamp() * 1000)) & (1 << 48) - 1
    number = milliseconds << 80 | int.from_bytes(random_bytes, "big")
    number = number & ~(0xF << 76) | 0x7 << 76
    number = number & ~(0x3 << 62) | 0x2 << 62
    return str(uuid.UUID(int=number))
