"""Patches → the cells' blob in every well, measured without the network. Pure.

Nothing is assumed of colours: each well's floor is its own middle colour, and which way cells differ from a floor is
learnt from the blobs of the whole plate, so backgrounds, haze and white balance cancel out. Lengths are in well
pitches; a patch's bottom is the low side of the tilt.
"""

import math
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from edge_agent.vision.patches import Image
from edge_agent.vision.ranks import medians, quantiles
from edge_agent.vision.tensors import Array

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.intp]

SMOOTHING_PITCH: Final = 0.01
# CIELAB units per step of OpenCV's bytes.
LAB_STEPS: Final = np.array([100 / 255, 1, 1], np.float32)
# Cells settle in the middle; parallax shifts them by up to 0.13 pitch. Floors are taken from within, blobs looked for
# as far as `REACH`, and how strong a well's cells are is judged in its core, where no rim gets in.
FLOOR_RADIUS, CORE_RADIUS, REACH, HEART_RADIUS = 0.25, 0.20, 0.31, 0.15
# A blob is what differs from the floor by half as much as its own darkest part, within these shares of the plate's.
HALF, LEAST_SHARE, MOST_SHARE = 0.5, 0.2, 0.65
# So many patches are softened beside each other.
BESIDE: Final = 12
# A well's cells are as strong as the strongest twenty-fifth of the pixels in its core at least is.
STRONGEST: Final = 0.96
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
    """The middle of a patch: which of its pixels are in reach, in rows from the top, and where those lie.

    `x` and `y` are in pitches from the well's centre; the other places are indices into the pixels in reach.
    """

    def __init__(self, side: int, patch_pitches: float) -> None:
        self.pixel = patch_pitches / side
        self.cut = max(0, int(side / 2 - (REACH + 2 * SMOOTHING_PITCH) / self.pixel))
        self.side = side - 2 * self.cut
        self.along = (np.arange(self.side) + 0.5 - self.side / 2) * self.pixel
        whole = np.hypot(self.along[None, :], self.along[:, None])
        self.reach = np.flatnonzero(whole < REACH)
        self.y, self.x = self.along[np.stack(np.divmod(self.reach, self.side))].astype(np.float32)
        self.radius = whole.ravel()[self.reach]
        self.core = np.flatnonzero(self.radius < CORE_RADIUS)
        # Every second or third pixel says what the middle or the strongest colour is as well as all of them do.
        self.floor = np.flatnonzero(self.radius < FLOOR_RADIUS)[::3]
        self.edge = (whole > REACH - 1.2 * self.pixel).ravel()
        self.nearness = np.exp(-np.square(self.radius / HEART_RADIUS))


@dataclass(frozen=True)
class _Parts:
    """Some pixels in reach of some wells: whose they are, and which."""

    well: Indices
    place: Indices


def find_blobs(patches_rgb: Image, patch_pitches: float) -> Blobs:
    """The blob of every patch (n, side, side, 3)."""
    view, count = _View(patches_rgb.shape[1], patch_pitches), len(patches_rgb)
    away = _away_from_floor(patches_rgb, view)
    cells, teachers = _cell_colour(away, view)
    signal = _dot(away, cells)
    off_colour = np.sqrt(np.maximum(_dot(away, away) - np.square(signal), 0))
    cellular = signal * (signal > OFF_COLOUR * (off_colour - COLOUR_NOISE))
    contrast = quantiles(cellular.take(view.core[::2], axis=1), STRONGEST)
    usual = float(np.quantile(contrast[teachers], 0.75) if teachers.any() else np.quantile(contrast, 0.9))
    usual = max(usual, LEAST_CONTRAST)
    limit = np.maximum(np.clip(HALF * contrast, LEAST_SHARE * usual, MOST_SHARE * usual), LEAST_CONTRAST)
    chosen = _main_parts(cellular > limit[:, None].astype(np.float32), cellular, view)
    shades = off_colour.take(view.floor, axis=1)
    usual_shades = medians(shades)[:, None].astype(np.float32)
    lightness, redness = (_means(plane[chosen.well, chosen.place], chosen, count) for plane in away[:2])
    return Blobs(
        **_shapes(chosen, count, view),
        contrast=contrast,
        share=contrast / usual,
        widest_share=quantiles(np.ascontiguousarray(cellular[:, ::2]), 0.99) / usual,
        noise=1.4826 * medians(np.abs(shades - usual_shades)),
        darkness=-lightness,
        redness=redness,
    )


