"""Strips of a plate's frame with letters and numbers on them, drawn for the legend network; truth known exactly.

A strip is one row of places, each a pitch wide, with the wells' rims along its lower edge, evened out by the device's
own code. Characters upside down, mirrored or unknown are as common as right ones: the network's task is to say
"nothing" to those. Fonts are those of the Debian packages fonts-liberation and fonts-dejavu, and OpenCV's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from edge_agent.vision.legends import GLYPHS, LETTERS, NOTHING, NUMBERS, PLACE_PX, even_out, split
from models.training.colours import to_image
from models.training.spec import Floats, Image

FONTS = Path("/usr/share/fonts/truetype")
FACES = (
    "liberation/LiberationSans-Regular.ttf",
    "liberation/LiberationSans-Bold.ttf",
    "liberation/LiberationSansNarrow-Regular.ttf",
    "liberation/LiberationSansNarrow-Bold.ttf",
    "liberation/LiberationMono-Regular.ttf",
    "dejavu/DejaVuSans.ttf",
    "dejavu/DejaVuSans-Bold.ttf",
    "dejavu/DejaVuSansCondensed.ttf",
    "dejavu/DejaVuSansMono.ttf",
    "dejavu/DejaVuSerif.ttf",
    cv2.FONT_HERSHEY_SIMPLEX,
    cv2.FONT_HERSHEY_DUPLEX,
    cv2.FONT_HERSHEY_COMPLEX,
)
OTHERS = (*"IJKLMNOPRSTUVXYZ0", *(str(n) for n in range(13, 25)), *"+-o=/")
FINE = 2 * PLACE_PX  # drawn at twice the size, then shrunk as the device does
IGNORED = -100  # a character that looks the same turned or mirrored: no truth
# What a turn by 180° or a mirror leaves as it was, or turns into another character.
AMBIGUOUS = {
    "turned": {"H", "8", "11", "1", "6", "9", "2", "5", "12"},
    "mirrored": {"A", "H", "8", "11", "1"},
    "flipped": {"B", "C", "D", "E", "H", "3", "8", "11", "1", "10"},
}


@dataclass(frozen=True, slots=True)
class Print:
    """How the characters of one strip are made."""

    face: str | int
    height: float
    width: float
    weight: int
    offset: tuple[float, float]
    tone: float
    edge: float
    way: str
    outlined: bool


def draw_places(seed: int) -> tuple[Image, NDArray[np.int64]]:
    """The places of one strip (n, PLACE_PX, PLACE_PX) and the index of what stands in each, or `IGNORED`."""
    rng = np.random.default_rng([seed, 7])
    letters = bool(rng.random() < 0.4)
    known = list(LETTERS if letters else NUMBERS)
    hidden = float(rng.uniform(0.05, 0.6)) if rng.random() < 0.1 else 0.0
    ground = _draw_ground(rng, len(known), letters=letters)
    texts = [str(rng.choice(OTHERS)) if rng.random() < 0.08 else known[i] for i in rng.permutation(len(known))]
    press = _draw_print(rng, letters=letters)
    rims_last = bool(rng.random() < 0.6)
    if not rims_last:
        _draw_rims(rng, ground, len(known), letters=letters)
    truth = _print_characters(rng, ground, texts, press, hidden)
    if rims_last:
        _draw_rims(rng, ground, len(known), letters=letters)
    _end_picture(ground, hidden, letters=letters)
    return split(_photograph(rng, ground)), np.array(truth, np.int64)


def _end_picture(ground: Floats, hidden: float, *, letters: bool) -> None:
    """The picture's edge lies in the strip, so that its last pixels repeat up to the strip's outer side."""
    first = int(hidden * FINE)
    if letters:
        ground[:, :first] = ground[:, first, None]
    else:
        ground[:first] = ground[first]


def _draw_print(rng: np.random.Generator, *, letters: bool) -> Print:
    way = str(rng.choice(["right", "turned", "mirrored", "flipped", "none"], p=[0.6, 0.17, 0.06, 0.06, 0.11]))
    sideways, upwards = (0.25, 0.08) if letters else (0.08, 0.2)
    return Print(
        face=FACES[int(rng.integers(len(FACES)))],
        height=float(rng.uniform(0.2, 0.46) if rng.random() < 0.6 else rng.uniform(0.4, 0.72 if letters else 0.56)),
        width=float(rng.uniform(0.75, 1.25)),
        weight=int(rng.integers(-2, 3)),
        offset=(float(rng.uniform(-sideways, sideways)), float(rng.uniform(-upwards, upwards))),
        tone=float(rng.choice([-1, 1], p=[0.65, 0.35]) * np.exp(rng.uniform(np.log(5), np.log(90)))),
        edge=float(rng.uniform(-0.8, 0.8)) if rng.random() < 0.4 else 0.0,
        way=way,
        outlined=bool(rng.random() < 0.15),
    )


def _print_characters(
    rng: np.random.Generator, ground: Floats, texts: list[str], press: Print, hidden: float
) -> list[int]:
    """Lay the characters on the strip; haze hides some of them, and the picture may end before they do."""
    if press.way == "none":
        return [GLYPHS.index(NOTHING)] * len(texts)
    haze = np.clip(_smooth(rng, len(texts), 3) * 0.6 + rng.uniform(0.4, 1.1), 0, 1)
    vertical = ground.shape[0] > ground.shape[1]
    cut = hidden > 0.5 + press.offset[0 if vertical else 1] - 0.15 * press.height
    truth = []
    for index, text in enumerate(texts):
        seen = float(haze[index]) * (rng.random() > 0.05)
        place = ground[index * FINE : (index + 1) * FINE] if vertical else ground[:, index * FINE : (index + 1) * FINE]
        mask = _placed(rng, text, press)
        relief = mask - np.roll(mask, (2, 2), (0, 1))
        place += press.tone * seen * (mask * (1 - abs(press.edge)) + relief * press.edge)
        meant = _truth(text, press, seen)
        truth.append(IGNORED if cut and meant != GLYPHS.index(NOTHING) else meant)
    return truth


def _truth(text: str, press: Print, seen: float) -> int:
    nothing = GLYPHS.index(NOTHING)
    if text not in GLYPHS or seen * abs(press.tone) < 2:
        return nothing
    if press.way == "right":
        return GLYPHS.index(text) if seen * abs(press.tone) >= 4 else IGNORED
    return IGNORED if text in AMBIGUOUS[press.way] else nothing


def _placed(rng: np.random.Generator, text: str, press: Print) -> Floats:
    """One character's mask in its place."""
    glyph = _glyph(text, press.face, press.weight, outlined=press.outlined)
    high, wide = glyph.shape
    scale = press.height * FINE / high
    angle = float(np.deg2rad(rng.normal(0, 2))) + (np.pi if press.way == "turned" else 0.0)
    sx = press.width * scale * (-1 if press.way == "mirrored" else 1)
    sy = scale * (-1 if press.way == "flipped" else 1)
    cos, sin = np.cos(angle), np.sin(angle)
    linear = np.array([[cos * sx, -sin * sy], [sin * sx, cos * sy]])
    middle = FINE * (0.5 + np.array(press.offset) + rng.normal(0, 0.015, 2))
    shift = middle - linear @ np.array([wide / 2, high / 2])
    placed = cv2.warpAffine(glyph, np.column_stack([linear, shift]), (FINE, FINE), flags=cv2.INTER_AREA)
    return np.asarray(placed, np.float32)


