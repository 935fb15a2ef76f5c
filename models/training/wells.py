"""One well seen from above: rim, glass wall with crescents of lamp light, and the disc with its contents.

The rim lies in the plate's top plane, the disc below it: seen off-axis the disc shifts against the rim (parallax), so
the wall is drawn as circles whose centres move from one to the other. Units are well pitches; tiles are square, abut,
and are painted many at a time.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from models.training.cells import CellHabit, column, draw_cells, draw_veil, ramp, speckle, veil_votes
from models.training.looks import Crescent, WellLook
from models.training.spec import DIFFUSE, EMPTY, Doubles, Floats


@dataclass(frozen=True, slots=True)
class Liquids:
    """Contents of a plate of some other assay: a colour and an opacity per well."""

    colour_bgr: Floats
    opacity: Floats
    pellet: Floats


class WellPainter:
    """Paints batches of wells over what lies under them; one painter per plate keeps the wells related."""

    def __init__(self, rng: np.random.Generator, look: WellLook, habit: CellHabit) -> None:
        self._rng = rng
        self._look = look
        self._habit = habit
        # The optics of the wells' tips are the plate's own: the same little lights in every well.
        self._tip_lights = rng.normal(0, 0.07, (int(rng.integers(1, 6)), 2)).astype(np.float32)
        self._floor_light = float(rng.uniform(0.8, 1.0))
        self._tip_shade = float(rng.uniform(0, 0.3))
        self._tip_rings = float(rng.uniform(0, 0.07)) if rng.random() < 0.5 else 0.0
        # Cultures: wells of a plate of few wells hold things that are round themselves and no wells.
        self._colonies = "none" if look.colonies == 0 else str(rng.choice(["none", "scattered", "arrayed"]))
        self._cell_shift = rng.normal(0, 0.02, 2).astype(np.float32)

    def paint(
        self, under: Floats, calls: NDArray[np.int64], shifts: Floats, liquids: Liquids | None = None
    ) -> tuple[Floats, Floats]:
        """Tiles (n, size, size, 3) and soft labels (n, 5) for wells over `under` (the same shape as the tiles)."""
        count, size = under.shape[0], under.shape[1]
        axis = (np.arange(size, dtype=np.float32) + 0.5) / size - 0.5
        x: Floats = np.ascontiguousarray(np.broadcast_to(axis, (count, size, size)))
        y: Floats = np.ascontiguousarray(np.broadcast_to(axis[:, None], (count, size, size)))
        shift_x, shift_y = shifts[:, 0, None, None], shifts[:, 1, None, None]
        white, shade = self._glass(x, y, shift_x, shift_y)
        disc_x, disc_y = x - shift_x, y - shift_y
        distance = self._radius(disc_x, disc_y)
        cell_x, cell_y = disc_x - self._cell_shift[0], disc_y - self._cell_shift[1]
        cell_x = cell_x - self._rng.normal(0, 0.015, (count, 1, 1)).astype(np.float32)
        cell_y = cell_y - self._rng.normal(0, 0.015, (count, 1, 1)).astype(np.float32)
        cells = draw_cells(self._rng, self._habit, calls, x=cell_x, y=cell_y, disc_radius=self._look.disc_radius)
        disc = self._disc_ground(under, disc_x, disc_y, distance)
        if liquids is None:
            least_edge = 0.12 if self._look.plain else 0.04
            veil = draw_veil(
                self._rng, cells, disc_x, disc_y, disc_radius=self._look.disc_radius, least_edge=least_edge
            )
            bare, disc = disc, self._veiled(disc, veil)
            if not self._look.plain:
                spread = np.isin(calls, (DIFFUSE, EMPTY))
                cells.soft_calls[spread] = veil_votes(self._contrast(bare, disc, distance)[spread])
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
        if liquids is not None and self._colonies != "none":
            self._add_colonies(tile)
        self._add_lights(tile, disc_x, disc_y)
        return np.clip(tile, 0, 255), cells.soft_calls

    def _contrast(self, bare: Floats, veiled: Floats, distance: Floats) -> Doubles:
        """How much darker or differently coloured the veil makes each well's floor, haze counted off."""
        inside = (distance < self._look.disc_radius)[..., None]
        change = (np.abs(veiled - bare) * inside).sum(axis=(1, 2, 3))
        ground = (bare * inside).sum(axis=(1, 2, 3)) + 1e-3
        return np.asarray((1 - self._look.haze) * change / ground, np.float64)

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
        light = (
            self._floor_light
            * column(rng, 0.95, 1.03, count)
            * (1 - column(rng, 0, 0.22, count) * np.square(np.clip(distance / radius, 0, 1)))
        )
        angle = column(rng, 0, 6.28, count)
        light = light * (1 + column(rng, 0, 0.1, count) * (x * np.cos(angle) + y * np.sin(angle)) / radius)
        light = light * (1 - self._tip_shade * column(rng, 0.5, 1.2, count) * np.exp(-np.square(distance / 0.12)))
        ripples = np.cos(distance * column(rng, 90, 160, count) + column(rng, 0, 6.28, count))
        light = light + self._tip_rings * ripples * np.exp(-np.square(distance / 0.15))
        light = 1 + (light - 1) * self._look.contrast
        return np.asarray(under * light[..., None], dtype=np.float32)

    def _veiled(self, disc: Floats, amount: Floats) -> Floats:
        """The floor under spread cells, which both absorb (mostly green) and have a colour of their own."""
        absorbed = disc * self._rng.uniform([0.65, 0.5, 0.85], [0.95, 0.8, 1.12]).astype(np.float32)
        veil = absorbed * self._look.veil_multiplies + self._look.veil_bgr * (1 - self._look.veil_multiplies)
        return np.asarray(disc + (veil - disc) * amount[..., None], dtype=np.float32)

    def _filled(self, disc: Floats, liquids: Liquids, distance: Floats) -> Floats:
        """A coloured liquid, shaded towards the wall, sometimes with a pellet."""
        count = disc.shape[0]
        depth = 1 + column(self._rng, -0.3, 0.15, count) * np.clip(distance / self._look.disc_radius, 0, 1) ** 2
        colour = liquids.colour_bgr[:, None, None, :] * depth[..., None]
        filled = disc + (colour - disc) * liquids.opacity[:, None, None, None]
        pellet = (
            np.exp(-0.5 * np.square(distance / column(self._rng, 0.04, 0.16, count))) * liquids.pellet[:, None, None]
        )
        return np.asarray(filled + (self._look.cell_bgr - filled) * pellet[..., None], dtype=np.float32)

    def _add_colonies(self, tile: Floats) -> None:
        """Spots of one colour on every well's floor: scattered at random, or stamped in a square pattern."""
        rng, size, reach = self._rng, tile.shape[1], self._look.disc_radius * 0.9
        spot, step = float(rng.uniform(0.008, 0.04)), float(rng.uniform(0.07, 0.16))
        strength = float(rng.uniform(0.15, 1.0))
        for index in range(len(tile)):
            if self._colonies == "arrayed":
                places = np.mgrid[-6:7, -6:7].reshape(2, -1).T * step + rng.normal(0, 0.004, (169, 2))
            else:
                places = rng.uniform(-reach, reach, (int(rng.integers(0, self._look.colonies)), 2))
            marks = np.zeros((size, size), np.float32)
            for x, y in places[np.hypot(*places.T) < reach]:
                centre = (round((x + 0.5) * size), round((y + 0.5) * size))
                radius = max(1, round(spot * size * rng.uniform(0.5, 1.6)))
                cv2.circle(marks, centre, radius, (strength,), -1, cv2.LINE_AA)
            tile[index] += (self._look.cell_bgr - tile[index]) * marks[..., None]

    def _add_lights(self, tile: Floats, x: Floats, y: Floats) -> None:
        """Reflections over the contents: dots at the tip's optics, a soft patch, and a haze over the whole well."""
        rng, look, count = self._rng, self._look, tile.shape[0]
        for light_x, light_y in self._tip_lights:
            jitter_x, jitter_y = rng.normal(0, 0.012, (2, count, 1, 1)).astype(np.float32)
            spread = 2 * np.square(column(rng, 0.006, 0.016, count))
            dot = np.exp(-(np.square(x - light_x - jitter_x) + np.square(y - light_y - jitter_y)) / spread)
            tile += (255 - tile) * (dot * column(rng, 0.1, 1.0, count) * look.sparkle)[..., None]
        patch_x, patch_y = rng.normal(0, 0.08, (2, count, 1, 1)).astype(np.float32)
        patch = np.exp(
            -(np.square(x - patch_x) + np.square(y - patch_y)) / (2 * np.square(column(rng, 0.03, 0.12, count)))
        )
        tile += (look.glass_bgr * 0.8 - tile) * (
            patch * column(rng, 0, 0.25, count) * (rng.random((count, 1, 1)) < 0.5)
        )[..., None]
        if look.haze > 0:
            haze = np.clip(look.haze * column(rng, 0.6, 1.4, count), 0, 0.7)[..., None]
            tile += (0.45 * look.glass_bgr + 0.35 * tile.mean(axis=(1, 2), keepdims=True) - tile) * haze
