"""A folder that a laboratory system sweeps, on this machine or a mounted share.

The file is written as `.<name>.….part` in the folder itself, synced, and then given its name, which it has whole or not
at all. A name that is there already is never written over. After a crash the unfinished file tells whether the name was
given: while it is there, it was not. So a file that was swept in the meantime is not put there a second time.

Every try writes an unfinished file of its own, and the place that is kept says which one counts: a worker who was
held up for longer than his lease can neither bring back one that was given its name, nor write in one while it is.
"""

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import Final

import anyio.to_thread

from central.deliveries.targets.target import Outgoing, Place, TargetError

# A share that holds less than this is as good as full: other programs need room too.
LEAST_FREE_BYTES: Final = 16 * 1024 * 1024
_PART: Final = ".part"


class Folder:
    """One drop folder."""

    def __init__(self, path: Path) -> None:
        """The folder must be there: one that is made by us where a share is not mounted would swallow files."""
        self._path = path

    async def prepare(self, file: Outgoing) -> Place:
        """An unfinished file, synced; its name, and which folder it is in."""
        return await anyio.to_thread.run_sync(self._prepare, file)

    async def finish(self, file: Outgoing, place: Place) -> bool:
        """Give the file its name; nobody has said yet that it was taken."""
        await anyio.to_thread.run_sync(self._finish, file, place)
        return False

    async def taken(self, file: Outgoing, place: Place) -> bool:
        """Whether the file is gone from the folder: it was swept."""
        return await anyio.to_thread.run_sync(self._taken, file, place)

    def _prepare(self, file: Outgoing) -> Place:
        with self._open() as folder:
            free = os.fstatvfs(folder)
            if free.f_bavail * free.f_frsize < LEAST_FREE_BYTES + len(file.content):
                raise TargetError(f"{self._path} is full", "make room there; it is tried again")
            if _exists(folder, file.name):
                detail = f"{self._path} holds a file {file.name!r} that is not of this delivery"
                raise TargetError(detail, "take it away, or send again under a new name", final=True)
            part = f"{_part_prefix(file)}{token_hex(4)}{_PART}"
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with (
                os.fdopen(os.open(part, flags, 0o660, dir_fd=folder), "wb") as unfinished,
                _gone_on_error(folder, part),
            ):
                unfinished.write(file.content)
                unfinished.flush()
                os.fsync(unfinished.fileno())
                os.fsync(folder)
            return _identity(folder) | {"part": part}

    def _finish(self, file: Outgoing, place: Place) -> None:
        with self._open() as folder:
            if not _is_this(folder, place):
                detail = f"{self._path} is another folder than the one that the file was brought to"
                raise TargetError(detail, "mount the share again; it is tried again")
            part = str(place["part"])
            if not _exists(folder, part):
                return  # it was given its name before, and may be swept already
            if _exists(folder, file.name):
                detail = f"{self._path} holds a file {file.name!r} that is not of this delivery"
                raise TargetError(detail, "take it away; it is tried again")
            if _digest(folder, part) != hashlib.sha256(file.content).hexdigest():
                raise TargetError(f"{self._path / part} was changed", "send again under a new name", final=True)
            os.rename(part, file.name, src_dir_fd=folder, dst_dir_fd=folder)
            os.fsync(folder)
            _remove_parts(folder, file)

    def _taken(self, file: Outgoing, place: Place) -> bool:
        with self._open() as folder:
            if not _is_this(folder, place) or _exists(folder, file.name):
                return False
            _remove_parts(folder, file)
            return True

    @contextmanager
    def _open(self) -> Iterator[int]:
        """The folder itself: what its path means may change while we are in it."""
        try:
            folder = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            detail = f"{self._path} cannot be opened: {os.strerror(error.errno or 0)}"
            raise TargetError(detail, "check that the folder is there and the share is mounted") from error
        try:
            yield folder
        except OSError as error:
            raise self._refusal(error) from error
        finally:
            os.close(folder)

    def _refusal(self, error: OSError) -> TargetError:
        advice = {
            errno.ENOSPC: "make room there; it is tried again",
            errno.EDQUOT: "make room there; it is tried again",
            errno.EROFS: "the share is read-only; mount it for writing",
            errno.EACCES: "let central's user write there",
            errno.EPERM: "let central's user write there",
        }.get(error.errno or 0, "it is tried again")
        return TargetError(f"{self._path} does not take the file: {os.strerror(error.errno or 0)}", advice)


def _part_prefix(file: Outgoing) -> str:
    """Hidden, so that a sweep leaves it; with the delivery's id, so that two of one name do not meet in it."""
    return f".{file.name}.{file.id[:8]}."


@contextmanager
def _gone_on_error(folder: int, name: str) -> Iterator[None]:
    """What was only half written is not left to fill a folder that is full."""
    try:
        yield
    except OSError:
        with suppress(OSError):
            os.unlink(name, dir_fd=folder)
        raise


def _remove_parts(folder: int, file: Outgoing) -> None:
    """Take away what tries that came to nothing left of a file that has its name; trouble with that is no matter."""
    with suppress(OSError):
        for name in os.listdir(folder):
            if name.startswith(_part_prefix(file)) and name.endswith(_PART):
                os.unlink(name, dir_fd=folder)


def _identity(folder: int) -> Place:
    found = os.fstat(folder)
    return {"device": found.st_dev, "inode": found.st_ino}


def _is_this(folder: int, place: Place) -> bool:
    """Whether this folder is the one that the file was brought to."""
    return _identity(folder).items() <= place.items()


def _exists(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _digest(folder: int, name: str) -> str:
    with os.fdopen(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
