"""Training pictures: labels in the network's pixels, patches cut as the device cuts them."""

import numpy as np

from models.training.dataset import PATCH_PX, detector_boxes, draw_detector_picture, draw_patches, jitter
from models.training.render import PlateSpec, render_plate


def test_pictures_have_the_networks_size_and_repeat() -> None:
    first, second = draw_detector_picture(9), draw_detector_picture(9)
    assert first[0].shape == (480, 640, 3)
    assert first[0].tobytes() == second[0].tobytes()
    assert np.array_equal(first[1], second[1])


def test_boxes_are_one_plate_and_its_wells() -> None:
    size = (640, 480)
    _, truth = render_plate(1, PlateSpec(size_px=size))
    boxes = detector_boxes(truth, 1.0, size)
    assert boxes[:, 4].tolist() == [0] + [1] * 96
    centres = (boxes[1:, :2] + boxes[1:, 2:4]) / 2 - 0.5
    assert np.abs(centres - truth.centres_px).max() < 0.5


def test_boxes_stay_inside_and_lost_wells_are_left_out() -> None:
    size = (640, 480)
    _, truth = render_plate(1, PlateSpec(size_px=size))
    boxes = detector_boxes(truth, 1.0, (320, 480))
    assert boxes[:, [0, 2]].max() <= 320
    assert 0 < len(boxes) < 60


def test_patches_carry_soft_labels() -> None:
    patches, soft = draw_patches(3)
    assert patches.shape[1:] == (PATCH_PX, PATCH_PX, 3)
    assert len(patches) == len(soft) > 80
    assert np.allclose(soft.sum(axis=1), 1)


def test_jitter_is_a_small_geometry_error() -> None:
    rng = np.random.default_rng(0)
    corners = np.array([[0, 0, 1], [11, 0, 1], [0, 7, 1], [11, 7, 1.0]])
    off = []
    for _ in range(200):
        moved = corners @ jitter(rng).T
        off.append(np.abs(moved[:, :2] / moved[:, 2:] - corners[:, :2]).max())
    assert 0.03 < float(np.mean(off)) < 0.15
