"""What the wells of one plate have in common: rim, rings of the glass wall, lamps, colours of cells and veil.

Lamps and moulding are a plate's own, which is why the crescents of neighbouring wells resemble each other. "plain" is
a well-kept bench; otherwise ranges are wider than the photographs known so far, because the next camera differs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from models.training.colours import hsv
from models.training.spec import Doubles, Floats, Ranges


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


def draw_look(ranges: Ranges, rim_radius: tuple[float, float], *, plain: bool) -> WellLook:
    """The look of an HI plate: clear V-bottom wells with white rims."""
    rng = ranges.rng
    rim = float(rng.uniform(0.465, 0.485)) if plain else float(rng.uniform(0.415, min(rim_radius[1] + 0.01, 0.495)))
    ring_count = int(rng.integers(4, 7)) if plain else int(rng.integers(1, 7))
    least_white, most_white = (0.2, 0.8) if plain else (0.1, 0.9)
    depths = np.sort(np.r_[0.0, rng.uniform(0.1, 1, ring_count - 1)])
    rings = [(float(d), float(rng.uniform(least_white, most_white)), float(rng.uniform(0.008, 0.02))) for d in depths]
    rings[0] = (0.0, max(rings[0][1], 0.7 if plain else 0.3), rings[0][2])
    lamps = rng.uniform(0, 2 * np.pi, int(rng.integers(2, 4)))
    return WellLook(
        rim_radius=rim,
        disc_radius=float(rng.uniform(0.29, 0.33)) if plain else ranges.draw(0.25, 0.375, least=0.22, most=0.39),
        square=False,
        glass_bgr=np.array([rng.uniform(205, 262)] * 3, np.float32)
        * rng.uniform([0.92, 0.88, 0.92], [1.05, 1.0, 1.05]),
        rings=tuple(rings),
        crescents=tuple(
            _draw_crescent(rng, lamps, plain=plain) for _ in range(int(rng.integers(12 if plain else 7, 20)))
        ),
        parallax=float(rng.uniform(0.04, 0.08)) if plain else ranges.draw(0, 0.13, least=0),
        vantage=(float(rng.normal(0.5, 0.06 if plain else 0.2)), float(rng.normal(0.5, 0.06 if plain else 0.2))),
        cell_bgr=hsv(rng.uniform(-12, 8), rng.uniform(0.55, 0.92), rng.uniform(0.3, 0.52))
        if plain
        else hsv(ranges.draw(-16, 12), ranges.draw(0.5, 0.95, most=1), ranges.draw(0.2, 0.62)),
        veil_bgr=hsv(
            rng.choice([rng.uniform(0, 28), rng.uniform(345, 360)], p=[0.8, 0.2]),
            rng.uniform(0.15, 0.6),
            rng.uniform(0.22, 0.55),
        ),
        veil_multiplies=float(rng.uniform(0.2, 0.7)) if plain else float(rng.uniform(0, 1)),
        haze=float(rng.uniform(0, 0.08)) if plain else ranges.draw(0, 1, least=0) ** 1.3 * 0.55,
        sparkle=float(rng.uniform(0.3, 1)),
        glass_takes_colour=float(rng.uniform(0.1, 0.6)) if rng.random() < 0.2 and not plain else 0.0,
        plain=plain,
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
    crescents = [_draw_crescent(rng, lamps, plain=False) for _ in range(int(rng.integers(0, 6)))]
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


def _draw_crescent(rng: np.random.Generator, lamps: Doubles, *, plain: bool) -> Crescent:
    from_lamp = rng.random() < 0.75
    angle = float(rng.choice(lamps)) + float(rng.normal(0, 0.25)) if from_lamp else float(rng.uniform(0, 2 * np.pi))
    bright = rng.random() < (0.85 if plain else 0.8)
    return Crescent(
        depth=float(rng.uniform(-0.03, 1.02)),
        angle_rad=angle,
        sharpness=float(rng.choice([1.5, 2.5, 4.0, 8.0] if plain else [0.5, 1.5, 4.0, 8.0, 20.0])),
        width=float(rng.uniform(0.004, 0.028)),
        strength=float(rng.uniform(0.6 if plain else 0.3, 1.8)) if bright else -float(rng.uniform(0.2, 0.8)),
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
