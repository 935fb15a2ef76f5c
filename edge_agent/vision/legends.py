"""Letters A–H beside column 1, numbers 1–12 above row A: do they stand where a plate lying so would have them?

A small network reads one character, or none, in each place; this module decides what that says about how the plate
lies. It is quiet where there is nothing to see: a character that cannot be read speaks for nobody. Pure.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from edge_agent.vision.patches import Image, Matrix, pitch_px
from edge_agent.vision.tensors import Array, softmax

LETTERS: Final = tuple("ABCDEFGH")
NUMBERS: Final = tuple(str(number) for number in range(1, 13))
NOTHING: Final = "nothing"
GLYPHS: Final = (*LETTERS, *NUMBERS, NOTHING)
# A place is one pitch wide and high; more pixels showed nothing more of characters a third of a pitch high.
PLACE_PX: Final = 36
# Distance of the places' middle from the outermost wells, in pitches: makers put the letters further out.
LETTERS_AT, NUMBERS_AT = 0.85, 0.75
# Scale of the ground that is taken away, and how many times the usual contrast is still told apart from white.
GROUND_PX, CONTRASTS = 6.0, 3.0

# How often the network was taught to find one certain character in a place: its prior, which is no evidence.
PRIOR: Final = 0.04
# Half of the printed characters may be hidden by haze or glare; half of all plates have none.
VISIBLE: Final = 0.5
LEGENDS: Final = 0.5
# No character counts more than this, however sure the network is of it.
MOST_LN: Final = 4.0
READ_FROM: Final = 0.7

ReadGlyphs = Callable[[Image], Array]


@dataclass(frozen=True, slots=True)
class Legends:
    """How well the characters fit one way of lying: log-likelihood over a plate without any, and how many were read."""

    ln: float
    read: int


@dataclass(frozen=True, slots=True)
class Sides:
    """The four sides of a 96-well plate's frame, straightened and evened out, as the seat has them."""

    left: Image
    right: Image
    top: Image
    bottom: Image


def cut_sides(image_bgr: Image, homography: Matrix) -> Sides:
    """The sides of the frame where characters may stand; only these parts of the picture are looked at."""
    upright, flat = (1, len(LETTERS)), (len(NUMBERS), 1)
    left, right = (
        _strip(image_bgr, homography, (x - 0.5, -0.5), upright) for x in (-LETTERS_AT, len(NUMBERS) - 1 + LETTERS_AT)
    )
    top, bottom = (
        _strip(image_bgr, homography, (-0.5, y - 0.5), flat) for y in (-NUMBERS_AT, len(LETTERS) - 1 + NUMBERS_AT)
    )
    return Sides(left, right, top, bottom)


def read_given(sides: Sides, read_glyphs: ReadGlyphs) -> Legends:
    """The characters of a plate that lies as the seat says; `read_glyphs` is the network."""
    return _read(sides.left, sides.top, read_glyphs)


def read_turned(sides: Sides, read_glyphs: ReadGlyphs) -> Legends:
    """The characters of a plate that is turned by half."""
    return _read(sides.right[::-1, ::-1], sides.bottom[::-1, ::-1], read_glyphs)


def read_mirrored(sides: Sides, read_glyphs: ReadGlyphs) -> tuple[Legends, Legends]:
    """The characters of a plate seen through its bottom, either way round."""
    return (
        _read(sides.right[:, ::-1], sides.top[:, ::-1], read_glyphs),
        _read(sides.left[::-1], sides.bottom[::-1], read_glyphs),
    )


def _read(letters: Image, numbers: Image, read_glyphs: ReadGlyphs) -> Legends:
    return judge_legends(softmax(read_glyphs(np.concatenate([split(letters), split(numbers)])), 1.0))


def _strip(image_bgr: Image, homography: Matrix, start: tuple[float, float], size: tuple[int, int]) -> Image:
    """A strip of places cut out and straightened; `start` in (column, row), `size` in places."""
    grey, homography = _part(image_bgr, homography, start, size)
    left, top = start[0] + 0.5 / PLACE_PX, start[1] + 0.5 / PLACE_PX
    to_picture = homography @ np.array([[1 / PLACE_PX, 0, left], [0, 1 / PLACE_PX, top], [0, 0, 1]])
    shape = (size[0] * PLACE_PX, size[1] * PLACE_PX)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    strip = cv2.warpPerspective(grey, to_picture, shape, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return even_out(np.asarray(strip, np.uint8))


def _part(
    image_bgr: Image, homography: Matrix, start: tuple[float, float], size: tuple[int, int]
) -> tuple[Image, Matrix]:
    """The part of the picture that a strip lies in, grey, and the homography into it.

    It is averaged down by a whole number to no less than a place's resolution, so that sampling skips nothing.
    """
    shrink = max(1, int(pitch_px(homography, len(LETTERS), len(NUMBERS)) / PLACE_PX))
    corners = np.array([[start[0] + x * size[0], start[1] + y * size[1], 1] for x in (0, 1) for y in (0, 1)])
    seen = corners @ homography.T
    places, limits = seen[:, :2] / seen[:, 2:], np.array(image_bgr.shape[1::-1])
    first = np.clip(np.floor(places.min(axis=0)).astype(int) - shrink - 1, 0, limits - shrink)
    last = np.clip(np.ceil(places.max(axis=0)).astype(int) + shrink + 1, first + shrink, limits)
    width, height = (last - first) // shrink
    part = image_bgr[first[1] : first[1] + height * shrink, first[0] : first[0] + width * shrink]
    grey = cv2.resize(cv2.cvtColor(part, cv2.COLOR_BGR2GRAY), (width, height), interpolation=cv2.INTER_AREA)
    # Pixels are counted at their centres: (x + 0.5) scales, not x.
    x, y = (0.5 - first) / shrink - 0.5
    return np.asarray(grey, np.uint8), np.array([[1 / shrink, 0, x], [0, 1 / shrink, y], [0, 0, 1.0]]) @ homography


def even_out(strip: Image) -> Image:
    """A grey strip with the ground taken away and the usual contrast made the same: pale mouldings look like print."""
    grey = strip.astype(np.float32)
    detail = grey - cv2.GaussianBlur(grey, (0, 0), GROUND_PX)
    usual = float(np.median(np.abs(detail))) + 0.7
    return np.asarray(127.5 + 127.5 * np.tanh(detail / (CONTRASTS * usual)), np.uint8)


def split(strip: Image) -> Image:
    """A strip's places, left to right or top to bottom."""
    height, width = strip.shape
    parts = strip.reshape(height // PLACE_PX, PLACE_PX, width // PLACE_PX, PLACE_PX)
    return parts.swapaxes(1, 2).reshape(-1, PLACE_PX, PLACE_PX)


def judge_legends(probabilities: Array) -> Legends:
    """What the network read in the 20 places, weighed: quiet unless several characters stand where they should."""
    meant = np.clip(np.diagonal(probabilities), 1e-6, 1 - 1e-6)
    ratios = np.minimum(meant / (1 - meant) * (1 - PRIOR) / PRIOR, math.exp(MOST_LN))
    printed = float(np.log(1 - VISIBLE + VISIBLE * ratios).sum())
    return Legends(float(np.logaddexp(np.log(1 - LEGENDS), np.log(LEGENDS) + printed)), int((meant > READ_FROM).sum()))
