"""`wellread-agent calibrate [PHOTO]`: remember how a plate looks in its seat today; `--show` says what is in force.

The plate is read first: what cannot be read is nothing to compare with. Exit status: 0 done, 1 not done, 2 usage.
"""

from contextlib import closing
from pathlib import Path

import click
import msgspec

from edge_agent import AGENT_VERSION
from edge_agent.cameras.appearance import look_at
from edge_agent.cameras.calibration import VERSION, Calibration, CalibrationError, InForce, in_force, keep
from edge_agent.cameras.camera import open_camera
from edge_agent.cameras.frame import MAX_PHOTO_BYTES, CameraError, Frame
from edge_agent.clock import read_clocks
from edge_agent.config import Config, load_config
from edge_agent.vision import ModelMismatch, Refused, load_model, read_plate
from protocol.codec import digest
from protocol.profiles import profile_named


@click.command()
@click.argument("photo", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--show", is_flag=True, help="Only show the calibration in force.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Configuration file; without it /etc/wellread/agent.toml, if there is one.",
)
@click.option("--state-dir", type=click.Path(path_type=Path), help="Folder of outbox, enrolment and calibrations.")
def calibrate(
    photo: Path | None, *, show: bool, as_json: bool, config_file: Path | None, state_dir: Path | None
) -> None:
    """Calibrate the bench with the plate that lies in its seat, through the camera or from PHOTO."""
    try:
        config = load_config(config_file, overrides={"state_dir": state_dir} if state_dir else None)
        current = in_force(config.state_dir) if show else _calibrate(config, photo)
    except (CalibrationError, CameraError, ModelMismatch, Refused, OSError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    if current is None:
        raise click.ClickException(
            "the bench is not calibrated (put a plate into the seat and run this without --show)"
        )
    click.echo(_json(current) if as_json else _text(current))


def _calibrate(config: Config, photo: Path | None) -> InForce:
    frame, model = _frame(config, photo), load_model(config.model_folder, threads=config.threads)
    view = read_plate(frame, profile_named(config.profile), model=model, seat=config.parsed_seat)
    calibration = Calibration(
        v=VERSION,
        made_at=frame.captured_at,
        source=frame.name,
        picture_sha256=digest(frame.data),
        seat=config.seat,
        model=model.used,
        agent=AGENT_VERSION,
        plate=look_at(view),
    )
    return keep(config.state_dir, calibration)


def _frame(config: Config, photo: Path | None) -> Frame:
    """The photograph that was named, or a new one from a live camera."""
    if photo is not None:
        now = read_clocks()
        with photo.open("rb") as file:
            return Frame(file.read(MAX_PHOTO_BYTES + 1), photo.name, now.at, now.monotonic_ns, key=photo.name)
    if config.camera.kind == "folder":
        raise click.UsageError("the camera is a folder of photographs (expected PHOTO: one with a plate in the seat)")
    with closing(open_camera(config.camera, lambda _: False)) as camera:
        frame = camera.capture()
    if frame is None:
        raise CameraError(f"camera {config.camera.kind} gave no picture (expected one)")
    return frame


def _json(current: InForce) -> str:
    return msgspec.json.encode({"id": current.id} | msgspec.to_builtins(current.calibration)).decode()


def _text(current: InForce) -> str:
    one, plate = current.calibration, current.calibration.plate
    corners = "  ".join(f"({x:.0f}, {y:.0f})" for x, y in plate.corners_px)
    even = min(min(row) for row in plate.flat_field)
    return "\n".join(
        (
            f"calibration {current.id}, made {one.made_at:%Y-%m-%d %H:%M} UTC from {one.source}",
            f"picture     {plate.width_px} × {plate.height_px} px, a well every {plate.pitch_px:.1f} px",
            f"plate       {plate.format} wells, turned {plate.rotation_degrees}°, corner wells at {corners}",
            f"light       {plate.level_1_percent:.2f} to {plate.level_99_percent:.2f}, in the middle "
            f"{plate.level_50_percent:.2f}; darkest corner {even:.0%} of the brightest",
            f"white       red {plate.white_red:.2f}, blue {plate.white_blue:.2f} of green",
            f"model       {one.model.name} version {one.model.version}",
        )
    )
