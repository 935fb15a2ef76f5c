"""One well seen from above: rim, glass wall with crescents of lamp light, and the disc with its contents.

The rim lies in the plate's top plane, the disc below it: seen off-axis the disc shifts against the rim (parallax), so
the wall is drawn as circles whose centres move from one to the other. Lamps are common to a plate, which is why the
crescents of neighbouring wells resemble each other. Units are well pitches; tiles are square and abut.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.training.cells import CellHabit, Cells, column, draw_cells, ramp, speckle
from models.training.colours import hsv
from models.training.spec import DIFFUSE, EMPTY, Floats


@dataclass(frozen=True, slots=True)
class Crescent:
    """A reflection that all wells of a plate share: depth 0 is the rim, 1 the disc's edge."""

    depth: float
    angle_rad: float
    sharpness: float
    width: float
    strength: float


@dataclass(frozen=True, slots=True)
class WellLook:
    """What the wells of one plate have in common."""

    rim_radius: float
    disc_radius: float
    square: bool
    glass_bgr: Floats
    rings: tuple[tuple[float, float, float], ...]  # depth, whiteness, edge width
    crescents: tuple[Crescent, ...]
    parallax: float  # disc shift at the plate's edge
    vantage: tuple[float, float]  # share of the plate under the lens
    cell_bgr: Floats
    veil_bgr: Floats
    veil_multiplies: float
    haze: float
    sparkle: float
    glass_takes_colour: float
    plain: bool


@dataclass(frozen=True, slots=True)
class Liquids:
    """Contents of a plate of some other assay: a colour and an opacity per well."""

    colour_bgr: Floats
    opacity: Floats
    pellet: Floats


def draw_look(rng: np.random.Generator, rim_radius: tuple[float, float], *, plain: bool) -> WellLook:
    """The look of an HI plate: clear V-bottom wells with white rims."""
    rim = float(rng.uniform(0.465, 0.485)) if plain else float(rng.uniform(0.415, min(rim_radius[1] + 0.01, 0.495)))
    ring_count = int(rng.integers(4, 7)) if plain else int(rng.integers(1, 7))
    least_white, most_white = (0.35, 0.8) if plain else (0.1, 0.9)
    depths = np.sort(np.r_[0.0, rng.uniform(0.1, 1, ring_count - 1)])
    rings = [(float(d), float(rng.uniform(least_white, most_white)), float(rng.uniform(0.008, 0.02))) for d in depths]
    rings[0] = (0.0, max(rings[0][1], 0.6 if plain else 0.3), rings[0][2])
    lamps = rng.uniform(0, 2 * np.pi, int(rng.integers(2, 4)))
    return WellLook(
        rim_radius=rim,
        disc_radius=float(rng.uniform(0.29, 0.33)) if plain else float(rng.uniform(0.255, 0.37)),
        square=False,
        glass_bgr=np.array([rng.uniform(205, 262)] * 3, np.float32) * rng.uniform([0.92, 0.88, 0.92], [1.05, 1.0, 1.05]),
        rings=tuple(rings),
        crescents=tuple(_draw_crescent(rng, lamps, plain=plain) for _ in range(int(rng.integers(7, 20)))),
        parallax=float(rng.uniform(0.04, 0.08)) if plain else float(rng.uniform(0, 0.13)),
        vantage=(float(rng.normal(0.5, 0.06 if plain else 0.2)), float(rng.normal(0.5, 0.06 if plain else 0.2))),
        cell_bgr=hsv(rng.uniform(-12, 8), rng.uniform(0.55, 0.92), rng.uniform(0.3 if plain else 0.22, 0.52 if plain else 0.62)),
        veil_bgr=hsv(rng.choice([rng.uniform(0, 28), rng.uniform(345, 360)], p=[0.8, 0.2]), rng.uniform(0.15, 0.6), rng.uniform(0.22, 0.55)),
        veil_multiplies=float(rng.uniform(0.2, 0.7)) if plain else float(rng.uniform(0, 1)),
        haze=float(rng.uniform(0, 0.08)) if plain else float(rng.uniform(0, 1) ** 1.5 * 0.45),
        sparkle=float(rng.uniform(0.3, 1)),
        glass_takes_colour=float(rng.uniform(0.1, 0.6)) if rng.random() < 0.2 and not plain else 0.0,
        plain=plain,
    )


