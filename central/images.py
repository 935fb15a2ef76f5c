"""Pictures on disk, named by their SHA-256 and nothing else: the same picture twice is one file.

Uploads resume: bytes are appended to a `.part` file at the offset that it has, and only a whole file with the right
digest is renamed into place, synced, before its row is written. A path is made from a checked digest only.
"""

from datetime import datetime
from pathlib import Path
from typing import Final, Literal

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

MAX_IMAGE_BYTES: Final = 25 * 1024 * 1024

MediaType = Literal["image/jpeg", "image/png"]


class StoredImage(msgspec.Struct, frozen=True):
    """A whole picture that has been verified."""

    sha256: str
    bytes: int
    media_type: MediaType


class ImageError(ValueError):
    """A piece or a picture that cannot be taken; the message names the value and the expectation."""


class WrongOffsetError(ImageError):
    """The piece does not start where the upload stands; `offset` is where it does."""

    offset: int


class WrongDigestError(ImageError):
    """All bytes are there but they are another picture; the upload begins again at 0."""


class NotAnImageError(ImageError):
    """The bytes are neither JPEG nor PNG."""


class TooLargeError(ImageError):
    """The picture is larger than central takes."""


def path(folder: Path, sha256: str) -> Path | None:
    """The file of a whole picture; None where it is not (all) here. ImageError for what is no digest."""
    raise NotImplementedError


def offset(folder: Path, sha256: str) -> int:
    """Bytes held of this picture: where the next piece starts."""
    raise NotImplementedError


def append(folder: Path, sha256: str, start: int, total: int, chunk: bytes) -> int:
    """Add a piece at `start`; the new offset. A piece of a picture that is whole already changes nothing."""
    raise NotImplementedError


def finish(folder: Path, sha256: str) -> StoredImage:
    """Verify a whole upload and move it into place; can be repeated."""
    raise NotImplementedError


async def record(connection: AsyncConnection, image: StoredImage, *, device_id: str, now: datetime) -> None:
    """Write the row of a finished picture, once."""
    raise NotImplementedError
