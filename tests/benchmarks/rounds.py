"""Timing two ways of doing the same in turn, so that a machine that slows down slows both."""

import statistics
import time
from collections.abc import Callable, Mapping


def side_by_side(title: str, ways: Mapping[str, Callable[[], int]], rounds: int = 5) -> dict[str, float]:
    """Run each way `rounds` times in turn; prints things per second (median) and each one's ratio to the last way."""
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            started = time.perf_counter()
            done = way()
            rates[name].append(done / (time.perf_counter() - started))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    ceiling = list(medians.values())[-1]
    print(f"\n{title}")
    for name, rate in medians.items():
        low, high = min(rates[name]), max(rates[name])
        print(f"  {name:<44} {rate:10.1f} /s  ({low:.1f} … {high:.1f})   {rate / ceiling:5.2f} ×")
    return medians
