"""Where the plate stands: benches, decks, clutter that must not be taken for a plate, and the card with the code."""

from __future__ import annotations

import cv2
import numpy as np

from models.training.colours import any_colour, hsv, to_image
from models.training.ranges import Ranges
from models.training.spec import FOOTPRINT_MM, Doubles, Floats, Image

CODE_CARD_MM = 17.0


def draw_stage(ranges: Ranges, size_px: tuple[int, int]) -> Floats:
    """The background of a picture as floats."""
    rng = ranges.rng
    width, height = size_px
    if ranges.kept:
        tone = hsv(rng.uniform(20, 300), rng.uniform(0.02, 0.08), ranges.draw("background"))
        return tone * (1 + 0.03 * _clouds(rng, width, height, 5)[..., None])
    grey = np.full(3, 255 * ranges.draw("background")) + rng.normal(0, 8, 3)
    first = np.asarray(grey if rng.random() < 0.5 else any_colour(rng), np.float32)
    second = np.asarray(first * rng.uniform(0.6, 1.4) if rng.random() < 0.75 else any_colour(rng), np.float32)
    mix = np.clip(0.5 + rng.uniform(0.05, 0.4) * _clouds(rng, width, height, int(rng.integers(2, 40))), 0, 1)[..., None]
    stage = first * mix + second * (1 - mix)
    pattern = rng.random()
    if pattern < 0.15:
        _draw_grain(rng, stage)
    elif pattern < 0.3:
        _draw_lattice(rng, stage)
    for _ in range(int(rng.integers(0, 9))):
        _draw_clutter(rng, stage)
    return np.asarray(np.clip(stage, 0, 255), np.float32)


def draw_nest(rng: np.random.Generator, stage: Floats, plate_to_px: Doubles) -> None:
    """An adapter, a frame or a sheet of paper under the plate, larger than it on every side."""
    wider = rng.uniform(1.5, 20, (2, 2)) if rng.random() < 0.7 else rng.uniform(1.5, 5, (2, 2))
    (left, top), (right, bottom) = -wider[0], FOOTPRINT_MM + wider[1]
    corners = np.array([[[left, top], [right, top], [right, bottom], [left, bottom]]])
    if rng.random() < 0.4:
        colour = any_colour(rng)
    else:
        colour = np.full(3, rng.choice([rng.uniform(5, 60), rng.uniform(180, 252)]), np.float32)
    outline = np.rint(cv2.perspectiveTransform(corners, plate_to_px)).astype(np.int32)
    patch = to_image(stage)
    cv2.fillPoly(patch, [outline], to_image(colour).tolist())
    stage[:] = patch


