"""What people read on the pages, and the shapes that templates draw. Pure: runs and readings in, values out.

A well that was not read always has its own letter, pattern and words; it never looks like a negative one.
"""

from datetime import UTC, datetime

import msgspec

from central.api.devices import CLOCK_MAY_DIFFER_S
from central.api.runs import in_order
from central.dashboard.terms import (
    CALL_WORDS,
    DOUBTS,
    GRADES,
    LETTERS,
    OPINION_WORDS,
    RESULT_HEADS,
    ROW_FLAGS,
    ROW_FLAGS_OF,
    ROW_FLAGS_SHORT,
    RULE_HEADS,
    WELL_FLAGS,
)
from central.results.aggregate import Run
from protocol.assay import AssayProfile, Call, Role
from protocol.endpoint import RowEndpoint, result_text, titre_text
from protocol.messages import Colour, Growth, PlateReading, Streak, Well
from protocol.plate import plate_format


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
    voided: bool
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
        superseded=run.counts and not run.current,
        voided=run.voided,
        rows=tuple(row_line(*each) for each in in_order(run)),
        grades={grade: grades.count(grade) for grade in GRADES},
        flag_words=", ".join(words if n == 1 else f"{words} ×{n}" for words, n in counted),
    )


def row_line(row: str, endpoint: RowEndpoint, profile: AssayProfile) -> RowLine:
    """One serum of a run in a list."""
    k = endpoint.reported(profile)
    if k is None:
        why = "uncertain, no titre is given" if "uncertain" in endpoint.flags else "not read"
        return RowLine(row, "–", "unread", f"row {row}: {why}")
    if profile.reports == "mic":
        result = result_text(row, k, profile)
        return RowLine(
            row,
            result.removeprefix("MIC ").removesuffix(f" {profile.concentration_unit}"),
            endpoint.grade,
            f"row {row}: {result}, grade {endpoint.grade}",
        )
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
                last_flowing=_number(endpoint.first_rule(profile)),
                step_fit=_number(endpoint.step_fit),
                titre="uncertain" if "uncertain" in endpoint.flags else result_text(row, k, profile),
                grade=endpoint.grade,
                margin="–" if endpoint.margin_ln is None else f"{endpoint.margin_ln:.1f}",
                flags=tuple((ROW_FLAGS | ROW_FLAGS_OF.get(profile.reports, {}))[flag] for flag in endpoint.flags),
            )
        )
    return tuple(lines)


class Heads(msgspec.Struct, frozen=True):
    """What the table of endpoints calls its columns; `result` is empty where an assay reports no endpoint."""

    result: str
    rule: str
    unit: str


def heads(run: Run) -> Heads:
    """The heads for a run's assay: `Titre` and `Last flowing`, or `MIC` and `Last without growth`."""
    profile = run.assay
    unit = "log₂" if profile.reports == "serum_titre" else "dilutions"
    return Heads(RESULT_HEADS[profile.reports], RULE_HEADS[profile.reported_rule], unit)


def legend(run: Run) -> tuple[tuple[Call, str, str], ...]:
    """(call, letter, words) of everything that a well of the run's assay may be."""
    profile = run.assay
    shown = (*profile.calls, Call.OBSCURED, Call.NOT_READ)
    words = CALL_WORDS | {Call.FLOWING: "flowing: inhibited", Call.OBSCURED: "obscured: not read"}
    return tuple((call, LETTERS[call], words[call]) for call in shown)


def plate_map(reading: PlateReading, profile: AssayProfile) -> tuple[tuple[str, tuple[Cell, ...]], ...]:
    """(row letter, cells) for every row of the plate; every well has a cell."""
    form = plate_format(reading.plate.format)
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
    if isinstance(well.colour, Colour):
        parts.append(colour_words(well.colour))
    if isinstance(well.growth, Growth):
        parts.append(f"grown {well.growth.share:.0%} of the growth controls")
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


def colour_words(colour: Colour) -> str:
    """A measured colour as people read it: `L* 62, a* 38, b* -4, against the plate light`."""
    return (
        f"L* {colour.lightness:.0f}, a* {colour.a:.0f}, b* {colour.b:.0f}, against the "
        f"{colour.reference.replace('_', ' ')}"
    )


def facts(run: Run, reading: PlateReading) -> tuple[tuple[str, str], ...]:
    """What a run was made with, for people who ask how far to trust it."""
    plate, model, picture = reading.plate, reading.model, reading.picture
    seat = f"A1 from the bench's seat, plate turned {plate.rotation_degrees}°"
    unsure = "A1 unknown: wells are named as if A1 were top left in the picture"
    quality = ", ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in sorted(reading.quality.items()))
    profile = run.assay
    return (
        ("Device", f"{run.device_name} ({run.device_id})"),
        ("Taken", taken(run)),
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


def taken(run: Run) -> str:
    """When a run was captured: by the device's clock, and by central's where the two differ by more than they may."""
    by_device = f"{utc(run.captured_at)}, by the device's clock"
    at = run.captured_at_corrected
    if at is None or abs((run.captured_at - at).total_seconds()) <= CLOCK_MAY_DIFFER_S:
        return by_device
    return f"{utc(at)}; the device's clock said {utc(run.captured_at)}"


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
