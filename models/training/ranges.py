"""What differs between plates and pictures, by name: on a well-kept bench, in training, and what is possible at all.

`Ranges` draws from this one table for every kind of render. What lies outside a training range is outside by at most
a third of its width, and never past what is possible; a range that holds all that is possible has no outside.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from models.training.spec import Difficulty

REACH = 1 / 3  # how far outside a training range, as a share of its width


@dataclass(frozen=True, slots=True)
class Parameter:
    """The range of one parameter on a well-kept bench and in training, and what is physically possible.

    spread     standard deviations (kept, training) where most plates lie near the middle; 0: all values alike
    group      what leaves its range together; None: the parameter's own name; "": never swept
    natural    content of wells, not their look: a plate of the sweep has all of it that training has
    stressed   left by the set that has everything out of range at once; that set stays the same between releases
    """

    kept: tuple[float, float]
    training: tuple[float, float]
    least: float = -np.inf
    most: float = np.inf
    spread: tuple[float, float] = (0.0, 0.0)
    group: str | None = None
    natural: bool = False
    stressed: bool = False

    def outside(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """The intervals below and above the training range; one without room is empty."""
        low, high = self.training
        reach = (high - low) * REACH
        return (min(max(low - reach, self.least), low), low), (high, max(min(high + reach, self.most), high))


PARAMETERS: Final[Mapping[str, Parameter]] = {
    # The camera's place. Turns past 45° are another seat.
    "tilt": Parameter((0.012, 0.012), (0.0, 0.08), least=0),
    "turn_deg": Parameter((-1.5, 1.5), (-40.0, 40.0), least=-45, most=45),
    "px_per_pitch": Parameter((80.0, 98.0), (28.0, 130.0), least=18),
    # The bench and the card under the plate: hues of cards in training are all but the cells' own.
    "background": Parameter((0.62, 0.74), (10 / 255, 250 / 255), least=0, most=1),
    "plate_shadow": Parameter((0.12, 0.12), (0.0, 0.5), least=0),
    "card_hue": Parameter((132.0, 152.0), (25.0, 335.0), least=-25, most=335),
    "card_saturation": Parameter((0.45, 0.65), (0.0, 0.9), least=0, most=1),
    "card_value": Parameter((0.6, 0.72), (0.3, 0.98), least=0, most=1),
    # Light. A kept bench has no glare, no bare lamps in the plastic and nobody's hand in the way.
    "lamp": Parameter((0.0, 0.04), (0.0, 0.3), least=0),
    "shadow": Parameter((1.0, 1.0), (0.5, 0.85), least=0.2, most=0.85),
    "glare": Parameter((0.0, 0.0), (10.0, 110.0), least=10),
    "spots": Parameter((0.0, 0.0), (60.0, 300.0), least=60),
    # The plate's moulding.
    "rim_radius": Parameter((0.465, 0.485), (0.415, 0.495), most=0.5),
    "disc_radius": Parameter((0.29, 0.33), (0.25, 0.375), least=0.22, most=0.39, stressed=True),
    "glass": Parameter((205.0, 262.0), (205.0, 262.0), most=262),
    "glass_stain": Parameter((0.0, 0.0), (0.1, 0.6), least=0.1, most=1),
    "rings": Parameter((4, 6), (1, 6), least=1),
    "ring_whiteness": Parameter((0.2, 0.8), (0.1, 0.9), least=0, most=1),
    "crescents": Parameter((12, 19), (7, 19), least=0),
    "crescent_strength": Parameter((0.6, 1.8), (0.3, 1.8), least=0),
    "parallax": Parameter((0.04, 0.08), (0.0, 0.13), least=0, stressed=True),
    "vantage_x": Parameter((0.2, 0.8), (-0.5, 1.5), spread=(0.06, 0.2), group="vantage"),
    "vantage_y": Parameter((0.2, 0.8), (-0.5, 1.5), spread=(0.06, 0.2), group="vantage"),
    "sparkle": Parameter((0.3, 1.0), (0.3, 1.0), least=0),
    # What lies over and in the wells. Haze is drawn before it is bent (`looks.draw_look`).
    "haze": Parameter((0.0, 0.08), (0.0, 1.0), least=0, stressed=True),
    "veil_hue": Parameter((-15.0, 28.0), (-15.0, 28.0)),
    "veil_saturation": Parameter((0.15, 0.6), (0.15, 0.6), least=0, most=1),
    "veil_value": Parameter((0.22, 0.55), (0.22, 0.55), least=0, most=1),
    "veil_multiplies": Parameter((0.2, 0.7), (0.0, 1.0), least=0, most=1),
    "veil_diffuse": Parameter((0.75, 1.15), (0.4, 1.15), least=0),
    "veil_flowing": Parameter((0.0, 0.08), (0.0, 0.25), least=0, group="veil_residue"),
    "veil_button": Parameter((0.0, 0.18), (0.0, 0.6), least=0, group="veil_residue"),
    "veil_partial": Parameter((0.0, 0.15), (0.0, 0.5), least=0, group="veil_residue"),
    "veil_empty": Parameter((0.0, 0.02), (0.0, 0.08), least=0, group="veil_residue"),
    "cell_hue": Parameter((-12.0, 8.0), (-16.0, 12.0), stressed=True),
    "cell_saturation": Parameter((0.55, 0.92), (0.5, 0.95), most=1, stressed=True),
    "cell_value": Parameter((0.3, 0.52), (0.2, 0.62), stressed=True),
    "cell_area": Parameter((0.028, 0.036), (0.018, 0.048), least=0.012, most=0.055, stressed=True),
    "lean_deg": Parameter((-3.0, 3.0), (-13.0, 13.0), spread=(0.0, 6.0), stressed=True),
    "tear_ratio": Parameter((1.3, 1.7), (1.08, 2.0), least=1.08, natural=True),
    # Lens and sensor. Gain is drawn as most exposures are (usual), and darker or brighter at times.
    "blur": Parameter((0.5, 0.5), (0.3, 1.1), least=0.2, stressed=True),
    "white_balance_blue": Parameter((1.0, 1.0), (0.8, 1.2), group="white_balance", stressed=True),
    "white_balance_green": Parameter((1.0, 1.0), (0.9, 1.1), group="white_balance", stressed=True),
    "white_balance_red": Parameter((1.0, 1.0), (0.8, 1.2), group="white_balance", stressed=True),
    "usual_gain": Parameter((1.0, 1.0), (0.6, 1.3), group="", stressed=True),
    "gain": Parameter((1.0, 1.0), (0.4, 1.6), least=0),
    "black_level": Parameter((0.0, 0.0), (-0.04, 0.05)),
    "gamma": Parameter((1.0, 1.0), (0.8, 1.25), stressed=True),
    "fine_noise": Parameter((1.5, 1.5), (0.0, 5.0), least=0, group="noise", stressed=True),
    "coarse_noise": Parameter((2.5, 2.5), (0.0, 6.0), least=0, group="noise", stressed=True),
    "jpeg_quality": Parameter((92.0, 92.0), (45.0, 97.0), most=99, stressed=True),
}


def _groups() -> dict[str, tuple[str, ...]]:
    groups: dict[str, tuple[str, ...]] = {}
    for name, parameter in PARAMETERS.items():
        group = name if parameter.group is None else parameter.group
        if group and any(low < high for low, high in parameter.outside()):
            groups[group] = (*groups.get(group, ()), name)
    return groups


# What can leave its training range, in the table's order; veil_multiplies cannot.
GROUPS: Final[Mapping[str, tuple[str, ...]]] = _groups()


@dataclass(frozen=True, slots=True)
class Ranges:
    """Where the parameters of one render are drawn; `group` lies outside its training range if the render is "swept".

    Of a plate "beyond" every second stressed parameter lies outside; of a plate "wide" every second parameter lies in
    the outer thirds of its training range.
    """

    rng: np.random.Generator
    difficulty: Difficulty
    group: str | None = None

    def __post_init__(self) -> None:
        if (self.difficulty == "swept") != (self.group in GROUPS):
            raise ValueError(f"not what a swept plate can have out of range: {self.group!r} ({self.difficulty})")

    @property
    def kept(self) -> bool:
        """Whether bench, plate and camera are a well-kept bench's, but for what is swept."""
        return self.difficulty in {"plain", "natural", "carded", "swept"}

    def outside(self, name: str) -> bool:
        """Whether this parameter is the one that is swept, or one of the group."""
        return self.group is not None and name in GROUPS[self.group]

    def happens(self, share: float, name: str | None = None) -> bool:
        """Whether something is there that training draws on a share of its pictures, and a kept bench does not have."""
        if self.kept:
            return name is not None and self.outside(name)
        return bool(self.rng.random() < share)

    def draw(self, name: str) -> float:
        """A value of the parameter."""
        parameter = PARAMETERS[name]
        if self.outside(name):
            return self._uniform(self._side(parameter))
        if self.kept:
            natural = parameter.natural and self.difficulty != "plain"
            natural = natural or (self.difficulty == "carded" and name.startswith("card_"))
            return self._drawn(parameter.training if natural else parameter.kept, parameter.spread[natural])
        stressed = self.difficulty == "beyond" and parameter.stressed
        value = self._drawn(parameter.training, 0.0 if stressed else parameter.spread[1])
        if stressed and self.rng.random() >= 0.5:
            return self._uniform(self._side(parameter))
        if self.difficulty == "wide" and self.rng.random() < 0.5:
            return self._uniform(self._outer_third(parameter))
        return value

    def count(self, name: str) -> int:
        """A whole number of the parameter, its range's ends included."""
        parameter = PARAMETERS[name]
        if self.outside(name):
            value = self._uniform(self._side(parameter))
            return int(np.ceil(value) if value > parameter.training[1] else np.floor(value))
        low, high = parameter.kept if self.kept else parameter.training
        return int(self.rng.integers(int(low), int(high) + 1))

    def limits(self, name: str) -> tuple[float, float]:
        """The interval in which every well of the plate draws its own value."""
        parameter = PARAMETERS[name]
        if self.outside(name):
            return self._side(parameter)
        if self.difficulty == "plain" or (self.kept and not parameter.natural):
            return parameter.kept
        return parameter.training

    def _drawn(self, limits: tuple[float, float], spread: float) -> float:
        if spread:
            return float(np.clip(self.rng.normal(sum(limits) / 2, spread), *limits))
        return self._uniform(limits)

    def _uniform(self, limits: tuple[float, float]) -> float:
        return float(self.rng.uniform(*limits)) if limits[0] < limits[1] else limits[0]

    def _side(self, parameter: Parameter) -> tuple[float, float]:
        """Below or above the training range, each as likely as there is room."""
        below, above = parameter.outside()
        room = (below[1] - below[0], above[1] - above[0])
        return below if self.rng.random() * sum(room) < room[0] else above

    def _outer_third(self, parameter: Parameter) -> tuple[float, float]:
        low, high = parameter.training
        third = (high - low) / 3
        return (low, low + third) if self.rng.random() < 0.5 else (high - third, high)
