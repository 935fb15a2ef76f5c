"""Between pictures and tensors: what goes in comes out where it was."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.vision.tensors import (
    PADDING,
    PLATE,
    SHARED_LIMIT,
    WELL,
    Detections,
    Level,
    decode,
    dequantise,
    letterbox,
    quantise,
    softmax,
    suppress,
)


def detections(*boxes: tuple[float, float, float, float], classes: list[int] | None = None) -> Detections:
    scores = np.linspace(0.9, 0.5, len(boxes))
    return Detections(np.array(boxes, float), scores, np.array(classes or [WELL] * len(boxes)))


@given(width=st.integers(64, 2000), height=st.integers(64, 2000), x=st.floats(0, 0.8), y=st.floats(0, 0.8))
def test_letterbox_takes_boxes_back_to_the_picture(width: int, height: int, x: float, y: float) -> None:
    picture = np.zeros((height, width, 3), np.uint8)
    x1, y1 = int(x * width), int(y * height)
    x2, y2 = x1 + max(8, width // 8), y1 + max(8, height // 8)
    picture[y1:y2, x1:x2] = 255
    rgb, box = letterbox(picture, 640, 480)
    rows, columns = np.nonzero(rgb[:, :, 0] > 184)
    there = np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]], float)
    truth = np.array([[x1, y1, min(x2, width), min(y2, height)]]) - 0.5
    assert np.abs(box.to_picture(there) - truth).max() <= 1.2 / box.scale + 1


def test_letterbox_pads_to_the_right_and_below() -> None:
    rgb, _ = letterbox(np.zeros((100, 400, 3), np.uint8), 640, 480)
    assert (rgb[:160] == 0).all()
    assert (rgb[160:] == PADDING).all()


def test_letterbox_lays_an_upright_picture_on_its_side() -> None:
    picture = np.zeros((640, 480, 3), np.uint8)
    picture[:, -40:] = 255
    rgb, box = letterbox(picture, 640, 480)
    assert box.turned
    assert (rgb[:40] == 255).all()


def test_letterbox_gives_red_first() -> None:
    picture = np.zeros((480, 640, 3), np.uint8)
    picture[:, :, 2] = 200
    rgb, _ = letterbox(picture, 640, 480)
    assert rgb[0, 0].tolist() == [200, 0, 0]


def test_quantised_pixels_are_pixels_less_128() -> None:
    pixels = np.arange(256, dtype=np.uint8)
    assert quantise(pixels).tolist() == [value - 128 for value in range(256)]
    assert np.allclose(dequantise((quantise(pixels), 1 / 255, -128)), pixels / 255)


def level(stride: int, cell: tuple[int, int], ltrb: list[int], logits: list[int]) -> Level:
    boxes = np.full((1, 480 // stride, 640 // stride, 4), -128, np.int8)
    classes = np.full((1, 480 // stride, 640 // stride, 2), -128, np.int8)
    boxes[0, cell[1], cell[0]] = ltrb
    classes[0, cell[1], cell[0]] = logits
    return Level(stride, (boxes, 0.1, -128), (classes, 0.05, 0))


def test_decode_finds_the_box_around_its_cell() -> None:
    found = decode([level(8, (10, 20), [-118, -108, -98, -88], [-128, 80])], 0.25)
    assert found.boxes.tolist() == pytest.approx(np.array([[84 - 8, 164 - 16, 84 + 24, 164 + 32]]))
    assert found.classes.tolist() == [WELL]
    assert found.scores[0] == pytest.approx(1 / (1 + np.exp(-4)))


def test_decode_puts_the_best_of_all_strides_first() -> None:
    weak, strong = level(8, (1, 1), [0] * 4, [-128, 20]), level(32, (2, 2), [0] * 4, [100, -128])
    assert decode([weak, strong], 0.25).classes.tolist() == [PLATE, WELL]


def test_decode_of_nothing_is_empty() -> None:
    assert len(decode([level(16, (0, 0), [0] * 4, [-128, -128])], 0.25).scores) == 0


def test_suppression_keeps_the_best_of_overlapping_boxes() -> None:
    kept = suppress(detections((0, 0, 10, 10), (4, 0, 14, 10), (20, 0, 30, 10)))
    assert kept.boxes[:, 0].tolist() == [0, 20]


def test_boxes_that_nearly_agree_are_averaged_by_score() -> None:
    (box,) = suppress(detections((0, 0, 10, 10), (1, 0, 11, 10))).boxes
    assert box.tolist() == pytest.approx([0.5 / 1.4, 0, 10 + 0.5 / 1.4, 10])


def test_suppression_knows_a_box_inside_another() -> None:
    assert len(suppress(detections((0, 0, 20, 20), (8, 8, 14, 14))).scores) == 1


def test_box_without_an_area_hides_nothing() -> None:
    assert len(suppress(detections((5, 5, 5, 5), (0, 0, 10, 10), (20, 0, 30, 10))).scores) == 3


@pytest.mark.parametrize("seed", range(5))
def test_suppression_is_as_if_boxes_were_taken_one_by_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 120, (400, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(2, 25, (400, 2))], axis=1)
    classes = rng.integers(0, 2, 400)
    kept: list[int] = []
    for index, box in enumerate(boxes):
        rivals = [other for other in kept if classes[other] == classes[index]]
        sides = [np.minimum(boxes[other], box)[2:] - np.maximum(boxes[other], box)[:2] for other in rivals]
        shared = [np.prod(np.maximum(side, 0)) for side in sides]
        areas = [min(np.prod(boxes[i][2:] - boxes[i][:2]) for i in (other, index)) for other in rivals]
        if not any(part > SHARED_LIMIT * area for part, area in zip(shared, areas, strict=True)):
            kept.append(index)
    scores = np.linspace(0.9, 0.3, 400)
    found = suppress(Detections(boxes, scores, classes))
    assert 64 < len(kept) < 300
    assert found.scores.tolist() == scores[kept].tolist()


def test_suppression_leaves_a_well_inside_a_plate() -> None:
    kept = suppress(detections((0, 0, 10, 10), (0, 0, 10, 10), classes=[PLATE, WELL]))
    assert kept.classes.tolist() == [PLATE, WELL]


@given(st.lists(st.floats(-20, 20), min_size=2, max_size=6), st.floats(0.3, 3))
def test_softmax_sums_to_one_and_keeps_the_order(logits: list[float], temperature: float) -> None:
    (probabilities,) = softmax(np.array([logits]), temperature)
    assert probabilities.sum() == pytest.approx(1)
    assert probabilities[int(np.argmax(logits))] == probabilities.max()
