"""What people read on the pages, and the shapes that templates draw. Pure: runs and readings in, values out.

A well that was not read always has its own letter, pattern and words; it never looks like a negative one.
"""

from datetime import UTC, datetime
from typing import Final

import msgspec

from central.aggregate import Run
from central.api.runs import in_order
from protocol.assay import AssayProfile, Call, Role
from protocol.endpoint import RowEndpoint, titre_text
from protocol.messages import Opinion, PlateReading, Streak, Well
from protocol.plate import plate_format
from protocol.profiles import profile_named

LETTERS: Final[dict[Call, str]] = {
    Call.FLOWING: "F",
    Call.BUTTON: "B",
    Call.PARTIAL: "P",
    Call.DIFFUSE: "D",
    Call.EMPTY: "E",
    Call.OBSCURED: "X",
    Call.NOT_READ: "?",
}
CALL_WORDS: Final[dict[Call, str]] = {
    Call.FLOWING: "flowing",
    Call.BUTTON: "button",
    Call.PARTIAL: "partial",
    Call.DIFFUSE: "diffuse",
    Call.EMPTY: "empty, no cells",
    Call.OBSCURED: "obscured, not read",
    Call.NOT_READ: "not read",
}
WELL_FLAGS: Final[dict[str, str]] = {
    "low_confidence": "low confidence",
    "not_seen": "placed by the lattice, not seen",
    "glare": "glare",
    "haze": "lost to haze",
    "covered": "something lies over it",
    "out_of_picture": "out of the picture",
    "disputed": "disputed: the measurement contradicts the call",
    "orientation_doubted": "the plate may lie the other way round",
    "orientation_unconfirmed": "nothing in the picture shows which way the plate lies",
}
OPINION_WORDS: Final[dict[Opinion, str]] = {
    "streams": "it streams",
    "does_not_stream": "it does not stream",
    "undecided": "undecided",
}
ROW_FLAGS: Final[dict[str, str]] = {
    "prozone": "a well before the endpoint does not flow (prozone)",
    "gap": "a well before the endpoint was not read",
    "island": "a well beyond two that do not flow flows",
    "at_limit": "flows to the last dilution: the titre is at least this",
    "below": "nothing flows: the titre is below the first dilution",
    "control_failed": "a control failed",
}
ROW_FLAGS_SHORT: Final[dict[str, str]] = {
    "prozone": "prozone",
    "gap": "gap",
    "island": "island",
    "at_limit": "at limit",
    "below": "below",
    "control_failed": "control failed",
}
# Flags for which a person should look at the well again.
DOUBTS: Final = frozenset({"low_confidence", "disputed"})
GRADES: Final = ("low", "medium", "high")


class RowLine(msgspec.Struct, frozen=True):
    """One serum in a list: its row, the reported endpoint, its grade, and all of it in words."""

    row: str
    log2_text: str
    grade: str
    words: str


class RunLine(msgspec.Struct, frozen=True, kw_only=True):
    """One run in a list."""

    id: str
    number: int
    received_at: datetime
    submission: str | None
    test: str | None
    plate_number: str | None
    device_id: str
    device_name: str
    historical: bool
    superseded: bool
    rows: tuple[RowLine, ...]
    grades: dict[str, int]
    flag_words: str


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One well of the plate map."""

    name: str
    letter: str
    call: str
    words: str
    doubted: bool
    role: Role
    x: float | None
    y: float | None


class EndpointLine(msgspec.Struct, frozen=True, kw_only=True):
    """One serum in the table of endpoints."""

    row: str
    last_flowing: str
    step_fit: str
    titre: str
    grade: str
    margin: str
    flags: tuple[str, ...]


class Bar(msgspec.Struct, frozen=True):
    """One bar of a distribution chart; lengths in the chart's own units, 100 high."""

    label: str
    count: int
    height: float


def run_line(run: Run) -> RunLine:
    """A run as the lists show it."""
    grades = [endpoint.grade for endpoint in run.endpoints.values()]
    flags = [flag for endpoint in run.endpoints.values() for flag in endpoint.flags]
    counted = [(words, flags.count(flag)) for flag, words in ROW_FLAGS_SHORT.items() if flag in flags]
    return RunLine(
        id=run.id,
        number=run.number,
        received_at=run.received_at,
        submission=run.submission,
        test=run.test,
        plate_number=run.plate_number,
        device_id=run.device_id,
        device_name=run.device_name,
        historical=run.historical,
        superseded=run.plate is not None and not run.current,
        rows=tuple(row_line(*each) for each in in_order(run)),
        grades={grade: grades.count(grade) for grade in GRADES},
        flag_words=", ".join(words if n == 1 else f"{words} ×{n}" for words, n in counted),
    )


def row_line(row: str, endpoint: RowEndpoint, profile: AssayProfile) -> RowLine:
    """One serum of a run in a list."""
    k = endpoint.reported(profile)
    if k is None:
        return RowLine(row, "–", "unread", f"row {row}: not read")
    return RowLine(
        row, str(k), endpoint.grade, f"row {row}: log₂ {k}, {titre_text(k, profile)}, grade {endpoint.grade}"
    )


