"""`python -m tests.simulation --seeds 300`: one JSON line per seed that fails, and one closing line of figures.

`--seed 17 --trace` replays one seed, line by line. `--real` puts the real outbox and ingest in place of the models.
`--device-years 100 --long` goes on until that much virtual time was lived, in lives ten times as long. Exit status 1
if any invariant did not hold.
"""

import argparse
import sys
import time
from itertools import count

import msgspec

from tests.faults.record import is_full_run, record
from tests.simulation.many import DAYS_OF_A_YEAR, reports, result, tenfold, total
from tests.simulation.run import Report, simulate


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
        lived += report.device_days / DAYS_OF_A_YEAR
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
