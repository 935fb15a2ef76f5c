"""What may be read at all: light, contrast, blur and motion of a picture, haze in a well. Pure.

Limits are the assay profile's: for titres they lie where those begin to change (docs/decisions/0010). Everything
measured travels with the reading, so that a bench whose light fades is noticed before it is refused. A lid is not
looked for: seen through a clear one a plate differs by no more than its glare and haze, which are measured.
"""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from edge_agent.vision.blur import Blur, measure_blur, regions
from edge_agent.vision.glare import lost_to_glare
from edge_agent.vision.patches import Image
from edge_agent.vision.ranks import level_counts, level_quantile, medians
from edge_agent.vision.refusal import Refused
from edge_agent.vision.shrink import shrink
from edge_agent.vision.tensors import Array
from protocol.assay import AssayProfile, QualityLimits
from protocol.plate import PlateFormat

Mask = npt.NDArray[np.bool_]

WHITE, BLACK = 250, 10
# Width of the rings in which the rims of wells are looked for, in pitches.
RING_PITCH: Final = 0.04
# Light is measured in a picture this wide: fewer pixels than that know nothing of highlights.
LIGHT_WIDTH_PX: Final = 320
MAX_OBSCURED: Final = 0.5
# A photograph with less contrast than this between its darkest and brightest parts shows nothing.
MIN_CONTRAST: Final = 12


def check_light(image_bgr: Image) -> dict[str, float]:
    """Brightness, and the shares of black and of white pixels; refused where nothing can be seen for lack of light."""
    small = shrink(image_bgr, LIGHT_WIDTH_PX / image_bgr.shape[1])
    counts = level_counts(np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), np.uint8))
    pixels = int(counts.sum())
    darkest, middle, brightest = (level_quantile(counts, share) for share in (0.01, 0.5, 0.99))
    if brightest < 40:
        raise Refused("too_dark", f"brightest grey level {brightest:.0f} of 255 (expected at least 40): add light")
    if darkest > 235:
        raise Refused("too_bright", f"darkest grey level {darkest:.0f} of 255 (expected at most 235): expose less")
    if brightest - darkest < MIN_CONTRAST:
        found = f"grey levels {darkest:.0f} to {brightest:.0f}"
        raise Refused("no_plate", f"the picture is almost uniform, {found} (expected a plate in view)")
    return {
        "brightness_share": round(middle / 255, 4),
        "black_share": round(float(counts[:BLACK].sum() / pixels), 4),
        "white_share": round(float(counts[WHITE + 1 :].sum() / pixels), 4),
    }


@dataclass(frozen=True, slots=True)
class WellLight:
    """Per patch: whether light hides what is in it; the brightest level (0 to 1), and how far below it the darkest
    lies, as a share of it.
    """

    whited_out: Mask
    brightest: Array
    contrast: Array

    def lost_to_haze(self, least_contrast: float) -> Mask:
        """Whether too little contrast is left to say what is in the well."""
        return np.asarray(self.contrast < least_contrast)


def measure_light(patches_rgb: Image, patch_pitches: float, profile: AssayProfile) -> WellLight:
    """The light in every well, once for all who ask."""
    return WellLight(whited_out(patches_rgb, patch_pitches, profile), *contrast(patches_rgb))


def contrast(patches_rgb: Image) -> tuple[Array, Array]:
    """Per patch: the brightest level and the contrast, as `WellLight` has them."""
    side = patches_rgb.shape[1]
    strip = cv2.cvtColor(patches_rgb.reshape(-1, side, 3), cv2.COLOR_RGB2GRAY)
    margin = side // 8
    # Every second pixel of every second line tells these levels as well as all of them.
    inside = strip.reshape(-1, side, side)[:, margin:-margin:2, margin:-margin:2]
    pixels = np.sort(inside.reshape(len(inside), -1), axis=1, kind="stable")
    places = [round(share * (pixels.shape[1] - 1)) for share in (0.02, 0.98)]
    low, high = pixels[:, places].astype(np.float32).T
    return np.asarray(high / 255), np.asarray((high - low) / np.maximum(high, 1))


