"""The plate without its wells: outline with cut corners, skirt, card shining through, seams, legends, handwriting.

The canvas is chosen so that the field of wells starts on a whole pixel and a pitch is a whole number of pixels: then
well tiles can be laid into it without resampling, and the truth stays exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from models.training.colours import any_colour, hsv, to_image
from models.training.spec import FOOTPRINT_MM, Doubles, Floats, Image, PlateGeometry

_SUBPIXEL_BITS = 4


@dataclass(frozen=True, slots=True)
class Canvas:
    """A flat plate being drawn. `picture` and `cover` (opacity against the stage) are changed in place."""

    picture: Image
    cover: Image
    pitch_px: int
    px_per_mm: float
    offset_px: tuple[float, float]

    def at(self, x_mm: float, y_mm: float) -> tuple[int, int]:
        """Plate millimetres to OpenCV's fixed-point drawing coordinates."""
        scale = 1 << _SUBPIXEL_BITS
        x = x_mm * self.px_per_mm + self.offset_px[0] - 0.5
        y = y_mm * self.px_per_mm + self.offset_px[1] - 0.5
        return round(x * scale), round(y * scale)

    def to_mm(self) -> Doubles:
        """Homography from canvas pixels to plate millimetres."""
        k = 1 / self.px_per_mm
        return np.array([[k, 0, (0.5 - self.offset_px[0]) * k], [0, k, (0.5 - self.offset_px[1]) * k], [0, 0, 1]])

    def field_origin_px(self, geometry: PlateGeometry) -> tuple[int, int]:
        """The first pixel (x, y) of A1's tile."""
        left = (geometry.a1_x_mm - geometry.pitch_mm / 2) * self.px_per_mm + self.offset_px[0]
        top = (geometry.a1_y_mm - geometry.pitch_mm / 2) * self.px_per_mm + self.offset_px[1]
        return round(left), round(top)


def new_canvas(geometry: PlateGeometry, pitch_px: int) -> Canvas:
    """A blank canvas for one plate at a whole number of pixels per pitch."""
    px_per_mm = pitch_px / geometry.pitch_mm
    left = (geometry.a1_x_mm - geometry.pitch_mm / 2) * px_per_mm
    top = (geometry.a1_y_mm - geometry.pitch_mm / 2) * px_per_mm
    offset = (float(np.ceil(left) - left) + 2, float(np.ceil(top) - top) + 2)
    width = int(np.ceil(FOOTPRINT_MM[0] * px_per_mm + offset[0])) + 3
    height = int(np.ceil(FOOTPRINT_MM[1] * px_per_mm + offset[1])) + 3
    # A field may overhang the footprint of small formats by a fraction of a pixel; three spare pixels hold it.
    return Canvas(
        np.zeros((height, width, 3), np.uint8), np.zeros((height, width), np.uint8), pitch_px, px_per_mm, offset
    )


def draw_clear_body(
    rng: np.random.Generator, canvas: Canvas, card_bgr: Floats, stage_bgr: Floats, *, plain: bool
) -> None:
    """A clear HI plate: the card's colour shines through the middle, the skirt looks like frosted plastic."""
    white = float(rng.uniform(190, 235))
    skirt = (
        0.55 * stage_bgr + 0.45 * white if plain else stage_bgr + (white - stage_bgr) * float(rng.uniform(0.15, 0.7))
    )
    card = np.asarray(card_bgr + (white - card_bgr) * float(rng.uniform(0.08, 0.3)), np.float32)
    outline = _outline(rng, plain=plain)
    _fill(canvas, canvas.picture, outline, skirt)
    _fill(canvas, canvas.cover, outline, 255 if plain else float(rng.uniform(170, 255)))
    _lay_card(rng, canvas, card, skirt, plain=plain)
    for inset, tone in ((0.3, rng.uniform(0.7, 1.2)), (1.2, rng.uniform(0.85, 1.25)), (2.6, rng.uniform(0.9, 1.3))):
        ring = [
            (min(max(x, inset), FOOTPRINT_MM[0] - inset), min(max(y, inset), FOOTPRINT_MM[1] - inset))
            for x, y in outline
        ]
        _line(canvas, ring, skirt * tone, 0.35)
    if rng.random() < 0.8:
        _draw_seams(rng, canvas, card, white)


