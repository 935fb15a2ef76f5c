"""A million wells to CSV (`CSV_WELLS=1000000`; by default a tenth of it), beside pandas: time and peak memory.

Each way has a process of its own. Both write the same columns of the same values; ours from plates as deliveries have
them, checking every value; pandas from columns that are made already.
"""

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
import pytest

from central.deliveries.cells import FIELDS
from central.deliveries.dialect import shipped
from central.deliveries.render import render
from central.deliveries.results import PlateResult, Results
from tests.central.deliveries.results import make_plate, make_results, make_wells

pytestmark = pytest.mark.benchmark

WELLS: Final = int(os.environ.get("CSV_WELLS", "100000"))
DIALECT: Final = shipped()["wells"]


def results() -> Results:
    """So many wells, each an object of its own as from the database."""
    ends: dict[str, int | None] = dict.fromkeys("ABCDEFGH", 8)
    plates: list[PlateResult] = []
    for number in range(-(-WELLS // 96)):
        plates.append(make_plate(ends, run_id=f"run-{number}", wells=make_wells(ends)))
    return make_results(*plates)


def ours(of: Results) -> Callable[[], int]:
    """Rendered as a delivery is."""
    return lambda: len(render(DIALECT, of).content)


def pandas(of: Results) -> Callable[[], int]:
    """`DataFrame.to_csv`, of columns that are there."""
    import pandas as pd

    names = [column.field for column in DIALECT.columns]
    columns = {
        name: [FIELDS["wells"][name](plate, well) for plate in of.plates for well in plate.wells] for name in names
    }
    frame = pd.DataFrame(columns)
    frame["measured_at"] = frame["measured_at"].astype(str)
    return lambda: len(frame.to_csv(index=False, float_format="%.3f").encode())


class Measured(msgspec.Struct):
    """One way."""

    seconds: float
    peak_mib: float
    before_mib: float
    mib: float


def measure(way: str) -> Measured:
    """In this process: how long, and how much memory beyond what the wells took."""
    work = {"ours": ours, "pandas": pandas}[way](results())
    before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20
    began = time.process_time()
    size = work()
    seconds = time.process_time() - began
    return Measured(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, before, size / 2**20)


def test_wells_to_csv() -> None:
    print(
        f"\n{WELLS} wells to CSV, {len(DIALECT.columns)} columns (processor time; memory beyond the wells themselves)"
    )
    found = {}
    for way in ("ours", "pandas"):
        command = [sys.executable, "-m", "tests.benchmarks.test_csv", way]
        done = subprocess.run(command, capture_output=True, check=True, text=True)
        found[way] = one = msgspec.json.decode(done.stdout, type=Measured)
        print(f"  {way:8} {one.seconds:7.2f} s  {WELLS / one.seconds:10.0f} wells/s  {one.mib:7.1f} MiB written  "
              f"peak {one.peak_mib:7.0f} MiB, {one.peak_mib - one.before_mib:6.0f} of it for this")  # fmt: skip
    print(f"  ours / pandas: {found['ours'].seconds / found['pandas'].seconds:.2f} × the time")


if __name__ == "__main__":
    print(msgspec.json.encode(measure(sys.argv[1])).decode())
