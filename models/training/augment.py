"""Random colour, blur and noise on patches that are already cut: many looks from one render."""

from __future__ import annotations

import cv2
import numpy as np

from models.training.spec import Floats, Image


def recolour_patches(rng: np.random.Generator, patches: Image) -> Floats:
    """Patches (n, h, w, 3) as floats 0–1: light, white balance, contrast, sensor noise, blur, mirror left to right."""
    count, height, width = patches.shape[:3]
    x = patches.astype(np.float32) / 255
    mirrored = rng.random(count) < 0.5
    x[mirrored] = x[mirrored, :, ::-1]
    gain = rng.uniform(0.8, 1.2, (count, 1, 1, 1)) * rng.uniform(0.88, 1.12, (count, 1, 1, 3))
    x = x * gain.astype(np.float32) + rng.uniform(-0.06, 0.06, (count, 1, 1, 1)).astype(np.float32)
    for index in np.flatnonzero(rng.random(count) < 0.35):
        x[index] = cv2.GaussianBlur(x[index], (0, 0), float(rng.uniform(0.4, 1.3)))
    noisy = (rng.random((count, 1, 1, 1)) < 0.5) * rng.uniform(0, 0.03, (count, 1, 1, 1))
    x += rng.standard_normal((count, height, width, 3), dtype=np.float32) * noisy.astype(np.float32)
    return np.clip(x, 0, 1).astype(np.float32)
