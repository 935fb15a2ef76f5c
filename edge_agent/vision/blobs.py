"""Patches → the cells' blob in every well, measured without the network. Pure.

Nothing is assumed of colours: each well's floor is its own middle colour, and which way cells differ from a floor is
learnt from the blobs of the whole plate, so backgrounds, haze and white balance cancel out. Lengths are in well
pitches; a patch's bottom is the low side of the tilt.
"""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from edge_agent.vision.patches import Image
from edge_agent.vision.tensors import Array

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

SMOOTHING_PITCH: Final = 0.01
# CIELAB units per step of OpenCV's bytes.
LAB_STEPS: Final = np.array([100 / 255, 1, 1], np.float32)
# Cells settle in the middle; parallax shifts them by up to 0.13 pitch. Floors are taken from within, blobs looked for
# as far as `REACH`, and how strong a well's cells are is judged in its core, where no rim gets in.
FLOOR_RADIUS, CORE_RADIUS, REACH, HEART_RADIUS = 0.25, 0.20, 0.31, 0.15
# A blob is what differs from the floor by half as much as its own darkest part, within these shares of the plate's.
HALF, LEAST_SHARE, MOST_SHARE = 0.5, 0.2, 0.65
# In CIELAB units: less is noise.
LEAST_CONTRAST: Final = 3.0
# What differs in another colour than cells do (rims, lights) by more than this, over noise, is no part of a blob.
OFF_COLOUR, COLOUR_NOISE = 0.8, 4.0
# Where too few blobs show the plate's own colour of cells: darker and redder.
USUAL_CELLS: Final = (-0.4, 0.9, 0.1)
# A blob that may teach the colour of cells, in square pitches and pitches off the centre.
TEACHING_AREA, TEACHING_OFFSET, TEACHERS = (0.006, 0.09), 0.2, 3


@dataclass(frozen=True)
class Blobs:
    """One entry per well. Lengths in pitches, areas in square pitches; colours in CIELAB; 0 where no blob was found.

    length and width are those of the ellipse with the same second moments, along and across the tilt; tail is the mean
    width of the lowest 30 % of rows over that of the rows at 15–50 %; solidity is 1 without holes, notches or points.
    contrast is how far cells differ from the floor in the plate's colour of cells, `share` the same over the plate's
    usual contrast, and widest_share that of anything in reach, in the middle or not.
    """

    area: Array
    length: Array
    width: Array
    tail: Array
    solidity: Array
    offset: Array
    edge_share: Array
    contrast: Array
    share: Array
    widest_share: Array
    noise: Array
    darkness: Array
    redness: Array


class _View:
    """The middle of a patch: where its pixels lie, in pitches from the well's centre."""

    def __init__(self, side: int, patch_pitches: float) -> None:
        self.pixel = patch_pitches / side
        self.cut = max(0, int(side / 2 - (REACH + 2 * SMOOTHING_PITCH) / self.pixel))
        self.side = side - 2 * self.cut
        self.along = ((np.arange(self.side) + 0.5) - self.side / 2) * self.pixel
        self.radius = np.hypot(self.along[None, :], self.along[:, None])
        self.core, self.reach = self.radius < CORE_RADIUS, self.radius < REACH
        # Every second or third pixel says what the middle or the strongest colour is as well as all of them do.
        self.floor_places = np.flatnonzero(self.radius < FLOOR_RADIUS)[::3]
        self.core_places, self.reach_places = np.flatnonzero(self.core)[::2], np.flatnonzero(self.reach)[::2]
        self.edge = self.reach & (self.radius > REACH - 1.2 * self.pixel)
        self.nearness = np.exp(-np.square(self.radius / HEART_RADIUS))


