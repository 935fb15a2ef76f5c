"""The synthetic camera: whole photographs of plates whose truth is known exactly.

    image, truth = render_plate(seed, PlateSpec(calls={"A1": "flowing"}, code="S-1001,NDV,1"))

The same seed and spec give the same bytes (with the same NumPy and OpenCV). Training, tests and the demo use this one
camera; only NumPy and OpenCV are needed.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from models.training.camera import expose, viewpoint
from models.training.cells import CellHabit
from models.training.colours import any_colour, hsv, stage_green, to_image
from models.training.frame import (
    Canvas,
    draw_clear_body,
    draw_handwriting,
    draw_legends,
    draw_opaque_body,
    draw_sticker,
    new_canvas,
)
from models.training.looks import WellLook, draw_generic_look, draw_look, parallax_shifts
from models.training.ranges import Ranges
from models.training.scene import CODE_CARD_MM, code_card, draw_nest, draw_stage, paste
from models.training.spec import (
    CLASSES,
    EMPTY,
    FOOTPRINT_MM,
    FORMATS,
    Difficulty,
    Doubles,
    Floats,
    Image,
    PlateGeometry,
    PlateSpec,
    Truth,
    draw_calls,
    project,
)
from models.training.wells import Liquids, WellPainter

__all__ = ["CLASSES", "PlateSpec", "Truth", "render_deck", "render_plate", "render_stage"]

DECK_STEP_MM = (132.5, 90.5)  # from slot to slot of a robot's deck


def render_plate(seed: int, spec: PlateSpec) -> tuple[Image, Truth]:
    """One photograph (height × width × 3, blue-green-red) and what it shows."""
    rng = np.random.default_rng(seed)
    ranges = Ranges(rng, spec.difficulty, spec.outside)
    calls = _contents(rng, spec)
    plate_to_px = viewpoint(ranges, spec)
    stage = draw_stage(ranges, spec.size_px)
    lit_below = spec.contents == "generic" and rng.random() < 0.1
    if lit_below:
        stage *= np.float32(rng.uniform(0.02, 0.4))
    if ranges.happens(0.25):
        draw_nest(rng, stage, plate_to_px)
    truth = _lay_plate(ranges, stage, spec, plate_to_px, calls, lit_below=lit_below)
    if spec.code:
        _lay_code(rng, stage, spec.code, plate_to_px)
    return expose(ranges, stage, spec), truth


def render_deck(seed: int, spec: PlateSpec) -> tuple[Image, tuple[Truth, ...]]:
    """A photograph of a crowded deck, as a camera above a robot takes it, and every plate on it.

    The plate of `spec` stands in the middle slot; plates of other kinds, lids and boxes stand in some of the others.
    """
    rng = np.random.default_rng([seed, 3])
    ranges = Ranges(rng, spec.difficulty, spec.outside)
    middle = viewpoint(ranges, replace(spec, fill=float(rng.uniform(0.2, 0.5))))
    stage = draw_stage(Ranges(rng, "varied"), spec.size_px)
    truths = []
    for column, row in [(0, 0), *[(c, r) for c in (-1, 0, 1) for r in (-1, 0, 1) if (c, r) != (0, 0)]]:
        what = "plate" if (column, row) == (0, 0) else str(rng.choice(["nothing", "plate", "lid"], p=[0.45, 0.4, 0.15]))
        to_px = middle @ np.array([[1, 0, column * DECK_STEP_MM[0]], [0, 1, row * DECK_STEP_MM[1]], [0, 0, 1]])
        if what == "nothing" or not _reasonable(to_px, middle, spec.size_px):
            continue
        if what == "lid":
            _lay_lid(rng, stage, to_px)
            continue
        here = spec
        if column or row:
            here = replace(spec, contents="generic", plate_format=int(rng.choice([96, 384, 48, 24, 6])))
        truths.append(_lay_plate(ranges, stage, here, to_px, _contents(rng, here), lit_below=False))
    return expose(ranges, stage, spec), tuple(truths)


def render_stage(seed: int, size_px: tuple[int, int] = (1600, 1150), difficulty: Difficulty = "plain") -> Image:
    """A photograph of the bench without a plate."""
    ranges = Ranges(np.random.default_rng(seed), difficulty)
    return expose(ranges, draw_stage(ranges, size_px), PlateSpec(size_px=size_px, difficulty=difficulty))


def _contents(rng: np.random.Generator, spec: PlateSpec) -> NDArray[np.int64]:
    """Classes of the wells; a plate of another assay has none, which counts as empty."""
    return draw_calls(rng, spec) if spec.contents == "hi" else np.full(spec.plate_format, EMPTY)


def _lay_plate(
    ranges: Ranges,
    stage: Floats,
    spec: PlateSpec,
    plate_to_px: Doubles,
    calls: NDArray[np.int64],
    *,
    lit_below: bool,
) -> Truth:
    """Draw one plate and lay it on the stage, in place."""
    rng, geometry = ranges.rng, FORMATS[spec.plate_format]
    pitch_px = _pitch_px(geometry, plate_to_px)
    canvas = new_canvas(geometry, int(np.clip(round(pitch_px * 1.05), 9, 260)))
    stage_bgr = stage.mean(axis=(0, 1)) if ranges.kept else _under(stage, plate_to_px)
    if spec.contents == "hi":
        look = _draw_hi_plate(ranges, canvas, geometry, stage_bgr)
    else:
        look = _draw_other_plate(rng, canvas, geometry, stage_bgr, lit_below=lit_below)
    soft = _fill_wells(ranges, canvas, look, calls, spec)
    paste(stage, canvas.picture, canvas.cover, plate_to_px @ canvas.to_mm(), ranges.draw("plate_shadow"))
    return _truth(spec, plate_to_px, look.rim_radius, calls, soft)


def _under(stage: Floats, plate_to_px: Doubles) -> Floats:
    """The mean colour of what a plate will stand on."""
    spots = np.stack(np.meshgrid(np.linspace(4, 123, 9), np.linspace(4, 81, 6)), axis=-1).reshape(-1, 2)
    x, y = np.rint(project(plate_to_px, spots)).astype(int).T
    height, width = stage.shape[:2]
    return np.asarray(stage[np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)].mean(axis=0), np.float32)


def _reasonable(plate_to_px: Doubles, middle: Doubles, size_px: tuple[int, int]) -> bool:
    """Whether a slot is in the picture and not blown up by perspective."""
    at = project(plate_to_px, np.array([FOOTPRINT_MM]) / 2)[0]
    pitches = [_pitch_px(FORMATS[96], view) for view in (plate_to_px, middle)]
    return bool((at > 0).all() and (at < size_px).all() and 0.5 < pitches[0] / pitches[1] < 2)


def _lay_lid(rng: np.random.Generator, stage: Floats, to_px: Doubles) -> None:
    """A lid or a box of a plate's size: it has a plate's outline but no wells, and is none."""
    canvas = new_canvas(FORMATS[96], int(np.clip(round(_pitch_px(FORMATS[96], to_px) * 1.05), 9, 60)))
    draw_opaque_body(rng, canvas, any_colour(rng) if rng.random() < 0.5 else _under(stage, to_px) * 1.1)
    if rng.random() < 0.5:
        draw_sticker(rng, canvas)
    paste(stage, canvas.picture, canvas.cover, to_px @ canvas.to_mm(), float(rng.uniform(0, 0.5)))


def _draw_hi_plate(ranges: Ranges, canvas: Canvas, geometry: PlateGeometry, stage_bgr: Floats) -> WellLook:
    rng = ranges.rng
    draw_clear_body(rng, canvas, _card_bgr(ranges), stage_bgr, plain=ranges.kept)
    draw_legends(rng, canvas, geometry, plain=ranges.kept)
    if rng.random() < 0.6:
        draw_handwriting(rng, canvas)
    return draw_look(ranges)


def _card_bgr(ranges: Ranges) -> Floats:
    """The card under the plate: green on a kept bench and on most others."""
    if not ranges.kept and ranges.rng.random() < 0.65:
        return stage_green(ranges.rng)
    hue = ranges.draw("card_hue")
    saturation = ranges.draw("card_saturation") if ranges.kept else ranges.rng.uniform(0, 0.8)
    return hsv(hue, saturation, ranges.draw("card_value"))


def _draw_other_plate(
    rng: np.random.Generator, canvas: Canvas, geometry: PlateGeometry, stage_bgr: Floats, *, lit_below: bool
) -> WellLook:
    """Plates of other assays exist for training only and are always varied."""
    tones = {"white": (190, 254), "black": (8, 55), "natural": (130, 220)}
    material = str(rng.choice(["clear", "white", "black", "natural"], p=[0.5, 0.22, 0.12, 0.16]))
    if lit_below:
        body = hsv(rng.uniform(0, 360), rng.uniform(0, 1) ** 1.5 * 0.8, rng.uniform(0.6, 1))
    elif material == "clear":
        body = np.clip(stage_bgr + rng.normal(8, 14) + rng.normal(0, 5, 3), 5, 250)
    elif rng.random() < 0.15:
        body = any_colour(rng)
    else:
        body = np.clip(rng.uniform(*tones[material]) + rng.normal(0, 7, 3), 5, 250)
    body = np.asarray(body, np.float32)
    draw_opaque_body(rng, canvas, body)
    draw_legends(rng, canvas, geometry, plain=False)
    if rng.random() < 0.3:
        draw_sticker(rng, canvas)
    square = geometry.pitch_mm < 5 and rng.random() < 0.6
    faint = lit_below or rng.random() < (0.55 if material == "clear" else 0.35)
    look = draw_generic_look(rng, geometry.rim_radius_pitches, body, square=square, faint=faint)
    return look if geometry.pitch_mm > 15 else replace(look, colonies=0)


def _fill_wells(ranges: Ranges, canvas: Canvas, look: WellLook, calls: NDArray[np.int64], spec: PlateSpec) -> Floats:
    """Paint the wells row by row (a row fits the processor's cache) and return their soft labels."""
    rng, geometry = ranges.rng, FORMATS[spec.plate_format]
    habit = CellHabit.draw(ranges)
    painter = WellPainter(rng, look, habit)
    shifts = parallax_shifts(look, geometry.rows, geometry.columns)
    liquids = _draw_liquids(rng, geometry) if spec.contents == "generic" else None
    left, top = canvas.field_origin_px(geometry)
    size, count = canvas.pitch_px, geometry.columns
    soft = np.zeros((calls.size, len(CLASSES)), np.float32)
    for row in range(geometry.rows):
        wells = slice(row * count, (row + 1) * count)
        band = canvas.picture[top + row * size : top + (row + 1) * size, left : left + count * size]
        under = band.reshape(size, count, size, 3).swapaxes(0, 1).astype(np.float32)
        here = Liquids(liquids.colour_bgr[wells], liquids.opacity[wells], liquids.pellet[wells]) if liquids else None
        tiles, soft[wells] = painter.paint(under, calls[wells], shifts[wells], here)
        band[:] = to_image(tiles).swapaxes(0, 1).reshape(size, count * size, 3)
    return soft


def _draw_liquids(rng: np.random.Generator, geometry: PlateGeometry) -> Liquids:
    """Contents of another assay: colours in some pattern, some wells empty, often most of them."""
    count = geometry.rows * geometry.columns
    row, col = np.mgrid[0 : geometry.rows, 0 : geometry.columns].reshape(2, -1)
    two = np.stack([any_colour(rng) for _ in range(8)])
    style = int(rng.integers(0, 6))
    if style == 0:
        which = rng.integers(0, 2, count)
    elif style == 1:
        which = (col < rng.integers(0, geometry.columns + 1, geometry.rows)[row]).astype(np.int64)
    elif style == 2:
        which = (row + col) % int(rng.integers(2, 5)) // 1 % 2
    elif style == 3:
        which = rng.integers(0, 8, count)
    else:
        which = np.zeros(count, np.int64)
    base = two[which]
    if style == 4:  # from one colour to another along the rows
        base = two[0] + (two[1] - two[0]) * (col / max(geometry.columns - 1, 1))[:, None]
    colour = np.clip(base * rng.uniform(0.85, 1.15, (count, 1)) + rng.normal(0, 5, (count, 3)), 0, 255)
    filled = rng.random(count) < rng.choice([0.0, 0.06, 0.25, 0.9, 1.0])
    opacity = rng.uniform(0.35, 1.0) * rng.uniform(0.8, 1.0, count) * filled
    pellet = rng.uniform(0, 0.9, count) * (rng.random(count) < rng.choice([0.0, 0.0, 0.5]))
    return Liquids(colour.astype(np.float32), opacity.astype(np.float32), pellet.astype(np.float32))


def _lay_code(rng: np.random.Generator, stage: Floats, code: str, plate_to_px: Doubles) -> None:
    """Lay the card on the stage, right of the plate, turned a little as a hand would."""
    card = code_card(code, module_px=8)
    scale = CODE_CARD_MM / card.shape[1]
    angle = float(np.deg2rad(rng.normal(0, 1.5)))
    x, y = FOOTPRINT_MM[0] + 2.5, float(rng.uniform(20, 45))
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    paste(stage, card, None, plate_to_px @ np.array([[cos, -sin, x], [sin, cos, y], [0, 0, 1]]), shadow=0.1)


def _pitch_px(geometry: PlateGeometry, plate_to_px: Doubles) -> float:
    middle = np.array(FOOTPRINT_MM) / 2
    ends = project(plate_to_px, np.stack([middle, middle + np.array([geometry.pitch_mm, 0.0])]))
    return float(np.hypot(*(ends[1] - ends[0])))


def _truth(
    spec: PlateSpec,
    plate_to_px: Doubles,
    rim_radius: float,
    calls: NDArray[np.int64],
    soft: Floats,
) -> Truth:
    geometry = FORMATS[spec.plate_format]
    centres_mm = geometry.centres_mm()
    turn = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    ring_mm = np.stack([np.cos(turn), np.sin(turn)], axis=1) * rim_radius * geometry.pitch_mm
    rims = project(plate_to_px, (centres_mm[:, None] + ring_mm).reshape(-1, 2)).reshape(calls.size, -1, 2)
    centres = project(plate_to_px, centres_mm)
    width, height = FOOTPRINT_MM
    top_voted = soft.argmax(axis=1) if spec.contents == "hi" else calls
    return Truth(
        plate_format=spec.plate_format,
        rows=geometry.rows,
        columns=geometry.columns,
        centres_px=centres,
        rim_boxes_px=np.concatenate([rims.min(axis=1), rims.max(axis=1)], axis=1),
        rim_radius_px=np.hypot(*np.moveaxis(rims - centres[:, None], 2, 0)).mean(axis=1),
        plate_to_px=plate_to_px,
        plate_quad_px=project(plate_to_px, np.array([[0, 0], [width, 0], [width, height], [0, height]])),
        calls=tuple(CLASSES[int(call)] for call in top_voted),
        soft_calls=soft,
    )
