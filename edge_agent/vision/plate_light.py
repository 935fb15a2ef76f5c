"""The light that falls on or through a plate at each well: what white would be there. Pure.

The bright parts of a well's surroundings (rims, plastic, background) show it. One smooth field is fitted to those of
all wells, so that a lamp at one side, a shadow or a coloured lamp turns no well positive, and a well whose surroundings
are coloured by their own liquid does not become its own reference.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np

from edge_agent.vision.liquid import PATCH_PX, Liquid
from edge_agent.vision.tensors import Array

WHITE: Final = 250
# The bright parts: these shares of a patch's pixels are darker. Brighter ones are glints.
BRIGHT: Final = (0.83, 0.95)
LEAST_LIGHT: Final = 1e-3
ROUNDS: Final = 15
# CIE 15, from linear sRGB.
LUMINANCE: Final = np.array([0.2126, 0.7152, 0.0722], np.float32)


def plate_light(liquid: Liquid, rows: int, columns: int) -> tuple[Array, float]:
    """Linear light (n, 3) at each well, and by how much (ln, median) the wells' own surroundings differ from it."""
    seen = np.log(np.maximum([_bright(patch, light) for patch, light in _pixels(liquid)], LEAST_LIGHT))
    row, column = np.divmod(np.arange(rows * columns), columns)
    x, y = column / max(columns - 1, 1) * 2 - 1, row / max(rows - 1, 1) * 2 - 1
    terms = np.column_stack([np.ones_like(x), x, y, x * x, x * y, y * y])
    weights = np.ones(len(terms))
    field, off = seen, np.zeros(len(terms))
    for _ in range(ROUNDS):
        scaled = np.sqrt(weights)[:, None]
        field = terms @ np.linalg.lstsq(terms * scaled, seen * scaled, rcond=None)[0]
        off = np.linalg.norm(seen - field, axis=1)
        weights = 1 / (1 + (off / (2 * np.median(off) + 1e-6)) ** 2)
    return np.asarray(np.exp(field)), float(np.median(off))


def _pixels(liquid: Liquid) -> Iterator[tuple[Array, Array]]:
    count = PATCH_PX * PATCH_PX
    yield from zip(liquid.patches_rgb.reshape(-1, count, 3), liquid.linear.reshape(-1, count, 3), strict=True)


def _bright(patch: Array, light: Array) -> Array:
    """The colour of a patch's bright parts; where nearly all of it is white, that is white."""
    unspoilt = (patch < WHITE).any(axis=1)
    if unspoilt.mean() > 1 - BRIGHT[0]:
        light = light[unspoilt]
    luminance = light @ LUMINANCE
    low, high = np.quantile(luminance, BRIGHT)
    return np.asarray(np.median(light[(luminance >= low) & (luminance <= high)], axis=0))