def find_blobs(patches_rgb: Image, patch_pitches: float) -> Blobs:
    """The blob of every patch (n, side, side, 3)."""
    view = _View(patches_rgb.shape[1], patch_pitches)
    away = _away_from_floor(patches_rgb, view)
    distance = np.sqrt(_dot(away, away))
    cells, teachers = _cell_colour(away, distance, view)
    signal = _dot(away, cells)
    off_colour = np.sqrt(np.maximum(np.square(distance) - np.square(signal), 0))
    cellular = np.where(view.reach & (signal > OFF_COLOUR * (off_colour - COLOUR_NOISE)), signal, np.float32(0))
    contrast = _strength(cellular, view)
    usual = float(np.quantile(contrast[teachers], 0.75) if teachers.any() else np.quantile(contrast, 0.9))
    usual = max(usual, LEAST_CONTRAST)
    limit = np.maximum(np.clip(HALF * contrast, LEAST_SHARE * usual, MOST_SHARE * usual), LEAST_CONTRAST)
    chosen = _main_parts(cellular > limit[:, None, None].astype(np.float32), cellular, view)
    shades = _at(off_colour, view.floor_places)
    return Blobs(
        **_shapes(chosen, view),
        contrast=contrast,
        share=contrast / usual,
        widest_share=np.percentile(_at(cellular, view.reach_places), 99, axis=1) / usual,
        noise=1.4826 * np.median(np.abs(shades - np.median(shades, axis=1, keepdims=True)), axis=1).astype(np.float64),
        darkness=-_mean_in(away[0], chosen),
        redness=_mean_in(away[1], chosen),
    )


def _away_from_floor(patches_rgb: Image, view: _View) -> Floats:
    """How far each pixel is from its well's floor, in CIELAB: (3, n, side, side)."""
    count, side = patches_rgb.shape[:2]
    smooth = cv2.GaussianBlur(patches_rgb.reshape(count * side, side, 3), (0, 0), SMOOTHING_PITCH / view.pixel)
    inner = slice(view.cut, side - view.cut)
    middle = smooth.reshape(count, side, side, 3)[:, inner, inner].reshape(-1, view.side, 3)
    # In bytes: three times as fast as in floats, and finer than the sensor's noise.
    lab = cv2.cvtColor(np.ascontiguousarray(middle), cv2.COLOR_RGB2Lab)
    away = np.empty((3, count, view.side, view.side), np.float32)
    for plane, levels, step in zip(away, cv2.split(lab), LAB_STEPS, strict=True):
        wells = levels.reshape(count, -1)
        floor = np.median(wells[:, view.floor_places], axis=1, keepdims=True).astype(np.float32)
        np.subtract(wells, floor, out=plane.reshape(count, -1))
        np.multiply(plane, step, out=plane)
    return away


def _cell_colour(away: Floats, distance: Floats, view: _View) -> tuple[Floats, Mask]:
    """Which way this plate's cells differ from the floor (a unit vector), and the wells that show it."""
    darker_or_redder = (away[1] > 0.5 * away[0]) | (away[0] < 0)
    seen = np.where(darker_or_redder & view.core, distance, np.float32(0))
    strength = _strength(seen, view)
    limit = np.maximum(HALF * strength, LEAST_CONTRAST).astype(np.float32)
    parts = seen > limit[:, None, None]
    area, offset = parts.sum(axis=(1, 2)) * view.pixel**2, _offset(parts, view)
    teachers = (area > TEACHING_AREA[0]) & (area < TEACHING_AREA[1]) & (offset < TEACHING_OFFSET)
    colour = np.array(USUAL_CELLS)
    if teachers.sum() >= TEACHERS:
        strong = teachers & (strength >= np.median(strength[teachers]))
        means = np.stack([_mean_in(axis, parts)[strong] for axis in away], axis=1)
        colour = np.median(means, axis=0)
    return np.asarray(colour / (np.linalg.norm(colour) + 1e-9), np.float32), teachers


def _main_parts(marked: Mask, signal: Floats, view: _View) -> Mask:
    """Per well the connected part with the most signal near the middle."""
    count, side = marked.shape[:2]
    picture = marked.astype(np.uint8)
    picture[:, (0, -1)] = 0  # so that no part reaches into the next well
    _, labels, stats, _ = cv2.connectedComponentsWithStats(picture.reshape(count * side, side), connectivity=4)
    there = np.flatnonzero(picture)
    pull = signal.ravel()[there] * np.broadcast_to(view.nearness, signal.shape).ravel()[there]
    weights = np.bincount(labels.ravel()[there], pull, len(stats))
    parts = np.arange(1, len(stats))
    wells = stats[1:, cv2.CC_STAT_TOP] // side
    heaviest = np.zeros(count, np.int64)
    order = np.argsort(weights[1:], kind="stable")
    heaviest[wells[order]] = parts[order]  # the last one written is the heaviest
    labels = labels.reshape(count, side, side)
    return np.asarray((labels == heaviest[:, None, None]) & (labels > 0))


