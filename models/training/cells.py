"""What red cells look like at the bottom of a V-shaped well: tear, button, ragged ring, veil, nothing.

Everything is drawn for many wells at once, in units of the well pitch, y pointing to the plate's low side (row H).
Half of the tears are short, and near a height-to-width ratio of 1.10 the label is soft: there a panel of readers
disagrees, and a network taught certainty there is confidently wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from models.training.ranges import Ranges
from models.training.spec import BUTTON, CLASSES, DIFFUSE, EMPTY, FLOWING, PARTIAL, Doubles, Floats

TEAR_BOUNDARY = 1.10  # height / width at which half of a panel would say "flowing": real buttons go up to 1.09
TEAR_BOUNDARY_WIDTH = 0.02
VEIL_BOUNDARY = 0.06  # contrast against the bare floor at which half of a panel would see a veil at all
VEIL_BOUNDARY_WIDTH = 0.015


@dataclass(frozen=True, slots=True)
class CellHabit:
    """What the wells of one plate have in common: one blood, one tilt, one reading time.

    `tear_ratio` holds the least and most height over width of tears that are not short, `veil` for every class how
    much veil lies around its cells.
    """

    lean_deg: float
    area: float
    short_share: float
    clear: bool
    tear_ratio: tuple[float, float]
    veil: Mapping[int, tuple[float, float]]

    @classmethod
    def draw(cls, ranges: Ranges) -> CellHabit:
        """Plain plates hold nothing that a reader could argue about; whole titrations hold few short tears."""
        few = ranges.difficulty in {"beyond", "swept"}
        return cls(
            lean_deg=ranges.draw("lean_deg"),
            area=ranges.draw("cell_area"),
            short_share=0.0
            if ranges.difficulty == "plain"
            else float(ranges.rng.uniform(0, 0.3) if few else ranges.rng.uniform(0.3, 0.7)),
            clear=ranges.difficulty == "plain",
            tear_ratio=ranges.limits("tear_ratio"),
            veil={call: ranges.limits(f"veil_{name}") for call, name in enumerate(CLASSES)},
        )


@dataclass(frozen=True, slots=True)
class Cells:
    """One batch of drawn cells: opacity per pixel, label per well, and how much veil surrounds them."""

    opacity: Floats
    soft_calls: Floats
    veil: Floats
    diffuse: NDArray[np.bool_]


def draw_cells(
    rng: np.random.Generator, habit: CellHabit, calls: NDArray[np.int64], *, x: Floats, y: Floats, disc_radius: float
) -> Cells:
    """Cells for wells of mixed classes; x, y are (n, size, size) about each well's own cell centre."""
    opacity = np.zeros(x.shape, np.float32)
    soft = np.zeros((len(calls), 5), np.float32)
    veil = np.zeros(len(calls), np.float32)
    soft[np.arange(len(calls)), calls] = 1.0
    for call, (least, most) in habit.veil.items():
        here = np.flatnonzero(calls == call)
        if not here.size:
            continue
        veil[here] = rng.uniform(least, most, here.size)
        if call == FLOWING:
            opacity[here], soft[here] = _tears(rng, habit, x[here], y[here], disc_radius)
        elif call == BUTTON:
            opacity[here] = _buttons(rng, habit, x[here], y[here])
        elif call == PARTIAL:
            opacity[here] = _partials(rng, habit, x[here], y[here])
    return Cells(np.clip(opacity, 0, 1), soft, veil, calls == DIFFUSE)


def draw_veil(
    rng: np.random.Generator, cells: Cells, x: Floats, y: Floats, *, disc_radius: float, least_edge: float
) -> Floats:
    """Opacity of cells that stayed spread over the floor, unevenly: all of a diffuse well, a residue elsewhere.

    Without uneven residues under buttons and tears, a network takes every veil for a partial (measured on the probe).
    """
    count, size = x.shape[0], x.shape[1]
    distance = np.sqrt(x * x + y * y)
    angle, kind = column(rng, 0, 6.28, count), rng.random((count, 1, 1))
    along = x * np.cos(angle) + y * np.sin(angle)
    one_sided = ramp((disc_radius * column(rng, -0.1, 1.2, count) - along) / column(rng, least_edge, 0.2, count))
    outer = ramp((distance - disc_radius * column(rng, 0.4, 1, count)) / column(rng, 0.03, 0.12, count))
    central = 1 - column(rng, 0, 0.7, count) * outer
    hollow = 1 - column(rng, 0, 0.6, count) * np.exp(-0.5 * np.square(distance / column(rng, 0.05, 0.15, count)))
    cover = np.where(kind < 0.35, one_sided, np.where(kind < 0.65, central, np.where(kind < 0.8, hollow, 1.0)))
    diffuse = cells.diffuse[:, None, None]
    bump = np.exp(-0.5 * np.square(distance / column(rng, 0.09, 0.22, count)))
    heap = column(rng, 0.35, 0.75, count) + column(rng, 0.2, 0.7, count) * bump
    cover = np.where(diffuse & (rng.random((count, 1, 1)) < 0.35), heap, cover)
    cover = np.where(diffuse, np.maximum(cover, 0.4), cover)
    if size >= 20:
        cover = cover * (1 + column(rng, 0, 0.12, count) * speckle(rng, count, size, int(rng.integers(5, 24))))
    return np.asarray(np.clip(0.8 * cells.veil[:, None, None] * cover, 0, 0.92), dtype=np.float32)


