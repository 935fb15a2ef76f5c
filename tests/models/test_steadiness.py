"""A titre that changes when the same plate is turned, made smaller or saved worse is unsteadiness, and is counted."""

from dataclasses import replace

import numpy as np
import pytest

from edge_agent.config import SHIPPED_MODEL
from edge_agent.vision import Model, load_model
from models.training.spec import FLOWING
from models.training.steadiness import STEADINESS_SEED, Steadiness, draw_steady, measure_steadiness, versions


def test_every_version_shows_the_same_plate_in_another_way() -> None:
    image, votes = draw_steady(STEADINESS_SEED)
    shapes = [version.shape[:2] for version, _, _ in versions(image)]
    height, width = image.shape[:2]
    assert shapes == [(height, width), (width, height), (round(height * 0.72), round(width * 0.72))]
    assert votes.shape == (96, 5)
    assert votes[:, FLOWING].max() > 0.9


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model(SHIPPED_MODEL)


@pytest.fixture(scope="module")
def three_plates(model: Model) -> Steadiness:
    """The shipped release on three plates, each read four times."""
    seeds = range(STEADINESS_SEED, STEADINESS_SEED + 3)
    return sum((measure_steadiness(model, seed) for seed in seeds), Steadiness())


def test_the_shipped_release_is_steady(three_plates: Steadiness) -> None:
    assert three_plates.reread == 3 * three_plates.rows > 30
    assert three_plates.wells == 3 * 3 * 96
    assert three_plates.not_exact <= 1
    assert three_plates.changed <= 2
    assert three_plates.wells_changed <= 20


class Fickle:
    """A release that calls every well another thing from the second picture on."""

    def __init__(self, model: Model) -> None:
        self.model, self.pictures = model, 0

    def __getattr__(self, name: str) -> object:
        return getattr(self.model, name)

    def call_logits(self, patches: np.ndarray) -> np.ndarray:
        self.pictures += 1
        return np.roll(self.model.call_logits(patches), self.pictures > 1, axis=1)


def test_a_release_that_changes_its_mind_is_found_out(model: Model) -> None:
    found = measure_steadiness(Fickle(model), STEADINESS_SEED)  # type: ignore[arg-type]
    assert found.not_exact <= 1
    assert found.changed > found.reread / 2
    assert found.wells_changed > found.wells / 4


def test_sums_add_every_figure() -> None:
    assert Steadiness(1, 2, 3, 4, 5, 6) + replace(Steadiness(), wells=10) == Steadiness(1, 2, 3, 4, 15, 6)
