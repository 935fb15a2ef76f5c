"""Well calls → row endpoints, grades, flags, distribution. Pure: device and central both use it.

Two rules, both reported. `last_flowing` is what laboratories compare with today: the highest dilution called flowing.
`step_fit` maximises Σ log p(call | step at k): it needs calibrated probabilities and never stops at the first
non-flowing well, because a prozone left of the endpoint is common. Assays other than HI have their own first rule
(`protocol.mic`).

A row whose endpoint may well lie further than one dilution off has no result where its profile has a limit for that
(`uncertain`): both rules still say what they say, and a person looks (docs/decisions/0030).

A well without cells (`empty`) says nothing about inhibition, so it counts as unreadable here: it is neither flowing
nor "negative" (docs/decisions/0004-empty-wells-are-not-negative.md). Nor does one between two classes.
"""

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final, Literal

import msgspec

from protocol.assay import AssayProfile, Call, EndpointRule, Reports
from protocol.evidence import WellEvidence, evidence
from protocol.messages import PlateSeen, Well
from protocol.mic import MOST_SKIPPED, mic_text, unbroken

__all__ = [
    "Grade",
    "RowEndpoint",
    "RowFlag",
    "WellEvidence",
    "chance_within_one",
    "distribution",
    "evidence",
    "last_flowing",
    "plate_endpoints",
    "result_text",
    "row_endpoint",
    "seen_endpoints",
    "step_fit",
    "step_likelihoods",
    "titre_text",
]

Grade = Literal["high", "medium", "low"]
RowFlag = Literal["prozone", "gap", "island", "skipped", "trailing", "at_limit", "below", "control_failed", "uncertain"]

# The next best endpoint is at most a quarter as likely: one boundary well at a calibrated 0.8.
LARGE_MARGIN_LN: Final = math.log(4)

# No single well may decide a row alone, however sure the network is of it.
P_FLOOR: Final = 0.01
_P_CEILING: Final = 1 - P_FLOOR

# A well after one that is not inhibited is inhibited at these odds of what its own picture says: what explains the true
# rows of 283 renders best that no figure is taken from (docs/decisions/0030).
AGAIN_ODDS: Final = 0.4


class RowEndpoint(msgspec.Struct, frozen=True, omit_defaults=True):
    """The endpoint of one serum by both rules, in dilutions (log₂ of the titre for two-fold series from 1:2).

    None where nothing in the row could be read. `margin_ln` is the log-likelihood of the best step over the second.
    `by_rule` stands for `last_flowing`, which is then None, in assays where nothing flows.
    """

    last_flowing: int | None
    step_fit: int | None
    margin_ln: float | None
    grade: Grade
    flags: tuple[RowFlag, ...]
    by_rule: int | None = None

    def first_rule(self, profile: AssayProfile) -> int | None:
        """The endpoint by the assay's own rule, beside the fit."""
        return self.last_flowing if profile.reports == "serum_titre" else self.by_rule

    def reported(self, profile: AssayProfile) -> int | None:
        """The endpoint by the rule that the profile reports; None where it is too uncertain to be reported."""
        return None if "uncertain" in self.flags else _reported(self, profile.reports, profile.reported_rule)


def _reported(endpoint: RowEndpoint, reports: Reports, rule: EndpointRule) -> int | None:
    if rule == "step_fit":
        return endpoint.step_fit
    return endpoint.last_flowing if reports == "serum_titre" else endpoint.by_rule


def last_flowing(wells: Sequence[WellEvidence], inhibited: Sequence[Call] = (Call.FLOWING,)) -> int | None:
    """The highest dilution (from 1) called inhibited; 0 if no readable well was; None if none was readable."""
    if not any(well.readable for well in wells):
        return None
    return max((k for k, well in enumerate(wells, 1) if well.call in inhibited), default=0)


def step_fit(wells: Sequence[WellEvidence]) -> tuple[int, float] | None:
    """(k, margin in nats): the most likely step over the readable wells; None if none was readable.

    Steps that the readable wells cannot tell apart tie with margin 0, and the lowest is given: a titre is never
    raised by wells that nobody could read.
    """
    if not any(well.readable for well in wells):
        return None
    likelihoods = step_likelihoods(wells)
    best = _first_highest(likelihoods)
    others = [*likelihoods]
    others[best] = -math.inf
    return best, max(0.0, likelihoods[best] - likelihoods[_first_highest(others)])


