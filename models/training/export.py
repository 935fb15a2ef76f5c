"""Trained weights → full int8 TFLite files plus the manifest that the device checks them against.

    python -m models.training.export [wells calls legends]
    python -m models.training.export calls --take-over models/hi-wells-v3      # the other two, byte for byte

torch → litert-torch (float, channels last) → ai-edge-quantizer. Three settings carry the accuracy, each found by
measurement: calibrate with true minima and maxima (the library's default is a moving average that forgets); put a 0
and a 1 into every calibration picture, so that the input is exactly `rgb ^ 0x80`; clip the logits' range to ±8,
because nothing below −8 matters and a wider range coarsens every score.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import ai_edge_litert.interpreter as litert
import cv2
import litert_torch
import numpy as np
import torch
from ai_edge_quantizer import calibrator, quantizer, recipe
from torch import nn

from edge_agent.vision.legends import GLYPHS, PLACE_PX
from edge_agent.vision.levels import even_levels
from models.training.dataset import INPUT_SIZE, PATCH_PITCHES, PATCH_PX, draw_detector_picture, draw_patches
from models.training.legend_strips import draw_places
from models.training.legends import LEGENDS_SEED, LegendsNet
from models.training.manifest import save_manifest
from models.training.nets import DETECTOR_CLASSES, STRIDES, CallsNet, WellsNet
from models.training.spec import CLASSES, Floats
from models.training.take_over import FILES, take_over, training_notes
from models.training.train import CALLS_SEED, DATA, TRAIN_SEED, WELLS_SEED

RELEASE = Path("models/hi-wells-v4")
CALIBRATION_SEED = 3_000_000
LOGIT_LIMIT = 8.0
CALLS_BATCH = 32
LEGENDS_BATCH = len(GLYPHS) - 1  # the places of one plate
Range = dict[str, Any]


def export_wells(weights: Path, out: Path) -> None:
    """The detector: one picture in, six tensors out."""
    net = WellsNet()
    net.load_state_dict(torch.load(weights, weights_only=True))
    pictures = [draw_detector_picture(CALIBRATION_SEED + i)[0][None, ..., ::-1] for i in range(100)]
    shape = (1, INPUT_SIZE[1], INPUT_SIZE[0], 3)
    _convert(net, shape, [np.asarray(p, np.float32) / 255 for p in pictures], out, list(range(6)))


def export_calls(weights: Path, out: Path) -> None:
    """The calls: a fixed batch of 32 patches in, 32 × 5 logits out."""
    net = CallsNet()
    net.load_state_dict(torch.load(weights, weights_only=True))
    patches = np.concatenate([even_levels(draw_patches(CALIBRATION_SEED + i)[0]) for i in range(40)])
    whole = patches[: len(patches) // CALLS_BATCH * CALLS_BATCH].astype(np.float32) / 255
    batches = list(whole.reshape(-1, CALLS_BATCH, PATCH_PX, PATCH_PX, 3))
    _convert(net, (CALLS_BATCH, PATCH_PX, PATCH_PX, 3), batches, out, [])


def export_legends(weights: Path, out: Path) -> None:
    """The reader of the frame's characters: the 20 places of one plate in, 20 × 21 logits out."""
    net = LegendsNet()
    net.load_state_dict(torch.load(weights, weights_only=True))
    places = np.concatenate([draw_places(CALIBRATION_SEED + i)[0] for i in range(200)])
    whole = places[: len(places) // LEGENDS_BATCH * LEGENDS_BATCH].astype(np.float32) / 255
    batches = list(whole.reshape(-1, LEGENDS_BATCH, PLACE_PX, PLACE_PX, 1))
    _convert(net, (LEGENDS_BATCH, PLACE_PX, PLACE_PX, 1), batches, out, [])


def write_manifest(release: Path, taken_over: list[str], source: Path | None) -> None:
    """Describe the files; metrics and temperature of an earlier manifest are kept until evaluate renews them."""
    path = release / "manifest.json"
    earlier = json.loads(path.read_text()) if path.exists() else {}
    temperature = earlier.get("networks", {}).get("calls", {}).get("temperature", 1.0)
    manifest = {
        "schema": 1,
        "name": "hi-wells",
        "version": int(release.name.rpartition("-v")[2]),
        "networks": {
            "wells": {
                **_file(release / FILES["wells"]),
                "input": [1, INPUT_SIZE[1], INPUT_SIZE[0], 3],
                "classes": list(DETECTOR_CLASSES),
                "strides": list(STRIDES),
                "score_threshold": 0.25,
            },
            "calls": {
                **_file(release / FILES["calls"]),
                "input": [CALLS_BATCH, PATCH_PX, PATCH_PX, 3],
                "classes": list(CLASSES),
                "patch_pitches": PATCH_PITCHES,
                "levels": "even",
                "crops": 2,
                "temperature": temperature,
                "low_confidence": 0.6,
            },
            "legends": {
                **_file(release / FILES["legends"]),
                "input": [LEGENDS_BATCH, PLACE_PX, PLACE_PX, 1],
                "classes": list(GLYPHS),
            },
        },
        "training": _training(taken_over, source),
        "metrics": earlier.get("metrics", {}),
    }
    save_manifest(release, manifest)


def _training(taken_over: list[str], source: Path | None) -> dict[str, object]:
    """How the weights were made, and with what."""
    seeds = {"wells": WELLS_SEED, "calls": CALLS_SEED, "legends": LEGENDS_SEED, "training": TRAIN_SEED}
    seeds["calibration"] = CALIBRATION_SEED
    packages = ("torch", "litert-torch", "ai-edge-quantizer", "ai-edge-litert", "numpy", "opencv-python-headless")
    notes = training_notes(DATA, source, taken_over)
    return {"data": "rendered pictures only", "seeds": seeds, **notes, "versions": {p: version(p) for p in packages}}


def _file(path: Path) -> dict[str, str]:
    return {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def _convert(
    net: nn.Module, shape: tuple[int, ...], examples: list[Floats], out: Path, image_outputs: list[int]
) -> None:
    """One float conversion, one calibration, one int8 file, written whole or not at all."""
    channels_last = litert_torch.to_channel_last_io(net.eval(), args=[0], outputs=image_outputs).eval()
    float_path = DATA / f"{out.stem}-float.tflite"
    litert_torch.convert(channels_last, (torch.rand(shape),)).export(str(float_path))
    maker = quantizer.Quantizer(str(float_path))
    maker.load_quantization_recipe(recipe.static_wi8_ai8())
    signatures = litert.Interpreter(str(float_path)).get_signature_list()
    signature = next(iter(signatures))
    name = signatures[signature]["inputs"][0]
    # A list, not a generator: the calibrator counts its input first and would consume a generator.
    feeds = [{name: _pinned(example)} for example in examples]
    watcher = calibrator.Calibrator(str(float_path), num_threads=2, qsv_update_func=_widest)
    watcher.calibrate({signature: feeds}, maker._recipe_manager)
    ranges: dict[str, Range] = watcher.get_model_qsvs()
    for output in litert.Interpreter(str(float_path)).get_output_details():
        _clip_logits(ranges, output["name"])
    with tempfile.TemporaryDirectory(dir=out.parent) as folder:
        whole = Path(folder) / out.name
        maker.quantize(ranges).export_model(str(whole))
        os.replace(whole, out)


def _pinned(example: Floats) -> Floats:
    pinned = example.copy()
    pinned[0, 0, 0], pinned[0, 0, 1] = 0.0, 1.0
    return pinned


def _widest(old: Range, new: Range) -> Range:
    if not old:
        return new
    return {"min": np.minimum(old["min"], new["min"]), "max": np.maximum(old["max"], new["max"])}


def _clip_logits(ranges: dict[str, Range], name: str) -> None:
    """Box tensors pass a ReLU and are never negative; whatever goes below −1 is logits."""
    seen = ranges.get(name)
    if seen is None or np.min(seen["min"]) >= -1:
        return
    least = np.maximum(seen["min"], -LOGIT_LIMIT).astype(np.float32)
    most = np.clip(seen["max"], 2.0, LOGIT_LIMIT).astype(np.float32)
    ranges[name] = {**seen, "min": least, "max": most}


def main() -> None:
    """Command line: export what has been trained, take over the rest."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=["wells", "calls", "legends"])
    parser.add_argument("--out", type=Path, default=RELEASE)
    parser.add_argument("--take-over", type=Path, help="the release from which the networks that are not named come")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    if "wells" in arguments.networks:
        export_wells(DATA / "wells.pt", arguments.out / FILES["wells"])
    if "calls" in arguments.networks:
        export_calls(DATA / "calls.pt", arguments.out / FILES["calls"])
    if "legends" in arguments.networks:
        export_legends(DATA / "legends.pt", arguments.out / FILES["legends"])
    others = [network for network in FILES if network not in arguments.networks]
    if arguments.take_over:
        take_over(arguments.take_over, arguments.out, others)
    write_manifest(arguments.out, others, arguments.take_over)


if __name__ == "__main__":
    main()
