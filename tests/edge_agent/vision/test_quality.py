"""Light, sharpness and glare: what a person could not read either is refused, with what to do about it."""

import cv2
import numpy as np
import pytest

from edge_agent.vision.quality import check_light, check_wells, glare_share, sharpness
from edge_agent.vision.refusal import Refused


def uniform(level: int, noise: float = 0) -> np.ndarray:
    rng = np.random.default_rng(1)
    return np.clip(level + rng.normal(0, noise, (480, 640, 3)), 0, 255).astype(np.uint8)


def rings(blur_px: float = 0.0) -> np.ndarray:
    """Patches of a sharp rim, blurred if asked."""
    patch = np.full((64, 64, 3), 90, np.uint8)
    cv2.circle(patch, (32, 32), 26, (230, 230, 230), 4)
    cv2.circle(patch, (32, 34), 7, (150, 30, 40), -1)
    if blur_px:
        patch = cv2.GaussianBlur(patch, (0, 0), blur_px)
    return np.tile(patch, (96, 1, 1, 1))


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (uniform(0), "too_dark"),
        (uniform(12, 3), "too_dark"),
        (uniform(255), "too_bright"),
        (uniform(250, 2), "too_bright"),
        (uniform(128), "no_plate"),
    ],
)
def test_picture_without_light_or_contrast_is_refused(image: np.ndarray, reason: str) -> None:
    with pytest.raises(Refused) as caught:
        check_light(image)
    assert caught.value.reason == reason


def test_light_is_measured_for_the_record() -> None:
    image = uniform(100)
    image[:240] = 255
    assert check_light(image)["white_share"] == 0.5


def test_sharp_wells_pass_and_fog_does_not() -> None:
    assert check_wells(rings(), 0.9, 60)["sharpness"] > 0.4
    with pytest.raises(Refused, match="blurred"):
        check_wells(rings(blur_px=20), 0.9, 60)


def test_sharpness_falls_with_every_blur() -> None:
    measured = [sharpness(rings(blur), 0.9) for blur in (0, 2, 4, 8, 12)]
    assert measured == sorted(measured, reverse=True)


def test_wells_of_few_pixels_are_refused() -> None:
    with pytest.raises(Refused, match=r"too_small: the wells are 11.0 px apart"):
        check_wells(rings(), 0.9, 11)


def test_glare_counts_only_where_the_cells_lie() -> None:
    patches = rings()
    patches[0, :8] = 255
    patches[1, 20:44, 20:44] = 255
    assert (glare_share(patches, 0.9)[:2] > 0.4).tolist() == [False, True]


def test_plate_whited_out_is_refused() -> None:
    patches = np.full((96, 64, 64, 3), 255, np.uint8)
    patches[:, ::7] = 0
    with pytest.raises(Refused, match="whited out"):
        check_wells(patches, 0.9, 60)