def _away_from_floor(patches_rgb: Image, view: _View) -> Floats:
    """How far each pixel in reach is from its well's floor, in CIELAB: (3, n, pixels)."""
    count, side = patches_rgb.shape[:2]
    sigma_px = SMOOTHING_PITCH / view.pixel
    # As many pixels around the view as are softened into it.
    around = min(view.cut, math.ceil(3 * sigma_px) + 1)
    inner = slice(view.cut - around, side - view.cut + around)
    wide = patches_rgb[:, inner, inner]
    # Side by side as far as they go: softening long rows takes half as long.
    beside, high = math.gcd(count, BESIDE), wide.shape[1]
    picture = wide.reshape(-1, beside, high, high, 3).swapaxes(1, 2).reshape(-1, beside * high, 3)
    smooth = cv2.GaussianBlur(picture, (0, 0), sigma_px).reshape(-1, high, beside, high, 3).swapaxes(1, 2)
    rows, columns = np.divmod(view.reach, view.side) + np.array([[around], [around]])
    in_reach = smooth.reshape(count, -1, 3).take(rows * high + columns, axis=1)
    # In bytes: three times as fast as in floats, and finer than the sensor's noise.
    lab = cv2.cvtColor(in_reach, cv2.COLOR_RGB2Lab)
    away = np.empty((3, count, len(view.reach)), np.float32)
    for plane, levels, step in zip(away, cv2.split(lab), LAB_STEPS, strict=True):
        floor = medians(np.asarray(levels.take(view.floor, axis=1), np.uint8))[:, None].astype(np.float32)
        np.subtract(levels, floor, out=plane)
        if step != 1:
            np.multiply(plane, step, out=plane)
    return away


def _cell_colour(away: Floats, view: _View) -> tuple[Floats, Mask]:
    """Which way this plate's cells differ from the floor (a unit vector), and the wells that show it."""
    core = away.take(view.core, axis=2)
    distance = np.sqrt(_dot(core, core))
    seen = distance * ((core[1] > 0.5 * core[0]) | (core[0] < 0))
    strength = quantiles(np.ascontiguousarray(seen[:, ::2]), STRONGEST)
    parts = (seen > np.maximum(HALF * strength, LEAST_CONTRAST)[:, None].astype(np.float32)).astype(np.float32)
    pixels = np.einsum("np->n", parts)
    x, y = (np.einsum("np,p->n", parts, places[view.core]) / np.maximum(pixels, 1) for places in (view.x, view.y))
    area, offset = pixels * view.pixel**2, np.hypot(x, y)
    teachers = (area > TEACHING_AREA[0]) & (area < TEACHING_AREA[1]) & (offset < TEACHING_OFFSET)
    colour = np.array(USUAL_CELLS)
    if teachers.sum() >= TEACHERS:
        strong = teachers & (strength >= np.median(strength[teachers]))
        means = np.einsum("cnp,np->nc", core[:, strong], parts[strong]) / pixels[strong, None]
        colour = np.median(means.astype(np.float64), axis=0)
    return np.asarray(colour / (np.linalg.norm(colour) + 1e-9), np.float32), np.asarray(teachers)


