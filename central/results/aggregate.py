"""Runs → what is current, the distribution over sera, and its statistics. Pure; domain.md's section 5 in code.

Reading a plate again replaces it in every count and never adds. What is current is decided by the devices' own
sequence and by the order of acceptance, never by a clock; a voided run is never it. A serum whose row could not be
read is counted as unread, one that a reviewer does not report as that, and neither is in any figure: they are not
negative. A control serum is none of the submission's sera.
"""

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Final, Literal

import msgspec

from protocol.assay import AssayProfile
from protocol.endpoint import RowEndpoint

Zeros = Literal["counted", "excluded"]

MAIN: Final = "main"  # the site that is always there


class Run(msgspec.Struct, frozen=True):
    """A reading that central accepted, without its wells. `current` says whether it speaks for its plate.

    `submission`, `test` and `plate_number` are of the plate that it is of; while nobody knows which that is
    (`plate_id` is None), what its code said. `endpoints` are those that hold now, by the profile `assay` and after
    what reviewers said (`revision`): rows of `not_reportable` are not among them, and `control_rows` hold control sera.
    `voided`: it counts nowhere, because somebody voided it or its plate. Its picture is here where `image_stored`;
    since `image_removed_at` it is kept no longer. `captured_at` is by the device's clock; `captured_at_corrected` by
    central's, None where the boot is unknown here.
    """

    number: int
    id: str
    device_id: str
    device_name: str
    epoch: str
    seq: int
    submission: str | None
    test: str | None
    plate_number: str | None
    profile: str
    profile_version: int
    plate_format: int
    captured_at: datetime
    received_at: datetime
    historical: bool
    model: str
    image_sha256: str
    image_stored: bool
    endpoints: dict[str, RowEndpoint]
    assay: AssayProfile
    current: bool = False
    captured_at_corrected: datetime | None = None
    site_id: str = MAIN
    plate_id: str | None = None
    revision: int = 1
    voided: bool = False
    not_reportable: tuple[str, ...] = ()
    control_rows: tuple[str, ...] = ()
    accepted_at: datetime | None = None
    approved_at: datetime | None = None
    image_removed_at: datetime | None = None

    @property
    def sera(self) -> dict[str, RowEndpoint]:
        """The endpoints of the rows that hold the submission's sera."""
        return {row: endpoint for row, endpoint in self.endpoints.items() if row not in self.control_rows}

    @property
    def counts(self) -> bool:
        """Whether it may speak for a plate."""
        return self.plate_id is not None and not self.voided


class Statistics(msgspec.Struct, frozen=True):
    """Figures over sera, unrounded. None where a figure does not exist (one serum has no SD, mean 0 has no CV).

    `zeros` says how endpoint 0 (titre below the first dilution) was taken; `positive` counts sera at or above the
    profile's cut-off `positive_from_log2`, out of `n`.
    """

    n: int
    zeros: Zeros
    mean_log2: float
    gmt: float
    sd_log2: float | None
    cv_percent: float | None
    minimum: int
    median: float
    maximum: int
    positive: int
    positive_share: float


class Summary(msgspec.Struct, frozen=True):
    """One submission (and test, where given) over its current runs.

    `superseded` counts runs that a later one of the same plate replaced; `unread` rows without an endpoint,
    `uncertain` those among them that were read, and have no titre until somebody has judged their wells;
    `not_reportable` rows that a reviewer left out; `low_grade` rows with an endpoint that a person should look at.
    `statistics` is None where no serum is left to count. Runs of assays that report no titre of a serum are among the
    plates and in no other figure.
    """

    submission: str
    test: str | None
    plates: int
    superseded: int
    sera: int
    unread: int
    low_grade: int
    distribution: dict[int, int]
    statistics: Statistics | None
    not_reportable: int = 0
    uncertain: int = 0


