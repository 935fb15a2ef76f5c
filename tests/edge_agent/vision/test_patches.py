"""Patches show their own well, upright in the plate's frame, whatever the photograph's resolution."""

import cv2
import numpy as np
import pytest

from edge_agent.vision.lattice import project
from edge_agent.vision.patches import CROP_SHIFT_PX, cut_patches, not_finer, pitch_px, two_crops
from protocol.plate import Seat
from tests.edge_agent.vision.scenes import PICTURE, make_scene


def drawn(scene, row: int, column: int) -> np.ndarray:
    """A black picture with a red dot just below the centre of one well: towards the last row."""
    image = np.zeros((PICTURE[1], PICTURE[0], 3), np.uint8)
    (place,) = project(scene.homography, [[column, row + 0.2]])
    cv2.circle(image, (round(place[0]), round(place[1])), round(0.08 * scene.pitch_px), (0, 0, 255), -1)
    return image


@pytest.mark.parametrize("turn", list(Seat))
@pytest.mark.parametrize("wells", [96, 384])
def test_down_in_a_patch_is_towards_the_last_row(turn: Seat, wells: int) -> None:
    scene = make_scene(wells=wells, turn=turn)
    form = scene.form
    patches = cut_patches(drawn(scene, 3, 5), scene.homography, form.rows, form.columns, 64, 0.9)
    index = 3 * form.columns + 5
    y, x = np.argwhere(patches[index, :, :, 0] > 128).mean(axis=0)
    assert (x, y) == pytest.approx((31.5, 31.5 + 0.2 / 0.9 * 64), abs=2)
    assert patches[:index].max() < 128


def test_two_crops_lie_off_the_centre_either_way_and_one_is_mirrored() -> None:
    patch = np.zeros((1, 64, 64, 3), np.uint8)
    patch[0, 40, 20] = 255
    one, other = (np.argwhere(crop[0, :, :, 0])[0].tolist() for crop in two_crops(patch))
    assert one == [40 - CROP_SHIFT_PX, 20 - CROP_SHIFT_PX]
    assert other == [40 + CROP_SHIFT_PX, 63 - (20 + CROP_SHIFT_PX)]


def test_crops_show_nothing_that_the_patch_does_not() -> None:
    patch = np.random.default_rng(3).integers(100, 156, (2, 64, 64, 3), np.uint8)
    for crop in two_crops(patch):
        assert crop.shape == patch.shape
        assert 100 <= crop.min() <= crop.max() < 156


def test_patches_are_red_first() -> None:
    image = np.full((100, 100, 3), (10, 20, 200), np.uint8)
    homography = np.array([[20.0, 0, 30], [0, 20, 30], [0, 0, 1]])
    assert cut_patches(image, homography, 2, 3, 16, 0.9)[0, 8, 8].tolist() == [200, 20, 10]


def test_high_resolution_is_averaged_not_skipped() -> None:
    stripes = np.zeros((2000, 2000, 3), np.uint8)
    stripes[:, ::2] = 255
    homography = np.array([[284.4, 0, 500], [0, 284.4, 500], [0, 0, 1]])
    patch = cut_patches(stripes, homography, 1, 1, 64, 0.9)[0]
    assert abs(patch.astype(int) - 127).max() < 10


@pytest.mark.parametrize("turn_degrees", [0, 8])
@pytest.mark.parametrize("pitch", [20.0, 85.0, 150.0, 290.0])
def test_patches_are_as_if_the_whole_picture_had_been_softened(pitch: float, turn_degrees: float) -> None:
    image = np.random.default_rng(2).integers(0, 256, (1203, 1701, 3), np.uint8)
    turn = pitch * np.exp(1j * np.radians(turn_degrees))
    homography = np.array([[turn.real, -turn.imag, 501.3], [turn.imag, turn.real, 402.7], [1e-5, 2e-5, 1]])
    soft, to_soft = not_finer(image, homography, 2, 3, 64 / 0.9)
    patches = cut_patches(image, homography, 2, 3, 64, 0.9)
    for index, patch in enumerate(patches):
        row, column = divmod(index, 3)
        places = (np.arange(64) + 0.5) / 64 * 0.9 - 0.45
        x, y = np.meshgrid(places + column, places + row)
        at = project(to_soft, np.column_stack([x.ravel(), y.ravel()])).astype(np.float32).reshape(64, 64, 2)
        whole = cv2.remap(soft, at, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        assert np.abs(patch.astype(int) - whole[..., ::-1]).mean() < 0.5


def test_pitch_is_measured_in_the_middle_of_the_plate() -> None:
    scene = make_scene(tilt=0.0)
    assert pitch_px(scene.homography, 8, 12) == pytest.approx(scene.pitch_px)