def draw_opaque_body(rng: np.random.Generator, canvas: Canvas, body_bgr: Floats) -> None:
    """Any other plate: one body colour, a deck with a step, sometimes a skirt of another tone."""
    outline = _outline(rng, plain=False)
    _fill(canvas, canvas.picture, outline, body_bgr)
    _fill(canvas, canvas.cover, outline, 255 if rng.random() < 0.7 else float(rng.uniform(90, 230)))
    inset = float(rng.uniform(1, 4))
    deck = [
        (inset, inset),
        (FOOTPRINT_MM[0] - inset, inset),
        (FOOTPRINT_MM[0] - inset, FOOTPRINT_MM[1] - inset),
        (inset, FOOTPRINT_MM[1] - inset),
    ]
    _fill(canvas, canvas.picture, deck, body_bgr * rng.uniform(0.85, 1.12))
    if rng.random() < 0.7:
        _line(canvas, deck, body_bgr * rng.uniform(0.5, 1.3), float(rng.uniform(0.2, 0.8)))
    if rng.random() < 0.6:
        _line(canvas, outline, body_bgr * rng.uniform(0.5, 1.3), float(rng.uniform(0.3, 1.5)))


def draw_legends(rng: np.random.Generator, canvas: Canvas, geometry: PlateGeometry, *, plain: bool) -> None:
    """Row letters and column numbers, moulded or printed, and the small well names between the wells."""
    if not plain and rng.random() < 0.15:
        return
    mask = np.zeros(canvas.cover.shape, np.uint8)
    size = min(geometry.pitch_mm, 9) * canvas.px_per_mm
    scale = size / 22 * float(rng.uniform(0.3, 0.38) if plain else rng.uniform(0.3, 0.75))
    thickness = max(1, round(size / 22 * (0.75 if plain else rng.uniform(0.5, 1.4))))
    x0, y0, pitch = geometry.a1_x_mm, geometry.a1_y_mm, geometry.pitch_mm
    for row in range(geometry.rows):
        spot = (x0 - pitch / 2 - 3.6, y0 + row * pitch)
        _text(canvas, mask, chr(65 + row), spot, scale=scale, thickness=thickness)
    for col in range(geometry.columns):
        spot = (x0 + col * pitch, y0 - pitch / 2 - 2.6)
        _text(canvas, mask, str(col + 1), spot, scale=scale, thickness=thickness)
    if pitch == 9.0 and canvas.pitch_px >= 40 and rng.random() < 0.7:
        _draw_well_names(canvas, mask, geometry, scale * 0.38)
    tone = float(rng.uniform(0.45, 0.75)) if rng.random() < 0.8 else float(rng.uniform(1.25, 1.6))
    strength = float(rng.uniform(0.5, 0.8)) if plain else float(rng.uniform(0.15, 1.0))
    _blend(canvas, mask, np.clip(canvas.picture.astype(np.float32) * tone, 0, 255), strength)


def _draw_well_names(canvas: Canvas, mask: Image, geometry: PlateGeometry, scale: float) -> None:
    """The faint rings with names that some makers mould between the wells: small round things that are no wells."""
    radius = round(1.15 * canvas.px_per_mm * (1 << _SUBPIXEL_BITS))
    for row in range(1, geometry.rows):
        for col in range(1, geometry.columns):
            x_mm = geometry.a1_x_mm + (col - 0.5) * geometry.pitch_mm
            y_mm = geometry.a1_y_mm + (row - 0.5) * geometry.pitch_mm
            cv2.circle(mask, canvas.at(x_mm, y_mm), radius, (46,), 1, cv2.LINE_AA, _SUBPIXEL_BITS)
            _text(canvas, mask, f"{chr(65 + row)}{col + 1}", (x_mm, y_mm), scale=scale, thickness=1, strength=70)


