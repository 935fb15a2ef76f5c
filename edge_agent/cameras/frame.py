"""A `Frame`, and what any camera does.

A frame is the encoded picture exactly as it was captured; nothing later changes those bytes, and a reading names their
SHA-256.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

# A 40-megapixel JPEG is about 20 MB; a file above this is refused without being decoded, here and by central.
MAX_PHOTO_BYTES: Final = 25 * 1024 * 1024


class CameraError(Exception):
    """The camera gave no usable picture; try again later."""


@dataclass(frozen=True)
class Frame:
    """One photograph. `key` names the file it came from, so that it is not read again after a restart."""

    data: bytes
    name: str
    captured_at: datetime
    monotonic_ns: int
    sensor_ns: int | None = None
    key: str | None = None


class StaleFrame(CameraError):  # noqa: N818 - a refusal is a result, not a fault
    """A live camera gave a picture that it had given before: it may show the plate before this one."""

    def __init__(self, frame: Frame, detail: str) -> None:
        """`frame` is the picture that is not new; it is refused, and kept for a person to see."""
        super().__init__(detail)
        self.frame = frame


class Camera(Protocol):
    """What the agent asks of any camera."""

    def capture(self) -> Frame | None:
        """The next photograph; None if there is none now."""

    def check(self) -> None:
        """Nothing, if a photograph could be taken now; CameraError says why not."""

    def close(self) -> None:
        """Release the device."""