def colour_step(patches_rgb: Image, form: PlateFormat) -> float:
    """How far the colours of neighbouring wells lie apart in CIELAB, lightness aside (median)."""
    margin = patches_rgb.shape[1] // 5
    sampled = patches_rgb[:, margin:-margin:4, margin:-margin:4].reshape(form.wells, -1, 3)
    middles = medians(sampled.swapaxes(1, 2).reshape(form.wells * 3, -1)).reshape(form.wells, 3)
    lab = cv2.cvtColor(middles[None].astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    colours = np.asarray(lab)[0, :, 1:].reshape(form.rows, form.columns, 2)
    steps = [np.hypot(*np.moveaxis(np.diff(colours, axis=axis), 2, 0)).ravel() for axis in (0, 1)]
    return float(np.median(np.concatenate(steps)))


def check_wells(  # noqa: PLR0917 - wells, their light, plate, what is expected
    patches_rgb: Image,
    light: WellLight,
    patch_pitches: float,
    form: PlateFormat,
    pitch_px: float,
    profile: AssayProfile,
) -> dict[str, float]:
    """Light, contrast, blur, motion and glare in the wells; refused where nobody could judge what is in them."""
    limits = profile.limits
    if pitch_px < limits.least_pitch_px:
        raise Refused(
            "too_small",
            f"the wells are {pitch_px:.1f} px apart (expected at least {limits.least_pitch_px:.0f}): "
            "move the camera closer",
        )
    obscured = float(light.whited_out.mean())
    if obscured > MAX_OBSCURED:
        raise Refused("too_bright", f"{obscured:.0%} of the wells are whited out by glare: change the light")
    brightest, clear = float(np.median(light.brightest)), float(np.median(light.contrast))
    _check_levels(brightest, clear, limits)
    step = colour_step(patches_rgb, form)
    _check_colours(step, patches_rgb, patch_pitches, limits)
    blur = measure_blur(patches_rgb[regions(form.rows, form.columns)], patch_pitches)
    _check_blur(blur, limits)
    return {
        "light_share": round(brightest, 4),
        "contrast_share": round(clear, 4),
        "colour_step_lab": round(step, 2),
        "blur_pitch": round(blur.sigma_pitch, 4),
        "motion_pitch": round(blur.motion_pitch, 4),
        "glare": round(obscured, 4),
    }


def whited_out(patches_rgb: Image, patch_pitches: float, profile: AssayProfile) -> Mask:
    """Per patch, whether light hides what is in it. Clear wells among dark ones are bright, and that is no glare."""
    if profile.judged_by == "cells":
        return lost_to_glare(patches_rgb, patch_pitches)
    side = patches_rgb.shape[1]
    middle = slice(round(side * (0.5 - 0.15 / patch_pitches)), round(side * (0.5 + 0.15 / patch_pitches)))
    return np.asarray((patches_rgb[:, middle, middle] > WHITE).all(axis=3).mean(axis=(1, 2)) > MAX_OBSCURED)


def _check_levels(light: float, clear: float, limits: QualityLimits) -> None:
    if light < limits.least_light:
        raise Refused(
            "too_dark",
            f"the brightest parts of the wells are at {light:.2f} (expected at least {limits.least_light}): add light",
        )
    if clear < limits.least_contrast:
        raise Refused(
            "hazy",
            f"the wells have a contrast of {clear:.2f} (expected at least {limits.least_contrast}): clean the lens, "
            "wipe off condensation, take the lid off",
        )


def _check_colours(step: float, patches_rgb: Image, patch_pitches: float, limits: QualityLimits) -> None:
    """Fields of chance colours are no plate, unless they have the rims of wells, where the profile allows for that."""
    if step <= limits.most_colour_step:
        return
    found = f"neighbouring wells differ in colour by {step:.0f} (expected at most {limits.most_colour_step:.0f}"
    if limits.least_rim is None:
        raise Refused("no_plate", f"{found}, in CIELAB): this is no plate of one assay")
    rim = rim_contrast(patches_rgb, patch_pitches)
    if rim < limits.least_rim:
        raise Refused(
            "no_plate",
            f"{found}, in CIELAB) and show no rims, {rim:.4f} (expected at least {limits.least_rim}): "
            "this is no plate but printed fields",
        )


def rim_contrast(patches_rgb: Image, patch_pitches: float) -> float:
    """How far the rims of wells are brighter or darker than both floor and surroundings (median, share of full scale).

    A printed disc has none: from its middle outwards there is one step. Measured on 49 plates: 0.0047 to 0.11.
    """
    count, side = patches_rgb.shape[:2]
    places = ((np.arange(side) + 0.5) / side - 0.5) * patch_pitches
    radius = np.hypot(*np.meshgrid(places, places)).ravel()
    grey = cv2.cvtColor(patches_rgb.reshape(-1, side, 3), cv2.COLOR_RGB2GRAY).reshape(count, -1)
    rings = np.arange(0, 0.56, RING_PITCH)
    levels = np.stack([grey[:, (radius >= r) & (radius < r + RING_PITCH)].mean(axis=1) for r in rings], axis=1)
    floor, around = np.median(levels[:, :5], axis=1), levels[:, -2:].mean(axis=1)
    brighter = np.maximum(levels.max(axis=1) - np.maximum(floor, around), 0)
    darker = np.maximum(np.minimum(floor, around) - levels.min(axis=1), 0)
    return float(np.median(brighter + darker)) / 255


def _check_blur(blur: Blur, limits: QualityLimits) -> None:
    if blur.motion_pitch > limits.most_motion_pitch:
        raise Refused(
            "blurred",
            f"plate or camera moved by {blur.motion_pitch:.3f} pitches (expected at most {limits.most_motion_pitch}): "
            "hold them still and photograph again",
        )
    if blur.sigma_pitch > limits.most_blur_pitch:
        raise Refused(
            "blurred",
            f"a part of the plate is blurred by {blur.sigma_pitch:.3f} pitches (expected at most "
            f"{limits.most_blur_pitch}): focus, and see that plate and camera are parallel",
        )
