"""The story: capture, read, put, say so; sync and uploads beside it; stop cleanly.

Nothing says "saved" before the outbox has committed. Reading needs no broker, no network and no enrolment; they are the
other threads' business, and their trouble never stops this one. What is in trouble is said, once, and tried again; each
loop says that it gets on (`progress`), and systemd hears so only while all of them do.
"""

import errno
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from threading import Event, Thread
from typing import Any, Final

import structlog

from edge_agent import AGENT_VERSION
from edge_agent.attempts import EndsTheAgentError, attempted
from edge_agent.barcode import FoundCode
from edge_agent.cameras.frame import Camera, CameraError, Frame, StaleFrame
from edge_agent.clock import BootClock, Moment, reading_id
from edge_agent.clock_floor import SAVE_EVERY_S, save_clock
from edge_agent.config import Config
from edge_agent.durable import write_durably
from edge_agent.health import measure
from edge_agent.outbox.file import OutboxError
from edge_agent.outbox.outbox import Outbox
from edge_agent.progress import Progress, Pulse, feed
from edge_agent.troubles import Troubles
from edge_agent.vision import PlateView, Refused
from protocol import codec
from protocol.messages import VERSION, CalibrationUsed, ModelUsed, PartInTrouble, Picture, PlateReading, Refusal
from protocol.profiles import profile_named

# How soon a new photograph in a folder, or a trigger, is noticed.
LOOK_EVERY_S: Final = 0.2
# The world's trouble (camera gone, disk full) is tried again this often.
TROUBLE_S: Final = 2.0
# How often a camera that waits is asked whether it is still there, so that a person knows before putting a plate down.
CHECK_EVERY_S: Final = 1.5
PRUNE_EVERY_S: Final = 3600.0
PRUNE_WHEN_FULL_S: Final = 60.0
REFLECT_EVERY_S: Final = 1.0
# A large picture on a slow reader takes several seconds; forgetting a month of readings, too.
READING_S: Final = 60.0
PRUNING_S: Final = 60.0

# The main loop, as `progress` knows it.
MAIN: Final = "main"
_DISK: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})

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
    outbox: Outbox
    camera: Camera
    read: Callable[[Frame], Seen]
    say: Callable[[dict[str, Any]], None]
    clock: BootClock
    random_bytes: Callable[[int], bytes]
    troubles: Troubles
    progress: Progress
    trouble_s: float = TROUBLE_S


def run(
    work: Callable[[Event], None],
    companions: dict[str, Callable[[Event], None]],
    progress: Progress,
    notify: Callable[[str], None],
    stop: Event,
    *,
    trouble_s: float = TROUBLE_S,
) -> None:
    """Do the `work` (see `read_plates`) until `stop`, with the companions (sync, uploads) in threads beside it."""
    threads = [
        Thread(
            target=_keep_going, args=(name, companion, Pulse(stop, progress, name), trouble_s), name=name, daemon=True
        )
        for name, companion in companions.items()
    ]
    feeder = Thread(target=feed, args=(progress, notify, stop), name="watchdog", daemon=True)
    for thread in (*threads, feeder):
        thread.start()
    try:
        work(Pulse(stop, progress, MAIN))
    finally:
        stop.set()
        notify("STOPPING=1")
        for thread in threads:
            thread.join(timeout=8.0)


def read_plates(reader: Reader, stop: Event, trigger: Event) -> None:
    """The main loop: one photograph after the other, until `stop`."""
    shutter, chores = Shutter(reader.config, trigger), Chores(reader)
    try:
        while not stop.is_set():
            try:
                chores.do()
                if not (shutter.is_due() and _take_one(reader, stop)):
                    chores.check_camera()
                    stop.wait(LOOK_EVERY_S)
            except (CameraError, OSError, sqlite3.OperationalError, OutboxError) as error:
                reader.troubles.found(_part_of(error), _detail(error))
                stop.wait(reader.trouble_s)
            except Exception:  # noqa: BLE001
                # Our bug: say so and stay with the person at the bench. systemd sees it in the journal.
                _log.exception("unexpected error")
                stop.wait(reader.trouble_s)
    finally:
        reader.camera.close()
        chores.save_clock()


