"""The colour of every well, and what the profile calls it. Pure.

A colour is the median of a disc of liquid, glare dropped, in linear light against the plate's own light, in CIELAB
(D65). The rule it protects: a colour between two classes, or one that its profile does not know, is `indeterminate`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from edge_agent.vision.liquid import Liquid
from edge_agent.vision.plate_light import WHITE
from edge_agent.vision.tensors import Array
from protocol.assay import Call, ColourClass, ColourCriteria, Figure, Range
from protocol.messages import Colour

# Above this share of a disc in white there is no colour to read.
MOST_GLARE: Final = 0.5
# IEC 61966-2-1: linear sRGB to CIE XYZ (D65).
_XYZ: Final = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


@dataclass(frozen=True, slots=True)
class Measured:
    """Per well: CIELAB (n, 3) with the plate's light as white, the pixels' scatter around it, the share in glare."""

    lab: Array
    scatter: Array
    glare: Array


def measure_colours(liquid: Liquid, light: Array) -> Measured:
    """The colour of each well against the light (n, 3) at its place."""
    labs, scatters, glares = [], [], []
    for index, white in enumerate(light):
        disc = liquid.disc(index)
        seen = (liquid.patches_rgb[index][disc] < WHITE).any(axis=1)
        glares.append(1 - float(seen.mean()))
        pixels = liquid.linear[index][disc]
        pixels = (pixels[seen] if seen.any() else pixels) / white
        lab = cielab(np.median(pixels, axis=0))
        labs.append(lab)
        scatters.append(float(np.median(np.linalg.norm(cielab(pixels) - lab, axis=1))))
    return Measured(np.array(labs), np.array(scatters), np.array(glares))


def cielab(linear_rgb: Array) -> Array:
    """CIELAB (D65) of linear sRGB, 1 being white (CIE 15).

    >>> cielab(np.array([1.0, 1.0, 1.0])).round(1).tolist()
    [100.0, 0.0, 0.0]
    """
    xyz = linear_rgb @ _XYZ.T / _XYZ.sum(axis=1)
    root = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz * (29 / 6) ** 2 / 3 + 4 / 29)
    x, y, z = np.moveaxis(root, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def against(measured: Measured, blanks: Sequence[int]) -> list[Colour]:
    """The colours with their distance from the blank wells (their indices), or from the plate's light without any."""
    reference: Literal["blanks", "plate_light"] = "blanks" if blanks else "plate_light"
    origin = np.median(measured.lab[list(blanks)], axis=0) if blanks else np.array([100.0, 0.0, 0.0])
    figures = np.column_stack([measured.lab, measured.lab - origin, measured.scatter]).round(1).tolist()
    return [
        Colour(lightness, a, b, delta_lightness, delta_a, delta_b, reference, scatter, round(float(glare), 2))
        for (lightness, a, b, delta_lightness, delta_a, delta_b, scatter), glare in zip(
            figures, measured.glare, strict=True
        )
    ]


def judge_colour(colour: Colour, criteria: ColourCriteria) -> tuple[Call, dict[Call, float]]:
    """The call, and per call the chance that another photograph of the same well would be called so."""
    margins: dict[Call, float] = {}
    for each in criteria.classes:
        margins[each.call] = max(margins.get(each.call, -math.inf), _margin(colour, each))
    chances = {call: share_below(margin) for call, margin in margins.items()}
    total = max(1.0, sum(chances.values()))
    chances = {call: chance / total for call, chance in chances.items()}
    chances[Call.INDETERMINATE] = max(0.0, 1 - sum(chances.values()))
    best = max(margins, key=lambda call: margins[call])
    return best if margins[best] >= 0 else Call.INDETERMINATE, chances


def _margin(colour: Colour, each: ColourClass) -> float:
    """How far inside a class a colour lies, in units of scatter, by the range that it is nearest to leaving."""
    return min(_inside(figure(colour, limits.figure), limits) for limits in each.ranges)


def _inside(value: float, limits: Range) -> float:
    low = -math.inf if limits.at_least is None else limits.at_least
    high = math.inf if limits.at_most is None else limits.at_most
    if limits.figure == "hue_degrees" and math.isfinite(low + high):
        middle = (low + high) / 2
        value = middle + (value - middle + 180) % 360 - 180
    return min(value - low, high - value) / limits.scatter


def figure(colour: Colour, name: Figure) -> float:
    """One figure of a colour, as a profile's ranges name them."""
    figures: Mapping[Figure, float] = {
        "hue_degrees": math.degrees(math.atan2(colour.b, colour.a)),
        "chroma": math.hypot(colour.a, colour.b),
        "delta_lightness": colour.delta_lightness,
        "delta_a": colour.delta_a,
        "delta_b": colour.delta_b,
        "delta_chroma": math.hypot(colour.delta_a, colour.delta_b),
        "delta_e": math.hypot(colour.delta_lightness, colour.delta_a, colour.delta_b),
    }
    return figures[name]


def share_below(margin: float) -> float:
    """Share of a normal distribution below `margin` standard deviations."""
    return (1 + math.erf(margin / math.sqrt(2))) / 2
