"""Our path beside the usual two, on losses under kill -9 and on throughput."""

import os
from pathlib import Path

import pytest

from tests.benchmarks import paths

pytestmark = pytest.mark.benchmark

TOTAL = int(os.environ.get("PATHS_READINGS", "1500"))


@pytest.mark.skipif(paths.MOSQUITTO is None, reason="the mosquitto program is not installed")
def test_saved_readings_that_never_arrive(tmp_path: Path) -> None:
    results = {}
    for way in (paths.bridge, paths.consumer, paths.ours):
        folder = tmp_path / way.__name__
        folder.mkdir()
        results[way.__name__] = way(folder, TOTAL)
    print(f"\n{TOTAL} readings, two kills each (tests/benchmarks/paths.py says whose)")
    ours = results["ours"]
    for name, result in results.items():
        ratio = result.per_second / ours.per_second
        print(
            f"  {name:10} saved {result.saved:6}  lost {result.lost:6}  doubled {result.doubled:4}  "
            f"{result.per_second:8.1f} /s  {ratio:5.2f} ×"
        )
    assert (ours.lost, ours.doubled) == (0, 0)
