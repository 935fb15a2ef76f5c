"""The levels of a plate are evened as one, and what changes every well alike is taken out."""

from collections.abc import Callable

import numpy as np
import pytest

from edge_agent.vision.levels import BLACK, LEAST_RANGE, WHITE, even_levels
from edge_agent.vision.patches import Image, cut_patches
from models.training.render import PlateSpec, render_plate
from tests import spoilt


@pytest.fixture(scope="module")
def picture() -> tuple[Image, np.ndarray]:
    image, truth = render_plate(3, PlateSpec(size_px=(1000, 720), turn_deg=0.0))
    return image, truth.index_to_px()


def patches(image: Image, homography: np.ndarray) -> Image:
    return cut_patches(image, homography, 8, 12, 64, 0.9)


@pytest.mark.parametrize(
    "change",
    [lambda i: spoilt.exposed(i, 0.5), lambda i: spoilt.hazy(i, 0.4), lambda i: (i * [0.6, 0.8, 1.0]).astype(np.uint8)],
    ids=["darker", "hazy", "another white balance"],
)
def test_what_changes_every_well_alike_is_taken_out(
    picture: tuple[Image, np.ndarray], change: Callable[[Image], Image]
) -> None:
    image, homography = picture
    image = np.minimum(image, 250)  # a picture that clips has lost what no stretch brings back
    before, after = patches(image, homography), patches(change(image), homography)
    apart = np.abs(even_levels(after).astype(int) - even_levels(before)).mean()
    assert apart < 0.2 * np.abs(after.astype(int) - before).mean()


def test_black_and_white_come_to_lie_where_they_should(picture: tuple[Image, np.ndarray]) -> None:
    evened = even_levels(patches(spoilt.hazy(picture[0], 0.3), picture[1]))
    low, high = np.percentile(evened, (1, 96))
    assert low < BLACK + 25
    assert high == pytest.approx(WHITE, abs=12)


def test_grain_is_not_stretched_into_cells() -> None:
    grain = np.random.default_rng(1).normal(120, 2, (96, 64, 64, 3)).round().astype(np.uint8)
    assert even_levels(grain).std() <= grain.std() * (WHITE - BLACK) / LEAST_RANGE + 1


def test_a_plate_is_stretched_as_one(picture: tuple[Image, np.ndarray]) -> None:
    plate = patches(picture[0], picture[1])
    order = np.random.default_rng(2).permutation(len(plate))
    assert (even_levels(plate[order]) == even_levels(plate)[order]).all()
