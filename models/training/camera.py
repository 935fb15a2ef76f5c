"""From a plate in space to a picture of it: viewpoint, light, lens, sensor, JPEG.

Blur, noise and JPEG mattered more for transfer to photographs than pretty rims (ablations of the first probe), so
"varied" is generous with them.
"""

from __future__ import annotations

import cv2
import numpy as np

from models.training.colours import to_image
from models.training.ranges import PARAMETERS, Ranges
from models.training.spec import FOOTPRINT_MM, Doubles, Floats, Image, PlateSpec


def viewpoint(ranges: Ranges, spec: PlateSpec) -> Doubles:
    """Homography from plate millimetres to pixels."""
    rng = ranges.rng
    width, height = spec.size_px
    turn = spec.turn_deg if spec.turn_deg is not None else _draw_turn(ranges)
    sideways = abs(np.sin(np.deg2rad(turn))) > 0.7
    long_px, short_px = (height, width) if sideways else (width, height)
    fit = min(long_px / FOOTPRINT_MM[0], short_px / FOOTPRINT_MM[1])
    fill = spec.fill
    if fill is None:
        fill = float(rng.uniform(0.84, 0.88)) if ranges.kept else _draw_fill(rng)
    astray = 0.005 if ranges.kept else 0.02 + max(0.0, 0.8 - fill) * 0.3
    centre = np.array([width, height]) / 2 + rng.normal(0, astray, 2) * [width, height]
    if spec.code:  # leave room for the card on the side where the code lies
        fill = min(fill, 0.78)
        centre = np.array([width, height]) / 2
    scale = fit * fill
    half = np.array(FOOTPRINT_MM) / 2
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half * scale
    angle = np.deg2rad(turn)
    if spec.code:  # the plate moves away from the card, along its own long side
        corners = corners - np.array([9.0 * scale, 0.0])
    corners = corners @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) + centre
    tilt = ranges.draw("tilt")
    corners = corners + rng.uniform(-tilt, tilt, (4, 2)) * FOOTPRINT_MM[1] * scale
    footprint = np.array([[0, 0], [FOOTPRINT_MM[0], 0], list(FOOTPRINT_MM), [0, FOOTPRINT_MM[1]]], np.float32)
    return np.asarray(cv2.getPerspectiveTransform(footprint, corners.astype(np.float32)), dtype=np.float64)


def expose(ranges: Ranges, picture: Floats, spec: PlateSpec) -> Image:
    """Light, lens and sensor; what a camera makes of a perfect picture."""
    rng = ranges.rng
    if ranges.difficulty == "plain":
        return _expose_plainly(rng, picture)
    picture = _light(ranges, picture)
    if ranges.kept or rng.random() < 0.7:
        pixels = ranges.draw("blur") * max(0.6, spec.size_px[0] / 1000)
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), pixels), np.float32)
    white_balance = [ranges.draw(f"white_balance_{colour}") for colour in ("blue", "green", "red")]
    gain = np.array(white_balance, np.float32) * np.float32(_draw_gain(ranges, spec) / 255)
    picture = np.clip(picture * gain + ranges.draw("black_level"), 0, None)
    picture = 255 * np.minimum(picture, 1) ** np.float32(ranges.draw("gamma"))
    _add_noise(rng, picture, ranges.draw("fine_noise"), ranges.draw("coarse_noise"))
    if ranges.happens(0.04):
        picture = np.repeat(picture.mean(axis=2, keepdims=True), 3, axis=2)
    image = to_image(picture)
    compressed = ranges.kept or rng.random() < 0.5
    return _through_jpeg(image, round(ranges.draw("jpeg_quality"))) if compressed else image


def _draw_gain(ranges: Ranges, spec: PlateSpec) -> float:
    """Exposure: mostly right, at times dark or blown; tears can be told apart in less of that than wells be found."""
    if ranges.kept:
        return ranges.draw("gain")
    how = 0.0 if ranges.difficulty == "beyond" else float(ranges.rng.random())
    if how < 0.76:
        return ranges.draw("usual_gain")
    dark, bright = PARAMETERS["usual_gain"].training
    darkest, brightest = PARAMETERS["gain"].training if spec.contents == "hi" else (0.15, 2.1)
    return float(ranges.rng.uniform(darkest, dark) if how < 0.88 else ranges.rng.uniform(bright, brightest))


