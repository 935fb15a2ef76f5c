"""A folder that a laboratory system sweeps, on this machine or a mounted share.

The file is written as `.<name>.part` in the folder itself, synced, and then given its name, which it has whole or not
at all. A name that is there already is never written over. After a crash the unfinished file tells whether the name was
given: while it is there, it was not. So a file that was swept in the meantime is not put there a second time.
"""

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import anyio.to_thread

from central.deliveries.targets.target import Outgoing, Place, TargetError

# A share that holds less than this is as good as full: other programs need room too.
LEAST_FREE_BYTES: Final = 16 * 1024 * 1024


class Folder:
    """One drop folder."""

    def __init__(self, path: Path) -> None:
        """The folder must be there: one that is made by us where a share is not mounted would swallow files."""
        self._path = path

    async def prepare(self, file: Outgoing) -> Place:
        """The unfinished file, synced; and which folder it is in."""
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
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(_part(file), flags, 0o660, dir_fd=folder), "wb") as part:
                part.write(file.content)
                part.flush()
                os.fsync(part.fileno())
            os.fsync(folder)
            return _identity(folder)

    def _finish(self, file: Outgoing, place: Place) -> None:
        with self._open() as folder:
            if _identity(folder) != place:
                detail = f"{self._path} is another folder than the one that the file was brought to"
                raise TargetError(detail, "mount the share again; it is tried again")
            if not _exists(folder, _part(file)):
                return  # it was given its name before, and may be swept already
            if _exists(folder, file.name):
                detail = f"{self._path} holds a file {file.name!r} that is not of this delivery"
                raise TargetError(detail, "take it away; it is tried again")
            if _digest(folder, _part(file)) != hashlib.sha256(file.content).hexdigest():
                raise TargetError(f"{self._path / _part(file)} was changed", "send again under a new name", final=True)
            os.rename(_part(file), file.name, src_dir_fd=folder, dst_dir_fd=folder)
            os.fsync(folder)

    def _taken(self, file: Outgoing, place: Place) -> bool:
        with self._open() as folder:
            return _identity(folder) == place and not _exists(folder, file.name)

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


def _part(file: Outgoing) -> str:
    """Hidden, so that a sweep leaves it; with the delivery's id, so that two of one name do not meet in it."""
    return f".{file.name}.{file.id[:8]}.part"


def _identity(folder: int) -> Place:
    found = os.fstat(folder)
    return {"device": found.st_dev, "inode": found.st_ino}


def _exists(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _digest(folder: int, name: str) -> str:
    with os.fdopen(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
