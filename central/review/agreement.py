"""Device and reviewer compared, per device and model: how often a reviewer would report another titre. Pure.

Only rows that somebody looked at are counted: an accepted row agrees by that, a corrected one by as many dilutions as
its endpoint moved. A row that nobody looked at says nothing about agreement.
"""

from collections import Counter
from collections.abc import Iterable, Mapping

import msgspec

from central.results.aggregate import Run
from central.review.corrections import Effective
from protocol.assay import AssayProfile, Call
from protocol.endpoint import RowEndpoint
from protocol.messages import PlateReading


class Compared(msgspec.Struct, frozen=True):
    """One reviewed run as the figures need it: (row, machine's endpoint, reviewer's), calls, wells overridden."""

    device_id: str
    model: str
    rows: tuple[tuple[str, int | None, int | None], ...]
    calls: dict[Call, int]
    overridden: int
    confidence: float | None


class Agreement(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of one device and model. Shares are of `rows`, None where there are none.

    `exact` and `within_one` count rows whose endpoint the reviewer left, or moved by at most one dilution; one that he
    set not reportable is `withheld` and in neither. `confidence` is the mean over wells that were read.
    """

    device_id: str
    model: str
    runs: int
    rows: int
    exact: int
    within_one: int
    withheld: int
    exact_share: float | None
    within_one_share: float | None
    wells: int
    overridden: int
    calls: dict[Call, int]
    confidence: float | None


def compare(run: Run, reading: PlateReading, own: Mapping[str, RowEndpoint], now: Effective) -> Compared:
    """A reviewed run: its endpoints by the machine's calls against those that count now, in rows looked at."""
    assay = run.assay
    touched = {each.row for each in assay.series if set(each.wells) & now.overridden.keys()}
    looked_at = touched | now.accepted | set(now.not_reportable)
    rows = tuple((row, own[row].reported(assay), _reported(now, row, assay)) for row in own if row in looked_at)
    read = [well for well in reading.wells.values() if well.call.is_read]
    calls = Counter(well.call for well in reading.wells.values())
    mean = sum(well.confidence for well in read) / len(read) if read else None
    return Compared(run.device_id, run.model, rows, dict(calls), len(now.overridden), mean)


def _reported(now: Effective, row: str, assay: AssayProfile) -> int | None:
    return now.endpoints[row].reported(assay) if row in now.endpoints else None


def agreement(compared: Iterable[Compared]) -> tuple[Agreement, ...]:
    """The figures per device and model, by their names."""
    groups: dict[tuple[str, str], list[Compared]] = {}
    for each in compared:
        groups.setdefault((each.device_id, each.model), []).append(each)
    return tuple(_figures(*key, groups[key]) for key in sorted(groups))


def _figures(device_id: str, model: str, some: list[Compared]) -> Agreement:
    rows = [(machine, reviewer) for each in some for _, machine, reviewer in each.rows]
    judged = [(machine, reviewer) for machine, reviewer in rows if reviewer is not None]
    exact = sum(machine == reviewer for machine, reviewer in judged)
    near = sum(machine is not None and abs(machine - reviewer) <= 1 for machine, reviewer in judged)
    confidences = [each.confidence for each in some if each.confidence is not None]
    calls: Counter[Call] = Counter()
    for each in some:
        calls.update(each.calls)
    return Agreement(
        device_id=device_id,
        model=model,
        runs=len(some),
        rows=len(judged),
        exact=exact,
        within_one=near,
        withheld=len(rows) - len(judged),
        exact_share=exact / len(judged) if judged else None,
        within_one_share=near / len(judged) if judged else None,
        wells=sum(calls.values()),
        overridden=sum(each.overridden for each in some),
        calls={call: calls[call] for call in Call if calls[call]},
        confidence=sum(confidences) / len(confidences) if confidences else None,
    )
