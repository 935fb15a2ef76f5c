"""Drawn plates with coloured wells: rims, plastic that lets the bench through, liquid below the rims."""

from collections.abc import Mapping

import cv2
import numpy as np

from edge_agent.vision.geometry import Placed
from edge_agent.vision.image import Photograph
from protocol.plate import Seat, plate_format

PITCH_PX = 60
FORM = plate_format(96)
CLEAR = (222, 222, 222)


def placed() -> Placed:
    """Where the wells of a drawn plate are."""
    homography = np.array([[PITCH_PX, 0, PITCH_PX], [0, PITCH_PX, PITCH_PX], [0, 0, 1.0]])
    return Placed(homography, FORM, Seat.TOP_LEFT, np.ones((8, 12), bool), 0.01)


def draw_plate(
    colours: Mapping[str, tuple[int, int, int]],
    *,
    light: tuple[float, float] = (1.0, 1.0),
    drawn_to_middle: float = 0.0,
    pellets: Mapping[str, float] | None = None,
    seed: int = 0,
) -> np.ndarray:
    """A plate with these colours (RGB) in its wells and clear ones elsewhere; `light` at its left and right edge.

    `drawn_to_middle`: how far, per well, liquid lies nearer to the middle than its rim. `pellets`: their radius in
    pitches.
    """
    image = np.full((9 * PITCH_PX, 13 * PITCH_PX, 3), 235, np.uint8)
    for index, name in enumerate(FORM.names()):
        row, column = divmod(index, 12)
        rim = np.array([(column + 1) * PITCH_PX, (row + 1) * PITCH_PX])
        liquid = rim + drawn_to_middle * PITCH_PX * (np.array([5.5, 3.5]) - (column, row))
        cv2.circle(image, rim, round(0.42 * PITCH_PX), (244, 244, 244), -1, cv2.LINE_AA)
        cv2.circle(image, rim, round(0.42 * PITCH_PX), (150, 150, 150), 2, cv2.LINE_AA)
        cv2.circle(image, np.rint(liquid).astype(int), round(0.3 * PITCH_PX), colours.get(name, CLEAR), -1, cv2.LINE_AA)
        radius = (pellets or {}).get(name, 0.0)
        if radius:
            cv2.circle(image, np.rint(liquid).astype(int), round(radius * PITCH_PX), (205, 195, 170), -1, cv2.LINE_AA)
    lit = image * np.linspace(*light, image.shape[1])[None, :, None]
    noise = np.random.default_rng(seed).normal(0, 1.5, image.shape)
    return np.clip(lit + noise, 0, 255).astype(np.uint8)[..., ::-1].copy()


def photograph(image: np.ndarray) -> Photograph:
    """A drawn plate as it comes from a file."""
    return Photograph(image, image.shape[1], image.shape[0], "image/png")
