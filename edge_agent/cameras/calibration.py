"""The calibration of a bench: how a plate looked in its seat when all was well, and how far a reading is from that.

Calibrations are kept for ever, each in its file, and the one with the highest number is in force; so a reading that
names one can be compared with it years later. No pixel is changed by a calibration: it only measures.
"""

import math
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec

from edge_agent.cameras.appearance import Appearance, look_at
from edge_agent.durable import make_folder, write_durably
from edge_agent.vision import PlateView, Refused
from protocol.messages import CalibrationUsed, Drift, ModelUsed

VERSION: Final = 1

# Half a pitch is more play than a holder has, and less than takes one well for the next.
MAX_DRIFT_PITCH: Final = 0.5
# Half the short side of a 96-well plate: so far off, a plate does not lie in its holder, and which of its corners is A1
# is no longer what the seat says.
NOT_IN_SEAT_PITCH: Final = 4.0
# Up to these, measured, no titre changes (docs/decisions/0010-limits-of-quality.md), so no pixel is corrected either;
# beyond them nobody has looked.
MAX_DRIFT_STOPS: Final = 1.0
MAX_DRIFT_WHITE: Final = 0.5
MAX_DRIFT_FLAT: Final = 0.5


class CalibrationError(ValueError):
    """A calibration on the disk cannot be used; the message names the file."""


class Calibration(msgspec.Struct, frozen=True):
    """One calibration. `source` is the photograph's name."""

    v: int
    made_at: datetime
    source: str
    picture_sha256: str
    seat: str
    model: ModelUsed
    agent: str
    plate: Appearance


@dataclass(frozen=True, slots=True)
class InForce:
    """A calibration with the name that readings give it."""

    id: str
    calibration: Calibration


def keep(state_dir: Path, calibration: Calibration) -> InForce:
    """Write a calibration beside the older ones; it is in force from now on."""
    document = msgspec.json.format(msgspec.json.encode(calibration), indent=2) + b"\n"
    number = 1 + max((_number(path) for path in _files(state_dir)), default=0)
    name = f"{number:04d}-{sha256(document).hexdigest()[:8]}"
    make_folder(_folder(state_dir))
    write_durably(_folder(state_dir) / f"{name}.json", document)
    return InForce(name, calibration)


def in_force(state_dir: Path) -> InForce | None:
    """The newest calibration by number; None where there is none."""
    path = max(_files(state_dir), key=_number, default=None)
    if path is None:
        return None
    try:
        calibration = msgspec.json.decode(path.read_bytes(), type=Calibration)
    except (OSError, msgspec.DecodeError) as error:
        raise CalibrationError(f"cannot use the calibration {path}: {error} (calibrate the bench again)") from error
    if calibration.v != VERSION:
        raise CalibrationError(f"the calibration {path} is of version {calibration.v} (expected {VERSION})")
    return InForce(path.stem, calibration)


def measure_drift(then: Appearance, now: Appearance) -> dict[str, float]:
    """How far a plate lies and looks from the calibrated one; its place only where the pictures can be compared.

    A picture of the same shape and another size is the same picture, scaled.
    """
    drift = {
        "drift_light_stops": math.log2(now.plastic_light / then.plastic_light),
        "drift_white_share": max(abs(now.white_red / then.white_red - 1), abs(now.white_blue / then.white_blue - 1)),
    }
    if now.format == then.format:
        pairs = zip(sum(now.flat_field, ()), sum(then.flat_field, ()), strict=True)
        drift["drift_flat_share"] = max(abs(one - other) for one, other in pairs)
        scale = then.width_px / now.width_px
        if math.isclose(now.height_px * scale, then.height_px, rel_tol=0.01):
            moved = (
                math.hypot(x * scale - x0, y * scale - y0)
                for (x, y), (x0, y0) in zip(now.corners_px, then.corners_px, strict=True)
            )
            drift["drift_pitch"] = max(moved) / then.pitch_px
    return {name: round(value, 4) for name, value in drift.items()}


def beyond(drift: dict[str, float]) -> tuple[Drift, ...]:
    """What has drifted beyond its limit."""
    limits: dict[Drift, tuple[str, float]] = {
        "place": ("drift_pitch", MAX_DRIFT_PITCH),
        "light": ("drift_light_stops", MAX_DRIFT_STOPS),
        "white": ("drift_white_share", MAX_DRIFT_WHITE),
        "evenness": ("drift_flat_share", MAX_DRIFT_FLAT),
    }
    return tuple(what for what, (name, limit) in limits.items() if abs(drift.get(name, 0.0)) > limit)


def compare(current: InForce, view: PlateView) -> tuple[PlateView, CalibrationUsed]:
    """A view with its drift among the qualities, and what the reading says of the calibration.

    Refused is a plate so far from the calibrated seat that it cannot lie in it.
    """
    drift = measure_drift(current.calibration.plate, look_at(view))
    off = drift.get("drift_pitch", 0.0)
    if off > NOT_IN_SEAT_PITCH:
        raise Refused(
            "not_in_seat",
            f"the plate lies {off:.1f} pitches from where calibration {current.id} has it (expected at most "
            f"{NOT_IN_SEAT_PITCH:g}): put it into its holder, or calibrate again if camera, holder or seat has changed",
        )
    used = CalibrationUsed(current.id, current.calibration.made_at, beyond(drift))
    return replace(view, quality=view.quality | drift), used


def check_size(current: InForce, width_px: int, height_px: int) -> None:
    """Refuse a live picture of another size than the calibrated one: the camera is not set as it was."""
    plate = current.calibration.plate
    if (width_px, height_px) != (plate.width_px, plate.height_px):
        raise Refused(
            "wrong_size",
            f"the camera gave {width_px} × {height_px} px (expected {plate.width_px} × {plate.height_px}, as in "
            f"calibration {current.id}): check the camera's settings, or calibrate again",
        )


def _folder(state_dir: Path) -> Path:
    return state_dir / "calibration"


def _files(state_dir: Path) -> list[Path]:
    return [path for path in _folder(state_dir).glob("*.json") if path.stem.split("-")[0].isdecimal()]


def _number(path: Path) -> int:
    return int(path.stem.split("-")[0])
