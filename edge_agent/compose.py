"""Wires an agent from its configuration: the one place where clocks, randomness, model, camera and threads meet."""

import itertools
import os
import random
import secrets
from collections.abc import Callable
from threading import Event
from typing import Any

import structlog

from edge_agent import agent, sync, uploads
from edge_agent.barcode import agreed, find_code
from edge_agent.calibration import CalibrationError, InForce, check_size, compare, in_force
from edge_agent.camera import open_camera
from edge_agent.clock import BootClock, read_boot_id, read_clocks
from edge_agent.config import Config
from edge_agent.conversation import Conversation
from edge_agent.enrol import Access, device_id, load_access
from edge_agent.frame import Frame
from edge_agent.outbox import Outbox
from edge_agent.vision import Model, load_model, read_plate
from edge_agent.vision.image import read_header
from protocol.messages import ModelUsed, PlateCode
from protocol.plate import Seat
from protocol.profiles import profile_named

_log = structlog.get_logger(__name__)


def run(
    config: Config,
    *,
    say: Callable[[dict[str, Any]], None],
    notify: Callable[[str], None],
    stop: Event,
    trigger: Event,
    given: PlateCode | None = None,
) -> None:
    """Run the agent until `stop`. `given` is the plate's code where a person knows it."""
    session, own_id = secrets.token_hex(4), device_id(config.state_dir, os.urandom)
    model = load_model(config.model_folder, threads=config.threads)
    outbox = Outbox(config.state_dir, session=session)
    try:
        reader = agent.Reader(
            config=config,
            device_id=own_id,
            model=model.used,
            boot_id=read_boot_id(),
            outbox=outbox,
            open_camera=lambda: open_camera(config.camera, outbox.was_captured),
            read=reading_with(config, model, config.parsed_seat, given),
            say=say,
            clocks=read_clocks,
            random_bytes=os.urandom,
            notify=notify,
        )
        agent.run(reader, _companions(config, outbox, own_id, model.used, session), stop, trigger)
    finally:
        outbox.close()


def reading_with(
    config: Config, model: Model, seat: Seat | None, given: PlateCode | None
) -> Callable[[Frame], agent.Seen]:
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
    config: Config, outbox: Outbox, own_id: str, model: ModelUsed, session: str
) -> dict[str, Callable[[Event], None]]:
    def access() -> Access | None:
        return load_access(config.state_dir, config.central.url)

    def jitter() -> float:
        return random.uniform(-1, 1)

    conversation = Conversation(
        outbox,
        own_id,
        f"{model.name}-v{model.version}",
        clocks=read_clocks,
        jitter=jitter,
        boot_clock=BootClock(read_boot_id()),
    )
    sessions = (f"{session}-{connection}" for connection in itertools.count(1))
    return {
        "sync": lambda stop: sync.run(conversation, access, sessions, jitter, stop),
        "uploads": lambda stop: uploads.run(outbox, access, jitter, stop),
    }
