"""One line per object: values for tests, each with sensible defaults that a test overrides by name."""

import hashlib
import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from protocol.assay import AssayProfile, Call
from protocol.codec import encode_reading
from protocol.messages import (
    VERSION,
    Clock,
    ModelUsed,
    Picture,
    PlateCode,
    PlateReading,
    PlateSeen,
    Well,
)
from protocol.plate import plate_format
from protocol.profiles import PROFILES

HI = PROFILES["hi-96"]
NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
_counter = itertools.count(1)


def make_well(call: str | Call = Call.FLOWING, confidence: float = 0.97, **fields: Any) -> Well:
    """A well with this call; the rest of the probability goes to one other call."""
    call = Call(call)
    if not call.is_read:
        return Well(call=call, confidence=0.0, **fields)
    other = Call.BUTTON if call is not Call.BUTTON else Call.FLOWING
    rest = round(1 - confidence, 6)
    candidates = {call: confidence} | ({other: rest} if rest >= 0.05 else {})
    return Well(call=call, confidence=confidence, candidates=candidates, **fields)


def make_wells(endpoints: dict[str, int] | int = 6, profile: AssayProfile = HI) -> dict[str, Well]:
    """A clean plate: every series flows up to its endpoint, then one button, then diffuse."""
    wells = {name: make_well("diffuse") for name in profile.format.names()}
    for series in profile.series:
        k = endpoints if isinstance(endpoints, int) else endpoints.get(series.row, 6)
        for column, name in enumerate(series.wells, 1):
            wells[name] = make_well("flowing" if column <= k else "button" if column == k + 1 else "diffuse")
    for control in profile.controls:
        for name in control.wells:
            wells[name] = make_well(control.expected[0] if control.expected else "diffuse")
    return wells


def make_reading_id(number: int) -> str:
    """A UUIDv7 that depends on nothing but the number."""
    text = hashlib.sha256(str(number).encode()).hexdigest()
    return f"019a0000-{number & 0xFFFF:04x}-7{text[:3]}-8{text[3:6]}-{text[6:18]}"


def make_code(submission: str = "S-1001", test: str = "NDV", plate_number: str = "1", **fields: Any) -> PlateCode:
    """A plate code as read from the picture."""
    text = f"{submission},{test},{plate_number}"
    values = {"text": text, "source": "picture", "submission": submission, "test": test, "plate_number": plate_number}
    return PlateCode(**(values | fields))


def make_reading(number: int | None = None, **fields: Any) -> PlateReading:
    """A clean HI reading of device `bench-1`; every field can be overridden by name."""
    number = next(_counter) if number is None else number
    profile = PROFILES[fields.get("profile", "hi-96")]
    form = plate_format(profile.plate_format)
    values: dict[str, Any] = {
        "v": VERSION,
        "id": make_reading_id(number),
        "device_id": "bench-1",
        "captured_at": NOON + timedelta(seconds=number),
        "clock": Clock(boot_id="boot-1", monotonic_ns=number * 1_000_000_000),
        "profile": profile.name,
        "profile_version": profile.version,
        "code": make_code(),
        "plate": PlateSeen(form.wells, form.rows, form.columns, 0, False, "seat", form.wells, 0.02, 60.0),
        "wells": make_wells(profile=profile),
        "quality": {"sharpness": 0.8},
        "model": ModelUsed(name="hi-wells", version=1, sha256="a" * 64, runtime="ai-edge-litert 2.1.6"),
        "picture": Picture(hashlib.sha256(str(number).encode()).hexdigest(), 1000, 1600, 1200, "image/jpeg", "p.jpg"),
        "agent": "0.1.0",
    }
    return PlateReading(**(values | fields))


def make_document(number: int | None = None, **fields: Any) -> bytes:
    """The canonical JSON of `make_reading`."""
    return encode_reading(make_reading(number, **fields))


def replace(struct: Any, **fields: Any) -> Any:
    """A copy of a struct with some fields changed."""
    return msgspec.structs.replace(struct, **fields)