def _shapes(chosen: Mask, view: _View) -> dict[str, Array]:
    filled, solidity = _filled(chosen)
    rows, columns = filled.sum(axis=2), filled.sum(axis=1)
    length, width = (4 * _spread(profile, view) for profile in (rows, columns))
    pixels = np.maximum(rows.sum(axis=1), 1)
    return {
        "area": rows.sum(axis=1) * view.pixel**2,
        "length": length,
        "width": width,
        "tail": _tail(rows),
        "solidity": solidity,
        "offset": _offset(filled, view),
        "edge_share": (filled & view.edge).sum(axis=(1, 2)) / pixels,
    }


def _filled(chosen: Mask) -> tuple[Mask, Array]:
    """The blobs without holes (a light on a tear leaves one), and how solid they were."""
    count, side = chosen.shape[:2]
    picture = chosen.astype(np.uint8).reshape(count * side, side)
    outlines, _ = cv2.findContours(picture, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    filled = np.zeros_like(picture)
    cv2.drawContours(filled, outlines, -1, (1,), cv2.FILLED)
    whole = filled.reshape(count, side, side) > 0
    solidity = chosen.sum(axis=(1, 2)) / np.maximum(whole.sum(axis=(1, 2)), 1)
    for outline in outlines:
        hull = cv2.contourArea(cv2.convexHull(outline))
        solidity[int(outline[0, 0, 1]) // side] *= cv2.contourArea(outline) / hull if hull else 0.0
    return whole, solidity


def _spread(profile: Array, view: _View) -> Array:
    """Standard deviation along one axis of blobs given as pixels per row, in pitches; a pixel has a width too."""
    pixels = np.maximum(profile.sum(axis=1), 1)
    mean = profile @ view.along / pixels
    square = profile @ np.square(view.along) / pixels - np.square(mean) + view.pixel**2 / 12
    return np.where(profile.sum(axis=1) > 0, np.sqrt(np.maximum(square, 0)), 0.0)


def _tail(rows: Array) -> Array:
    """Mean width of the lowest 30 % of rows over that of the rows at 15–50 %; 0 where it cannot be told."""
    there = rows > 0
    side = rows.shape[1]
    first = there.argmax(axis=1)[:, None]
    height = np.maximum(side - there[:, ::-1].argmax(axis=1)[:, None] - first, 1)
    place = (np.arange(side) + 0.5 - first) / height
    low, body = there & (place > 0.7), there & (place > 0.15) & (place < 0.5)
    means = [(rows * part).sum(axis=1) / np.maximum(part.sum(axis=1), 1) for part in (low, body)]
    return np.asarray(means[0] / np.maximum(means[1], 1) * (means[1] > 0))


def _offset(parts: Mask, view: _View) -> Array:
    """Distance of each blob's centre from its well's, in pitches."""
    pixels = np.maximum(parts.sum(axis=(1, 2)), 1)
    return np.asarray(
        np.hypot(parts.sum(axis=1) @ view.along / pixels, parts.sum(axis=2) @ view.along / pixels), np.float64
    )


def _mean_in(values: Floats, parts: Mask) -> Array:
    pixels = np.maximum(parts.sum(axis=(1, 2)), 1)
    return np.asarray(np.einsum("nyx,nyx->n", values, parts) / pixels, np.float64)


def _dot(first: Floats, second: Floats) -> Floats:
    """Of colours plane by plane; a plane may be one number."""
    return np.asarray(first[0] * second[0] + first[1] * second[1] + first[2] * second[2], np.float32)


def _at(values: Floats, places: npt.NDArray[np.intp]) -> Floats:
    """The same pixels of every well, (n, places)."""
    return values.reshape(len(values), -1)[:, places]


def _strength(values: Floats, view: _View) -> Array:
    """How strong the strongest twenty-fifth of the pixels in each well's core at least is."""
    return np.asarray(np.percentile(_at(values, view.core_places), 96, axis=1), np.float64)