def ramp(value: Floats) -> Floats:
    """A soft step: 0 below −1, 1 above +1, smooth between."""
    clipped = np.clip(value * 0.5 + 0.5, 0, 1)
    return np.asarray(clipped * clipped * (3 - 2 * clipped), dtype=np.float32)


def column(rng: np.random.Generator, low: float, high: float, count: int) -> Floats:
    """One uniform number per well, shaped to multiply a batch of tiles."""
    return rng.uniform(low, high, (count, 1, 1)).astype(np.float32)


def speckle(rng: np.random.Generator, count: int, size: int, grains: int) -> Floats:
    """Smooth unit noise with about `grains` grains across each tile."""
    coarse = rng.standard_normal((count, grains, grains)).astype(np.float32)
    return np.stack([cv2.resize(tile, (size, size), interpolation=cv2.INTER_CUBIC) for tile in coarse])


def _tears(
    rng: np.random.Generator, habit: CellHabit, x: Floats, y: Floats, disc_radius: float
) -> tuple[Floats, Floats]:
    count, size = x.shape[0], x.shape[1]
    ratio = rng.uniform(*habit.tear_ratio, count)
    short = rng.random(count) < habit.short_share
    ratio[short] = rng.uniform(1.01, 1.35, int(short.sum()))
    tail = (2 * ratio - 1)[:, None, None].astype(np.float32)  # tail length over head radius
    power = column(rng, 0.9, 2.8, count)
    area = habit.area * column(rng, 0.75, 1.3, count)
    head = np.sqrt(area / (np.pi / 2 + 2 * tail * power / (power + 1)))
    length = np.minimum(tail * head, disc_radius * 1.4)
    lean = np.deg2rad(np.clip(habit.lean_deg + rng.normal(0, 3, (count, 1, 1)), -16, 16)).astype(np.float32)
    along = x * np.sin(lean) + y * np.cos(lean)
    across = x * np.cos(lean) - y * np.sin(lean)
    across = across - column(rng, -0.22, 0.22, count) * np.square(np.maximum(along, 0)) / length  # a slightly bent tail
    along = along + length * (column(rng, -0.15, 0.1, count) if habit.clear else column(rng, -0.25, 0.55, count))
    head_half = np.sqrt(np.maximum(head * head - along * along, 0))
    share = np.clip(along / length, 0, 1)
    tail_half = head * np.maximum(1 - share**power, 0)
    blunt = head * column(rng, 0.1, 0.35, count) * (rng.random((count, 1, 1)) < 0.5)
    tail_half = np.where(along < length, np.maximum(tail_half, blunt), -0.05)
    half = np.where(along < 0, np.where(along > -head, head_half, -0.05), tail_half)
    edge = column(rng, 0.006, 0.020 if habit.clear else 0.045, count)
    body = ramp((half - np.abs(across)) / edge) * column(rng, 0.75, 1.0, count)
    if size >= 20:
        body = body * np.clip(1 + 0.08 * speckle(rng, count, size, 8), 0.5, 1.1)
    if not habit.clear:
        beyond_ends = np.maximum(along - length, 0) + np.maximum(-head - along, 0)
        body = _surrounded(rng, body, np.hypot(np.maximum(np.abs(across) - np.maximum(half, 0), 0), beyond_ends))
    return np.asarray(body, dtype=np.float32), _panel(ratio)


def _surrounded(rng: np.random.Generator, body: Floats, outside: Floats) -> Floats:
    """Cells with a halo and, some of them, loose cells; `outside` is the distance from their outline.

    Buttons have both. A network that has seen only sharp tears takes every soft one, out of focus or in haze, for a
    button.
    """
    count, size = body.shape[0], body.shape[1]
    body = np.maximum(body, column(rng, 0, 0.4, count) * np.exp(-outside / column(rng, 0.015, 0.06, count)))
    if size >= 20:
        loose = ramp((speckle(rng, count, size, min(size, 30)) - 1.1) * 2) * column(rng, 0.0, 0.6, count)
        loose = loose * (rng.random((count, 1, 1)) < 0.35) * np.exp(-outside / column(rng, 0.02, 0.05, count))
        body = np.maximum(body, loose)
    return body


def _panel(ratio: Doubles) -> Floats:
    """How a panel of readers would vote on tears of this height over width."""
    flowing = 1 / (1 + np.exp(-(ratio - TEAR_BOUNDARY) / TEAR_BOUNDARY_WIDTH))
    votes = np.zeros((len(ratio), 5), np.float32)
    votes[:, FLOWING], votes[:, BUTTON] = flowing, 1 - flowing
    return votes


