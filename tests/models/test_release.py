"""The released files are what the manifest says, and read rendered plates in both runtimes."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from edge_agent.vision.detector import Model, load_model
from edge_agent.vision.lattice import fit_grid
from edge_agent.vision.patches import cut_patches
from edge_agent.vision.tensors import PLATE, WELL
from models.training.card import write_card
from models.training.measure import match_wells
from models.training.render import CLASSES, PlateSpec, render_plate, render_stage

RELEASE = Path(__file__).parents[2] / "models" / "hi-wells-v3"
MANIFEST = json.loads((RELEASE / "manifest.json").read_text())


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model(RELEASE)


def test_files_are_those_of_the_manifest() -> None:
    for network in MANIFEST["networks"].values():
        assert hashlib.sha256((RELEASE / network["file"]).read_bytes()).hexdigest() == network["sha256"]


def test_a_release_fits_a_slow_link() -> None:
    assert sum(path.stat().st_size for path in RELEASE.iterdir()) < 4_000_000


def test_the_card_repeats_the_manifest(tmp_path: Path) -> None:
    for name in ("manifest.json", "model.tflite", "calls.tflite", "legends.tflite"):
        (tmp_path / name).write_bytes((RELEASE / name).read_bytes())
    write_card(tmp_path)
    assert (tmp_path / "MODEL_CARD.md").read_text() == (RELEASE / "MODEL_CARD.md").read_text()


@pytest.mark.parametrize("seed", [31, 32])
def test_plain_wells_are_called_right(model: Model, seed: int) -> None:
    image, truth = render_plate(seed, PlateSpec())
    patches = cut_patches(image, truth.index_to_px(), 8, 12, 64, model.manifest.networks.calls.patch_pitches)
    calls = [CLASSES[index] for index in model.call_logits(patches).argmax(axis=1)]
    right = np.array(calls) == np.array(truth.calls)
    flowing = np.array([call == "flowing" for call in calls]) == np.array([call == "flowing" for call in truth.calls])
    assert right.mean() >= 0.95
    assert flowing.mean() >= 0.98


@pytest.mark.parametrize("turn_deg", [0, 90, 180, 270])
def test_plain_plates_are_found(model: Model, turn_deg: float) -> None:
    image, truth = render_plate(33, PlateSpec(turn_deg=turn_deg))
    found = model.detect(image)
    hits, errors = match_wells(found.of(WELL).boxes, truth.rim_boxes_px)
    assert hits >= 95
    assert np.mean(errors) < 0.05 * np.hypot(*(truth.centres_px[1] - truth.centres_px[0]))
    assert len(found.of(PLATE).scores) == 1


@pytest.mark.parametrize("seed", range(1, 5))
def test_an_empty_bench_has_few_things_like_wells_and_no_grid(model: Model, seed: int) -> None:
    wells = model.detect(render_stage(seed)).of(WELL)
    assert len(wells.scores) <= 10
    assert fit_grid(wells) is None


def test_both_runtimes_make_the_same_calls(model: Model) -> None:
    pytest.importorskip("tflite_runtime", reason="tflite-runtime has no wheel for this Python")
    other = load_model(RELEASE, runtime="tflite-runtime")
    image, truth = render_plate(34, PlateSpec())
    patches = cut_patches(image, truth.index_to_px(), 8, 12, 64, model.manifest.networks.calls.patch_pitches)
    one, two = model.call_logits(patches).argmax(axis=1), other.call_logits(patches).argmax(axis=1)
    assert (one == two).mean() >= 0.99
