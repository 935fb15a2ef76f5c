"""A model release is refused unless it is exactly what its manifest says; both runtimes make the same calls."""

import hashlib
import importlib.util
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edge_agent.vision import Model, ModelMismatch, load_model, read_plate
from edge_agent.vision.detector import RUNTIMES
from edge_agent.vision.levels import even_levels
from edge_agent.vision.patches import two_crops
from models.training.manifest import save_manifest
from models.training.render import PlateSpec, render_plate
from protocol.plate import Seat
from tests.edge_agent.vision.conftest import frame, jpeg
from tests.make import HI


@pytest.fixture
def copy(release: Path, tmp_path: Path) -> Path:
    """A copy of the release that a test may spoil."""
    return Path(shutil.copytree(release, tmp_path / "release"))


def edit(folder: Path, change: Callable[[Any], None]) -> None:
    document = json.loads((folder / "manifest.json").read_text())
    change(document)
    save_manifest(folder, document)


SPOILS: dict[str, tuple[Callable[[Any], None], str]] = {
    "other schema": (lambda d: d.update(schema=2), "schema 2"),
    "other well classes": (lambda d: d["networks"]["wells"].update(classes=["well", "plate"]), "classes of wells"),
    "other call classes": (lambda d: d["networks"]["calls"]["classes"].reverse(), "classes of calls"),
    "other legends": (lambda d: d["networks"]["legends"]["classes"].reverse(), "classes of legends"),
    "other hash": (lambda d: d["networks"]["calls"].update(sha256="0" * 64), "sha256"),
    "other input": (lambda d: d["networks"]["wells"].update(input=[1, 640, 640, 3]), "input"),
    "other patches": (lambda d: d["networks"]["calls"].update(input=[32, 96, 96, 3]), "input"),
    "other strides": (lambda d: d["networks"]["wells"].update(strides=[8, 16]), "outputs"),
    "other crops": (lambda d: d["networks"]["calls"].update(crops=3), "crops"),
    "missing file": (lambda d: d["networks"]["wells"].update(file="gone.tflite"), "gone.tflite"),
    "missing field": (lambda d: d["networks"]["calls"].pop("temperature"), "temperature"),
}


@pytest.mark.parametrize("spoil", SPOILS)
def test_release_that_differs_is_refused_by_name(copy: Path, spoil: str) -> None:
    change, says = SPOILS[spoil]
    edit(copy, change)
    with pytest.raises(ModelMismatch, match=says):
        load_model(copy)


def test_networks_in_each_others_place_are_refused(copy: Path) -> None:
    def swap(document: Any) -> None:
        wells, calls = document["networks"]["wells"], document["networks"]["calls"]
        for key in ("file", "sha256"):
            wells[key], calls[key] = calls[key], wells[key]

    edit(copy, swap)
    with pytest.raises(ModelMismatch, match="input"):
        load_model(copy)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe"])
def test_manifest_that_is_no_manifest_is_refused(copy: Path, content: bytes) -> None:
    (copy / "manifest.json").write_bytes(content)
    with pytest.raises(ModelMismatch, match=r"manifest\.json"):
        load_model(copy)
    (copy / "manifest.sha256").write_text(f"{hashlib.sha256(content).hexdigest()}  manifest.json\n")
    with pytest.raises(ModelMismatch, match=r"manifest\.json"):
        load_model(copy)


def test_a_manifest_with_another_threshold_is_refused(copy: Path) -> None:
    manifest = copy / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"score_threshold": 0.25', '"score_threshold": 0.35'))
    with pytest.raises(ModelMismatch, match=r"as manifest\.sha256 says"):
        load_model(copy)


def test_folder_without_a_release_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelMismatch, match="expected a file of the model release"):
        load_model(tmp_path)


def test_model_names_its_release_and_runtime(model: Model) -> None:
    assert (model.used.name, model.used.version) == ("hi-wells", 3)
    assert len(model.used.sha256) == 64
    assert model.used.runtime.startswith(tuple(RUNTIMES))


@pytest.mark.parametrize("count", [1, 31, 32, 33, 96])
def test_any_number_of_patches_is_judged_alike(model: Model, count: int) -> None:
    patches = np.random.default_rng(1).integers(0, 255, (96, 64, 64, 3), np.uint8)
    patches[:, ::8, ::4], patches[:, 4::8, ::4] = 0, 255  # levels are a whole plate's: the same for any number
    assert np.array_equal(model.call_logits(patches[:count]), model.call_logits(patches)[:count])


def test_two_crops_are_averaged(model: Model) -> None:
    patches = np.random.default_rng(2).integers(0, 255, (33, 64, 64, 3), np.uint8)
    networks = model.manifest.networks
    single = msgspec.structs.replace(networks, calls=msgspec.structs.replace(networks.calls, crops=1, levels="as_cut"))
    alone = replace(model, manifest=msgspec.structs.replace(model.manifest, networks=single))
    one, other = (alone.call_logits(crop) for crop in two_crops(even_levels(patches)))
    assert not np.array_equal(one, other)
    assert np.array_equal(model.call_logits(patches), (one + other) / 2)


def test_both_runtimes_make_the_same_calls(release: Path) -> None:
    if missing := [name for name, module in RUNTIMES.items() if importlib.util.find_spec(module.split(".")[0]) is None]:
        pytest.skip(f"not installed: {', '.join(missing)}")
    content = jpeg(render_plate(3, PlateSpec())[0])
    first, second = (
        read_plate(frame(content), HI, model=load_model(release, runtime=runtime), seat=Seat.TOP_LEFT).wells
        for runtime in RUNTIMES
    )
    assert {name: well.call for name, well in first.items()} == {name: well.call for name, well in second.items()}
