"""What the wells of one plate have in common: rim, rings of the glass wall, lamps, colours of cells and veil.

Lamps and moulding are a plate's own, which is why the crescents of neighbouring wells resemble each other. "plain" is
a well-kept bench; otherwise ranges are wider than the photographs known so far, because the next camera differs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from models.training.colours import hsv
from models.training.ranges import Ranges
from models.training.spec import Doubles, Floats


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
    contrast: float = 1.0  # of the empty floor against the plate
    colonies: int = 0  # most spots in a well


def draw_look(ranges: Ranges) -> WellLook:
    """The look of an HI plate: clear V-bottom wells with white rims."""
    rng = ranges.rng
    rim = ranges.draw("rim_radius")
    depths = np.sort(np.r_[0.0, rng.uniform(0.1, 1, ranges.count("rings") - 1)])
    rings = [(float(d), ranges.draw("ring_whiteness"), float(rng.uniform(0.008, 0.02))) for d in depths]
    white_rim = ranges.kept and not ranges.outside("ring_whiteness")
    rings[0] = (0.0, max(rings[0][1], 0.7 if white_rim else 0.3), rings[0][2])
    lamps = rng.uniform(0, 2 * np.pi, int(rng.integers(2, 4)))
    return WellLook(
        rim_radius=rim,
        disc_radius=ranges.draw("disc_radius"),
        square=False,
        glass_bgr=np.array([ranges.draw("glass")] * 3, np.float32) * rng.uniform([0.92, 0.88, 0.92], [1.05, 1.0, 1.05]),
        rings=tuple(rings),
        crescents=tuple(_draw_crescent(ranges, lamps) for _ in range(ranges.count("crescents"))),
        parallax=ranges.draw("parallax"),
        vantage=(ranges.draw("vantage_x"), ranges.draw("vantage_y")),
        cell_bgr=hsv(ranges.draw("cell_hue"), ranges.draw("cell_saturation"), ranges.draw("cell_value")),
        veil_bgr=hsv(_veil_hue(ranges), ranges.draw("veil_saturation"), ranges.draw("veil_value")),
        veil_multiplies=ranges.draw("veil_multiplies"),
        haze=_haze(ranges),
        sparkle=ranges.draw("sparkle"),
        glass_takes_colour=_stain(ranges),
        plain=ranges.difficulty == "plain",
    )


def draw_generic_look(
    rng: np.random.Generator, rim_radius: tuple[float, float], body_bgr: Floats, *, square: bool, faint: bool
) -> WellLook:
    """Any other plate: the rim takes its tone from the plate's body, the disc fills most of the well.

    "faint" wells stand out by little or by their outline alone: pale plates, dark rooms, light from below.
    """
    rim = float(rng.uniform(*rim_radius))
    contrast = float(rng.uniform(0.04, 0.45)) if faint else 1.0
    rings = [(0.0, float(rng.uniform(0.2, 1.0)), 0.015)]
    rings += [(float(rng.uniform(0.2, 1)), float(rng.uniform(0.0, 0.9)), 0.015) for _ in range(int(rng.integers(0, 4)))]
    lamps = rng.uniform(0, 2 * np.pi, 2)
    ranges = Ranges(rng, "varied")
    crescents = [_draw_crescent(ranges, lamps) for _ in range(int(rng.integers(0, 6)))]
    if rng.random() < 0.4:
        crescents.append(_draw_outline(rng))
    tone = 1 + contrast * rng.uniform(-0.45, 0.4)
    return WellLook(
        rim_radius=rim,
        disc_radius=rim * float(rng.uniform(0.62, 0.97)),
        square=square,
        glass_bgr=np.clip(body_bgr * tone + contrast * rng.normal(0, 12, 3), 0, 260).astype(np.float32),
        rings=tuple(sorted(rings)),
        crescents=tuple(replace(arc, strength=arc.strength * max(contrast, 0.15)) for arc in crescents),
        parallax=float(rng.uniform(0, 0.07)) if rng.random() < 0.7 else float(rng.uniform(0.07, 0.16)),
        vantage=(float(rng.normal(0.5, 0.3)), float(rng.normal(0.5, 0.3))),
        cell_bgr=hsv(rng.uniform(0, 360), rng.uniform(0, 1), rng.uniform(0, 0.6)),
        veil_bgr=hsv(rng.uniform(0, 360), rng.uniform(0, 1), rng.uniform(0, 1)),
        veil_multiplies=0.5,
        haze=0.0,
        sparkle=float(rng.uniform(0, 0.6)) * max(contrast, 0.2),
        glass_takes_colour=float(rng.uniform(0, 0.5)),
        plain=False,
        contrast=contrast,
        colonies=int(rng.choice([0, 12, 70])),
    )


def parallax_shifts(look: WellLook, rows: int, columns: int) -> Floats:
    """How far each well's disc appears shifted against its rim, (n, 2), in pitches; it grows away from the lens."""
    row, col = np.mgrid[0:rows, 0:columns].reshape(2, -1)
    from_lens = np.stack([look.vantage[0] - (col + 0.5) / columns, look.vantage[1] - (row + 0.5) / rows], axis=1)
    return np.asarray(np.clip(2 * look.parallax * from_lens * [1.0, rows / columns], -0.13, 0.13), dtype=np.float32)


def _veil_hue(ranges: Ranges) -> float:
    """Mostly from red to brown, at times towards violet."""
    hue = float(ranges.rng.choice([ranges.rng.uniform(0, 28), ranges.rng.uniform(345, 360)], p=[0.8, 0.2]))
    return ranges.draw("veil_hue") if ranges.outside("veil_hue") else hue


def _haze(ranges: Ranges) -> float:
    """How much of every well is lost in haze; thick haze is rarer than thin, and never all."""
    drawn = ranges.draw("haze")
    return drawn if ranges.kept and not ranges.outside("haze") else drawn**1.3 * 0.55


def _stain(ranges: Ranges) -> float:
    """How much of the cells' colour the glass takes on, on one varied plate in five."""
    stained = ranges.rng.random() < 0.2 and not ranges.kept
    return ranges.draw("glass_stain") if stained or ranges.outside("glass_stain") else 0.0


def _draw_crescent(ranges: Ranges, lamps: Doubles) -> Crescent:
    rng = ranges.rng
    from_lamp = rng.random() < 0.75
    angle = float(rng.choice(lamps)) + float(rng.normal(0, 0.25)) if from_lamp else float(rng.uniform(0, 2 * np.pi))
    bright = rng.random() < (0.85 if ranges.kept else 0.8)
    return Crescent(
        depth=float(rng.uniform(-0.03, 1.02)),
        angle_rad=angle,
        sharpness=float(rng.choice([1.5, 2.5, 4.0, 8.0] if ranges.kept else [0.5, 1.5, 4.0, 8.0, 20.0])),
        width=float(rng.uniform(0.004, 0.028)),
        strength=ranges.draw("crescent_strength") if bright else -float(rng.uniform(0.2, 0.8)),
    )


def _draw_outline(rng: np.random.Generator) -> Crescent:
    """The whole rim or foot of a well as one thin line, darker or lighter than the plate."""
    return Crescent(
        depth=float(rng.choice([0.0, 0.0, 1.0])),
        angle_rad=float(rng.uniform(0, 2 * np.pi)),
        sharpness=float(rng.uniform(0.05, 0.5)),
        width=float(rng.uniform(0.006, 0.03)),
        strength=float(rng.uniform(0.3, 1.2)) * float(rng.choice([-1, 1])),
    )
