"""`python -m tests.simulation --seeds 300`: one JSON line per seed that fails, and one closing line of figures.

`--seed 17 --trace` replays one seed, line by line. `--real` puts the real outbox and ingest in place of the models.
`--device-years 100 --long` goes on until that much virtual time was lived, in lives ten times as long. Exit status 1
if any invariant did not hold.
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import count, islice
from multiprocessing import get_context

import msgspec

from tests.faults.record import Result, is_full_run, record
from tests.simulation.run import Life, Report, simulate

_DAYS_OF_A_YEAR = 365.25


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
        device_years=round(sum(report.device_days for report in done) / _DAYS_OF_A_YEAR, 3),
        steps=sum(report.steps for report in done),
        acknowledged=sum(report.acknowledged for report in done),
        runs=sum(report.runs for report in done),
        unreadable=sum(report.unreadable for report in done),
        lost_with_card=sum(report.lost_with_card for report in done),
        sendings=sum(report.sendings for report in done),
        ledgers=sum(report.ledgers for report in done),
        missed=sum(report.missed for report in done),
        worst_healed_s=round(max(report.healed_s for report in done), 1),
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


def main() -> int:
    """Play what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=0, help="how many, from --first on")
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--device-years", type=float, default=0.0, help="go on until so much was lived")
    parser.add_argument("--seed", type=int, help="only this one")
    parser.add_argument("--trace", action="store_true", help="print what happens, with --seed")
    parser.add_argument("--long", action="store_true", help="lives of ten times the length")
    parser.add_argument("--real", action="store_true", help="the real outbox and ingest; slow")
    parser.add_argument("--processes", type=int, default=1)
    asked = parser.parse_args()
    if asked.seed is not None and asked.trace:
        report = simulate(asked.seed, life=tenfold if asked.long else lambda life: life, show=print)
        print(msgspec.json.encode(report).decode())
        return int(bool(report.wrong))
    seeds = iter([asked.seed]) if asked.seed is not None else count(asked.first)
    done: list[Report] = []
    started_s, lived = time.process_time(), 0.0
    for report in reports(seeds, asked.processes, long=asked.long, real=asked.real):
        done.append(report)
        lived += report.device_days / _DAYS_OF_A_YEAR
        if report.wrong:
            print(msgspec.json.encode(report).decode(), flush=True)
        if len(done) >= max(1, asked.seeds) and lived >= asked.device_years:
            break
    times = time.process_time() - started_s + sum(report.cpu_s for report in done) * (asked.processes > 1)
    figures = total(done, times)
    print(msgspec.json.encode(figures).decode(), flush=True)
    if is_full_run():
        record(result(figures, full=figures.device_years >= 100))
    return int(bool(figures.failed))


if __name__ == "__main__":
    sys.exit(main())