def _expose_plainly(rng: np.random.Generator, picture: Floats) -> Image:
    height, width = picture.shape[:2]
    across = np.linspace(-1, 1, width, dtype=np.float32)[None, :, None]
    down = np.linspace(-1, 1, height, dtype=np.float32)[:, None, None]
    picture = picture * (1 + float(rng.normal(0, 0.02)) * across + float(rng.normal(0, 0.02)) * down)
    picture -= 10 * (across**2 + down**2)  # the lens darkens towards the corners
    picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), 0.8 * max(0.5, width / 1600)), np.float32)
    _add_noise(rng, picture, 1.5, 2.5)
    return _through_jpeg(to_image(picture), 92)


def _draw_fill(rng: np.random.Generator) -> float:
    """Most plates fill the picture, some stand small in a room, some reach out of it."""
    how = rng.random()
    least, most = (0.7, 1.0) if how < 0.55 else (0.4, 1.12) if how < 0.85 else (0.25, 0.5)
    return float(rng.uniform(least, most))


def _draw_turn(ranges: Ranges) -> float:
    rng = ranges.rng
    if ranges.kept:
        return ranges.draw("turn_deg")
    quarter = float(rng.choice([0, 90, 180, 270], p=[0.4, 0.2, 0.2, 0.2]))
    return quarter + float(np.clip(rng.normal(0, 5), -15, 15) if rng.random() < 0.88 else ranges.draw("turn_deg"))


def _light(ranges: Ranges, picture: Floats) -> Floats:
    """Uneven lamps, a soft glare, sometimes the shadow of a hand."""
    rng = ranges.rng
    height, width = picture.shape[:2]
    across = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    down = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    angle = float(rng.uniform(0, 6.28))
    light = 1 + ranges.draw("lamp") * (across * np.cos(angle) + down * np.sin(angle))
    if ranges.happens(0.15, "shadow"):
        corners = (rng.uniform(0, 1, (3, 2)) * [width, height]).astype(np.int32)
        shadow = np.ones((height, width), np.float32)
        cv2.fillPoly(shadow, [corners], (ranges.draw("shadow"),))
        light = light * cv2.GaussianBlur(shadow, (0, 0), float(rng.uniform(1, 10)))
    picture = picture * light[..., None].astype(np.float32)
    if ranges.happens(0.35, "glare"):
        x, y, broad, tall = rng.uniform(-1, 1), rng.uniform(-1, 1), rng.uniform(0.08, 0.7), rng.uniform(0.08, 0.7)
        glare = np.exp(-np.square((across - x) / broad)) * np.exp(-np.square((down - y) / tall))
        picture = picture + (glare * ranges.draw("glare"))[..., None].astype(np.float32)
    if ranges.happens(0.1, "spots"):  # bare lamps mirrored in the plastic
        for x, y, broad, tall in rng.uniform([-1, -1, 0.02, 0.02], [1, 1, 0.1, 0.1], (int(rng.integers(1, 4)), 4)):
            spot = np.exp(-np.square((across - x) / broad) - np.square((down - y) / tall))
            picture = picture + (spot * ranges.draw("spots"))[..., None].astype(np.float32)
    return np.asarray(picture, dtype=np.float32)


def _add_noise(rng: np.random.Generator, picture: Floats, fine: float, coarse: float) -> None:
    """Grey grain per pixel and colour grain of about two pixels, as a demosaiced small sensor gives."""
    height, width = picture.shape[:2]
    picture += rng.standard_normal((height, width, 1), dtype=np.float32) * fine
    blotches = rng.standard_normal((height // 2 + 1, width // 2 + 1, 3), dtype=np.float32)
    blotches *= coarse * np.array([1.2, 0.6, 0.9], np.float32)
    picture += cv2.resize(blotches, (width, height), interpolation=cv2.INTER_LINEAR)


def _through_jpeg(image: Image, quality: int) -> Image:
    _, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), dtype=np.uint8)