def draw_handwriting(rng: np.random.Generator, canvas: Canvas) -> None:
    """A number that somebody wrote on the frame with a marker."""
    ink = hsv(rng.choice([355, 225, 0, 280]), rng.uniform(0.5, 0.9), rng.uniform(0.15, 0.7))
    mask = np.zeros(canvas.cover.shape, np.uint8)
    size = canvas.px_per_mm * float(rng.uniform(0.12, 0.2))
    spot = (float(rng.choice([7.5, rng.uniform(10, 116), 119])), float(rng.choice([3.8, 81.5])))
    text = str(int(rng.integers(1, 400)))
    _text(
        canvas,
        mask,
        text,
        spot,
        scale=size,
        thickness=max(1, round(canvas.px_per_mm * rng.uniform(0.4, 0.8))),
        face=cv2.FONT_HERSHEY_SCRIPT_SIMPLEX,
    )
    _blend(canvas, mask, np.broadcast_to(ink, canvas.picture.shape), float(rng.uniform(0.5, 0.95)))


def draw_sticker(rng: np.random.Generator, canvas: Canvas) -> None:
    """A written label on a short or long side, as other laboratories stick them on."""
    x, y = float(rng.uniform(3, 90)), float(rng.choice([0.5, 80.0]))
    width, height = float(rng.uniform(12, 36)), float(rng.uniform(4, 6))
    corners = [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]
    _fill(canvas, canvas.picture, corners, any_colour(rng) if rng.random() < 0.3 else np.full(3, rng.uniform(200, 250)))
    mask = np.zeros(canvas.cover.shape, np.uint8)
    middle = (x + width / 2, y + height / 2)
    _text(canvas, mask, f"LOT {int(rng.integers(0, 9999))}", middle, scale=canvas.px_per_mm / 9, thickness=1)
    _blend(canvas, mask, np.full(canvas.picture.shape, 30, np.float32), 0.9)


def _outline(rng: np.random.Generator, *, plain: bool) -> list[tuple[float, float]]:
    """Corners clockwise from the top left; makers cut none, the two of column 1, the two of row H, or all."""
    cuts = [(0, 0, 1, 1)] if plain else [(0, 0, 0, 0), (1, 0, 0, 1), (0, 0, 1, 1), (1, 0, 0, 0), (1, 1, 1, 1)]
    cut = np.array(cuts[int(rng.integers(len(cuts)))]) * float(rng.uniform(3, 8))
    width, height = FOOTPRINT_MM
    points: list[tuple[float, float]] = []
    for (x, y, sx, sy), c in zip(
        [(0, 0, 0, 1), (width, 0, -1, 0), (width, height, 0, -1), (0, height, 1, 0)], cut, strict=True
    ):
        before = (x + sx * c, y + sy * c)
        after = (x + (c if x == 0 else -c) * (sx == 0), y + (c if y == 0 else -c) * (sy == 0))
        points += [before, after] if c else [(x, y)]
    return points


def _lay_card(rng: np.random.Generator, canvas: Canvas, card: Floats, skirt: Floats, *, plain: bool) -> None:
    """The card under the well block, with the soft edge that frosted plastic gives it."""
    mask = np.zeros(canvas.cover.shape, np.uint8)
    left, right, top, bottom = rng.uniform([3, 3, 2, 3], [8, 8, 5, 6]) if plain else rng.uniform(-2, 9, 4)
    corners = [
        (left, top),
        (FOOTPRINT_MM[0] - right, top),
        (FOOTPRINT_MM[0] - right, FOOTPRINT_MM[1] - bottom),
        (left, FOOTPRINT_MM[1] - bottom),
    ]
    _fill(canvas, mask, corners, 255)
    soft = cv2.GaussianBlur(mask, (0, 0), max(0.5, canvas.px_per_mm * float(rng.uniform(0.2, 1.5))))
    mask = np.where(canvas.cover > 0, soft, 0).astype(np.uint8)
    height, width = mask.shape
    drift = np.linspace(-1, 1, width, dtype=np.float32)[None, :, None] * float(rng.normal(0, 0.04))
    drift = drift + np.linspace(-1, 1, height, dtype=np.float32)[:, None, None] * float(rng.normal(0, 0.04))
    _blend(canvas, mask, np.clip(card * (1 + drift), 0, 255), 1.0)
    if rng.random() < 0.5:  # the slots of the frame on the side of the last column
        slot = [(121.5, 22.0), (124.5, 22.0), (124.5, 40.0), (121.5, 40.0)]
        for shift in (0.0, 24.0):
            _fill(canvas, canvas.picture, [(x, y + shift) for x, y in slot], skirt * float(rng.uniform(0.7, 0.95)))
    for x, y in ((4.5, 42.7), (123.0, 12.5), (123.0, 71.0)):
        _ring(canvas, (x, y), 2.3, skirt * 1.12)


