"""Training pictures: labels in the network's pixels, patches cut as the device cuts them."""

import numpy as np

from models.training.augment import vary_picture
from models.training.dataset import PATCH_PX, detector_boxes, draw_detector_picture, draw_patches, jitter, unseen
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


def test_a_varied_picture_keeps_its_boxes_on_its_wells() -> None:
    picture = np.zeros((480, 640, 3), np.uint8)
    picture[200:240, 300:340] = 200
    boxes = np.array([[300, 200, 340, 240, 1]], np.float32)
    for seed in range(8):
        varied, moved = vary_picture(np.random.default_rng(seed), picture, boxes)
        x1, y1, x2, y2 = np.rint(moved[0, :4]).astype(int)
        inside, whole = varied[y1:y2, x1:x2, 0].astype(int), varied[..., 0].astype(int)
        assert inside.mean() > whole.min() + 50
        assert (inside > whole.min() + 30).mean() > 0.8


def test_a_well_lost_in_the_dark_is_neither_found_nor_denied() -> None:
    picture = np.zeros((60, 120, 3), np.uint8)
    picture[20:40, 80:100] = 90
    boxes = np.array([[0, 0, 120, 60, 0], [20, 20, 40, 40, 1], [80, 20, 100, 40, 1]], np.float32)
    assert unseen(picture, boxes).tolist() == [False, True, False]


def test_grain_alone_shows_no_well() -> None:
    picture = np.random.default_rng(1).normal(120, 6, (60, 120, 3)).clip(0, 255).astype(np.uint8)
    boxes = np.array([[20, 20, 40, 40, 1]], np.float32)
    assert unseen(picture, boxes).tolist() == [True]
