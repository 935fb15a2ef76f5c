"""What may be read at all: light and sharpness of a picture, glare in a well. Pure.

Limits are those below which a person would not read the plate either; everything measured travels with the reading, so
that a bench whose light fades is noticed before it is refused.
"""

from typing import Final

import cv2
import numpy as np

from edge_agent.vision.patches import Image
from edge_agent.vision.refusal import Refused
from edge_agent.vision.tensors import Array

WHITE, BLACK = 250, 10
# Where the cells lie: a disc of this radius around the well's centre, in pitches.
CELLS_RADIUS_PITCH: Final = 0.22
# Detail between these two scales (sigma, in pitches) is what a tear's outline is made of; finer is the sensor's noise.
FINE_PITCH, COARSE_PITCH = 0.03, 0.09
# Measured on a plate blurred on purpose: calls stay right down to 0.27, and below 0.23 tears are taken for haze.
MIN_SHARPNESS: Final = 0.25
# Contrast, in grey levels, under which a patch is as good as uniform.
LEAST_CONTRAST: Final = 4.0
MIN_PITCH_PX: Final = 16.0
MAX_OBSCURED: Final = 0.5
# A photograph with less contrast than this between its darkest and brightest parts shows nothing.
MIN_CONTRAST: Final = 12


def check_light(image_bgr: Image) -> dict[str, float]:
    """Brightness, and the shares of black and of white pixels; refused where nothing can be seen for lack of light."""
    small = cv2.resize(image_bgr, (320, 240), interpolation=cv2.INTER_AREA)
    grey = np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY))
    darkest, middle, brightest = (float(level) for level in np.percentile(grey, (1, 50, 99)))
    if brightest < 40:
        raise Refused("too_dark", f"brightest grey level {brightest:.0f} of 255 (expected at least 40): add light")
    if darkest > 235:
        raise Refused("too_bright", f"darkest grey level {darkest:.0f} of 255 (expected at most 235): expose less")
    if brightest - darkest < MIN_CONTRAST:
        found = f"grey levels {darkest:.0f} to {brightest:.0f}"
        raise Refused("no_plate", f"the picture is almost uniform, {found} (expected a plate in view)")
    return {
        "brightness": round(middle / 255, 4),
        "black_share": round(float((grey < BLACK).mean()), 4),
        "white_share": round(float((grey > WHITE).mean()), 4),
    }


def glare_share(patches_rgb: Image, patch_pitches: float) -> Array:
    """Per patch, the share of white-out where the cells lie."""
    side = patches_rgb.shape[1]
    offsets = ((np.arange(side) + 0.5) / side - 0.5) * patch_pitches
    disc = np.hypot(*np.meshgrid(offsets, offsets)) < CELLS_RADIUS_PITCH
    return np.asarray((patches_rgb[:, disc].min(axis=2) >= WHITE).mean(axis=1))


def sharpness(patches_rgb: Image, patch_pitches: float) -> float:
    """Contrast at the scale of a tear's outline over all coarser contrast, median of the wells: 0.3 to 0.8 if sharp."""
    px_per_pitch = patches_rgb.shape[1] / patch_pitches
    border = patches_rgb.shape[1] // 8
    shares = []
    for patch in patches_rgb:
        grey = np.asarray(cv2.cvtColor(patch, cv2.COLOR_RGB2GRAY), np.float32)
        coarse = cv2.GaussianBlur(grey, (0, 0), COARSE_PITCH * px_per_pitch)
        detail = cv2.GaussianBlur(grey, (0, 0), FINE_PITCH * px_per_pitch) - coarse
        shares.append(float(detail[border:-border, border:-border].std()) / max(float(coarse.std()), LEAST_CONTRAST))
    return float(np.median(shares))


def check_wells(patches_rgb: Image, patch_pitches: float, pitch_px: float) -> dict[str, float]:
    """Sharpness and glare of the wells; refused where they are too small, blurred or whited out to be told apart."""
    found = sharpness(patches_rgb, patch_pitches)
    obscured = float((glare_share(patches_rgb, patch_pitches) > 0.4).mean())
    if pitch_px < MIN_PITCH_PX:
        raise Refused(
            "too_small",
            f"the wells are {pitch_px:.1f} px apart (expected at least {MIN_PITCH_PX:.0f}): move the camera closer",
        )
    if found < MIN_SHARPNESS:
        raise Refused("blurred", f"sharpness {found:.2f} (expected at least {MIN_SHARPNESS}): focus, or hold still")
    if obscured > MAX_OBSCURED:
        raise Refused("too_bright", f"{obscured:.0%} of the wells are whited out by glare: change the light")
    return {"sharpness": round(found, 4), "glare": round(obscured, 4)}