def _first_highest(likelihoods: Sequence[float]) -> int:
    """Where the highest stands, the first of those that are the same to nine digits."""
    highest = max(likelihoods)
    rounded = round(highest, 9)
    return next(k for k, each in enumerate(likelihoods) if highest - each < 1e-8 and round(each, 9) == rounded)


def step_likelihoods(wells: Sequence[WellEvidence]) -> list[float]:
    """Σ log p(call | columns ≤ k inhibited, columns > k not), for k = 0 … N, over the readable wells."""
    logarithms = [_logarithms(well.p_inhibited) if well.readable else None for well in wells]
    total = sum([each[1] for each in logarithms if each is not None])
    likelihoods = [total]
    for each in logarithms:
        if each is not None:
            total += each[0] - each[1]
        likelihoods.append(total)
    return likelihoods


def _logarithms(p: float) -> tuple[float, float]:
    """Of this probability and of its opposite, neither surer than a single well may be."""
    if p >= _P_CEILING:
        return _SURELY
    if p <= P_FLOOR:
        return _SURELY_NOT
    return math.log(p), math.log(1 - p)


_SURELY: Final = math.log(_P_CEILING), math.log(1 - _P_CEILING)
_SURELY_NOT: Final = math.log(P_FLOOR), math.log(1 - P_FLOOR)


def chance_within_one(wells: Sequence[WellEvidence], k: int) -> float:
    """The probability that the last inhibited dilution is k − 1, k or k + 1, over all ways the readable wells may be.

    Each well speaks for itself, but for `AGAIN_ODDS`. An island that is as likely one as not leaves less than half.
    """
    inhibited, not_inhibited = 1.0, 0.0
    # The weights of all ways in which none beyond k − 2, none beyond k + 1 is inhibited.
    too_early, within = float(k >= 2), 1.0
    for column, well in enumerate(wells, 1):
        if well.readable:
            p = well.p_inhibited
            either = inhibited + not_inhibited
            inhibited = (inhibited + AGAIN_ODDS * not_inhibited) * p
            not_inhibited = either * (1 - p)
            too_early = inhibited + not_inhibited if column <= k - 2 else too_early * (1 - p)
            within = inhibited + not_inhibited if column <= k + 1 else within * (1 - p)
    return (within - too_early) / (inhibited + not_inhibited)


def row_endpoint(
    wells: Sequence[WellEvidence],
    *,
    inhibited: Sequence[Call] = (Call.FLOWING,),
    control_failed: bool = False,
    reports: Reports = "serum_titre",
) -> RowEndpoint:
    """Both endpoints of one serum with its grade and flags; `wells` in order of dilution, strongest first."""
    if not wells:
        raise ValueError("a series has no wells (expected at least one)")
    last = last_flowing(wells, inhibited)
    fit = step_fit(wells)
    control: tuple[RowFlag, ...] = ("control_failed",) if control_failed else ()
    if last is None or fit is None:
        return RowEndpoint(None, None, None, "low", ("gap", *control))
    k, margin = fit
    run = unbroken(wells, inhibited) if reports == "mic" else None
    first = last if run is None else run.k
    end = k if run is None or run.k is None else run.k
    prozone, gaps, islands = _oddities(wells, k, inhibited)
    named: tuple[tuple[bool, RowFlag], ...] = (
        (bool(prozone) and run is None, "prozone" if reports == "serum_titre" else "skipped"),
        (bool(gaps) or (run is not None and run.k is None and run.skipped <= MOST_SKIPPED), "gap"),
        (bool(islands) and run is None, "island"),
        (run is not None and run.skipped > 0, "skipped"),
        (run is not None and run.trailing, "trailing"),
        (end == len(wells), "at_limit"),
        (end == 0, "below"),
    )
    odd = prozone | gaps | islands | {c for c, well in enumerate(wells, 1) if well.flagged or not well.readable}
    return RowEndpoint(
        last_flowing=last if reports == "serum_titre" else None,
        step_fit=k,
        margin_ln=round(margin, 3),
        grade="low" if first is None else _grade(wells, first, k, margin, odd, control_failed=control_failed),
        flags=(*(flag for present, flag in named if present), *control),
        by_rule=None if reports == "serum_titre" else first,
    )


def _oddities(wells: Sequence[WellEvidence], k: int, inhibited: Sequence[Call]) -> tuple[set[int], set[int], set[int]]:
    """Columns (from 1) that break a clean step at k: not flowing left of it, unread left of it, islands beyond it."""
    prozone = {c for c in range(1, k) if wells[c - 1].readable and wells[c - 1].call not in inhibited}
    gaps = {c for c in range(1, k) if not wells[c - 1].readable}
    islands, not_flowing = set(), 0
    for c in range(k + 1, len(wells) + 1):
        well = wells[c - 1]
        if not well.readable:
            continue
        if well.call not in inhibited:
            not_flowing += 1
        elif not_flowing >= 2:
            islands.add(c)
    return prozone, gaps, islands


