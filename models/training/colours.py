"""Colours in the camera's order (blue, green, red), 0–255 as float32."""

from __future__ import annotations

import cv2
import numpy as np

from models.training.spec import Floats, Image


def hsv(hue_deg: float, saturation: float, value: float) -> Floats:
    """A colour by hue (degrees, any turn), saturation and value (0–1)."""
    pixel = np.array([[[hue_deg % 360, np.clip(saturation, 0, 1), np.clip(value, 0, 1)]]], np.float32)
    return np.asarray(cv2.cvtColor(pixel, cv2.COLOR_HSV2BGR)[0, 0] * 255, dtype=np.float32)


def any_colour(rng: np.random.Generator) -> Floats:
    """A colour of any hue, from grey to garish."""
    return hsv(rng.uniform(0, 360), rng.uniform(0, 1) ** 1.5, rng.uniform(0.05, 1))


def stage_green(rng: np.random.Generator) -> Floats:
    """The green card that most readers put under a clear plate."""
    return hsv(rng.uniform(105, 172), rng.uniform(0.3, 0.9), rng.uniform(0.3, 0.85))


def to_image(picture: Floats) -> Image:
    """Round a float picture to the camera's bytes."""
    return np.clip(picture + 0.5, 0, 255).astype(np.uint8)
