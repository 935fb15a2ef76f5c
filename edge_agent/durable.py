"""Files written as if the power goes now: temporary file, fsync, rename, fsync of the directory."""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

PARTIAL: Final = ".part"


def write_durably(path: Path, content: bytes, mode: int = 0o644) -> None:
    """`path` holds `content`, whole, or what it held before; on return it is on the disk."""
    partial = path.with_name(f".{path.name}{PARTIAL}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    partial.replace(path)
    sync_folder(path.parent)


def write_pieces_durably(path: Path, pieces: Iterable[bytes], mode: int = 0o644) -> None:
    """The same for content that comes in pieces; if they fail half-way nothing of them stays."""
    partial = path.with_name(f".{path.name}{PARTIAL}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(descriptor)
        partial.replace(path)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise
    sync_folder(path.parent)


def make_folder(path: Path) -> None:
    """Create a folder and its parents so that they, too, survive a power cut."""
    if path.is_dir():
        return
    make_folder(path.parent)
    path.mkdir(exist_ok=True)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """The names in a folder are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
