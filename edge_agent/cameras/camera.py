"""The camera that a configuration names, and the one that replays a folder. Those that see the bench are in
`live`; what a camera is, and what it gives, is in `frame`.
"""

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Final

import structlog

from edge_agent.cameras.frame import MAX_PHOTO_BYTES, Camera, CameraError, Frame
from edge_agent.clock import Moment, read_clocks
from edge_agent.config import CameraConfig

# What programs call a file that they have not finished writing.
_UNFINISHED: Final = (".part", ".tmp", ".filepart", ".crdownload", ".swp", "~")
# What is meant as a picture, though it may be refused as no JPEG or PNG: a person must hear of that.
_PICTURES: Final = (
    ".jpg", ".jpeg", ".jpe", ".png", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".heic", ".heif", ".avif", ".dng",
)  # fmt: skip
# How a JPEG or a PNG begins, whatever its file is called.
_SIGNATURES: Final = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")
_LIST_EVERY_NS: Final = 1_000_000_000
# FAT counts every other second.
_TICK_NS: Final = 2_000_000_000

_log = structlog.get_logger(__name__)


def open_camera(
    config: CameraConfig, was_captured: Callable[[str], bool], clocks: Callable[[], Moment] = read_clocks
) -> Camera:
    """The device that the configuration names, bare: it may hang, and give a picture again (see `compose`).

    `was_captured` knows the files that are already kept.
    """
    if config.kind == "folder":
        return FolderCamera(config.folder, was_captured, watch=config.watch, clocks=clocks)
    from edge_agent.cameras.live import OpenCVCamera, PiCamera

    if config.kind == "opencv":
        return OpenCVCamera(config, clocks=clocks)
    return PiCamera(config, load_picamera2(), clocks=clocks)


def load_picamera2() -> ModuleType:
    """picamera2, which comes from the system's packages only; CameraError says which one to install."""
    try:
        import picamera2
    except ImportError as error:
        raise CameraError(
            f"picamera2 is not available: {error} (run `sudo apt install python3-picamera2`, "
            "and make the virtual environment with --system-site-packages)"
        ) from error
    return picamera2  # type: ignore[no-any-return]


