"""Wires an agent from its configuration: the one place where clocks, randomness, model, camera and threads meet."""

import functools
import itertools
import os
import random
import secrets
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any, Final

import structlog

from edge_agent import agent
from edge_agent.barcode import agreed, find_code
from edge_agent.cameras.calibration import CalibrationError, InForce, check_size, compare, in_force
from edge_agent.cameras.camera import open_camera
from edge_agent.cameras.frame import Camera, Frame
from edge_agent.cameras.live import MOST_DROPPED, FreshCamera
from edge_agent.cameras.thread import PATIENCE_S, ThreadedCamera
from edge_agent.clock import BootClock, read_boot_id, system_quality
from edge_agent.clock_floor import floor
from edge_agent.config import CameraConfig, Config
from edge_agent.link import sync, uploads
from edge_agent.link.conversation import Conversation
from edge_agent.link.enrol import Access, device_id, load_access
from edge_agent.outbox import requests
from edge_agent.outbox.outbox import Outbox
from edge_agent.progress import Progress
from edge_agent.safe_mode import wait_until_right
from edge_agent.troubles import Troubles
from edge_agent.vision import Model, load_model, read_plate
from edge_agent.vision.image import read_header
from protocol.messages import PlateCode
from protocol.plate import Seat
from protocol.profiles import profile_named

# A name server that does not answer holds up a connection for so long.
CONNECTING_S: Final = 60.0
# A megabyte at 64 kbit/s takes two minutes.
UPLOADING_S: Final = 300.0
LOADING_S: Final = 60.0
# A stick with a month of readings.
IMPORTING_S: Final = 1800.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Bench:
    """What an agent has whatever its configuration says: its outbox, its clock, its line, and how it is."""

    state_dir: Path
    device_id: str
    outbox: Outbox
    clock: BootClock
    troubles: Troubles
    progress: Progress
    conversation: Conversation


def run(
    load: Callable[[], Config],
    what_is_left: Callable[[], Config | None],
    *,
    say: Callable[[dict[str, Any]], None],
    notify: Callable[[str], None],
    stop: Event,
    trigger: Event,
    given: PlateCode | None = None,
) -> None:
    """Run the agent until `stop`. `given` is the plate's code where a person knows it.

    `load` gives the configuration, or a ValueError that says what is wrong with it; then `what_is_left` of it keeps
    the agent sending until it is right.
    """
    first, session = _first_config(load, what_is_left), secrets.token_hex(4)
    own_id = device_id(first.state_dir, os.urandom)
    clock = BootClock(read_boot_id(), floor=floor(first.state_dir), quality=system_quality)
    progress, jitter = Progress(), lambda: random.uniform(-1, 1)  # noqa: S311  (how long to wait)
    with (
        closing(Troubles(lambda: clock().at, say)) as troubles,
        closing(_open_outbox(first, session, clock, troubles, stop)) as outbox,
    ):
        troubles.leave_in(first.state_dir)
        conversation = Conversation(
            outbox, own_id, None, clocks=clock, jitter=jitter, boot_clock=clock, troubles=troubles
        )
        bench = Bench(first.state_dir, own_id, outbox, clock, troubles, progress, conversation)

        def work(stopped: Event) -> None:
            progress.beat(agent.MAIN, LOADING_S, "loading the model")
            ready = functools.partial(notify, "READY=1")
            reader = wait_until_right(lambda: _reader(bench, load(), given, say), troubles, stopped, on_wrong=ready)
            if reader is not None:
                ready()
                agent.read_plates(reader, stopped, trigger)

        agent.run(work, _companions(bench, first.central.url, session, jitter), progress, notify, stop)


def _first_config(load: Callable[[], Config], what_is_left: Callable[[], Config | None]) -> Config:
    try:
        return load()
    except ValueError:
        left = what_is_left()
        if left is None:
            raise
        return left


def _open_outbox(config: Config, session: str, clock: BootClock, troubles: Troubles, stop: Event) -> Outbox:
    """The outbox; on a disk that is full or fails, as soon as it can be opened."""
    while True:
        try:
            outbox = Outbox(
                config.state_dir, session=session, clocks=clock, central_now=clock.central_now, keep=config.keep
            )
        except (OSError, sqlite3.OperationalError) as error:
            troubles.found("outbox", f"it cannot be opened: {error}")
            if stop.wait(agent.TROUBLE_S):
                raise
        else:
            troubles.mended("outbox")
            return outbox


