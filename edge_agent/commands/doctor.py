"""Looks the reader over, from the camera to central, and says what to do about what it finds."""

import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx

from edge_agent.cameras.camera import load_picamera2, open_camera
from edge_agent.cameras.frame import CameraError
from edge_agent.clock import EARLIEST, system_quality
from edge_agent.clock_floor import floor, saved_clock
from edge_agent.config import Config
from edge_agent.durable import make_folder, write_durably
from edge_agent.health import measure
from edge_agent.link.enrol import Access, EnrolmentError, load_access
from edge_agent.outbox.file import OutboxError, lock_folder, open_file
from edge_agent.outbox.look import newest_document, open_for_looking
from edge_agent.troubles import left_troubles
from protocol.codec import decode_reading
from protocol.messages import PlateReading

ANSWER_S = 3.0


@dataclass(frozen=True)
class Check:
    """One thing looked at. `detail` is for a person: what was found, and what to do if it is not `ok`."""

    name: str
    ok: bool
    detail: str


def examine(config: Config, now: datetime | None = None) -> Iterator[Check]:
    """Every check, in the order of a reading's journey."""
    looks: dict[str, Callable[[], str]] = {
        "disk": lambda: _disk(config),
        "clock": lambda: _clock(config.state_dir, now or datetime.now(UTC)),
        "camera": lambda: _camera(config),
        "model": lambda: _model(config),
        "calibration": lambda: _calibration(config.state_dir, now or datetime.now(UTC)),
        "outbox": lambda: _outbox(config.state_dir),
        "agent": lambda: _agent(config.state_dir),
        "enrolment": lambda: f"device {_access(config).enrolment.device_id}",
        "central": lambda: _central(config),
        "broker": lambda: _broker(config),
    }
    for name, look in looks.items():
        try:
            yield Check(name, ok=True, detail=look())
        except (
            CameraError,
            EnrolmentError,
            OutboxError,
            OSError,
            ValueError,
            httpx.HTTPError,
            httpx.InvalidURL,
        ) as error:
            yield Check(name, ok=False, detail=str(error) or type(error).__name__)


def _disk(config: Config) -> str:
    make_folder(config.state_dir)
    probe = config.state_dir / "doctor-probe"
    write_durably(probe, b"probe")
    probe.unlink()
    health = measure(config.state_dir)
    if health.disk_free_mb < config.keep.free_mb:
        raise OSError(f"{health.disk_free_mb} MB free (expected at least {config.keep.free_mb} MB: nothing is read)")
    warmth = "" if health.temperature_celsius is None else f", {health.temperature_celsius:.0f} °C"
    return f"{config.state_dir} is writable, {health.disk_free_mb} MB free{warmth}"


def _clock(state_dir: Path, now: datetime) -> str:
    """A clock that is behind what this reader has seen already was never set, or set wrong."""
    past, quality, saved = floor(state_dir), system_quality(), saved_clock(state_dir)
    if now < past and not (quality == "synchronised" and now >= EARLIEST):
        raise ValueError(
            f"the clock says {now:%Y-%m-%d %H:%M} (expected after {past:%Y-%m-%d %H:%M}: set it, or wait for NTP)"
        )
    jumps = saved.jumps if saved else ()
    jumped = f"; it was set while the agent ran ({len(jumps)} ×, last by {jumps[-1].by_s:+.1f} s)" if jumps else ""
    return f"{now:%Y-%m-%d %H:%M:%S} UTC, {quality}{jumped}"


def _camera(config: Config) -> str:
    camera = config.camera
    if camera.kind == "picamera2":
        load_picamera2()
        return "picamera2 is installed"
    opened = open_camera(camera, lambda _: False)
    try:
        if camera.kind == "folder":
            return f"photographs come from {camera.folder}"
        frame = opened.capture()
        return f"{camera.device} gave a picture of {len(frame.data) if frame else 0} bytes"
    finally:
        opened.close()


def _model(config: Config) -> str:
    from edge_agent.vision import load_model

    used = load_model(config.model_folder, threads=config.threads).used
    return f"{used.name} version {used.version}, {used.sha256[:12]}, on {used.runtime}"


def _calibration(state_dir: Path, now: datetime) -> str:
    """Its age, and how far the newest reading that was compared with it had drifted."""
    from edge_agent.cameras.calibration import in_force

    current = in_force(state_dir)
    if current is None:
        return "none: drift is not measured (put a plate into the seat and run `wellread-agent calibrate`)"
    age = f"{current.id}, {max(0, (now - current.calibration.made_at).days)} days old"
    reading = _last_reading(state_dir)
    if reading is None or reading.calibration is None or reading.calibration.id != current.id:
        return f"{age}; no reading since"
    drift = {name: value for name, value in reading.quality.items() if name.startswith("drift_")}
    figures = ", ".join(f"{name.removeprefix('drift_').replace('_', ' ')} {value:.2f}" for name, value in drift.items())
    if reading.calibration.drifted:
        what = ", ".join(reading.calibration.drifted)
        raise ValueError(f"{age}; drifted: {what} ({figures}): look at holder and lamp, then calibrate again")
    return f"{age}; drift of the last reading: {figures}"


def _last_reading(state_dir: Path) -> PlateReading | None:
    path = state_dir / "outbox.db"
    if not path.is_file():
        return None
    with closing(open_for_looking(path)) as connection:
        document = newest_document(connection)
    return decode_reading(document) if document else None


def _outbox(state_dir: Path) -> str:
    with tempfile.TemporaryDirectory(dir=state_dir, prefix=".doctor-") as folder:
        # A new file on the same disk: the settings of the real one belong to the agent's own connection.
        open_file(Path(folder) / "outbox.db", lambda: "doctor").close()
    path = state_dir / "outbox.db"
    if not path.is_file():
        return "SQLite keeps WAL and synchronous=FULL here; nothing was read yet"
    with closing(open_for_looking(path)) as connection:
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        (readings,) = connection.execute("SELECT count(*) FROM readings").fetchone()
    if verdict != "ok":
        raise OutboxError(f"{path}: {verdict} (copy the state folder away before anything else)")
    return f"{readings} readings, SQLite keeps WAL and synchronous=FULL"


def _agent(state_dir: Path) -> str:
    """What the agent that runs here says of itself."""
    try:
        os.close(lock_folder(state_dir))
    except OutboxError:
        troubles = left_troubles(state_dir)
        if troubles:
            raise ValueError("; ".join(f"{one.part}: {one.detail}" for one in troubles)) from None
        return "it runs, and nothing is in trouble"
    return "it does not run"


def _access(config: Config) -> Access:
    access = load_access(config.state_dir, config.central.url)
    if access is None:
        raise EnrolmentError("not enrolled: it reads and keeps, and sends nothing (run `wellread-agent enrol`)")
    return access


def _central(config: Config) -> str:
    url = _access(config).central_url
    answer = httpx.get(f"{url}/healthz", timeout=ANSWER_S)
    if not answer.is_success:
        raise OSError(f"{url} answers {answer.status_code} (expected 200)")
    return f"{url} answers"


def _broker(config: Config) -> str:
    broker = _access(config).enrolment.broker
    try:
        socket.create_connection((broker.host, broker.port), timeout=ANSWER_S).close()
    except OSError as error:
        raise OSError(f"cannot reach the broker at {broker.host}:{broker.port}: {error}") from error
    return f"{broker.host}:{broker.port} is reachable"
