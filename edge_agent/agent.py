"""The story: capture, read, put, say so; sync and uploads beside it; stop cleanly.

Nothing says "saved" before the outbox has committed. Reading needs no broker, no network and no enrolment; they are the
other threads' business, and their trouble never stops this one.
"""

import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from threading import Event, Thread
from typing import Any, Final

import structlog

from edge_agent import AGENT_VERSION
from edge_agent.barcode import FoundCode
from edge_agent.clock import Moment, reading_id
from edge_agent.config import Config
from edge_agent.frame import Camera, CameraError, Frame, StaleFrame
from edge_agent.health import measure
from edge_agent.outbox import Outbox
from edge_agent.vision import PlateView, Refused
from protocol import codec
from protocol.messages import VERSION, CalibrationUsed, Clock, ModelUsed, Picture, PlateReading, Refusal
from protocol.profiles import profile_named

# How soon a new photograph in a folder, or a trigger, is noticed.
LOOK_EVERY_S: Final = 0.2
# The world's trouble (camera gone, disk full) is tried again this often.
TROUBLE_S: Final = 2.0
PRUNE_EVERY_S: Final = 3600.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Seen:
    """What a photograph shows: the plate's wells, its code, and how the bench has drifted from its calibration."""

    view: PlateView
    code: FoundCode
    calibration: CalibrationUsed | None = None


@dataclass(frozen=True)
class Reader:
    """This reader at its bench: who it is, and everything by which it touches the world."""

    config: Config
    device_id: str
    model: ModelUsed
    boot_id: str
    outbox: Outbox
    open_camera: Callable[[], Camera]
    read: Callable[[Frame], Seen]
    say: Callable[[dict[str, Any]], None]
    clocks: Callable[[], Moment]
    random_bytes: Callable[[int], bytes]
    notify: Callable[[str], None]
    trouble_s: float = TROUBLE_S


def run(reader: Reader, companions: dict[str, Callable[[Event], None]], stop: Event, trigger: Event) -> None:
    """Read plates until `stop`, with the companions (sync, uploads) in threads beside it."""
    threads = [
        Thread(target=_keep_going, args=(reader, name, companion, stop), name=name, daemon=True)
        for name, companion in companions.items()
    ]
    for thread in threads:
        thread.start()
    reader.notify("READY=1")
    try:
        read_plates(reader, stop, trigger)
    finally:
        stop.set()
        reader.notify("STOPPING=1")
        for thread in threads:
            thread.join(timeout=8.0)


def read_plates(reader: Reader, stop: Event, trigger: Event) -> None:
    """The main loop: one photograph after the other, until `stop`."""
    camera: Camera | None = None
    shutter, next_prune_s = Shutter(reader.config, trigger), 0.0
    try:
        while not stop.is_set():
            reader.notify("WATCHDOG=1")
            try:
                if time.monotonic() >= next_prune_s:
                    _prune(reader)
                    next_prune_s = time.monotonic() + PRUNE_EVERY_S
                camera = camera or reader.open_camera()
                _check_room(reader)
                if not (shutter.is_due() and _take_one(reader, camera, stop)):
                    stop.wait(LOOK_EVERY_S)
            except (CameraError, OSError, sqlite3.OperationalError) as error:
                _log.warning("cannot photograph now", error=str(error))
                stop.wait(reader.trouble_s)
            except Exception:  # noqa: BLE001
                # Our bug: say so and stay with the person at the bench. systemd sees it in the journal.
                _log.exception("unexpected error")
                stop.wait(reader.trouble_s)
    finally:
        if camera is not None:
            camera.close()


class Shutter:
    """When to look through the camera: a folder always, a live camera by its interval or when asked."""

    def __init__(self, config: Config, trigger: Event, now_s: Callable[[], float] = time.monotonic) -> None:
        """`trigger` is set by whoever asks for a photograph."""
        self._always = config.camera.kind == "folder"
        self._interval_s, self._trigger, self._now_s = config.camera.interval_s, trigger, now_s
        self._next_s = now_s()

    def is_due(self) -> bool:
        """Whether to capture now; asking takes the turn."""
        if self._always:
            return True
        asked = self._trigger.is_set()
        self._trigger.clear()
        if not asked and not (self._interval_s and self._now_s() >= self._next_s):
            return False
        self._next_s = self._now_s() + self._interval_s
        return True


