"""Pictures on disk, named by their SHA-256 and nothing else: the same picture twice is one file.

Uploads resume: bytes are appended to a file in `parts/` at the offset that it has, and only a whole file with the right
digest is renamed into place, synced, before its row is written. A path is made from a checked digest only.
"""

import asyncio
import fcntl
import hashlib
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from io import BufferedRandom
from pathlib import Path
from typing import BinaryIO, Final, Literal

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from central.db import insert_ignore
from central.files import sync_folder
from central.tables import images

MAX_IMAGE_BYTES: Final = 25 * 1024 * 1024

# A device that was away for longer begins a picture anew; a thousand devices in the middle of one need not.
LONGEST_PART_S: Final = 7 * 24 * 3600.0
MOST_PART_BYTES: Final = 4 * 1024 * 1024 * 1024
_PARTS: Final = "parts"
_SWEEP_EVERY_S: Final = 3600.0

MediaType = Literal["image/jpeg", "image/png"]

_MAGIC: Final[dict[bytes, MediaType]] = {b"\xff\xd8\xff": "image/jpeg", b"\x89PNG\r\n\x1a\n": "image/png"}
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


class StoredImage(msgspec.Struct, frozen=True):
    """A whole picture that has been verified."""

    sha256: str
    bytes: int
    media_type: MediaType


class ImageError(ValueError):
    """A piece or a picture that cannot be taken; the message names the value and the expectation."""


class WrongOffsetError(ImageError):
    """The piece does not start where the upload stands; `offset` is where it does."""

    def __init__(self, start: int, offset: int) -> None:
        """`start` is what was asked for."""
        super().__init__(f"a piece at offset {start} (expected {offset})")
        self.offset = offset


class WrongDigestError(ImageError):
    """All bytes are there but they are another picture; the upload begins again at 0."""


class NotAnImageError(ImageError):
    """The bytes are neither JPEG nor PNG."""


class TooLargeError(ImageError):
    """The picture is larger than central takes."""


def path(folder: Path, sha256: str) -> Path | None:
    """The file of a whole picture; None where it is not (all) here. ImageError for what is no digest."""
    whole = _place(folder, sha256)
    return whole if whole.is_file() else None


def offset(folder: Path, sha256: str) -> int:
    """Bytes held of this picture: where the next piece starts."""
    whole = _place(folder, sha256)
    for file in (whole, _part(whole), whole):  # a part that is gone between two looks has become whole
        with suppress(FileNotFoundError):
            return file.stat().st_size
    return 0


def append(folder: Path, sha256: str, start: int, total: int, chunk: bytes) -> int:
    """Add a piece at `start`; the new offset. A piece of a picture whose bytes are all here changes nothing."""
    if not 1 <= total <= MAX_IMAGE_BYTES:
        raise TooLargeError(f"a picture of {total} bytes (expected 1 to {MAX_IMAGE_BYTES})")
    if start + len(chunk) > total:
        raise ImageError(f"a piece that ends at {start + len(chunk)} (expected at most the picture's {total} bytes)")
    whole = _place(folder, sha256)
    whole.parent.mkdir(parents=True, exist_ok=True)
    _part(whole).parent.mkdir(exist_ok=True)
    with _locked(whole) as part:
        if part is None:
            return whole.stat().st_size
        held = part.seek(0, os.SEEK_END)
        if held >= total:
            return held  # central died between the last piece and `finish`: any piece leads there again
        if start != held:
            raise WrongOffsetError(start, held)
        part.write(chunk)
        return held + len(chunk)


