"""The one place where the agent reads clocks: wall, monotonic, boot id; and the ids that are made from them.

A reader without a battery clock may believe that it is 1970, and any clock may be set while it runs. So every moment
carries the monotonic clock and the boot it belongs to, nothing is ever ordered by wall time, and a wall clock that is
behind what this reader has seen already is not used: time then goes on from there (`edge_agent.clock_floor`).
"""

import ctypes
import time
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Lock
from typing import Final

import structlog

from protocol.messages import Clock, ClockQuality

# No clock is right that says less: this program was written later.
EARLIEST: Final = datetime(2026, 11, 1, tzinfo=UTC)
# Wall and monotonic clock run at one pace; what they differ by more than this was a jump. Below it, a busy machine may
# have read one of them late.
JUMP_S: Final = 0.5
# A wall clock this close to central's is believed, whatever the operating system knows.
AGREES_S: Final = 5.0
MOST_JUMPS: Final = 20

_BOOT_ID_FILE: Final = Path("/proc/sys/kernel/random/boot_id")
# systemd-timesyncd makes it when it has set the clock in this boot.
_TIMESYNC_FILE: Final = Path("/run/systemd/timesync/synchronized")
# adjtimex(2): the kernel's word on whether anything keeps its clock right.
_STA_UNSYNC: Final = 0x40
_CLOSE_TOGETHER_NS: Final = 5_000_000

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Moment:
    """A wall time (UTC) and the monotonic clock at the same moment."""

    at: datetime
    monotonic_ns: int


@dataclass(frozen=True)
class Jump:
    """The wall clock was set while the agent ran: forward by `by_s`, or back where that is negative, to `at`."""

    at: datetime
    by_s: float


def read_clocks() -> Moment:
    """The moment that this is called. Both clocks are read again if this thread lost its turn between them."""
    for _ in range(3):
        before_ns, at, after_ns = time.monotonic_ns(), datetime.now(UTC), time.monotonic_ns()
        if after_ns - before_ns <= _CLOSE_TOGETHER_NS:
            break
    return Moment(at, (before_ns + after_ns) // 2)


def system_quality() -> ClockQuality:
    """What the operating system says of its clock: the kernel, or where that may not be asked, systemd-timesyncd."""
    status = _kernel_status()
    if status is not None:
        return "unsynchronised" if status & _STA_UNSYNC else "synchronised"
    return "synchronised" if _TIMESYNC_FILE.exists() else "unknown"


class BootClock:
    """The device's clock in this boot: what time it gives, how good that is, how far it is from central's.

    It is called for the present moment. A wall clock that is behind what was seen already is replaced by that and the
    time gone by since, unless the operating system or central vouches for it. Several threads may use it.
    """

    def __init__(
        self,
        boot_id: str,
        *,
        floor: datetime = EARLIEST,
        clocks: Callable[[], Moment] = read_clocks,
        quality: Callable[[], ClockQuality] = lambda: "unknown",
    ) -> None:
        """`boot_id` is the kernel's name of this boot, `floor` a time that is certainly past."""
        self.boot_id: Final = boot_id
        self._clocks, self._quality, self._lock = clocks, quality, Lock()
        self._central_at_zero: datetime | None = None
        self._last_seen = clocks()
        self._given = Moment(max(floor, EARLIEST), self._last_seen.monotonic_ns)
        self._behind_s = 0.0
        self._jumps: deque[Jump] = deque(maxlen=MOST_JUMPS)

    def __call__(self) -> Moment:
        """Now. The monotonic clock is always the machine's own."""
        seen = self._clocks()
        with self._lock:
            self._notice_jump(seen)
            at_least = self._given.at + _since(self._given.monotonic_ns, seen.monotonic_ns)
            behind_s = (at_least - seen.at).total_seconds()
            if behind_s > 0 and not self._is_vouched_for(seen):
                self._behind_s, self._given = behind_s, Moment(at_least, seen.monotonic_ns)
            else:
                self._behind_s, self._given = 0.0, seen
            return self._given

    def heard(self, central_now: datetime, moment: Moment) -> None:
        """Central said what time it has, and it was `moment` here."""
        self._central_at_zero = central_now - _since(0, moment.monotonic_ns)

    def central_now(self) -> datetime | None:
        """What time it is by central's clock, as its last answer in this boot said; None before the first."""
        return self._central_at(self._clocks().monotonic_ns)

    def clock(self, moment: Moment) -> Clock:
        """What a reading captured at this moment says of the clock."""
        central_at = self._central_at(moment.monotonic_ns)
        offset_s = None if central_at is None else (moment.at - central_at).total_seconds()
        quality = "unsynchronised" if self._behind_s > JUMP_S else self._quality()
        return Clock(self.boot_id, moment.monotonic_ns, quality, offset_s)

    def trouble(self) -> str | None:
        """What is wrong with the wall clock, and what to do; None if nothing is."""
        if self._behind_s <= JUMP_S:
            return None
        given = self._given.at
        return (
            f"the clock says {given - timedelta(seconds=self._behind_s):%Y-%m-%d %H:%M} (expected after "
            f"{given:%Y-%m-%d %H:%M}, which this reader has seen already): connect it to a time server, or set its "
            "clock; until then readings are stamped from there on"
        )

    def jumps(self) -> tuple[Jump, ...]:
        """The newest times that the wall clock was set while the agent ran, oldest first."""
        with self._lock:
            return tuple(self._jumps)

    def _notice_jump(self, seen: Moment) -> None:
        expected = self._last_seen.at + _since(self._last_seen.monotonic_ns, seen.monotonic_ns)
        by_s = (seen.at - expected).total_seconds()
        self._last_seen = seen
        if abs(by_s) > JUMP_S:
            self._jumps.append(Jump(seen.at, round(by_s, 3)))
            _log.warning("the clock was set", by_s=round(by_s, 3), to=seen.at.isoformat())

    def _is_vouched_for(self, seen: Moment) -> bool:
        if seen.at < EARLIEST:
            return False
        if self._quality() == "synchronised":
            return True
        central_at = self._central_at(seen.monotonic_ns)
        return central_at is not None and abs((seen.at - central_at).total_seconds()) <= AGREES_S

    def _central_at(self, monotonic_ns: int) -> datetime | None:
        zero = self._central_at_zero
        return None if zero is None else zero + _since(0, monotonic_ns)


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


class _Timex(ctypes.Structure):
    """The head of `struct timex` of adjtimex(2); the rest is room that the kernel may write to."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    )


def _kernel_status() -> int | None:
    """The status bits of the kernel's clock; None where it may not be asked (a sandbox, another system)."""
    asked = _Timex()
    try:
        answered = ctypes.CDLL(None).adjtimex(ctypes.byref(asked))
    except (AttributeError, OSError):
        return None
    return None if answered < 0 else int(asked.status)


def _since(from_ns: int, to_ns: int) -> timedelta:
    return timedelta(microseconds=(to_ns - from_ns) / 1000)
