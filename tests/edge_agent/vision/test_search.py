"""A long look gives every plate once, only where its answers agree; which plate is read is never a guess."""

from dataclasses import dataclass

import numpy as np
import pytest

from edge_agent.vision.detector import Model
from edge_agent.vision.geometry import Placed
from edge_agent.vision.locate import locate_plate
from edge_agent.vision.patches import Image
from edge_agent.vision.refusal import Refused
from edge_agent.vision.search import find_plates
from edge_agent.vision.tensors import WELL, Array, Detections
from models.training.found import Known, Tally, count_in
from models.training.render import PlateSpec, render_plate
from protocol.plate import plate_format

FORM = plate_format(96)


@dataclass
class Blind:
    """A detector that finds these wells wherever it looks for the first time, and nothing in a nearer look."""

    wells: Array
    size_px: float
    looks: int = 0

    def detect(self, image_bgr: Image) -> Detections:
        self.looks += 1
        at = self.wells if self.looks in {1, 2} else self.wells[:0]
        half = self.size_px / 2
        boxes = np.concatenate([at - half, at + half], axis=1)
        return Detections(boxes, np.full(len(at), 0.9), np.full(len(at), WELL))


def scene(*seeds: int) -> tuple[Image, list[Known]]:
    """Plates side by side in one picture."""
    drawn = [render_plate(seed, PlateSpec(size_px=(1000, 720))) for seed in seeds]
    known = []
    for index, (_, truth) in enumerate(drawn):
        beside = np.array([[1, 0, 1000 * index], [0, 1, 0], [0, 0, 1.0]])
        known.append(Known(FORM, beside @ truth.index_to_px()))
    return np.ascontiguousarray(np.concatenate([image for image, _ in drawn], axis=1)), known


def test_every_plate_in_view_is_found_where_it_lies(model: Model) -> None:
    image, known = scene(1, 2)
    tally = Tally()
    count_in(tally, model, image, known)
    assert (tally.labelled, tally.found, tally.wrong, tally.read_right, tally.read_wrong) == (2, 2, 0, 0, 0)
    assert max(tally.errors) < 0.15


def test_two_plates_are_refused_by_number_and_place(model: Model) -> None:
    image, _ = scene(1, 2)
    with pytest.raises(Refused) as caught:
        locate_plate(image, model, expected=FORM, seat=None)
    assert caught.value.reason == "several_plates"
    assert "2 plates are in view" in caught.value.detail


def test_half_the_wells_and_the_picture_are_enough() -> None:
    image, (known,) = scene(3)
    some = np.random.default_rng(0).permutation(96)[:50]
    centres = known.centres_px()
    pitch = float(np.hypot(*(centres[1] - centres[0])))
    found = find_plates(image, Blind(centres[some], 0.8 * pitch), expected=FORM, seat=None)  # type: ignore[arg-type]
    plates = [one for one in found if isinstance(one, Placed)]
    assert len(plates) == 1
    assert np.hypot(*(plates[0].centres_px - centres).T).max() < 0.2 * pitch


def test_wells_that_the_picture_does_not_show_make_no_plate() -> None:
    image, (known,) = scene(3)
    centres = known.centres_px()
    pitch = float(np.hypot(*(centres[1] - centres[0])))
    some = np.random.default_rng(0).permutation(96)[:50]
    grain = np.random.default_rng(1).integers(90, 160, image.shape).astype(np.uint8)
    found = find_plates(grain, Blind(centres[some], 0.8 * pitch), expected=FORM, seat=None)  # type: ignore[arg-type]
    assert not [one for one in found if isinstance(one, Placed)]


def test_plate_placed_a_column_away_counts_as_wrong(model: Model) -> None:
    image, (known,) = scene(3)
    shifted = Known(FORM, known.to_px @ np.array([[1, 0, 1], [0, 1, 0], [0, 0, 1.0]]))
    tally = Tally()
    count_in(tally, model, image, [shifted])
    assert (tally.found, tally.wrong, tally.read_wrong) == (0, 1, 1)
