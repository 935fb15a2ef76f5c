"""Pictures made smaller, or soft enough to be sampled more coarsely, without skipping what lies between samples. Pure.

Halving is exact and costs next to nothing; what is left, less than another half, is made soft just enough that sampling
it between its pixels is as good as averaging it. Averaging by an odd factor takes fifteen times as long.
"""

import math

import cv2
import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]

# Softening by less than this (sigma, in pixels) changes nothing that can be seen.
LEAST_SIGMA_PX = 0.2


def soft_enough(image: Picture, scale: float) -> tuple[Picture, int]:
    """The picture as often halved as `scale` allows and softened for the rest; how many times halved."""
    halvings = 0
    while scale <= 0.5 and min(image.shape[:2]) > 1:
        height, width = (side // 2 for side in image.shape[:2])
        # A last odd line is left out: only whole squares of four pixels are averaged quickly.
        even = image[: height * 2, : width * 2]
        image = np.asarray(cv2.resize(even, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
        scale, halvings = scale * 2, halvings + 1
    sigma_px = math.sqrt(max(scale**-2 - 1, 0)) / 2
    if sigma_px > LEAST_SIGMA_PX:
        image = np.asarray(cv2.GaussianBlur(image, (3, 3), sigma_px), np.uint8)
    return image, halvings


def shrink(image: Picture, scale: float) -> Picture:
    """The picture with every side `scale` times as long, to the nearest pixel; made larger if that is above 1."""
    soft, halvings = soft_enough(image, scale)
    height, width = (max(1, round(side * scale * 2**halvings)) for side in soft.shape[:2])
    return np.asarray(cv2.resize(soft, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
