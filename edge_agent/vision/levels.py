"""One light for all plates: the levels of a plate's wells stretched to the same range, for the calls network only.

A dark room, a pale photograph, haze over the whole plate and a lamp's colour change every well of a plate alike. Taking
that out before the network judges leaves it less to have learnt. The plate is one unit: a well is never stretched by
itself, or an empty well's grain would be made to look like cells. Pure; training cuts its patches with it too.
"""

from typing import Final

import cv2
import numpy as np

from edge_agent.vision.patches import Image

# Shares of a plate's pixels that lie below its black and its white: specular dots and dead pixels lie beyond them.
BLACK_SHARE, WHITE_SHARE = 0.01, 0.96
# Where they are put; and the least range that is stretched, so that grain is not.
BLACK, WHITE = 12.0, 235.0
LEAST_RANGE: Final = 36.0
EVERY: Final = 4


def even_levels(patches_rgb: Image) -> Image:
    """The patches (n, side, side, 3) of one plate: white made white in every colour, the common veil taken away."""
    seen = np.sort(patches_rgb[:, ::EVERY, ::EVERY].reshape(-1, 3).T, axis=1, kind="stable")
    places = [round(share * (seen.shape[1] - 1)) for share in (BLACK_SHARE, WHITE_SHARE)]
    low, high = seen[:, places].astype(np.float64).T
    black = low.min()
    span = np.maximum(high - black, LEAST_RANGE)
    steps = (np.arange(256)[:, None] - black) * ((WHITE - BLACK) / span) + BLACK
    table = np.clip(np.rint(steps), 0, 255).astype(np.uint8)
    strip = patches_rgb.reshape(1, -1, patches_rgb.shape[2], 3)[0]
    return np.asarray(cv2.LUT(strip, table[None]), np.uint8).reshape(patches_rgb.shape)
