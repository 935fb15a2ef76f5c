"""Which titres and calls differ between a release's int8 networks and the float ones that they were made from.

Both read the same pictures with the device's own code, whole plates from JPEG bytes to titres.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from edge_agent.cameras.frame import Frame
from edge_agent.vision import Model, Refused, read_plate
from models.training.beyond import PlateRead, draw_beyond, read_beyond
from models.training.render import render_plate
from models.training.spec import Image, PlateSpec, Truth
from models.training.sweep import draw_swept, swept
from models.training.workers import loaded, loaded_float
from protocol.endpoint import seen_endpoints
from protocol.plate import Seat
from protocol.profiles import profile_named

VARIED_SEED = 5_400_000


@dataclass(frozen=True, slots=True)
class Seen:
    """What one way of running the networks made of a plate: nothing where it refused."""

    titres: tuple[int | None, ...] = ()
    calls: tuple[str | int, ...] = ()


Both = tuple[Seen, Seen]


def read_beyond_twice(release: Path, floats: Path, seed: int) -> tuple[PlateRead, Both | None]:
    """A plate beyond the training range as the device reads it; and as int8 and float do, where float is there."""
    drawn = draw_beyond(seed)
    return _twice(release, floats, *drawn)


def read_swept_twice(release: Path, floats: Path, seed: int) -> tuple[str, PlateRead, Both | None]:
    """The same for a plate with one parameter out of range, and which."""
    return swept(seed), *_twice(release, floats, *draw_swept(seed))


def read_varied_twice(release: Path, floats: Path, seed: int) -> Both | None:
    """The same for a plate as training draws them."""
    return _twice(release, floats, *draw_varied(seed))[1]


def draw_varied(seed: int) -> tuple[Image, Truth, Seat]:
    """One plate as hard as training's, in its seat, 40 to 100 pixels per well."""
    rng = np.random.default_rng([seed, 5])
    width = round(float(rng.uniform(800, 1600)))
    turn_deg, fill = float(np.clip(rng.normal(0, 4), -12, 12)), float(rng.uniform(0.74, 0.95))
    spec = PlateSpec(difficulty="varied", size_px=(width, round(width * 0.72)), turn_deg=turn_deg, fill=fill)
    return *render_plate(seed, spec), Seat.TOP_LEFT


def _twice(release: Path, floats: Path, image: Image, truth: Truth, seat: Seat) -> tuple[PlateRead, Both | None]:
    read = read_beyond(loaded(release), image, truth, seat)
    float_model = loaded_float(release, floats)
    if float_model is None:
        return read, None
    return read, (_seen(read), _seen(read_beyond(float_model, image, truth, seat)))


def _seen(read: PlateRead) -> Seen:
    """Titres as they are off the truth, which is the same for both."""
    return Seen(tuple(row.off for row in read.rows), tuple(read.calls.tolist()))


def photographs_twice(release: Path, floats: Path, plates: Path) -> list[Both]:
    """The same for the labelled photographs of titrations, where they and the float networks are present."""
    float_model = loaded_float(release, floats)
    pictures = sorted((plates / "hi").glob("*.jpg"))
    return [] if float_model is None else [(_read(loaded(release), p), _read(float_model, p)) for p in pictures]


def _read(model: Model, picture: Path) -> Seen:
    profile = profile_named("hi-96")
    frame = Frame(picture.read_bytes(), picture.name, datetime(2026, 1, 1, tzinfo=UTC), 0)
    try:
        view = read_plate(frame, profile, model=model, seat=Seat.TOP_LEFT)
    except Refused:
        return Seen()
    endpoints = seen_endpoints(view.plate, view.wells, profile).values()
    return Seen(tuple(row.reported(profile) for row in endpoints), tuple(well.call for well in view.wells.values()))


def agreement(plates: Sequence[Both]) -> dict[str, int]:
    """How many plates only one of them reads; of those that both do, rows and wells, and how many of them differ."""
    both = [(one, other) for one, other in plates if one.calls and other.calls]
    titres = [pair for one, other in both for pair in zip(one.titres, other.titres, strict=True)]
    calls = [pair for one, other in both for pair in zip(one.calls, other.calls, strict=True)]
    return {
        "plates": len(plates),
        "read_by_one": sum(bool(one.calls) != bool(other.calls) for one, other in plates),
        "rows": len(titres),
        "titres_differ": sum(one != other for one, other in titres),
        "wells": len(calls),
        "calls_differ": sum(one != other for one, other in calls),
    }
