"""Growth in every well, by pellets or turbidity, between the plate's own sterility and growth controls. Pure.

A button at the bottom of a U and an even haze both make a well unlike the sterile ones; how unlike, as a share of what
the growth controls are, is the measure. The rule it protects: without controls that differ, nothing is read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from edge_agent.vision.colour import cielab, share_below
from edge_agent.vision.liquid import PLACES, Liquid
from edge_agent.vision.tensors import Array
from protocol.assay import Call, GrowthCriteria
from protocol.messages import Growth

# The floor of a well: pellets lie in it, haze fills it, and the wall does not reach into it.
FLOOR_PITCH: Final = 0.22


@dataclass(frozen=True, slots=True)
class Grown:
    """Growth per well; `readable` says whether the controls differ enough for it to mean anything."""

    wells: tuple[Growth, ...]
    readable: bool


def measure_growth(
    liquid: Liquid, light: Array, *, sterile: Sequence[int], grown: Sequence[int], criteria: GrowthCriteria
) -> Grown:
    """Growth between the sterility and the growth controls (indices of wells that can be seen)."""
    if not sterile or not grown:
        return Grown(tuple(Growth(0.0, 0.0) for _ in light), readable=False)
    floors = np.array([_floor(liquid, index, white) for index, white in enumerate(light)])
    usual = np.median(floors[list(sterile)], axis=0)
    unlike = np.linalg.norm(floors - usual, axis=-1).mean(axis=1)
    none = float(np.median(unlike[list(sterile)]))
    full = float(np.median(unlike[list(grown)])) - none
    readable = full >= criteria.least_contrast
    shares = (unlike - none) / full if readable else np.zeros(len(unlike))
    return Grown(
        tuple(
            Growth(round(float(share), 3), round(float(contrast), 1))
            for share, contrast in zip(shares, unlike - none, strict=True)
        ),
        readable,
    )


def _floor(liquid: Liquid, index: int, white: Array) -> Array:
    """CIELAB of a well's floor, pixel by pixel, each well moved to where its liquid lies."""
    columns, rows = (_steps(shift) for shift in liquid.shift_pitch[index])
    patch = np.roll(liquid.linear[index], (-rows, -columns), axis=(0, 1))
    return cielab(patch[_INSIDE] / white)


def _steps(shift_pitch: float) -> int:
    return round(shift_pitch / float(PLACES[1] - PLACES[0]))


_INSIDE: Final = np.hypot(*np.meshgrid(PLACES, PLACES)) < FLOOR_PITCH


def judge_growth(growth: Growth, criteria: GrowthCriteria) -> tuple[Call, dict[Call, float]]:
    """The call, and per call the chance that an equal well would be called so."""
    grown = share_below((growth.share - criteria.growth_from) / criteria.scatter)
    clear = share_below((criteria.clear_below - growth.share) / criteria.scatter)
    chances = {Call.GROWTH: grown, Call.WEAK_GROWTH: max(0.0, 1 - grown - clear), Call.CLEAR: clear}
    if growth.share >= criteria.growth_from:
        return Call.GROWTH, chances
    return (Call.CLEAR if growth.share <= criteria.clear_below else Call.WEAK_GROWTH), chances
