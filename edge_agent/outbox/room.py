"""Room on the disk: when there is too little to photograph, and the ballast that lets sending go on when it is full.

SQLite needs a little room even to forget something, so a disk that is quite full would keep the readings from being
sent away too. Capture stops first, at `free_mb`; should something else fill the disk to the last byte, the ballast is
given up, and made again when there is room. What is decided here is decided from values; `Ballast` and `look` act.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from edge_agent.durable import sync_folder

# Four times the log's cap (`edge_agent.outbox.file`): a full log must fit into the file beside another full log.
BALLAST_BYTES: Final = 32 * 1024 * 1024
BALLAST_FILE: Final = "ballast"
# A photograph takes two names while it is written.
LEAST_FREE_NAMES: Final = 64


@dataclass(frozen=True)
class Room:
    """What a disk has left for this program: bytes, and names (inodes; None where it does not count them)."""

    free_bytes: int
    free_names: int | None

    def is_too_little(self, needed_bytes: int) -> bool:
        """Whether nothing may be photographed."""
        few_names = self.free_names is not None and self.free_names < LEAST_FREE_NAMES
        return few_names or self.free_bytes < needed_bytes

    def shortage_bytes(self, needed_bytes: int) -> int:
        """How much must go before something may be photographed."""
        return max(0, needed_bytes - self.free_bytes)


def ballast_plan(room: Room, needed_bytes: int, ballast_bytes: int, *, is_there: bool) -> Literal["keep", "make"]:
    """Whether to make the ballast now. It must not itself stop the bench from photographing."""
    if is_there or room.is_too_little(needed_bytes + ballast_bytes):
        return "keep"
    return "make"


def hours_left(room_bytes: int, last_day_bytes: int, observed_hours: float) -> float | None:
    """How long the room lasts at the pace of what was captured in the last day; None where nothing was."""
    if last_day_bytes <= 0 or observed_hours <= 0:
        return None
    return round(max(0, room_bytes) / (last_day_bytes / observed_hours), 1)


def look(folder: Path) -> Room:
    """What the disk of a folder has left."""
    found = os.statvfs(folder)
    return Room(found.f_bavail * found.f_frsize, found.f_favail if found.f_files else None)


class Ballast:
    """A file that holds blocks for bad times."""

    def __init__(self, folder: Path, size_bytes: int = BALLAST_BYTES) -> None:
        """In the folder whose disk it is for."""
        self._path, self.size_bytes, self.given_up = folder / BALLAST_FILE, size_bytes, False

    def is_there(self) -> bool:
        """Whether it holds what it should."""
        try:
            return self._path.stat().st_blocks * 512 >= self.size_bytes
        except FileNotFoundError:
            return False

    def make(self) -> bool:
        """Take the blocks; whether that was possible."""
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                # Blocks, not a hole: a sparse file would hold nothing.
                os.posix_fallocate(descriptor, 0, self.size_bytes)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            sync_folder(self._path.parent)
        except OSError:
            self.release()
            return False
        self.given_up = False
        return True

    def release(self) -> bool:
        """Give the blocks back; whether there were any."""
        try:
            self._path.unlink()
        except OSError:  # not there, or on a disk that was made read-only
            return False
        self.given_up = True
        return True