@lru_cache(maxsize=8192)
def _glyph(text: str, face: str | int, weight: int, *, outlined: bool) -> Floats:
    """A character's mask, cropped; `weight` makes it bolder or thinner, `outlined` leaves the rim of its strokes."""
    if isinstance(face, int):
        canvas = np.zeros((160, 240), np.uint8)
        cv2.putText(canvas, text, (30, 110), face, 2.6, (255,), 5 + 2 * weight, cv2.LINE_AA)
    else:
        sheet = Pillow.new("L", (240, 160))
        ImageDraw.Draw(sheet).text((30, 30), text, fill=255, font=ImageFont.truetype(str(FONTS / face), 76))
        canvas = np.array(sheet)
        kernel = np.ones((1 + 2 * abs(weight),) * 2, np.uint8)
        canvas = np.asarray((cv2.dilate if weight > 0 else cv2.erode)(canvas, kernel), np.uint8)
    if outlined:
        canvas = np.asarray(cv2.morphologyEx(canvas, cv2.MORPH_GRADIENT, np.ones((5, 5), np.uint8)), np.uint8)
    rows, columns = np.flatnonzero(canvas.any(axis=1)), np.flatnonzero(canvas.any(axis=0))
    return canvas[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.float32) / 255


def _draw_ground(rng: np.random.Generator, count: int, *, letters: bool) -> Floats:
    """The frame beside the wells: bands and lines along the plate's edge, seams across it, stains, pins and bars."""
    size = (count * FINE, FINE) if letters else (FINE, count * FINE)
    ground = np.full(size, rng.uniform(50, 215), np.float32)
    along, across = (0, 1) if letters else (1, 0)
    ramp = np.linspace(-1, 1, FINE, dtype=np.float32)
    ground += (ramp[None, :] if letters else ramp[:, None]) * float(rng.normal(0, 14))
    ground += np.moveaxis(_smooth(rng, size[along], int(rng.integers(2, 9)))[None], 1, along) * float(
        rng.uniform(0, 20)
    )
    for _ in range(int(rng.integers(0, 5))):  # the edge of the plate, steps and card
        start, width = float(rng.uniform(-0.1, 0.55)), float(rng.choice([0.02, 0.05, 0.4]) * rng.uniform(0.5, 1.5))
        band = slice(max(0, int(start * FINE)), max(0, int((start + width) * FINE) + 1))
        ground[(slice(None), band) if across else (band, slice(None))] += float(rng.normal(0, 28))
    for _ in range(int(rng.integers(0, 4))):  # seams and edges across
        start, width = float(rng.uniform(0, count)), float(rng.uniform(0.03, 0.4))
        seam = slice(int(start * FINE), int((start + width) * FINE) + 1)
        ground[(seam, slice(None)) if letters else (slice(None), seam)] += float(rng.normal(0, 18))
    for _ in range(int(rng.integers(0, 2 * count // 3))):
        _draw_clutter(rng, ground)
    return ground


def _draw_clutter(rng: np.random.Generator, ground: Floats) -> None:
    """A pin, a bar, a scratch, somebody's writing, the maker's name: anything but a character of the legend."""
    height, width = ground.shape
    x, y = int(rng.integers(width)), int(rng.integers(height))
    tone, size = float(rng.normal(0, 35)), float(rng.uniform(0.08, 0.6)) * FINE
    mask = np.zeros(ground.shape, np.uint8)
    kind, thick = int(rng.integers(5)), int(rng.integers(1, 8))
    if kind == 0:
        cv2.circle(mask, (x, y), int(size / 2), (255,), thick, cv2.LINE_AA)
    elif kind == 1:
        cv2.rectangle(mask, (x, y), (int(x + size * rng.uniform(0.2, 2)), int(y + size)), (255,), -1)
    elif kind == 2:
        end = (int(x + size * rng.normal(0, 2)), int(y + size * rng.normal(0, 2)))
        cv2.line(mask, (x, y), end, (255,), thick, cv2.LINE_AA)
    else:
        face = cv2.FONT_HERSHEY_SCRIPT_SIMPLEX if kind == 3 else cv2.FONT_HERSHEY_SIMPLEX
        word = "".join(rng.choice(list("unceOTLVX5670"), int(rng.integers(1, 5))))
        glyph = _word(word, face, thick)
        scale = size / glyph.shape[0]
        angle = float(rng.choice([0.3, np.pi / 2, -np.pi / 2, np.pi])) + float(rng.normal(0, 0.2))
        cos, sin = scale * np.cos(angle), scale * np.sin(angle)
        to_ground = np.array([[cos, -sin, x], [sin, cos, y]])
        mask = np.asarray(cv2.warpAffine(glyph, to_ground, (width, height)), np.uint8)
    ground += mask.astype(np.float32) * (tone / 255)


def _word(word: str, face: int, thick: int) -> Image:
    canvas = np.zeros((120, 60 * len(word) + 40), np.uint8)
    cv2.putText(canvas, word, (10, 80), face, 2.4, (255,), thick, cv2.LINE_AA)
    return canvas


def _draw_rims(rng: np.random.Generator, ground: Floats, count: int, *, letters: bool) -> None:
    """The outermost wells reach into the strip: bright and dark rings, with crescents of glare."""
    distance = FINE * float(rng.uniform(1.18, 1.4))
    radius, inner = FINE * float(rng.uniform(0.34, 0.49)), float(rng.uniform(0.6, 0.92))
    ring, inside = float(rng.normal(25, 40)), float(rng.normal(-20, 30))
    thick, glare = max(1, int(rng.uniform(0.02, 0.1) * FINE)), float(rng.uniform(0, 80))
    for index in range(count):
        along = (index + 0.5) * FINE
        middle = (round(distance), round(along)) if letters else (round(along), round(distance))
        for share, tone, width in ((1.0, ring, thick), (inner, inside, -1), (inner, ring * 0.6, max(1, thick // 2))):
            mask = np.zeros(ground.shape, np.uint8)
            cv2.circle(mask, middle, int(radius * share), (255,), width, cv2.LINE_AA)
            ground += mask.astype(np.float32) * (tone / 255)
        mask = np.zeros(ground.shape, np.uint8)
        start = float(rng.uniform(0, 360))
        axes = (int(radius * 0.95),) * 2
        cv2.ellipse(mask, middle, axes, 0, start, start + float(rng.uniform(20, 160)), (255,), thick, cv2.LINE_AA)
        ground += mask.astype(np.float32) * (glare / 255)


def _photograph(rng: np.random.Generator, ground: Floats) -> Image:
    """Lens, sensor, JPEG, the device's shrinking and evening out."""
    if rng.random() < 0.7:
        ground = np.asarray(cv2.GaussianBlur(ground, (0, 0), float(rng.uniform(0.4, 3.2))), np.float32)
    ground = ground + rng.standard_normal(ground.shape, dtype=np.float32) * float(rng.uniform(0, 9))
    picture = to_image(ground)
    if rng.random() < 0.5:
        _, encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(40, 96))])
        picture = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE), np.uint8)
    small = cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    return even_out(np.asarray(small, np.uint8))


def _smooth(rng: np.random.Generator, count: int, knots: int) -> Floats:
    """A slow random curve of `count` values about 0."""
    coarse = rng.standard_normal((1, knots)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (count, 1), interpolation=cv2.INTER_CUBIC)[0], np.float32)