class FolderCamera:
    """Replays a directory in the order of names, then watches it. A photograph is a file's name, time and size.

    A file counts once its size and time have stood still for `settle_s`, so that a copy under way is not read. Which
    files are done is `was_captured`'s knowledge alone: a file whose reading could not be kept comes again. Files that
    neither look like pictures nor are called so are left alone.
    """

    def __init__(
        self,
        folder: Path,
        was_captured: Callable[[str], bool],
        *,
        watch: bool = True,
        settle_s: float = 1.0,
        clocks: Callable[[], Moment] = read_clocks,
    ) -> None:
        """`watch=False` reads only what is there at the first look."""
        if not folder.is_dir():
            raise CameraError(f"no folder of photographs at {folder} (expected a directory)")
        self._folder, self._was_captured, self._clocks = folder, was_captured, clocks
        self._settle_ns = int(settle_s * 1e9)
        self._done: set[str] = set()
        # What is not done, in the order of names, with the monotonic time since when it has been as it is.
        self._waiting: dict[str, tuple[str, int]] = {}
        self._unreadable: set[str] = set()
        self._listing: _Listing | None = None
        self._left_alone = 0
        self._at_start = None if watch else set(self._files())

    def capture(self) -> Frame | None:
        """The first complete file, by name, that has not been captured."""
        now = self._clocks()
        if self._listing is None or self._listing.is_outdated(self._folder_ns(), now):
            self._list(now)
        for name in list(self._waiting):
            key = self._key_of(name)
            if key is None or self._is_done(key):
                del self._waiting[name]
                continue
            if key != self._waiting[name][0]:
                self._waiting[name] = key, now.monotonic_ns
            if self._is_settled(key, self._waiting[name][1], now):
                frame = self._read(self._folder / name, key, now)
                if frame is not None:
                    return frame
        return None

    def check(self) -> None:
        """Whether the folder is there."""
        self._folder_ns()

    def close(self) -> None:
        """Nothing is held open."""

    def _list(self, now: Moment) -> None:
        """Look at every file's name, time and size: a millisecond for a hundred of them."""
        folder_ns, seen = self._folder_ns(), self._waiting
        self._waiting = {}
        for name in self._files():
            key = self._key_of(name)
            if key is None or key in self._done or (self._at_start is not None and name not in self._at_start):
                continue
            known = seen.get(name)
            self._waiting[name] = known if known and known[0] == key else (key, now.monotonic_ns)
        self._unreadable &= {key for key, _ in self._waiting.values()}
        self._listing = _Listing(folder_ns, now, self._clocks().monotonic_ns - now.monotonic_ns)

    def _folder_ns(self) -> int:
        try:
            return self._folder.stat().st_mtime_ns
        except OSError as error:
            raise CameraError(f"cannot list {self._folder}: {error.strerror}") from error

    def _files(self) -> list[str]:
        try:
            names = os.listdir(self._folder)
        except OSError as error:
            raise CameraError(f"cannot list {self._folder}: {error.strerror}") from error
        return sorted(name for name in names if not name.startswith(".") and not name.endswith(_UNFINISHED))

    def _key_of(self, name: str) -> str | None:
        """What names this file as it is now; None if it is no file (any more)."""
        try:
            status = os.stat(self._folder / name)
        except OSError:
            return None
        if not stat.S_ISREG(status.st_mode):
            return None
        return f"{_shown(name)}|{status.st_mtime_ns}|{status.st_size}"

    def _is_done(self, key: str) -> bool:
        if key not in self._done and self._was_captured(key):
            self._done.add(key)
        return key in self._done

    def _is_settled(self, key: str, first_seen_ns: int, now: Moment) -> bool:
        """Two looks that agree; or one look at a file that was last written long before it."""
        age_ns = int(now.at.timestamp() * 1e9) - int(key.rsplit("|", 2)[1])
        return now.monotonic_ns - first_seen_ns >= self._settle_ns or age_ns >= 2 * self._settle_ns

    def _read(self, path: Path, key: str, now: Moment) -> Frame | None:
        """The file's bytes; None for one that cannot be read now, which must not hold up those after it."""
        try:
            with path.open("rb") as file:
                if not _is_called_a_picture(path.name) and not file.read(8).startswith(_SIGNATURES):
                    self._leave_alone(path.name, key)
                    return None
                file.seek(0)
                # One byte more than allowed is enough to refuse it.
                data = file.read(MAX_PHOTO_BYTES + 1)
        except OSError as error:
            if key not in self._unreadable:
                _log.warning("cannot read a photograph", photo=_shown(path.name), error=error.strerror)
                self._unreadable.add(key)
            return None
        return Frame(data, _shown(path.name), now.at, now.monotonic_ns, key=key)

    def _leave_alone(self, name: str, key: str) -> None:
        self._done.add(key)
        self._waiting.pop(name, None)
        self._left_alone += 1
        if self._left_alone == 1:
            _log.info("files that are no photographs are left alone", first=_shown(name), folder=str(self._folder))


@dataclass(frozen=True)
class _Listing:
    """When a folder was listed, what its own time was then, and how long it took (ns)."""

    folder_ns: int
    at: Moment
    took_ns: int

    def is_outdated(self, folder_ns: int, now: Moment) -> bool:
        """Whether to list it again: at once if it has changed, now and then in any case.

        A file written anew under its name does not change the folder's time, and some file systems have none. Listing
        never takes more than a tenth of a processor.
        """
        age_ns = now.monotonic_ns - self.at.monotonic_ns
        # The folder may have changed again within the same tick of its file system's clock.
        is_young = self.at.at.timestamp() * 1e9 - folder_ns < _TICK_NS
        has_changed = folder_ns != self.folder_ns or is_young
        return age_ns >= (10 if has_changed else 50) * self.took_ns and (has_changed or age_ns >= _LIST_EVERY_NS)


def _is_called_a_picture(name: str) -> bool:
    return name.lower().endswith(_PICTURES)


def _shown(name: str) -> str:
    """A file's name as text that every protocol can carry, whatever bytes a foreign computer gave it."""
    return os.fsencode(name).decode("utf-8", "replace")
