"""How a plate looks in its seat: where its corners are, how bright and how white it is, how evenly lit. Pure.

Everything is measured on the plate alone, laid straight, so that the bench around it does not count; and on its
brighter parts, which are plate and not what is in the wells.
"""

from typing import Final

import cv2
import msgspec
import numpy as np
import numpy.typing as npt

from edge_agent.vision import PlateView
from edge_agent.vision.patches import Image
from protocol.plate import FORMATS, PlateFormat, corners

# A plate laid straight has so many pixels per well pitch: enough for its light, and cheap.
STRAIGHT_PX: Final = 16
# The flat field: blocks of so many wells a side.
BLOCK_WELLS: Final = 2
# Brighter than this is clipped, and has no colour.
CLIPPED: Final = 250
# Of the levels of a plate, those that are its rims: below the glare, above the wells and what is seen through them.
PLASTIC_PERCENT: Final = (88, 97)

Share = float


class Appearance(msgspec.Struct, frozen=True):
    """One plate as one picture showed it. Levels are shares of full scale; `white_red` and `white_blue` are over green.

    `flat_field` has a row of numbers per two rows of wells: the light there over the light of the brightest block.
    """

    width_px: int
    height_px: int
    format: int
    rotation_degrees: int
    corners_px: tuple[tuple[float, float], ...]
    pitch_px: float
    level_1_percent: Share
    level_50_percent: Share
    level_99_percent: Share
    plastic_light: Share
    white_red: float
    white_blue: float
    flat_field: tuple[tuple[Share, ...], ...]


def look_at(view: PlateView) -> Appearance:
    """The appearance of a plate that was read."""
    photograph, form = view.photograph, FORMATS[view.plate.format]
    places = _corners_px(view, form)
    pixels = _straight(photograph.image_bgr, (np.array(places) + 0.5) / photograph.scale - 0.5, form)
    grey = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY), np.uint8)
    darkest, middle, brightest = (float(level) / 255 for level in np.percentile(grey, (1, 50, 99)))
    blue, green, red = _plastic(pixels, grey)
    return Appearance(
        width_px=photograph.width_px,
        height_px=photograph.height_px,
        format=form.wells,
        rotation_degrees=view.plate.rotation_degrees,
        corners_px=places,
        pitch_px=view.plate.pitch_px,
        level_1_percent=round(darkest, 4),
        level_50_percent=round(middle, 4),
        level_99_percent=round(brightest, 4),
        plastic_light=round(green, 5),
        white_red=round(red / green, 4),
        white_blue=round(blue / green, 4),
        flat_field=_flat_field(grey),
    )


def _corners_px(view: PlateView, form: PlateFormat) -> tuple[tuple[float, float], ...]:
    """Centres of A1, the last well of row A, the first and the last of the last row, in the photograph's pixels."""
    places = [view.wells[name].centre_px for name in corners(form)]
    return tuple(place for place in places if place is not None)


def _straight(image_bgr: Image, places: npt.NDArray[np.float64], form: PlateFormat) -> Image:
    """The plate from above, `STRAIGHT_PX` pixels per pitch."""
    right, bottom = ((count - 0.5) * STRAIGHT_PX for count in (form.columns, form.rows))
    left = top = 0.5 * STRAIGHT_PX
    ends = np.array([[left, top], [right, top], [left, bottom], [right, bottom]], np.float32)
    homography = cv2.getPerspectiveTransform(places.astype(np.float32), ends)
    size = (form.columns * STRAIGHT_PX, form.rows * STRAIGHT_PX)
    return cv2.warpPerspective(image_bgr, homography, size, borderMode=cv2.BORDER_REPLICATE).astype(
        np.uint8, copy=False
    )


def _plastic(pixels: Image, grey: Image) -> tuple[float, float, float]:
    """Mean blue, green and red light of the plate's plastic, as shares of full scale, in linear light."""
    low, high = np.percentile(grey, PLASTIC_PERCENT)
    chosen = (grey >= low) & (grey <= high) & (pixels.max(axis=2) < CLIPPED)
    if not chosen.any():
        return 1.0, 1.0, 1.0
    blue, green, red = np.maximum(_linear(pixels[chosen]).mean(axis=0), 1e-4)
    return float(blue), float(green), float(red)


def _linear(levels: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Light from the levels of a picture (IEC 61966-2-1)."""
    share = np.asarray(levels, np.float64) / 255
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def _flat_field(grey: Image) -> tuple[tuple[Share, ...], ...]:
    side = BLOCK_WELLS * STRAIGHT_PX
    bands = [grey[top : top + side] for top in range(0, grey.shape[0], side)]
    light = _linear(
        [[np.percentile(band[:, left : left + side], 80) for left in range(0, grey.shape[1], side)] for band in bands]
    )
    return tuple(tuple(round(float(one), 3) for one in row) for row in light / max(light.max(), 1e-4))
