"""Many seeds, several at a time, and the figures that they come to."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import islice
from multiprocessing import get_context
from typing import Final

import msgspec

from tests.faults.record import Result
from tests.simulation.run import Life, Report, simulate

DAYS_OF_A_YEAR: Final = 365.25


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """The closing line: sums over all seeds, and the worst of each."""

    seeds: str
    failed: tuple[int, ...]
    device_years: float
    steps: int
    acknowledged: int
    runs: int
    unreadable: int
    lost_with_card: int
    sendings: int
    ledgers: int
    missed: int
    worst_healed_s: float
    worst_gaps_s: float
    worst_wait_s: float
    cpu_s: float
    faults: dict[str, int]


def tenfold(life: Life) -> Life:
    """A longer life: more of everything, and more quiet between."""
    return replace(life, days=10 * life.days, readings=4 * life.readings, faults=4 * life.faults)


def _one(seed: int, *, long: bool, real: bool) -> Report:
    if real:
        from tests.simulation.real import simulate_real

        return simulate_real(seed)
    return simulate(seed, life=tenfold if long else lambda life: life)


def reports(seeds: Iterator[int], processes: int, *, long: bool, real: bool) -> Iterator[Report]:
    """Play seed after seed, several at a time, in order."""
    play = partial(_one, long=long, real=real)
    if processes == 1:
        yield from map(play, seeds)
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        while some := list(islice(seeds, 32 * processes)):
            yield from pool.map(play, some)


def total(done: list[Report], cpu_s: float) -> Figures:
    """The figures of several seeds."""
    faults: Counter[str] = Counter()
    for report in done:
        faults.update(report.faults)
    return Figures(
        seeds=f"{done[0].seed}-{done[-1].seed}",
        failed=tuple(report.seed for report in done if report.wrong),
        device_years=round(sum(report.device_days for report in done) / DAYS_OF_A_YEAR, 3),
        steps=sum(report.steps for report in done),
        acknowledged=sum(report.acknowledged for report in done),
        runs=sum(report.runs for report in done),
        unreadable=sum(report.unreadable for report in done),
        lost_with_card=sum(report.lost_with_card for report in done),
        sendings=sum(report.sendings for report in done),
        ledgers=sum(report.ledgers for report in done),
        missed=sum(report.missed for report in done),
        worst_healed_s=round(max(report.healed_s for report in done), 1),
        worst_gaps_s=round(max(report.gaps_s for report in done), 1),
        worst_wait_s=round(max(report.worst_wait_s for report in done), 1),
        cpu_s=round(cpu_s, 1),
        faults=dict(sorted(faults.items())),
    )


def result(figures: Figures, *, full: bool) -> Result:
    """What is kept of a full run. That no invariant failed is that nothing was lost, doubled or altered."""
    wrong = len(figures.failed)
    return Result(
        id="S1", title="The delivery in deterministic simulation: many readers, brokers and centrals in virtual time",
        counts={
            "steps": figures.steps, "runs": figures.runs, "sendings": figures.sendings,
            "refused for good": figures.unreadable, "gone with their card": figures.lost_with_card,
        },
        seeds=figures.seeds, faults=figures.faults, acked=figures.acknowledged, lost=wrong, doubled=0, altered=0,
        worst_latency_s=figures.worst_healed_s, latency_of="from the last fault to an empty backlog, virtual",
        seconds=figures.cpu_s, notes=f"{figures.device_years:.1f} device-years", full=full,
    )  # fmt: skip