def _main_parts(marked: Mask, signal: Floats, view: _View) -> _Parts:
    """Per well the connected part with the most signal near the middle."""
    count, side = len(marked), view.side
    picture = np.zeros((count, side * side), np.uint8)
    picture[:, view.reach] = marked
    # So that no part reaches into the next well.
    picture.reshape(count, side, side)[:, (0, -1)] = 0
    parts, labels = cv2.connectedComponents(picture.reshape(count * side, side), connectivity=4)
    well, place = np.nonzero(marked)
    label = labels.ravel()[well * side * side + view.reach[place]]
    weights = np.bincount(label, signal[well, place] * view.nearness[place], parts)
    wells = np.zeros(parts, np.int64)
    wells[label] = well
    heaviest = np.zeros(count, np.int64)
    order = np.argsort(weights[1:], kind="stable") + 1
    heaviest[wells[order]] = order  # the last one written is the heaviest
    chosen = (label == heaviest[well]) & (label > 0)
    return _Parts(well[chosen], place[chosen])


def _shapes(chosen: _Parts, count: int, view: _View) -> dict[str, Array]:
    side = view.side
    filled, solidity = _filled(chosen, count, view)
    there = np.flatnonzero(filled)
    well, place = np.divmod(there, side * side)
    rows = np.bincount(there // side, minlength=count * side).reshape(count, side)
    columns = np.bincount(well * side + place % side, minlength=count * side).reshape(count, side)
    pixels = rows.sum(axis=1)
    (y, length), (x, width) = (_lies(profile, pixels, view) for profile in (rows, columns))
    return {
        "area": pixels * view.pixel**2,
        "length": 4 * length,
        "width": 4 * width,
        "tail": _tail(rows),
        "solidity": solidity,
        "offset": np.hypot(x, y),
        "edge_share": np.bincount(well[view.edge[place]], minlength=count) / np.maximum(pixels, 1),
    }


def _filled(chosen: _Parts, count: int, view: _View) -> tuple[Image, Array]:
    """The blobs without holes (a light on a tear leaves one), one above the other, and how solid they were."""
    side = view.side
    picture = np.zeros((count * side, side), np.uint8)
    picture.ravel()[chosen.well * side * side + view.reach[chosen.place]] = 1
    outlines, _ = cv2.findContours(picture, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    filled = np.zeros_like(picture)
    cv2.drawContours(filled, outlines, -1, (1,), cv2.FILLED)
    whole = np.count_nonzero(filled.reshape(count, -1), axis=1)
    solidity = np.bincount(chosen.well, minlength=count) / np.maximum(whole, 1)
    for outline in outlines:
        hull = cv2.contourArea(cv2.convexHull(outline))
        solidity[int(outline[0, 0, 1]) // side] *= cv2.contourArea(outline) / hull if hull else 0.0
    return filled, solidity


def _lies(profile: Indices, pixels: Indices, view: _View) -> tuple[Array, Array]:
    """Middle and standard deviation along one axis of blobs given as pixels per row, in pitches; a pixel has a width
    too."""
    mean, square = (profile @ places / np.maximum(pixels, 1) for places in (view.along, np.square(view.along)))
    spread = np.sqrt(np.maximum(square - np.square(mean) + view.pixel**2 / 12, 0))
    return mean, np.where(pixels > 0, spread, 0.0)


def _tail(rows: Indices) -> Array:
    """Mean width of the lowest 30 % of rows over that of the rows at 15–50 %; 0 where it cannot be told."""
    there = rows > 0
    side = rows.shape[1]
    first = there.argmax(axis=1)[:, None]
    height = np.maximum(side - there[:, ::-1].argmax(axis=1)[:, None] - first, 1)
    place = (np.arange(side) + 0.5 - first) / height
    low, body = there & (place > 0.7), there & (place > 0.15) & (place < 0.5)
    means = [(rows * part).sum(axis=1) / np.maximum(part.sum(axis=1), 1) for part in (low, body)]
    return np.asarray(means[0] / np.maximum(means[1], 1) * (means[1] > 0))


def _means(values: Floats, parts: _Parts, count: int) -> Array:
    """Mean of the values of each well's pixels."""
    total = np.bincount(parts.well, values, count)
    return np.asarray(total / np.maximum(np.bincount(parts.well, minlength=count), 1))


def _dot(first: Floats, second: Floats) -> Floats:
    """Of colours plane by plane; a plane may be one number."""
    total = first[0] * second[0]
    total += first[1] * second[1]
    total += first[2] * second[2]
    return np.asarray(total, np.float32)
