"""Smaller pictures: nothing is skipped, nothing is moved."""

import numpy as np
import pytest

from edge_agent.vision.shrink import shrink, soft_enough

SCALES = (0.9, 0.7, 0.51, 0.5, 0.376, 0.25, 0.1)


@pytest.mark.parametrize("scale", SCALES)
def test_a_picture_keeps_its_level_and_gets_its_size(scale: float) -> None:
    small = shrink(np.full((300, 400, 3), 77, np.uint8), scale)
    assert np.abs(np.subtract(small.shape[:2], (300 * scale, 400 * scale))).max() <= 1
    assert (small == 77).all()


@pytest.mark.parametrize("scale", SCALES[1:])
def test_lines_too_fine_to_show_become_grey(scale: float) -> None:
    stripes = np.zeros((200, 400), np.uint8)
    stripes[:, ::2] = 200
    seen = shrink(stripes, scale)[:, 2:-2].astype(float)
    assert abs(seen.mean() - 100) < 4
    assert np.ptp(seen) < 100


@pytest.mark.parametrize("scale", [0.9, 0.6, 0.5, 0.25])
def test_a_spot_stays_in_its_place(scale: float) -> None:
    picture = np.zeros((400, 400), np.uint8)
    picture[90:111, 290:311] = 255
    ys, xs = np.mgrid[0 : round(400 * scale), 0 : round(400 * scale)]
    light = shrink(picture, scale).astype(float)
    found = np.array([(light * xs).sum(), (light * ys).sum()]) / light.sum()
    assert found == pytest.approx((np.array([300, 100]) + 0.5) * scale - 0.5, abs=0.05)


def test_noise_is_averaged_as_over_areas() -> None:
    noise = np.random.default_rng(0).normal(128, 20, (600, 600)).clip(0, 255).astype(np.uint8)
    assert np.std(shrink(noise, 0.5)) < 11
    assert np.std(shrink(noise, 0.6)) < 12


def test_a_picture_at_its_own_size_is_left_alone() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (60, 80, 3)).astype(np.uint8)
    soft, halvings = soft_enough(picture, 1.0)
    assert halvings == 0
    assert (soft == picture).all()
    assert (shrink(picture, 1.0) == picture).all()


def test_odd_sides_are_halved_without_their_last_line() -> None:
    soft, halvings = soft_enough(np.zeros((101, 203, 3), np.uint8), 0.25)
    assert (soft.shape, halvings) == ((25, 50, 3), 2)
