"""What may be read at all: light, contrast, blur and motion of a picture, haze in a well. Pure.

Limits are where titres begin to change; everything measured travels with the reading, so that a bench whose light fades
is noticed before it is refused. A lid is not looked for: seen through a clear one a plate differs by no more than its
glare and haze, which are measured.
"""

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from edge_agent.vision.blur import Blur, measure_blur, regions
from edge_agent.vision.glare import lost_to_glare
from edge_agent.vision.patches import Image
from edge_agent.vision.refusal import Refused
from edge_agent.vision.shrink import shrink
from edge_agent.vision.tensors import Array
from protocol.plate import PlateFormat

WHITE, BLACK = 250, 10
# Light is measured in a picture this wide: fewer pixels than that know nothing of highlights.
LIGHT_WIDTH_PX: Final = 320
# The limits are where titres begin to change, measured (docs/decisions/0010-limits-of-quality.md).
MAX_BLUR_PITCH: Final = 0.036
MAX_MOTION_PITCH: Final = 0.08
MIN_LIGHT: Final = 0.25
MIN_PITCH_PX: Final = 24.0
# Neighbouring wells of 36 plates differ by up to 5 (CIELAB, hue and chroma); the fields of a colour chart by 67.
MAX_COLOUR_STEP: Final = 25.0
# A well with less contrast is lost to haze; with less in most wells there is nothing to read at all.
MIN_WELL_CONTRAST, MIN_PLATE_CONTRAST = 0.14, 0.08
MAX_OBSCURED: Final = 0.5
# A photograph with less contrast than this between its darkest and brightest parts shows nothing.
MIN_CONTRAST: Final = 12


def check_light(image_bgr: Image) -> dict[str, float]:
    """Brightness, and the shares of black and of white pixels; refused where nothing can be seen for lack of light."""
    grey = np.asarray(cv2.cvtColor(shrink(image_bgr, LIGHT_WIDTH_PX / image_bgr.shape[1]), cv2.COLOR_BGR2GRAY))
    darkest, middle, brightest = (float(level) for level in np.percentile(grey, (1, 50, 99)))
    if brightest < 40:
        raise Refused("too_dark", f"brightest grey level {brightest:.0f} of 255 (expected at least 40): add light")
    if darkest > 235:
        raise Refused("too_bright", f"darkest grey level {darkest:.0f} of 255 (expected at most 235): expose less")
    if brightest - darkest < MIN_CONTRAST:
        found = f"grey levels {darkest:.0f} to {brightest:.0f}"
        raise Refused("no_plate", f"the picture is almost uniform, {found} (expected a plate in view)")
    return {
        "brightness_share": round(middle / 255, 4),
        "black_share": round(float((grey < BLACK).mean()), 4),
        "white_share": round(float((grey > WHITE).mean()), 4),
    }


def contrast(patches_rgb: Image) -> tuple[Array, Array]:
    """Per patch: the brightest level (0 to 1), and how far below it the darkest lies, as a share of it."""
    side = patches_rgb.shape[1]
    strip = cv2.cvtColor(patches_rgb.reshape(-1, side, 3), cv2.COLOR_RGB2GRAY)
    margin = side // 8
    # Every second pixel of every second line tells these levels as well as all of them.
    inside = strip.reshape(-1, side, side)[:, margin:-margin:2, margin:-margin:2]
    pixels = inside.reshape(len(inside), -1)
    places = [round(share * (pixels.shape[1] - 1)) for share in (0.02, 0.98)]
    low, high = np.partition(pixels, places, axis=1)[:, places].astype(np.float32).T
    return np.asarray(high / 255), np.asarray((high - low) / np.maximum(high, 1))


def colour_step(patches_rgb: Image, form: PlateFormat) -> float:
    """How far the colours of neighbouring wells lie apart in CIELAB, lightness aside (median)."""
    margin = patches_rgb.shape[1] // 5
    middles = np.median(patches_rgb[:, margin:-margin:4, margin:-margin:4].reshape(form.wells, -1, 3), axis=1)
    lab = cv2.cvtColor(middles[None].astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    colours = np.asarray(lab)[0, :, 1:].reshape(form.rows, form.columns, 2)
    steps = [np.hypot(*np.moveaxis(np.diff(colours, axis=axis), 2, 0)).ravel() for axis in (0, 1)]
    return float(np.median(np.concatenate(steps)))


def check_wells(patches_rgb: Image, patch_pitches: float, form: PlateFormat, pitch_px: float) -> dict[str, float]:
    """Light, contrast, blur, motion and glare in the wells; refused where nobody could tell a tear from a button."""
    if pitch_px < MIN_PITCH_PX:
        raise Refused(
            "too_small",
            f"the wells are {pitch_px:.1f} px apart (expected at least {MIN_PITCH_PX:.0f}): move the camera closer",
        )
    obscured = float(lost_to_glare(patches_rgb, patch_pitches).mean())
    if obscured > MAX_OBSCURED:
        raise Refused("too_bright", f"{obscured:.0%} of the wells are whited out by glare: change the light")
    levels, contrasts = contrast(patches_rgb)
    light, clear = float(np.median(levels)), float(np.median(contrasts))
    if light < MIN_LIGHT:
        raise Refused(
            "too_dark",
            f"the brightest parts of the wells are at {light:.2f} (expected at least {MIN_LIGHT}): add light",
        )
    if clear < MIN_PLATE_CONTRAST:
        raise Refused(
            "hazy",
            f"the wells have a contrast of {clear:.2f} (expected at least {MIN_PLATE_CONTRAST}): clean the lens, wipe "
            "off condensation, take the lid off",
        )
    step = colour_step(patches_rgb, form)
    if step > MAX_COLOUR_STEP:
        raise Refused(
            "no_plate",
            f"neighbouring wells differ in colour by {step:.0f} (expected at most {MAX_COLOUR_STEP:.0f}, in CIELAB): "
            "this is no plate of one assay",
        )
    blur = measure_blur(patches_rgb[regions(form.rows, form.columns)], patch_pitches)
    _check_blur(blur)
    return {
        "light_share": round(light, 4),
        "contrast_share": round(clear, 4),
        "colour_step_lab": round(step, 2),
        "blur_pitch": round(blur.sigma_pitch, 4),
        "motion_pitch": round(blur.motion_pitch, 4),
        "glare": round(obscured, 4),
    }


def _check_blur(blur: Blur) -> None:
    if blur.motion_pitch > MAX_MOTION_PITCH:
        raise Refused(
            "blurred",
            f"plate or camera moved by {blur.motion_pitch:.3f} pitches (expected at most {MAX_MOTION_PITCH}): "
            "hold them still and photograph again",
        )
    if blur.sigma_pitch > MAX_BLUR_PITCH:
        raise Refused(
            "blurred",
            f"a part of the plate is blurred by {blur.sigma_pitch:.3f} pitches (expected at most {MAX_BLUR_PITCH}): "
            "focus, and see that plate and camera are parallel",
        )


def lost_to_haze(patches_rgb: Image) -> npt.NDArray[np.bool_]:
    """Per patch, whether too little contrast is left to say what is in the well."""
    return np.asarray(contrast(patches_rgb)[1] < MIN_WELL_CONTRAST)
