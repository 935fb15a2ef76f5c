"""Small disks of the test's own: file systems on loop devices and in memory, filled, cut off, made read-only."""

import fcntl
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Literal

import pytest

Kind = Literal["ext4", "xfs"]

# Both file systems know it (linux/fs: …_IOC_SHUTDOWN): nothing more reaches the disk, not even the log's end.
_SHUT_DOWN: Final = 0x8004587D
_WITHOUT_THE_LOG: Final = 2

_MAKE: Final[dict[Kind, tuple[str, ...]]] = {
    "ext4": ("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"),
    "xfs": ("mkfs.xfs", "-q", "-f"),
}
# The smallest that mkfs.xfs makes.
SMALLEST_MB: Final[dict[Kind, int]] = {"ext4": 16, "xfs": 300}


class Disk:
    """A file system in an image file, mounted at `folder`."""

    def __init__(self, kind: Kind, image: Path, folder: Path) -> None:
        self.kind, self.image, self.folder = kind, image, folder

    def mount(self, *options: str) -> None:
        """Mount it, which replays its log after a cut."""
        _run("mount", "-t", self.kind, "-o", ",".join(("loop", *options)), str(self.image), str(self.folder))

    def unmount(self) -> None:
        """Unmount it."""
        _run("umount", str(self.folder))

    def cut(self) -> None:
        """The power goes: what was not synced is gone, and every later call fails."""
        descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(descriptor, _SHUT_DOWN, struct.pack("I", _WITHOUT_THE_LOG))
        finally:
            os.close(descriptor)

    def remount(self, how: Literal["ro", "rw"]) -> None:
        """Make it read-only, or writable again."""
        _run("mount", "-o", f"remount,{how}", str(self.folder))


@contextmanager
def disk(kind: Kind, size_mb: int) -> Iterator[Disk]:
    """A new, mounted file system; the test is skipped where it cannot be made, with the reason."""
    _require_root()
    program = shutil.which(_MAKE[kind][0], path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if program is None:
        pytest.skip(
            f"{_MAKE[kind][0]} is not installed (apt-get install {'e2fsprogs' if kind == 'ext4' else 'xfsprogs'})"
        )
    with TemporaryDirectory(prefix="wellread-disk-", dir=_memory(), ignore_cleanup_errors=True) as made:
        Path(made).chmod(0o755)  # PostgreSQL runs as a user of its own
        image, folder = Path(made) / "image", Path(made) / "disk"
        folder.mkdir()
        with image.open("wb") as file:
            file.truncate(max(size_mb, SMALLEST_MB[kind]) * 1024 * 1024)
        _run(program, *_MAKE[kind][1:], str(image))
        new = Disk(kind, image, folder)
        try:
            new.mount()
        except RuntimeError as error:
            pytest.skip(f"no loop device can be mounted here: {error}")
        try:
            yield new
        finally:
            with suppress(RuntimeError):
                _run("umount", "-l", str(folder))


@contextmanager
def memory_disk(size_mb: int, inodes: int = 0) -> Iterator[Path]:
    """A tmpfs of this size; the test is skipped where it cannot be mounted."""
    _require_root()
    with TemporaryDirectory(prefix="wellread-tmpfs-") as made:
        options = f"size={size_mb}m" + (f",nr_inodes={inodes}" if inodes else "")
        try:
            _run("mount", "-t", "tmpfs", "-o", options, "tmpfs", made)
        except RuntimeError as error:
            pytest.skip(f"no tmpfs can be mounted here: {error}")
        try:
            yield Path(made)
        finally:
            _run("umount", "-l", made)  # a test that failed may still have files open


def fill(folder: Path, leave_bytes: int = 0) -> Path:
    """Take up a disk's free space, but for so much; the file that does."""
    ballast, block = folder / "somebody-elses-file", b"\1" * 65536
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while _free(folder) > leave_bytes:
            file.write(block[: max(1, min(len(block), _free(folder) - leave_bytes))])
    with ballast.open("ab", buffering=0) as file, suppress(OSError):
        while leave_bytes == 0:
            file.write(b"\1" * 512)
    return ballast


def _free(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def _memory() -> str | None:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def _require_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting needs root (run as root to prove this)")


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
