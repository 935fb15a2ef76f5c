"""Wells cut out of a photograph and straightened: what the calls network sees, in training and on the device alike.

A patch lies in the plate's own frame: right is the next column, down is the next row. So tears run towards the bottom
of a patch on a stage tilted towards the last row, however the plate lies in the picture. Pure.
"""

import math
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
Matrix = npt.NDArray[np.float64]

# More would cost time that no well gains from: bilinear sampling at 4 × 4 points per pixel already averages.
MAX_SUPERSAMPLING: Final = 4


def cut_patches(  # noqa: PLR0917 - picture, mapping, shape, scale: read in that order
    image_bgr: Image, homography: Matrix, rows: int, columns: int, patch_px: int, patch_pitches: float
) -> Image:
    """RGB patches (rows·columns, patch_px, patch_px, 3), row by row from A1.

    `homography` takes well coordinates (column, row), A1 = (0, 0), to pixels as OpenCV counts them. Each patch is
    `patch_pitches` well pitches wide. What lies outside the picture repeats the picture's edge.
    """
    factor = _supersampling(homography, rows, columns, patch_px / patch_pitches)
    side = patch_px * factor
    patches = np.empty((rows * columns, patch_px, patch_px, 3), np.uint8)
    for index in range(rows * columns):
        row, column = divmod(index, columns)
        to_picture = homography @ _patch_to_well(column, row, side, patch_pitches)
        patch = cv2.warpPerspective(
            image_bgr,
            to_picture,
            (side, side),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        if factor > 1:
            patch = cv2.resize(patch, (patch_px, patch_px), interpolation=cv2.INTER_AREA)
        patches[index] = patch[:, :, ::-1]
    return patches


def _patch_to_well(column: int, row: int, side_px: int, patch_pitches: float) -> Matrix:
    """Pixels of a patch to well coordinates."""
    step = patch_pitches / side_px
    start = (0.5 / side_px - 0.5) * patch_pitches
    return np.array([[step, 0.0, column + start], [0.0, step, row + start], [0.0, 0.0, 1.0]])


def _supersampling(homography: Matrix, rows: int, columns: int, patch_px_per_pitch: float) -> int:
    """Samples per patch pixel and axis that keep a high resolution photograph from aliasing."""
    picture_px_per_pitch = pitch_px(homography, rows, columns)
    return min(max(math.ceil(picture_px_per_pitch / patch_px_per_pitch), 1), MAX_SUPERSAMPLING)


def pitch_px(homography: Matrix, rows: int, columns: int) -> float:
    """Well pitch in the middle of the plate, in pixels: the square root of the area of one well's cell."""
    middle = np.array([(columns - 1) / 2, (rows - 1) / 2, 1.0])
    x, y, w = homography @ middle
    jacobian = (homography[:2, :2] * w - np.outer((x, y), homography[2, :2])) / w**2
    return math.sqrt(abs(float(np.linalg.det(jacobian))))