def current_runs(runs: Iterable[Run]) -> tuple[Run, ...]:
    """The run that speaks for each plate, by number; a run of no known plate, or a voided one, speaks for none.

    Per device and epoch the highest sequence number counts; among those of different devices the last accepted.
    """
    latest: dict[tuple[object, ...], Run] = {}
    for run in runs:
        if run.counts:
            key = (run.plate_id, run.device_id, run.epoch)
            latest[key] = max(latest.get(key, run), run, key=lambda each: each.seq)
    winners: dict[object, Run] = {}
    for run in latest.values():
        winners[run.plate_id] = max(winners.get(run.plate_id, run), run, key=lambda each: each.number)
    return tuple(sorted(winners.values(), key=lambda each: each.number))


def mark_current(runs: Sequence[Run]) -> tuple[Run, ...]:
    """The same runs with `current` set, where every run of their plates is among them (`queries.marked` where not)."""
    current = {run.id for run in current_runs(runs)}
    return tuple(msgspec.structs.replace(run, current=run.id in current) for run in runs)


def summarise(submission: str, test: str | None, runs: Iterable[Run], *, zeros: Zeros = "counted") -> Summary:
    """The summary of all accepted runs of a submission, or of one test of it; superseded ones may be among them."""
    ours = [run for run in runs if run.counts and run.submission == submission and (test is None or run.test == test)]
    current = current_runs(ours)
    # Only titres of sera are counted: an MIC or the titre of a virus is no titre of this submission's sera.
    titred = [run for run in current if run.assay.reports == "serum_titre"]
    rows = [(endpoint, run.assay) for run in titred for endpoint in run.sera.values()]
    titres = [(k, profile) for endpoint, profile in rows if (k := endpoint.reported(profile)) is not None]
    counts = Counter(k for k, _ in titres)
    highest = max((profile.dilutions for _, profile in rows), default=12)
    withheld = sum(len(set(run.not_reportable) - set(run.control_rows)) for run in titred)
    return Summary(
        submission=submission,
        test=test,
        plates=len(current),
        superseded=len(ours) - len(current),
        sera=len(titres),
        unread=sum(_sera_on(run) for run in titred) - withheld - len(titres),
        low_grade=sum(e.grade == "low" and e.reported(profile) is not None for e, profile in rows),
        distribution={k: counts[k] for k in range(highest + 1)},
        statistics=statistics_of(titres, zeros=zeros),
        not_reportable=withheld,
        uncertain=sum("uncertain" in endpoint.flags for endpoint, _ in rows),
    )


def _sera_on(run: Run) -> int:
    return sum(series.row not in run.control_rows for series in run.assay.series)


def statistics_of(titres: Iterable[tuple[int, AssayProfile]], *, zeros: Zeros = "counted") -> Statistics | None:
    """Figures over sera, each an endpoint with the profile that it was read by; None over none."""
    sera = [(k, profile) for k, profile in titres if k > 0 or zeros == "counted"]
    if not sera:
        return None
    endpoints = [k for k, _ in sera]
    mean = statistics.fmean(endpoints)
    sd = statistics.stdev(endpoints) if len(endpoints) > 1 else None
    positive = sum(k >= profile.positive_from_log2 for k, profile in sera)
    return Statistics(
        n=len(sera),
        zeros=zeros,
        mean_log2=mean,
        gmt=2 ** statistics.fmean(_log2_titre(k, profile) for k, profile in sera),
        sd_log2=sd,
        cv_percent=None if sd is None or mean == 0 else 100 * sd / mean,
        minimum=min(endpoints),
        median=statistics.median(endpoints),
        maximum=max(endpoints),
        positive=positive,
        positive_share=positive / len(sera),
    )


def _log2_titre(k: int, profile: AssayProfile) -> float:
    return math.log2(profile.first_dilution) + (k - 1) * math.log2(profile.dilution_factor)


def display(value: float | None, places: int) -> str:
    """A figure as people read it, rounded half up; nothing is rounded before. A dash where there is none.

    >>> display(4.625, 2), display(None, 2)
    ('4.63', '–')
    """
    if value is None:
        return "–"
    return str(Decimal(repr(value)).quantize(Decimal(1).scaleb(-places), rounding=ROUND_HALF_UP))