def draw_generic_look(rng: np.random.Generator, rim_radius: tuple[float, float], body_bgr: Floats, *, square: bool) -> WellLook:
    """Any other plate: the rim takes its tone from the plate's body, the disc fills most of the well."""
    rim = float(rng.uniform(*rim_radius))
    rings = [(0.0, float(rng.uniform(0.2, 1.0)), 0.015)]
    rings += [(float(rng.uniform(0.2, 1)), float(rng.uniform(0.0, 0.9)), 0.015) for _ in range(int(rng.integers(0, 4)))]
    lamps = rng.uniform(0, 2 * np.pi, 2)
    return WellLook(
        rim_radius=rim,
        disc_radius=rim * float(rng.uniform(0.62, 0.97)),
        square=square,
        glass_bgr=np.clip(body_bgr * rng.uniform(0.55, 1.4) + rng.normal(0, 12, 3), 0, 260).astype(np.float32),
        rings=tuple(sorted(rings)),
        crescents=tuple(_draw_crescent(rng, lamps, plain=False) for _ in range(int(rng.integers(0, 6)))),
        parallax=float(rng.uniform(0, 0.07)),
        vantage=(float(rng.normal(0.5, 0.3)), float(rng.normal(0.5, 0.3))),
        cell_bgr=hsv(rng.uniform(0, 360), rng.uniform(0, 1), rng.uniform(0, 0.6)),
        veil_bgr=hsv(rng.uniform(0, 360), rng.uniform(0, 1), rng.uniform(0, 1)),
        veil_multiplies=0.5,
        haze=0.0,
        sparkle=float(rng.uniform(0, 0.6)),
        glass_takes_colour=float(rng.uniform(0, 0.5)),
        plain=False,
    )


def parallax_shifts(look: WellLook, rows: int, columns: int) -> Floats:
    """How far each well's disc appears shifted against its rim, (n, 2), in pitches; it grows away from the lens."""
    row, col = np.mgrid[0:rows, 0:columns].reshape(2, -1)
    from_lens = np.stack([look.vantage[0] - (col + 0.5) / columns, look.vantage[1] - (row + 0.5) / rows], axis=1)
    return np.asarray(2 * look.parallax * from_lens * [1.0, rows / columns], dtype=np.float32)


