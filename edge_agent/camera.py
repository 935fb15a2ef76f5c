"""The camera that a configuration names, and the one that replays a folder. Those that see the bench are in
`live_camera`; what a camera is, and what it gives, is in `frame`.
"""

import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Final

import structlog

from edge_agent.clock import Moment, read_clocks
from edge_agent.config import CameraConfig
from edge_agent.frame import MAX_PHOTO_BYTES, Camera, CameraError, Frame

# What programs call a file that they have not finished writing.
_UNFINISHED: Final = (".part", ".tmp", ".filepart", ".crdownload", ".swp", "~")

_log = structlog.get_logger(__name__)


def open_camera(config: CameraConfig, was_captured: Callable[[str], bool]) -> Camera:
    """The camera that the configuration names. `was_captured` knows the files that are already kept."""
    if config.kind == "folder":
        return FolderCamera(config.folder, was_captured, watch=config.watch)
    from edge_agent.live_camera import FreshCamera, OpenCVCamera, PiCamera

    if config.kind == "opencv":
        return FreshCamera(lambda: OpenCVCamera(config))
    return FreshCamera(lambda: PiCamera(config, load_picamera2()))


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
    files are done is `was_captured`'s knowledge alone: a file whose reading could not be kept comes again.
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
        self._watch, self._settle_ns = watch, int(settle_s * 1e9)
        self._done: set[str] = set()
        self._first_seen_ns: dict[str, int] = {}
        self._unreadable: set[str] = set()
        self._at_start = None if watch else {path.name for path in self._files()}

    def capture(self) -> Frame | None:
        """The first complete file, by name, that has not been captured."""
        now = self._clocks()
        waiting: dict[str, int] = {}
        ready: Frame | None = None
        for path in self._files():
            key = self._waiting_key(path)
            if key is None:
                continue
            waiting[key] = self._first_seen_ns.get(key, now.monotonic_ns)
            if ready is None and self._is_settled(key, waiting[key], now):
                ready = self._read(path, key, now)
        self._first_seen_ns, self._unreadable = waiting, self._unreadable & set(waiting)
        return ready

    def close(self) -> None:
        """Nothing is held open."""

    def _files(self) -> list[Path]:
        try:
            paths = sorted(self._folder.iterdir(), key=lambda path: path.name)
        except OSError as error:
            raise CameraError(f"cannot list {self._folder}: {error.strerror}") from error
        return [
            path
            for path in paths
            if not path.name.startswith(".") and not path.name.endswith(_UNFINISHED) and path.is_file()
        ]

    def _waiting_key(self, path: Path) -> str | None:
        if self._at_start is not None and path.name not in self._at_start:
            return None
        try:
            status = path.stat()
        except FileNotFoundError:
            return None
        key = f"{_shown(path)}|{status.st_mtime_ns}|{status.st_size}"
        if key not in self._done and self._was_captured(key):
            self._done.add(key)
        return None if key in self._done else key

    def _is_settled(self, key: str, first_seen_ns: int, now: Moment) -> bool:
        """Two looks that agree; or one look at a file that was last written long before it."""
        age_ns = int(now.at.timestamp() * 1e9) - int(key.rsplit("|", 2)[1])
        return now.monotonic_ns - first_seen_ns >= self._settle_ns or age_ns >= 2 * self._settle_ns

    def _read(self, path: Path, key: str, now: Moment) -> Frame | None:
        """The file's bytes; None for one that cannot be read now, which must not hold up those after it."""
        try:
            with path.open("rb") as file:
                # One byte more than allowed is enough to refuse it.
                data = file.read(MAX_PHOTO_BYTES + 1)
        except OSError as error:
            if key not in self._unreadable:
                _log.warning("cannot read a photograph", photo=_shown(path), error=error.strerror)
                self._unreadable.add(key)
            return None
        return Frame(data, _shown(path), now.at, now.monotonic_ns, key=key)


def _shown(path: Path) -> str:
    """A file's name as text that every protocol can carry, whatever bytes a foreign computer gave it."""
    return os.fsencode(path.name).decode("utf-8", "replace")