def veil_votes(contrast: Doubles) -> Floats:
    """How a panel would vote between diffuse and empty, by the veil's contrast against the bare floor."""
    seen = 1 / (1 + np.exp(-(contrast - VEIL_BOUNDARY) / VEIL_BOUNDARY_WIDTH))
    votes = np.zeros((len(contrast), 5), np.float32)
    votes[:, DIFFUSE], votes[:, EMPTY] = seen, 1 - seen
    return votes


def _buttons(rng: np.random.Generator, habit: CellHabit, x: Floats, y: Floats) -> Floats:
    count, size = x.shape[0], x.shape[1]
    spread = 0.02 if habit.clear else 0.07
    squash = np.sqrt(column(rng, 1 - spread, 1 + spread, count))
    y = y - column(rng, -0.01, 0.05, count)
    radius = np.sqrt(habit.area * column(rng, 0.6, 1.35, count) / np.pi)
    distance = np.sqrt(np.square(x * squash) + np.square(y / squash))
    angle = np.arctan2(y, x)
    outline = 1 + _lobes(rng, angle, (2, 3, 4), 0.035)
    edge = column(rng, 0.008, 0.045, count)
    body = ramp((radius * outline - distance) / edge)
    outside = np.maximum(distance - radius, 0)
    halo = column(rng, 0, 0.25 if habit.clear else 0.4, count) * np.exp(-outside / column(rng, 0.015, 0.06, count))
    body = np.maximum(body * column(rng, 0.75, 1.0, count), halo)
    if not habit.clear and size >= 20:
        loose = ramp((speckle(rng, count, size, min(size, 30)) - 1.1) * 2) * column(rng, 0.0, 0.6, count)
        loose = loose * (rng.random((count, 1, 1)) < 0.35) * np.exp(-outside / column(rng, 0.02, 0.05, count))
        body = np.maximum(body * np.clip(1 + 0.1 * speckle(rng, count, size, 12), 0.5, 1.1), loose)
    return np.asarray(body, dtype=np.float32)


def _partials(rng: np.random.Generator, habit: CellHabit, x: Floats, y: Floats) -> Floats:
    """Rings with a hole, ragged patches, stars: cells that neither settled into a button nor stayed spread."""
    count, size = x.shape[0], x.shape[1]
    radius = column(rng, 0.10 if habit.clear else 0.08, 0.18, count)
    squash = np.sqrt(column(rng, 0.85, 1.18, count))
    distance = np.sqrt(np.square(x * squash) + np.square(y / squash))
    angle = np.arctan2(y, x)
    outline = 1 + _lobes(rng, angle, (2, 3, 4, 5), 0.12)
    spikes = column(rng, 0.05, 0.28, count) * (rng.random((count, 1, 1)) < 0.3)
    points = rng.integers(2, 6, (count, 1, 1)).astype(np.float32)
    outline = outline + spikes * np.abs(np.cos(points * angle + column(rng, 0, 6.28, count)))
    edge = column(rng, 0.010, 0.035, count)
    body = ramp((radius * outline - distance) / edge)
    hole_x, hole_y = column(rng, -0.03, 0.03, count), column(rng, -0.03, 0.03, count)
    hole_radius = radius * column(rng, 0.4, 0.8, count) * (1 + 0.2 * np.cos(2 * angle + column(rng, 0, 6.28, count)))
    hole = ramp((hole_radius - np.hypot(x - hole_x, y - hole_y)) / (edge * 1.5)) * column(rng, 0.4, 0.95, count)
    ring = rng.random((count, 1, 1)) < 0.75
    body = np.where(ring, body * (1 - hole), body)
    ragged = 0.6 + column(rng, 0.25, 0.7, count) * speckle(rng, count, size, int(rng.integers(8, 24)))
    body = body * np.where(~ring | (rng.random((count, 1, 1)) < 0.6), np.clip(ragged, 0, 1.15), 1)
    loose = ramp((speckle(rng, count, size, 30) - 1.0) * 2) * column(rng, 0.1, 0.7, count)
    body = np.maximum(body, loose * np.exp(-np.maximum(distance - radius, 0) / column(rng, 0.015, 0.05, count)))
    peak = np.maximum(np.quantile(body.reshape(count, -1), 0.97, axis=1)[:, None, None], 0.2)
    return np.asarray(np.clip(body / peak * column(rng, 0.55, 1.05, count), 0, 1), dtype=np.float32)


def _lobes(rng: np.random.Generator, angle: Floats, orders: tuple[int, ...], amplitude: float) -> Floats:
    count = angle.shape[0]
    total = np.zeros_like(angle)
    for order in orders:
        total += column(rng, -amplitude, amplitude, count) * np.cos(order * angle + column(rng, 0, 6.28, count))
    return total