def keep(reader: Reader, frame: Frame) -> dict[str, Any]:
    """Read one photograph and keep what came of it; the event to say, now that it is on the disk."""
    try:
        seen = reader.read(frame)
        document = codec.encode_reading(make_reading(reader, frame, seen))
        reading = codec.decode_reading(document)
    except Refused as refused:
        return _refuse(reader, frame, refused.reason, refused.detail)
    except Exception as error:  # noqa: BLE001
        # Our bug must not hold up the plates behind this one; the photograph is kept with the refused ones.
        _log.exception("reading failed", photo=frame.name)
        return _refuse(reader, frame, "internal_error", f"{type(error).__name__}: {error}")
    reader.outbox.put(document, frame.data, frame.key)
    return {
        "event": "saved",
        "id": reading.id,
        "photo": frame.name,
        "plate": reading.code.text if reading.code else None,
        "note": seen.code.note,
        "digest": codec.digest(document),
    }


def make_reading(reader: Reader, frame: Frame, seen: Seen) -> PlateReading:
    """The reading of a frame: what was seen, by whom, with what, when."""
    profile, photograph = profile_named(reader.config.profile), seen.view.photograph
    return PlateReading(
        v=VERSION,
        id=reading_id(frame.captured_at, reader.random_bytes(10)),
        device_id=reader.device_id,
        captured_at=frame.captured_at,
        clock=Clock(reader.boot_id, frame.monotonic_ns),
        profile=profile.name,
        profile_version=profile.version,
        code=seen.code.code,
        plate=seen.view.plate,
        wells=seen.view.wells,
        quality=seen.view.quality,
        model=reader.model,
        picture=Picture(
            sha256=codec.digest(frame.data),
            bytes=len(frame.data),
            width_px=photograph.width_px,
            height_px=photograph.height_px,
            media_type=photograph.media_type,
            name=frame.name,
        ),
        agent=AGENT_VERSION,
        calibration=seen.calibration,
    )


def _take_one(reader: Reader, camera: Camera, stop: Event) -> bool:
    """Capture and keep one photograph; whether there was one. A disk that is full now is waited for."""
    try:
        frame = camera.capture()
    except StaleFrame as stale:
        reader.say(_refuse(reader, stale.frame, "stale_frame", str(stale)))
        return True
    while frame is not None and not stop.is_set():
        try:
            event = keep(reader, frame)
        except (OSError, sqlite3.OperationalError) as error:
            _log.warning("cannot keep a reading yet", photo=frame.name, error=str(error))
            reader.notify("WATCHDOG=1")
            stop.wait(reader.trouble_s)
        else:
            reader.say(event)
            return True
    return False


def _refuse(reader: Reader, frame: Frame, reason: str, detail: str) -> dict[str, Any]:
    refusal = Refusal(at=frame.captured_at, photo=frame.name, reason=reason, detail=detail)
    reader.outbox.refuse(refusal, frame.data, frame.key, reader.config.keep.refused)
    return {"event": "refused", "photo": frame.name, "reason": reason, "detail": detail}


def _check_room(reader: Reader) -> None:
    """Refuse to photograph before the disk is so full that sending, which needs a little room itself, stops too."""
    free_mb, needed_mb = measure(reader.config.state_dir).disk_free_mb, reader.config.keep.free_mb
    if free_mb < needed_mb:
        raise OSError(f"the disk has {free_mb} MB free (expected at least {needed_mb} MB)")


def _prune(reader: Reader) -> None:
    limits = reader.config.keep
    reader.outbox.prune(timedelta(days=limits.days), limits.pictures_mb * 1_000_000)


def _keep_going(reader: Reader, name: str, companion: Callable[[Event], None], stop: Event) -> None:
    """Run a companion until `stop`; a bug in it is logged and it starts again, because readings wait behind it."""
    while not stop.is_set():
        try:
            companion(stop)
        except Exception:  # noqa: BLE001
            _log.exception("unexpected error", thread=name)
            stop.wait(reader.trouble_s)