def endpoint_lines(run: Run) -> tuple[EndpointLine, ...]:
    """The endpoints of a run, both rules, with flags in words."""
    lines = []
    for row, endpoint, profile in in_order(run):
        k = endpoint.reported(profile)
        lines.append(
            EndpointLine(
                row=row,
                last_flowing=_number(endpoint.last_flowing),
                step_fit=_number(endpoint.step_fit),
                titre="not read" if k is None else titre_text(k, profile),
                grade=endpoint.grade,
                margin="–" if endpoint.margin_ln is None else f"{endpoint.margin_ln:.1f}",
                flags=tuple(ROW_FLAGS[flag] for flag in endpoint.flags),
            )
        )
    return tuple(lines)


def plate_map(reading: PlateReading) -> tuple[tuple[str, tuple[Cell, ...]], ...]:
    """(row letter, cells) for every row of the plate; every well has a cell."""
    form = plate_format(reading.plate.format)
    profile = profile_named(reading.profile)
    roles = profile.roles()
    return tuple(
        (label, tuple(_cell(name, reading.wells[name], roles.get(name, "unused")) for name in form.row(label)))
        for label in form.row_labels()
    )


def _cell(name: str, well: Well, role: Role) -> Cell:
    parts = [f"{name}: {CALL_WORDS[well.call]}"]
    if well.call.is_read:
        parts.append(f"confidence {well.confidence:.2f}")
    others = [(call, p) for call, p in well.candidates.items() if call is not well.call]
    parts += [f"or {CALL_WORDS[call]} {p:.2f}" for call, p in sorted(others, key=lambda each: -each[1])]
    parts += [WELL_FLAGS.get(flag, flag) for flag in well.flags]
    if well.streak is not None:
        parts.append(streak_words(well.streak))
    if role != "sample":
        parts.append(role.replace("_", " "))
    x, y = well.centre_px if well.centre_px is not None else (None, None)
    return Cell(
        name=name,
        letter=LETTERS[well.call],
        call=well.call.value,
        words=", ".join(parts),
        doubted=not DOUBTS.isdisjoint(well.flags),
        role=role,
        x=x,
        y=y,
    )


def streak_words(streak: Streak) -> str:
    """The second opinion as people read it: `measured 2.4 × 1.6 mm, tail 0.52, 1.04 of a clear tear: it streams`."""
    if not streak.area_mm2:
        return f"measured no blob: {OPINION_WORDS[streak.opinion]}"
    size = f"measured {streak.length_mm:.1f} × {streak.width_mm:.1f} mm, tail {streak.tail_ratio:.2f}"
    ratio = "" if streak.streaming is None else f", streaming ratio {streak.streaming:.2f}"
    return f"{size}{ratio}: {OPINION_WORDS[streak.opinion]}"


def facts(run: Run, reading: PlateReading) -> tuple[tuple[str, str], ...]:
    """What a run was made with, for people who ask how far to trust it."""
    plate, model, picture = reading.plate, reading.model, reading.picture
    seat = f"A1 from the bench's seat, plate turned {plate.rotation_degrees}°"
    unsure = "A1 unknown: wells are named as if A1 were top left in the picture"
    quality = ", ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in sorted(reading.quality.items()))
    profile = profile_named(run.profile)
    return (
        ("Device", f"{run.device_name} ({run.device_id})"),
        ("Taken", f"{utc(run.captured_at)}, by the device's clock"),
        ("Assay profile", f"{profile.title} ({run.profile} version {run.profile_version})"),
        ("Plate", f"{plate.format} wells, {plate.wells_seen} of them seen"),
        ("Orientation", seat if plate.a1_from == "seat" else unsure),
        ("Mirrored", "yes" if plate.mirrored else "no"),
        ("Fit of the lattice", f"{plate.residual_pitch:.3f} of a well pitch"),
        ("Picture quality", quality or "not measured"),
        ("Calibration", _calibration_fact(reading)),
        ("Model", f"{model.name} version {model.version}, {model.runtime}"),
        ("Model release", model.sha256),
        ("Picture", f"{picture.width_px} × {picture.height_px} px, {picture.name}"),
        ("Agent", reading.agent),
        ("Plate code", "none" if reading.code is None else f"{reading.code.text} ({reading.code.source})"),
    )


def _calibration_fact(reading: PlateReading) -> str:
    used = reading.calibration
    if used is None:
        return "none: the bench was not calibrated"
    drift = f"DRIFTED: {', '.join(used.drifted)}" if used.drifted else "no drift beyond its limits"
    return f"{used.id} of {utc(used.made_at)}, {drift}"


def bars(distribution: dict[int, int]) -> tuple[Bar, ...]:
    """The bars of a distribution, the highest 100 units."""
    highest = max([*distribution.values(), 1])
    return tuple(Bar(str(k), count, round(100 * count / highest, 2)) for k, count in distribution.items())


def utc(at: datetime) -> str:
    """A time as the pages write it; the local time is shown on hover."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _number(k: int | None) -> str:
    return "–" if k is None else str(k)
