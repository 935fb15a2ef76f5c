"""Minimum inhibitory concentration: the lowest from which on every higher one inhibits growth. Pure.

The rule it protects: a strain is never called more susceptible than the plate shows. CLSI M07: a single skipped well
(no growth below a well with growth) is passed over and the highest MIC is read; with more than one nothing is
reported. A well that decides and cannot be read leaves the row without an MIC.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from protocol.assay import AssayProfile, Call
from protocol.evidence import WellEvidence

# More than this many wells without growth below one with growth: the row is not reported.
MOST_SKIPPED: Final = 1
# So many wells of weak growth in a row are a trailing endpoint.
TRAILING_FROM: Final = 2


@dataclass(frozen=True, slots=True)
class Inhibition:
    """`k` wells from the strong end are inhibited without a break; None where that cannot be said."""

    k: int | None
    skipped: int
    trailing: bool


def unbroken(wells: Sequence[WellEvidence], inhibited: Sequence[Call]) -> Inhibition:
    """How far inhibition reaches from the strong end; `wells` in order of dilution, strongest first."""
    k, first_growth = 0, None
    for c, well in enumerate(wells, 1):
        if not well.readable:
            continue
        if well.call not in inhibited:
            first_growth = c
            break
        k = c
    beyond = wells[first_growth:] if first_growth is not None else ()
    skipped = sum(well.readable and well.call in inhibited for well in beyond)
    decided = k + 1 == (len(wells) + 1 if first_growth is None else first_growth)
    return Inhibition(k if decided and skipped <= MOST_SKIPPED else None, skipped, _trails(wells))


def _trails(wells: Sequence[WellEvidence]) -> bool:
    weak = [well.call is Call.WEAK_GROWTH for well in wells]
    return any(all(weak[c : c + TRAILING_FROM]) for c in range(len(weak) - TRAILING_FROM + 1))


def mic_text(row: str, k: int, profile: AssayProfile) -> str:
    """The MIC at endpoint k of a row: `MIC 0.125 mg/L`, `MIC > 8 mg/L` for 0, `MIC ≤ 0.004 mg/L` at the weakest."""
    concentrations, unit = profile.series_of(row).concentrations, profile.concentration_unit
    if k == 0:
        return f"MIC > {concentrations[0]:g} {unit}"
    return f"MIC {'≤ ' if k == len(concentrations) else ''}{concentrations[k - 1]:g} {unit}"