def code_card(text: str, module_px: int) -> Image:
    """A white card with the QR code of `text` and the text itself below, for the stage beside the plate."""
    encoder = cv2.QRCodeEncoder.create()
    modules = encoder.encode(text)
    code = cv2.resize(modules, None, fx=module_px, fy=module_px, interpolation=cv2.INTER_NEAREST)
    quiet = 4 * module_px
    side = code.shape[0] + 2 * quiet
    card: Image = np.full((side + 3 * module_px, side), 250, np.uint8)
    card[quiet : quiet + code.shape[0], quiet : quiet + code.shape[1]] = np.where(code > 127, 250, 18)
    scale = min(side * 0.9 / max(cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 1.0, 1)[0][0], 1), module_px * 0.12)
    width = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)[0][0]
    cv2.putText(
        card, text, ((side - width) // 2, side + module_px), cv2.FONT_HERSHEY_SIMPLEX, scale, (40,), 1, cv2.LINE_AA
    )
    return np.repeat(card[..., None], 3, axis=2)


def paste(stage: Floats, patch: Image, cover: Image | None, patch_to_px: Doubles, shadow: float = 0.0) -> None:
    """Lay a flat patch into the picture, in place, through a homography; `cover` is its opacity (0–255)."""
    height, width = stage.shape[:2]
    rows, columns = patch.shape[:2]
    corners = np.array([[[-0.5, -0.5], [columns, -0.5], [columns, rows], [-0.5, rows]]], np.float64)
    placed = cv2.perspectiveTransform(corners, patch_to_px)[0]
    margin = 24 if shadow else 2
    left, top = np.clip(np.floor(placed.min(0)).astype(int) - margin, 0, [width, height]).tolist()
    right, bottom = np.clip(np.ceil(placed.max(0)).astype(int) + margin, 0, [width, height]).tolist()
    if right - left < 2 or bottom - top < 2:
        return
    to_window = np.array([[1, 0, -left], [0, 1, -top], [0, 0, 1]]) @ patch_to_px
    window = (right - left, bottom - top)
    opacity = np.full((rows, columns), 255, np.uint8) if cover is None else cover
    warped = cv2.warpPerspective(patch, to_window, window, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    share = cv2.warpPerspective(opacity, to_window, window, flags=cv2.INTER_LINEAR).astype(np.float32)[..., None] / 255
    view = stage[top:bottom, left:right]
    if shadow:
        cast = np.roll(cv2.GaussianBlur(share[..., 0], (0, 0), 7), (4, 5), (0, 1))[..., None]
        view *= 1 - shadow * cast
    view += (warped.astype(np.float32) - view) * share


def _clouds(rng: np.random.Generator, width: int, height: int, grains: int) -> Floats:
    coarse = rng.standard_normal((grains, grains)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)


def _draw_grain(rng: np.random.Generator, stage: Floats) -> None:
    """Wood or brushed metal."""
    height, width = stage.shape[:2]
    lines = cv2.resize(rng.random((height, max(2, width // 64))).astype(np.float32), (width, height))
    stage += (lines[..., None] - 0.5) * float(rng.uniform(10, 80))


def _draw_lattice(rng: np.random.Generator, stage: Floats) -> None:
    """Graph paper, perforated benches, tube racks: regular things that are no plate."""
    height, width = stage.shape[:2]
    step, colour = int(rng.integers(12, 60)), any_colour(rng).tolist()
    if rng.random() < 0.5:
        for x in range(0, width, step):
            cv2.line(stage, (x, 0), (x, height), colour, 1, cv2.LINE_AA)
        for y in range(0, height, step):
            cv2.line(stage, (0, y), (width, y), colour, 1, cv2.LINE_AA)
        return
    radius = max(1, int(step * rng.uniform(0.06, 0.2)))
    for x in range(step // 2, width, step):
        for y in range(step // 2, height, step):
            cv2.circle(stage, (x, y), radius, colour, -1, cv2.LINE_AA)


def _draw_clutter(rng: np.random.Generator, stage: Floats) -> None:
    height, width = stage.shape[:2]
    colour = any_colour(rng).tolist()
    x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
    size = int(rng.integers(6, max(8, width // 5)))
    kind = int(rng.integers(0, 6))
    if kind == 0:
        cv2.circle(stage, (x, y), max(2, size // 3), colour, -1 if rng.random() < 0.5 else 2, cv2.LINE_AA)
    elif kind == 1:
        cv2.rectangle(stage, (x, y), (x + 2 * size, y + size), colour, -1)
    elif kind == 2:
        end = (int(rng.integers(0, width)), int(rng.integers(0, height)))
        cv2.line(stage, (x, y), end, colour, int(rng.integers(1, 12)), cv2.LINE_AA)
    elif kind == 3:
        text = "".join(chr(int(letter)) for letter in rng.integers(65, 91, 5))
        ink = np.zeros((height, width), np.uint8)
        cv2.putText(ink, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, size / 60 + 0.2, (255,), 1 + size // 40, cv2.LINE_AA)
        stage[ink > 127] = colour
    elif kind == 4:  # a colour chart
        step = int(rng.integers(8, 36))
        for i in range(int(rng.integers(2, 7))):
            for j in range(int(rng.integers(1, 5))):
                corner = (x + i * step, y + j * step)
                cv2.rectangle(stage, corner, (corner[0] + step - 2, corner[1] + step - 2), any_colour(rng).tolist(), -1)
    else:
        box = cv2.boxPoints(((float(x), float(y)), (size * 2.5, size * 1.2), float(rng.uniform(0, 180))))
        patch = to_image(stage)
        cv2.fillPoly(patch, [box.astype(np.int32)], colour, cv2.LINE_AA)
        stage[:] = patch