def _draw_seams(rng: np.random.Generator, canvas: Canvas, card: Floats, white: float) -> None:
    """Pale bands across the plate where the mould or the card ends; one may run along row H."""
    mask = np.zeros(canvas.cover.shape, np.uint8)
    strength = float(rng.uniform(0.15, 0.5))
    for x in (36.5, 91.0):
        half = float(rng.uniform(0.6, 2.2))
        for top, bottom in ((1.0, 10.0), (76.0, 84.5), (1.0, 84.5))[: int(rng.integers(2, 4))]:
            _fill(canvas, mask, [(x - half, top), (x + half, top), (x + half, bottom), (x - half, bottom)], 255)
    if rng.random() < 0.3:
        y = float(rng.uniform(70, 80))
        _fill(canvas, mask, [(1, y), (126.7, y), (126.7, y + rng.uniform(0.4, 2)), (1, y + 1)], 255)
    mask = np.where(canvas.cover > 0, mask, 0).astype(np.uint8)
    _blend(canvas, mask, np.broadcast_to(0.35 * card + 0.6 * white, canvas.picture.shape), strength)


def _fill(canvas: Canvas, target: Image, corners: list[tuple[float, float]], colour: Floats | float) -> None:
    points = np.array([canvas.at(x, y) for x, y in corners], np.int32)
    value = to_image(np.atleast_1d(np.asarray(colour, np.float32))).tolist()
    cv2.fillPoly(target, [points], value, cv2.LINE_AA, _SUBPIXEL_BITS)


def _line(canvas: Canvas, corners: list[tuple[float, float]], colour: Floats, width_mm: float) -> None:
    points = np.array([canvas.at(x, y) for x, y in corners], np.int32)
    thickness = max(1, round(width_mm * canvas.px_per_mm))
    cv2.polylines(canvas.picture, [points], True, to_image(colour).tolist(), thickness, cv2.LINE_AA, _SUBPIXEL_BITS)


def _ring(canvas: Canvas, centre: tuple[float, float], radius_mm: float, colour: Floats) -> None:
    radius, thickness = round(radius_mm * canvas.px_per_mm * 16), max(1, round(0.8 * canvas.px_per_mm))
    cv2.circle(
        canvas.picture, canvas.at(*centre), radius, to_image(colour).tolist(), thickness, cv2.LINE_AA, _SUBPIXEL_BITS
    )


def _text(
    canvas: Canvas,
    mask: Image,
    text: str,
    centre: tuple[float, float],
    *,
    scale: float,
    thickness: int,
    strength: int = 255,
    face: int = cv2.FONT_HERSHEY_SIMPLEX,
) -> None:
    (width, height), _ = cv2.getTextSize(text, face, scale, thickness)
    x, y = canvas.at(*centre)
    cv2.putText(
        mask, text, (x // 16 - width // 2, y // 16 + height // 2), face, scale, (strength,), thickness, cv2.LINE_AA
    )


def _blend(canvas: Canvas, mask: Image, colour: Floats, strength: float) -> None:
    share = (mask.astype(np.float32) * (strength / 255))[..., None]
    picture = canvas.picture.astype(np.float32)
    canvas.picture[:] = to_image(picture + (colour - picture) * share)
