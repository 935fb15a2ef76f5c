"""How well each device reads, over time: the figures of one run, and of a device's runs by day or week. Pure.

Everything of a run follows from its reading, what reviewers said and its controls, so it can be worked out again at any
time. Grades are by the machine's own calls, whatever a reviewer made of them: these figures are about the device.
"""

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Final, Literal

import msgspec

from central.assays.controls import ControlSerum, judge
from central.results.aggregate import Run
from central.review.agreement import compare
from central.review.corrections import Correction, effective
from protocol.assay import Call
from protocol.endpoint import seen_endpoints
from protocol.messages import PlateReading

By = Literal["day", "week"]

# What was measured of the picture, as people are shown it: its name in a reading → words and unit.
MEASURES: Final[dict[str, str]] = {
    "residual_pitch": "distance of wells from the lattice, in well pitches",
    "blur_pitch": "blur, in well pitches",
    "motion_pitch": "motion, in well pitches",
    "brightness_share": "brightness of the picture, 0 to 1",
    "white_share": "pixels at the upper end, a share",
    "black_share": "pixels at the lower end, a share",
    "light_share": "light in the wells, 0 to 1",
    "contrast_share": "contrast in the wells, 0 to 1",
    "glare": "wells whited out by glare, a share",
}


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """One run's. `high`, `medium` and `low` count rows; `drifted` counts figures beyond their calibration's limits.

    `judged` rows were looked at by a reviewer, who left the endpoint of `exact` of them and moved that of `within_one`
    by at most one dilution; `withheld` he set not reportable. A run that was voided has none of these.
    `controls_failed` says which control failed, as the run stands.
    """

    run_id: str
    site_id: str
    device_id: str
    model: str
    read_at: datetime
    high: int
    medium: int
    low: int
    calls: dict[str, int]
    quality: dict[str, float]
    drifted: int
    calibrated_at: datetime | None
    controls_failed: str | None
    judged: int
    exact: int
    within_one: int
    withheld: int


class Letter(msgspec.Struct, frozen=True):
    """A message of the device that was refused here, and how often it came."""

    received_at: datetime
    code: str
    times: int


class Period(msgspec.Struct, frozen=True, kw_only=True):
    """A day, or a week from its Monday, of one device. Shares are None where there is nothing to count.

    `medians` are over the readings that say the measure. `refused` counts messages by reason.
    """

    start: date
    readings: int
    refused: dict[str, int]
    wells: int
    calls: dict[str, int]
    high: int
    medium: int
    low: int
    low_share: float | None
    drifted: int
    controls_failed: int
    medians: dict[str, float]
    judged: int
    exact: int
    within_one: int
    withheld: int
    exact_share: float | None
    within_one_share: float | None


def figures_of(run: Run, reading: PlateReading, said: Sequence[Correction], sera: dict[str, ControlSerum]) -> Figures:
    """The figures of one run; `sera` are the control sera of its plate, by row."""
    now = effective(reading, said, run.assay)
    is_own = not (now.overridden or now.not_reportable)
    own = now.endpoints if is_own else seen_endpoints(reading.plate, reading.wells, run.assay)
    grades = Counter(endpoint.grade for endpoint in own.values())
    failed = judge(now.wells, now.endpoints, run.assay, sera).failed
    rows = () if run.voided else compare(run, reading, own, now).rows
    judged = [(machine, reviewer) for _, machine, reviewer in rows if reviewer is not None]
    calibration = reading.calibration
    measured = reading.quality | {"residual_pitch": reading.plate.residual_pitch}
    return Figures(
        run_id=run.id,
        site_id=run.site_id,
        device_id=run.device_id,
        model=run.model,
        read_at=run.captured_at_corrected or run.received_at,
        high=grades["high"],
        medium=grades["medium"],
        low=grades["low"],
        calls=dict(Counter(well.call.value for well in reading.wells.values())),
        quality={name: measured[name] for name in MEASURES if name in measured},
        drifted=0 if calibration is None else len(calibration.drifted),
        calibrated_at=None if calibration is None else _utc(calibration.made_at),
        controls_failed="; ".join(f"{c.control} {c.where}: {c.found} (expected {c.expected})" for c in failed) or None,
        judged=len(judged),
        exact=sum(machine == reviewer for machine, reviewer in judged),
        within_one=sum(machine is not None and abs(machine - reviewer) <= 1 for machine, reviewer in judged),
        withheld=len(rows) - len(judged),
    )


def _utc(at: datetime) -> datetime | None:
    """As the database holds it; None for a moment that a device made up: without a zone, or out of all bounds."""
    try:
        return None if at.tzinfo is None else at.astimezone(UTC)
    except OverflowError:
        return None


def start_of(at: datetime, by: By) -> date:
    """The first day of the period that a moment is in, UTC."""
    day = at.date()
    return day if by == "day" else day - timedelta(days=day.weekday())


def periods(some: Iterable[Figures], letters: Iterable[Letter], by: By) -> tuple[Period, ...]:
    """The figures of one device's runs, oldest first; a period in which nothing came is none."""
    runs: dict[date, list[Figures]] = defaultdict(list)
    for each in some:
        runs[start_of(each.read_at, by)].append(each)
    refused: dict[date, Counter[str]] = defaultdict(Counter)
    for letter in letters:
        refused[start_of(letter.received_at, by)][letter.code] += letter.times
    return tuple(_period(start, runs[start], refused[start]) for start in sorted(runs.keys() | refused.keys()))


def _period(start: date, some: list[Figures], refused: Counter[str]) -> Period:
    calls: Counter[str] = Counter()
    measured: dict[str, list[float]] = defaultdict(list)
    for each in some:
        calls.update(each.calls)
        for name in MEASURES.keys() & each.quality.keys():
            measured[name].append(each.quality[name])
    count = {
        name: sum(getattr(each, name) for each in some)
        for name in ("high", "medium", "low", "judged", "exact", "within_one", "withheld")
    }
    rows = count["high"] + count["medium"] + count["low"]
    return Period(
        start=start,
        readings=len(some),
        refused=dict(sorted(refused.items())),
        wells=sum(calls.values()),
        calls={call.value: calls[call.value] for call in Call if calls[call.value]},
        low_share=count["low"] / rows if rows else None,
        drifted=sum(each.drifted > 0 for each in some),
        controls_failed=sum(each.controls_failed is not None for each in some),
        medians={name: statistics.median(measured[name]) for name in MEASURES if measured[name]},
        exact_share=count["exact"] / count["judged"] if count["judged"] else None,
        within_one_share=count["within_one"] / count["judged"] if count["judged"] else None,
        **count,
    )