class WellPainter:
    """Paints batches of wells over what lies under them; one painter per plate keeps the wells related."""

    def __init__(self, rng: np.random.Generator, look: WellLook, habit: CellHabit) -> None:
        self._rng = rng
        self._look = look
        self._habit = habit
        # The optics of the wells' tips are the plate's own: the same little lights in every well.
        self._tip_lights = rng.normal(0, 0.07, (int(rng.integers(1, 6)), 2)).astype(np.float32)
        self._floor_light = float(rng.uniform(0.8, 1.0))
        self._cell_shift = rng.normal(0, 0.02, 2).astype(np.float32)

    def paint(self, under: Floats, calls: NDArray[np.int64], shifts: Floats, liquids: Liquids | None = None) -> tuple[Floats, Floats]:
        """Tiles (n, size, size, 3) and soft labels (n, 5) for wells over `under` (the same shape as the tiles)."""
        count, size = under.shape[0], under.shape[1]
        axis = ((np.arange(size, dtype=np.float32) + 0.5) / size - 0.5)[None]
        x = np.repeat(axis[:, None, :], count, axis=0) * np.ones((1, size, 1), np.float32)
        y = np.repeat(axis[:, :, None], count, axis=0) * np.ones((1, 1, size), np.float32)
        shift_x, shift_y = shifts[:, 0, None, None], shifts[:, 1, None, None]
        white, shade = self._glass(x, y, shift_x, shift_y)
        disc_x, disc_y = x - shift_x, y - shift_y
        distance = self._radius(disc_x, disc_y)
        cell_x, cell_y = disc_x - self._cell_shift[0], disc_y - self._cell_shift[1]
        cell_x = cell_x - self._rng.normal(0, 0.015, (count, 1, 1)).astype(np.float32)
        cell_y = cell_y - self._rng.normal(0, 0.015, (count, 1, 1)).astype(np.float32)
        cells = draw_cells(self._rng, self._habit, calls, cell_x, cell_y, self._look.disc_radius)
        disc = self._disc_ground(under, disc_x, disc_y, distance)
        if liquids is None:
            disc = self._veiled(disc, calls, cells, disc_x, disc_y, distance)
            cell_bgr = self._look.cell_bgr * self._rng.uniform(0.9, 1.1, (count, 1, 1, 1)).astype(np.float32)
            disc += (cell_bgr - disc) * cells.opacity[..., None]
        else:
            disc = self._filled(disc, liquids, distance)
        glass = np.broadcast_to(self._look.glass_bgr, (count, 1, 1, 3))
        stain = self._look.glass_takes_colour * (calls != EMPTY)[:, None, None, None]
        glass = glass + (np.array([90, 80, 235], np.float32) - glass) * stain.astype(np.float32)
        tile = under * shade[..., None]
        tile += (glass - tile) * white[..., None]
        inside = ramp((self._look.disc_radius - distance) / 0.012)
        tile += (disc - tile) * inside[..., None]
        self._add_lights(tile, disc_x, disc_y)
        return np.clip(tile, 0, 255), cells.soft_calls

    def _radius(self, x: Floats, y: Floats) -> Floats:
        if self._look.square:
            return np.asarray(np.maximum(np.abs(x), np.abs(y)), dtype=np.float32)
        return np.sqrt(x * x + y * y)

    def _glass(self, x: Floats, y: Floats, shift_x: Floats, shift_y: Floats) -> tuple[Floats, Floats]:
        """Whiteness and shade of rim and wall."""
        rng, look, count = self._rng, self._look, x.shape[0]
        white, shade = np.zeros_like(x), np.ones_like(x)
        for depth, whiteness, edge in look.rings:
            radius = look.rim_radius + (look.disc_radius - look.rim_radius) * depth
            inside = ramp((radius - self._radius(x - shift_x * depth, y - shift_y * depth)) / edge)
            white += (whiteness * column(rng, 0.85, 1.1, count) - white) * inside
        if x.shape[1] >= 16:
            white *= 1 + column(rng, 0, 0.15, count) * speckle(rng, count, x.shape[1], 10)
        for crescent in look.crescents:
            arc = self._arc(crescent, x, y, shift_x, shift_y)
            if crescent.strength > 0:
                white += arc * (1.15 - white)
            else:
                shade *= 1 - 0.8 * arc
                white *= 1 - arc
        return np.clip(white, 0, 1.15), shade

    def _arc(self, crescent: Crescent, x: Floats, y: Floats, shift_x: Floats, shift_y: Floats) -> Floats:
        rng, look, count = self._rng, self._look, x.shape[0]
        dx, dy = x - shift_x * crescent.depth, y - shift_y * crescent.depth
        distance = np.sqrt(dx * dx + dy * dy) + 1e-4
        radius = look.rim_radius + (look.disc_radius - look.rim_radius) * crescent.depth
        angle = (crescent.angle_rad + rng.normal(0, 0.18, (count, 1, 1))).astype(np.float32)
        facing = (dx * np.cos(angle) + dy * np.sin(angle)) / distance
        strength = np.abs(crescent.strength) * rng.lognormal(0, 0.3, (count, 1, 1)).astype(np.float32)
        ring = np.square((distance - radius) / crescent.width) * -0.5
        return np.asarray(np.clip(np.exp(ring + crescent.sharpness * (facing - 1)) * strength, 0, 1), dtype=np.float32)

    def _disc_ground(self, under: Floats, x: Floats, y: Floats, distance: Floats) -> Floats:
        """The floor without contents: what lies under it, a little darker and more saturated, unevenly lit."""
        rng, count, radius = self._rng, under.shape[0], self._look.disc_radius
        light = self._floor_light * column(rng, 0.95, 1.03, count) * (1 - column(rng, 0, 0.22, count) * np.square(np.clip(distance / radius, 0, 1)))
        angle = column(rng, 0, 6.28, count)
        light = light * (1 + column(rng, 0, 0.1, count) * (x * np.cos(angle) + y * np.sin(angle)) / radius)
        return under * light[..., None]

    def _veiled(self, disc: Floats, calls: NDArray[np.int64], cells: Cells, x: Floats, y: Floats, distance: Floats) -> Floats:
        """Cells that stayed spread over the floor, unevenly: the whole of a diffuse well, a residue elsewhere."""
        rng, count, radius = self._rng, disc.shape[0], self._look.disc_radius
        angle, kind = column(rng, 0, 6.28, count), rng.random((count, 1, 1))
        along = x * np.cos(angle) + y * np.sin(angle)
        one_sided = ramp((radius * column(rng, -0.1, 1.2, count) - along) / column(rng, 0.04, 0.2, count))
        central = 1 - column(rng, 0, 0.7, count) * ramp((distance - radius * column(rng, 0.4, 1, count)) / column(rng, 0.03, 0.12, count))
        hollow = 1 - column(rng, 0, 0.6, count) * np.exp(-0.5 * np.square(distance / column(rng, 0.05, 0.15, count)))
        cover = np.where(kind < 0.35, one_sided, np.where(kind < 0.65, central, np.where(kind < 0.8, hollow, 1.0)))
        diffuse = (calls == DIFFUSE)[:, None, None]
        heap = column(rng, 0.35, 0.75, count) + column(rng, 0.2, 0.7, count) * np.exp(
            -0.5 * (np.square(x) + np.square(y)) / np.square(column(rng, 0.09, 0.22, count))
        )
        cover = np.where(diffuse & (rng.random((count, 1, 1)) < 0.35), heap, cover)
        cover = np.where(diffuse, np.maximum(cover, 0.4), cover)
        if disc.shape[1] >= 20:
            cover = cover * (1 + column(rng, 0, 0.12, count) * speckle(rng, count, disc.shape[1], int(rng.integers(5, 24))))
        amount = np.clip(0.8 * cells.veil[:, None, None] * cover, 0, 0.92)[..., None].astype(np.float32)
        absorbed = disc * rng.uniform([0.65, 0.5, 0.85], [0.95, 0.8, 1.12]).astype(np.float32)
        veil = absorbed * self._look.veil_multiplies + self._look.veil_bgr * (1 - self._look.veil_multiplies)
        return np.asarray(disc + (veil - disc) * amount, dtype=np.float32)

    def _filled(self, disc: Floats, liquids: Liquids, distance: Floats) -> Floats:
        """A coloured liquid, shaded towards the wall, sometimes with a pellet."""
        count = disc.shape[0]
        depth = 1 + column(self._rng, -0.3, 0.15, count) * np.clip(distance / self._look.disc_radius, 0, 1) ** 2
        colour = liquids.colour_bgr[:, None, None, :] * depth[..., None]
        filled = disc + (colour - disc) * liquids.opacity[:, None, None, None]
        pellet = np.exp(-0.5 * np.square(distance / column(self._rng, 0.04, 0.16, count))) * liquids.pellet[:, None, None]
        return np.asarray(filled + (self._look.cell_bgr - filled) * pellet[..., None], dtype=np.float32)

    def _add_lights(self, tile: Floats, x: Floats, y: Floats) -> None:
        """Reflections over the contents: dots at the tip's optics, a soft patch, and a haze over the whole well."""
        rng, look, count = self._rng, self._look, tile.shape[0]
        for light_x, light_y in self._tip_lights:
            jitter_x, jitter_y = rng.normal(0, 0.012, (2, count, 1, 1)).astype(np.float32)
            spread = 2 * np.square(column(rng, 0.006, 0.016, count))
            dot = np.exp(-(np.square(x - light_x - jitter_x) + np.square(y - light_y - jitter_y)) / spread)
            tile += (255 - tile) * (dot * column(rng, 0.1, 1.0, count) * look.sparkle)[..., None]
        patch_x, patch_y = rng.normal(0, 0.08, (2, count, 1, 1)).astype(np.float32)
        patch = np.exp(-(np.square(x - patch_x) + np.square(y - patch_y)) / (2 * np.square(column(rng, 0.03, 0.12, count))))
        tile += (look.glass_bgr * 0.8 - tile) * (patch * column(rng, 0, 0.25, count) * (rng.random((count, 1, 1)) < 0.5))[..., None]
        if look.haze > 0:
            haze = np.clip(look.haze * column(rng, 0.6, 1.4, count), 0, 0.6)[..., None]
            tile += (0.45 * look.glass_bgr + 0.35 * tile.mean(axis=(1, 2), keepdims=True) - tile) * haze


def _draw_crescent(rng: np.random.Generator, lamps: Floats, *, plain: bool) -> Crescent:
    from_lamp = rng.random() < 0.75
    angle = float(rng.choice(lamps)) + float(rng.normal(0, 0.25)) if from_lamp else float(rng.uniform(0, 2 * np.pi))
    bright = rng.random() < (0.85 if plain else 0.8)
    return Crescent(
        depth=float(rng.uniform(-0.03, 1.02)),
        angle_rad=angle,
        sharpness=float(rng.choice([0.5, 1.5, 4.0, 8.0, 20.0])),
        width=float(rng.uniform(0.004, 0.028)),
        strength=float(rng.uniform(0.3, 1.5)) if bright else -float(rng.uniform(0.2, 0.8)),
    )