def _grade(
    wells: Sequence[WellEvidence], last: int, k: int, margin: float, odd: set[int], *, control_failed: bool
) -> Grade:
    """domain.md §4; and a row of which less than half, or not the first well beyond its step, could be read is low.

    Where that well was not read, nobody has seen the series end: the step could as well lie further on.
    """
    end_unseen = k < len(wells) and not wells[k].readable
    if control_failed or end_unseen or 2 * sum(well.readable for well in wells) < len(wells) or abs(last - k) > 1:
        return "low"
    if last == k and margin >= LARGE_MARGIN_LN and not odd & {k - 1, k, k + 1}:
        return "high"
    return "medium"


def seen_endpoints(plate: PlateSeen, wells: Mapping[str, Well], profile: AssayProfile) -> dict[str, RowEndpoint]:
    """The endpoints of a plate as it was seen; none where nobody knows which well is A1, or in a mirror image."""
    if plate.a1_from == "unknown" or plate.mirrored:
        return {}
    return plate_endpoints(wells, profile)


def plate_endpoints(wells: Mapping[str, Well], profile: AssayProfile) -> dict[str, RowEndpoint]:
    """The endpoint of every series of the profile, by the series' row label. A well that is missing was not read."""
    failed = _failed_controls(wells, profile)
    rules = _Rules(profile.inhibited, profile.reports, profile.reported_rule, profile.least_within_one)
    found: dict[str, RowEndpoint] = {}
    for series in profile.series:
        seen = [wells.get(name) for name in series.wells]
        row = tuple([_MISSING if well is None else evidence(well, profile) for well in seen])
        found[series.row] = _judged(row, rules, None in failed or series.row in failed)
    return found


class _Rules(msgspec.Struct, frozen=True):
    """What a row's endpoint depends on beside its wells."""

    inhibited: tuple[Call, ...]
    reports: Reports
    reported_rule: EndpointRule
    least_within_one: float | None


# Most rows are a clean step whose wells have one candidate each, and so are equal to a row that was judged before.
@lru_cache(maxsize=4096)
def _judged(wells: tuple[WellEvidence, ...], rules: _Rules, control_failed: bool) -> RowEndpoint:
    endpoint = row_endpoint(wells, inhibited=rules.inhibited, control_failed=control_failed, reports=rules.reports)
    k, least = _reported(endpoint, rules.reports, rules.reported_rule), rules.least_within_one
    if k is None or least is None or chance_within_one(wells, k) >= least:
        return endpoint
    return msgspec.structs.replace(endpoint, grade="low", flags=(*endpoint.flags, "uncertain"))


_MISSING: Final = WellEvidence(Call.NOT_READ, 0.5)


def _failed_controls(wells: Mapping[str, Well], profile: AssayProfile) -> set[str | None]:
    """The rows for which a control failed or could not be read; None stands for the whole plate.

    A serum control speaks for the series in its own row, every other control for the whole plate.
    """
    return {
        name.rstrip("0123456789") if control.role == "serum_control" else None
        for control in profile.controls
        if control.expected
        for name in control.wells
        if name not in wells or wells[name].call not in control.expected
    }


def distribution(endpoints: Mapping[str, RowEndpoint], profile: AssayProfile) -> dict[int, int]:
    """How many sera have their reported endpoint at 0, 1, … N. Rows without an endpoint are left out, never 0."""
    counts = dict.fromkeys(range(profile.dilutions + 1), 0)
    for endpoint in endpoints.values():
        k = endpoint.reported(profile)
        if k is not None:
            counts[k] += 1
    return counts


def result_text(row: str, k: int | None, profile: AssayProfile) -> str:
    """What is reported of a row, in the words of its assay: `1:64`, `MIC 0.125 mg/L`, `not read`."""
    if k is None:
        return "not read"
    return mic_text(row, k, profile) if profile.reports == "mic" else titre_text(k, profile)


def titre_text(k: int, profile: AssayProfile) -> str:
    """The titre at endpoint k as a laboratory writes it: `1:16`, `<1:2` for 0, `≥1:4096` at the last dilution."""
    first, factor = profile.first_dilution, profile.dilution_factor
    if k == 0:
        return f"<1:{first}"
    return f"{'≥' if k == profile.dilutions else ''}1:{first * factor ** (k - 1)}"