def _reader(
    bench: Bench, config: Config, given: PlateCode | None, say: Callable[[dict[str, Any]], None]
) -> agent.Reader:
    """Everything that photographs are taken and read with; ValueError or ModelMismatch says what is wrong."""
    if config.state_dir != bench.state_dir:
        raise ValueError(
            f"state_dir is {str(config.state_dir)!r} (expected {str(bench.state_dir)!r}, where this agent works: "
            "stop it and start it again to change the folder)"
        )
    bench.progress.beat(agent.MAIN, LOADING_S, "loading the model")
    model = load_model(config.model_folder, threads=config.threads)
    bench.conversation.reads_with(f"{model.used.name}-v{model.used.version}")
    return agent.Reader(
        config=config,
        device_id=bench.device_id,
        model=model.used,
        outbox=bench.outbox,
        camera=camera_of(config.camera, bench.outbox.was_captured, bench.troubles, bench.progress, bench.clock),
        read=reading_with(config, model, config.parsed_seat, given),
        say=say,
        clock=bench.clock,
        random_bytes=os.urandom,
        troubles=bench.troubles,
        progress=bench.progress,
    )


def camera_of(
    config: CameraConfig,
    was_captured: Callable[[str], bool],
    troubles: Troubles,
    progress: Progress,
    clock: BootClock,
    *,
    patience_s: float = PATIENCE_S,
) -> Camera:
    """The camera of a configuration, which neither hangs nor gives an old picture. It is opened when first asked."""
    threaded = ThreadedCamera(
        lambda: open_camera(config, was_captured, clock),
        progress,
        tell=lambda detail: troubles.found("camera", detail),
        waiting=lambda: progress.beat(agent.MAIN, doing="waiting for the camera"),
        # Frames are dropped until the settings are in force, and each of them takes at least its exposure.
        patience_s=patience_s + MOST_DROPPED * config.exposure_us / 1e6 * (config.kind == "picamera2"),
    )
    return threaded if config.kind == "folder" else FreshCamera(lambda: threaded)


def reading_with(
    config: Config, model: Model, seat: Seat | None, given: PlateCode | None
) -> Callable[[Frame], agent.Seen]:
    """What reads a frame on this bench."""
    profile = profile_named(config.profile)

    def read(frame: Frame) -> agent.Seen:
        # Looked up for each frame, so that a bench calibrated beside a running agent needs no restart.
        current = _calibration(config)
        if current is not None and frame.key is None:
            header = read_header(frame.data)
            check_size(current, header.width_px, header.height_px)
        view, calibration = read_plate(frame, profile, model=model, seat=seat), None
        if current is not None:
            view, calibration = compare(current, view)
        return agent.Seen(view, agreed(find_code(view.photograph.image_bgr), given), calibration)

    return read


def _calibration(config: Config) -> InForce | None:
    """The calibration in force. One that is damaged stops no reading: it measures, it does not decide."""
    try:
        return in_force(config.state_dir)
    except CalibrationError as error:
        _log.warning("not calibrated", error=str(error))
        return None


def _companions(
    bench: Bench, central_url: str, session: str, jitter: Callable[[], float]
) -> dict[str, Callable[[Event], None]]:
    """The loops that talk to the world. Each says when it may be busy for longer than usual."""
    progress = bench.progress

    def access() -> Access | None:
        return load_access(bench.state_dir, central_url)

    def access_for_sync() -> Access | None:
        # Asked for before each connection.
        progress.beat("sync", CONNECTING_S, "connecting to the broker")
        return access()

    sessions = (f"{session}-{connection}" for connection in itertools.count(1))
    return {
        "sync": lambda stop: sync.run(bench.conversation, access_for_sync, sessions, jitter, stop),
        "uploads": lambda stop: uploads.run(
            bench.outbox, access, jitter, stop, lambda: progress.beat("uploads", UPLOADING_S, "giving a picture")
        ),
        "requests": lambda stop: requests.run(
            bench.outbox, bench.state_dir, stop, lambda: progress.beat("requests", IMPORTING_S, "taking up a request")
        ),
    }
