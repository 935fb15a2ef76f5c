"""Levey-Jennings charts of control sera and Westgard's rules over them. Pure.

The target is what a reviewer set; without one it is the mean and SD of the points themselves, and provisional. Rules
(J. O. Westgard et al., Clin Chem 27:493, 1981), each on the point that completes it: 1-2s warns, the others reject.
"""

import statistics
from collections.abc import Sequence
from datetime import datetime
from typing import Final, Literal

import msgspec

Rule = Literal["1-2s", "1-3s", "2-2s", "R-4s", "4-1s", "10x"]
WARNINGS: Final[frozenset[Rule]] = frozenset({"1-2s"})
# So many points are wanted before their own mean and SD are a target.
ENOUGH: Final = 20


class Observation(msgspec.Struct, frozen=True):
    """One reading of a control serum, in the order in which they were made."""

    run_id: str
    row: str
    at: datetime
    log2: int


class Point(msgspec.Struct, frozen=True):
    """An observation on the chart; `z` is its distance from the mean in SDs, None while there is no SD."""

    run_id: str
    row: str
    at: datetime
    log2: int
    z: float | None
    rules: tuple[Rule, ...]


class Chart(msgspec.Struct, frozen=True):
    """A lot's chart. `provisional`: mean and SD are those of the points, as nobody has set a target."""

    points: tuple[Point, ...]
    mean: float | None
    sd: float | None
    provisional: bool
    enough: bool


def chart(observations: Sequence[Observation], target: tuple[float, float] | None = None) -> Chart:
    """The chart over observations in order of time; `target` is (mean, SD) where one was set."""
    values = [each.log2 for each in observations]
    mean: float | None
    sd: float | None
    if target is not None:
        mean, sd = target
    else:
        mean = statistics.fmean(values) if values else None
        sd = statistics.stdev(values) if len(values) > 1 else None
    zs = [_z(value, mean, sd) for value in values]
    points = tuple(
        Point(each.run_id, each.row, each.at, each.log2, zs[at], broken(zs[: at + 1]))
        for at, each in enumerate(observations)
    )
    return Chart(points, mean, sd, target is None, target is not None or len(values) >= ENOUGH)


def _z(value: int, mean: float | None, sd: float | None) -> float | None:
    """An SD of 0 is of points that are all alike: each is where it should be."""
    if mean is None or sd is None:
        return None
    return (value - mean) / sd if sd > 0 else 0.0


def broken(zs: Sequence[float | None]) -> tuple[Rule, ...]:
    """The rules that the last of these completes."""
    last = [z for z in zs[-10:] if z is not None]
    if not last or zs[-1] is None:
        return ()
    found: list[tuple[bool, Rule]] = [
        (abs(last[-1]) > 2, "1-2s"),
        (abs(last[-1]) > 3, "1-3s"),
        (_one_side(last, 2, 2), "2-2s"),
        (len(last) > 1 and max(last[-2:]) > 2 and min(last[-2:]) < -2, "R-4s"),
        (_one_side(last, 4, 1), "4-1s"),
        (_one_side(last, 10, 0), "10x"),
    ]
    return tuple(rule for holds, rule in found if holds)


def _one_side(zs: Sequence[float], count: int, beyond: float) -> bool:
    """Whether the last so many are all beyond so many SDs, on one side."""
    some = zs[-count:]
    return len(some) == count and (all(z > beyond for z in some) or all(z < -beyond for z in some))