def finish(folder: Path, sha256: str) -> StoredImage:
    """Verify a whole upload and move it into place; can be repeated. What fails is removed, to begin again at 0."""
    whole = _place(folder, sha256)
    if offset(folder, sha256) == 0:
        raise ImageError(f"nothing held of picture {sha256} (expected its bytes first)")
    with _locked(whole) as part:
        if part is not None:
            part.seek(0)
            found = hashlib.file_digest(part, "sha256").hexdigest()
            if found != sha256:
                _part(whole).unlink()
                raise WrongDigestError(f"the uploaded bytes have the digest {found} (expected {sha256})")
            if _media_type(part) is None:
                _part(whole).unlink()
                raise NotAnImageError(f"picture {sha256} is neither JPEG nor PNG")
            part.flush()
            os.fsync(part.fileno())
            _part(whole).rename(whole)
            for parent in (whole.parent, whole.parent.parent, folder):  # each may be new
                sync_folder(parent)
    return _stored(whole, sha256)


def discard(folder: Path, sha256: str) -> None:
    """Remove a picture, and what is here of an upload of it; nothing where there is none."""
    whole = _place(folder, sha256)
    whole.unlink(missing_ok=True)
    _part(whole).unlink(missing_ok=True)


def store(folder: Path, sha256: str, content: bytes) -> StoredImage:
    """A whole picture at once; what an upload left of it is gone on with, or begun again where it was damaged."""
    try:
        return _store_rest(folder, sha256, content)
    except WrongDigestError:
        return _store_rest(folder, sha256, content)


def _store_rest(folder: Path, sha256: str, content: bytes) -> StoredImage:
    held = min(offset(folder, sha256), len(content))
    append(folder, sha256, held, len(content), content[held:])
    return finish(folder, sha256)


def sweep(folder: Path, now_s: float, *, longest_s: float = LONGEST_PART_S, most_bytes: int = MOST_PART_BYTES) -> int:
    """Remove uploads that nobody has gone on with for long, and the oldest beyond the bound on bytes; how many."""
    parts = sorted(_parts(folder), key=lambda part: part[1], reverse=True)
    removed, held = 0, 0
    for path_, changed_s, size in parts:
        held += size
        if now_s - changed_s > longest_s or held > most_bytes:
            path_.unlink(missing_ok=True)
            removed += 1
    return removed


async def kept_swept(folder: Path) -> None:
    """Sweep every hour, for ever."""
    while True:
        await asyncio.to_thread(sweep, folder, time.time())
        await asyncio.sleep(_SWEEP_EVERY_S)


def _parts(folder: Path) -> Iterator[tuple[Path, float, int]]:
    for path_ in (folder / _PARTS).glob("*.part"):
        with suppress(FileNotFoundError):  # finished meanwhile
            found = path_.lstat()
            yield path_, found.st_mtime, found.st_size


async def record(connection: AsyncConnection, image: StoredImage, *, device_id: str, now: datetime) -> None:
    """Write the row of a finished picture, once."""
    values = msgspec.structs.asdict(image) | {"stored_at": now, "device_id": device_id}
    await connection.execute(insert_ignore(connection.dialect.name, images).values(values))


def _place(folder: Path, sha256: str) -> Path:
    if not _SHA256.fullmatch(sha256):
        raise ImageError(f"not a SHA-256: {sha256[:80]!r} (expected 64 of 0-9 and a-f)")
    return folder / sha256[:2] / sha256[2:4] / sha256


def _part(whole: Path) -> Path:
    return whole.parents[2] / _PARTS / f"{whole.name}.part"


@contextmanager
def _locked(whole: Path) -> Iterator[BufferedRandom | None]:
    """The `.part` file, for this caller alone; None where the picture is whole (or became so while we waited)."""
    if whole.is_file():
        yield None
        return
    descriptor = os.open(_part(whole), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "r+b") as part:
        fcntl.flock(part, fcntl.LOCK_EX)
        if whole.is_file():
            yield None  # what we opened has been renamed into place: it must not be written to
            return
        yield part


def _media_type(file: BinaryIO) -> MediaType | None:
    file.seek(0)
    start = file.read(8)
    return next((kind for magic, kind in _MAGIC.items() if start.startswith(magic)), None)


def _stored(whole: Path, sha256: str) -> StoredImage:
    with whole.open("rb") as file:
        media_type = _media_type(file)
    assert media_type is not None, f"{whole} changed after it was verified"
    return StoredImage(sha256, whole.stat().st_size, media_type)