class Chores:
    """What the main loop does beside photographing. Trouble in any of them comes before the next photograph."""

    def __init__(self, reader: Reader, now_s: Callable[[], float] = time.monotonic) -> None:
        """Each is due at once, except the camera, which is opened by the first photograph or a moment later."""
        self._reader, self._now_s = reader, now_s
        self._prune_s = self._pruned_s = self._reflect_s = self._save_s = self._check_s = now_s()

    def do(self) -> None:
        """Whatever is due."""
        reader = self._reader
        reader.clock()
        _show(reader.troubles, "clock", reader.clock.trouble())
        if self._is_due("_reflect_s", REFLECT_EVERY_S):
            reader.troubles.reflect(reader.outbox.troubles())
        if self._now_s() >= self._prune_s:
            self._prune()
        try:
            _check_room(reader)
        except OSError:
            # What may be forgotten to make room, is.
            self._prune_s = min(self._prune_s, self._pruned_s + PRUNE_WHEN_FULL_S)
            raise
        if self._is_due("_save_s", SAVE_EVERY_S):
            self.save_clock()

    def check_camera(self) -> None:
        """Ask a camera that waits whether it is still there."""
        if self._is_due("_check_s", min(CHECK_EVERY_S, self._reader.trouble_s)):
            self._reader.camera.check()
            self._reader.troubles.mended("camera")

    def save_clock(self) -> None:
        """Remember the time. Nothing depends on it until the next start, so a full disk is no trouble here."""
        try:
            save_clock(self._reader.config.state_dir, self._reader.clock().at, self._reader.clock.jumps())
        except OSError as error:
            _log.warning("the time was not saved", error=str(error))

    def _prune(self) -> None:
        reader, limits = self._reader, self._reader.config.keep
        reader.progress.beat(MAIN, PRUNING_S, "pruning")
        reader.outbox.prune(timedelta(days=limits.days), limits.pictures_mb * 1_000_000)
        self._pruned_s = self._now_s()
        self._prune_s = self._pruned_s + PRUNE_EVERY_S
        reader.troubles.mended("outbox")

    def _is_due(self, name: str, every_s: float) -> bool:
        now_s = self._now_s()
        if now_s < getattr(self, name):
            return False
        setattr(self, name, now_s + every_s)
        return True


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
        with attempted(reader.config.state_dir, codec.digest(frame.data)):
            seen = reader.read(frame)
        document = codec.encode_reading(make_reading(reader, frame, seen))
        reading = codec.decode_reading(document)
    except Refused as refused:
        return _refuse(reader, frame, refused.reason, refused.detail)
    except EndsTheAgentError as error:
        return _refuse(reader, frame, "ends_the_agent", f"{error} (send it to whoever looks after the software)")
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
        clock=reader.clock.clock(Moment(frame.captured_at, frame.monotonic_ns)),
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


def _take_one(reader: Reader, stop: Event) -> bool:
    """Capture and keep one photograph; whether there was one. A disk that is full now is waited for."""
    try:
        frame = reader.camera.capture()
    except StaleFrame as stale:
        reader.say(_refuse(reader, stale.frame, "stale_frame", str(stale)))
        raise
    reader.troubles.mended("camera")
    while frame is not None and not stop.is_set():
        try:
            reader.progress.beat(MAIN, READING_S, f"reading {frame.name}")
            event = keep(reader, frame)
        except (OSError, sqlite3.OperationalError, OutboxError) as error:
            reader.troubles.found(_part_of(error), f"a reading cannot be kept yet: {_detail(error)}")
            stop.wait(reader.trouble_s)
        else:
            reader.troubles.mended("outbox")
            reader.say(event)
            return True
    return False


def _refuse(reader: Reader, frame: Frame, reason: str, detail: str) -> dict[str, Any]:
    refusal = Refusal(at=frame.captured_at, photo=frame.name, reason=reason, detail=detail)
    reader.outbox.refuse(refusal, frame.data, frame.key, reader.config.keep.refused)
    return {"event": "refused", "photo": frame.name, "reason": reason, "detail": detail}


def _check_room(reader: Reader) -> None:
    """Refuse to photograph before the disk is so full that sending, which needs a little room itself, stops too."""
    state_dir, needed_mb = reader.config.state_dir, reader.config.keep.free_mb
    free_mb = measure(state_dir).disk_free_mb
    if free_mb < needed_mb:
        raise OSError(
            errno.ENOSPC,
            f"{free_mb} MB free (expected at least {needed_mb} MB): nothing is photographed, sending goes on",
        )
    if "disk" in reader.troubles:
        # Room alone does not mend a disk that was made read-only, or fails.
        write_durably(state_dir / "disk-probe", b"probe")
        (state_dir / "disk-probe").unlink()
        reader.troubles.mended("disk")


def _part_of(error: Exception) -> PartInTrouble:
    """Which part of the bench an error is about."""
    if isinstance(error, CameraError):
        return "camera"
    if isinstance(error, OSError) and error.errno in _DISK:
        return "disk"
    return "disk" if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL else "outbox"


def _detail(error: Exception) -> str:
    """An error without its number."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def _show(troubles: Troubles, part: PartInTrouble, detail: str | None) -> None:
    if detail is None:
        troubles.mended(part)
    else:
        troubles.found(part, detail)


def _keep_going(name: str, companion: Callable[[Event], None], stop: Event, trouble_s: float) -> None:
    """Run a companion until `stop`; a bug in it is logged and it starts again, because readings wait behind it."""
    while not stop.is_set():
        try:
            companion(stop)
        except Exception:  # noqa: BLE001
            _log.exception("unexpected error", thread=name)
            stop.wait(trouble_s)
