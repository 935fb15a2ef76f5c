"""The int8 networks and the interpreter that runs them: the only place that knows which runtime is installed.

A model release is a folder with a manifest. It is refused unless files, classes and tensors are what the manifest says
and what this program was written for: a network that runs but means something else is the worst kind of wrong.
"""

import hashlib
import importlib
import importlib.metadata
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import numpy as np

from edge_agent.vision.legends import GLYPHS, PLACE_PX
from edge_agent.vision.levels import even_levels
from edge_agent.vision.patches import Image, two_crops
from edge_agent.vision.tensors import Array, Detections, Level, decode, dequantise, letterbox, quantise, suppress
from protocol.messages import ModelUsed

Runtime = Literal["ai-edge-litert", "tflite-runtime"]

# LiteRT first: it sends int8 to XNNPACK and is about seven times faster on x86 (10.4 against 71 ms, two cores).
RUNTIMES: Final[dict[Runtime, str]] = {
    "ai-edge-litert": "ai_edge_litert.interpreter",
    "tflite-runtime": "tflite_runtime.interpreter",
}
MANIFEST_SCHEMA: Final = 1
WELLS_CLASSES: Final = ("plate", "well")
CALLS_CLASSES: Final = ("flowing", "button", "partial", "diffuse", "empty")


class ModelMismatch(ValueError):  # noqa: N818 - it says what is wrong, as `Refused` does
    """The release is not what its manifest says, or not what this program reads; the message names what differs."""


class WellsNetwork(msgspec.Struct, frozen=True):
    """The manifest's entry of the network that finds plates and wells."""

    file: str
    sha256: str
    input: tuple[int, int, int, int]
    classes: tuple[str, ...]
    strides: tuple[int, ...]
    score_threshold: float


class CallsNetwork(msgspec.Struct, frozen=True):
    """The manifest's entry of the network that judges patches; `levels` says how they are prepared.

    With two `crops` each well is judged on both of `two_crops`, and the two are averaged.
    """

    file: str
    sha256: str
    input: tuple[int, int, int, int]
    classes: tuple[str, ...]
    patch_pitches: float
    temperature: float
    low_confidence: float
    levels: Literal["as_cut", "even"] = "as_cut"
    crops: Literal[1, 2] = 1


class LegendsNetwork(msgspec.Struct, frozen=True):
    """The manifest's entry of the network that reads the characters on a plate's frame."""

    file: str
    sha256: str
    input: tuple[int, int, int, int]
    classes: tuple[str, ...]


class Networks(msgspec.Struct, frozen=True):
    """The networks of a release."""

    wells: WellsNetwork
    calls: CallsNetwork
    legends: LegendsNetwork


class Manifest(msgspec.Struct, frozen=True):
    """What a model release says of itself."""

    schema: int
    name: str
    version: int
    networks: Networks


@dataclass(frozen=True)
class Model:
    """A release, loaded and checked. One thread at a time: interpreters hold their tensors."""

    manifest: Manifest
    sha256: str
    runtime: str
    wells_interpreter: Any
    calls_interpreter: Any
    legends_interpreter: Any

    @property
    def used(self) -> ModelUsed:
        """How a reading names this release."""
        return ModelUsed(self.manifest.name, self.manifest.version, self.sha256, self.runtime)

    def detect(self, image_bgr: Image) -> Detections:
        """Plates and wells in a picture, in its pixels."""
        network = self.manifest.networks.wells
        _, height, width, _ = network.input
        rgb, box = letterbox(image_bgr, width, height)
        _invoke(self.wells_interpreter, quantise(rgb)[None])
        found = suppress(decode(_levels(self.wells_interpreter, network), network.score_threshold))
        return Detections(box.to_picture(found.boxes), found.scores, found.classes)

    def call_logits(self, patches_rgb: Image) -> Array:
        """Logits (n, classes) of one plate's patches (n, side, side, 3), in the order of the manifest's classes."""
        network = self.manifest.networks.calls
        patches_rgb = even_levels(patches_rgb) if network.levels == "even" else patches_rgb
        judged = []
        for start in range(0, len(patches_rgb), network.input[0]):
            part = patches_rgb[start : start + network.input[0]]
            crops = two_crops(part) if network.crops == 2 else (part,)
            judged.append(np.mean([self._judge(crop) for crop in crops], axis=0))
        return np.concatenate(judged)

    def _judge(self, patches_rgb: Image) -> Array:
        """Logits of patches whose levels are prepared, no more of them than the network takes at once."""
        missing = self.manifest.networks.calls.input[0] - len(patches_rgb)
        padding = np.zeros((missing, *patches_rgb.shape[1:]), np.uint8)
        _invoke(self.calls_interpreter, quantise(np.concatenate([patches_rgb, padding]) if missing else patches_rgb))
        output = self.calls_interpreter.get_output_details()[0]
        return dequantise(_quantised(self.calls_interpreter, output))[: len(patches_rgb)]

    def glyph_logits(self, places: Image) -> Array:
        """Logits (n, characters) of the places (n, side, side) of one plate's frame."""
        output = self.legends_interpreter.get_output_details()[0]
        _invoke(self.legends_interpreter, quantise(places[..., None]))
        return dequantise(_quantised(self.legends_interpreter, output))


def load_model(folder: Path, *, threads: int = 1, runtime: Runtime | None = None) -> Model:
    """The release in a folder, refused unless everything matches its manifest; `runtime` forces one of the two."""
    document = _read(folder / "manifest.json")
    _check_sum(folder, document)
    try:
        manifest = msgspec.json.decode(document, type=Manifest)
    except msgspec.DecodeError as error:
        raise ModelMismatch(f"{folder / 'manifest.json'}: {error}") from error
    _check_manifest(manifest, folder)
    wells, calls, legends = manifest.networks.wells, manifest.networks.calls, manifest.networks.legends
    contents = [_checked(folder / network.file, network.sha256) for network in (wells, calls, legends)]
    make, name = _interpreter_class(runtime)
    interpreters = [make(model_content=content, num_threads=threads) for content in contents]
    for interpreter in interpreters:
        interpreter.allocate_tensors()
    _check_input(interpreters[0], wells, folder)
    _check_input(interpreters[1], calls, folder)
    _check_input(interpreters[2], legends, folder)
    _check_outputs(interpreters[0], _wells_shapes(wells), folder / wells.file)
    _check_outputs(interpreters[1], [(calls.input[0], len(calls.classes))], folder / calls.file)
    _check_outputs(interpreters[2], [(legends.input[0], len(legends.classes))], folder / legends.file)
    return Model(manifest, hashlib.sha256(document).hexdigest(), name, *interpreters)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelMismatch(f"{path}: {error.strerror} (expected a file of the model release)") from error


def _check_sum(folder: Path, document: bytes) -> None:
    """The manifest holds the networks' digests; its own lies beside it, in the form that `sha256sum -c` reads."""
    expected = _read(folder / "manifest.sha256")
    found = f"{hashlib.sha256(document).hexdigest()}  manifest.json\n"
    if expected != found.encode():
        told = expected[:80].decode("ascii", "replace")
        where = folder / "manifest.json"
        raise ModelMismatch(f"{where}: sha256 {found!r} (expected {told!r}, as manifest.sha256 says)")


def _checked(path: Path, sha256: str) -> bytes:
    content = _read(path)
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise ModelMismatch(f"{path}: sha256 {found} (expected {sha256}, as the manifest says)")
    return content


def _check_manifest(manifest: Manifest, folder: Path) -> None:
    networks = manifest.networks
    expectations: tuple[tuple[str, object, object], ...] = (
        ("schema", manifest.schema, MANIFEST_SCHEMA),
        ("classes of wells", networks.wells.classes, WELLS_CLASSES),
        ("classes of calls", networks.calls.classes, CALLS_CLASSES),
        ("channels of wells", networks.wells.input[::3], (1, 3)),
        ("patches of calls", networks.calls.input[1::2], (networks.calls.input[2], 3)),
        ("classes of legends", networks.legends.classes, GLYPHS),
        ("places of legends", networks.legends.input, (len(GLYPHS) - 1, PLACE_PX, PLACE_PX, 1)),
    )
    for name, found, expected in expectations:
        if found != expected:
            raise ModelMismatch(f"{folder / 'manifest.json'}: {name} {found!r} (expected {expected!r})")


def _interpreter_class(runtime: Runtime | None) -> tuple[Any, str]:
    """The first runtime installed, or the one asked for, with its name and version."""
    for name in RUNTIMES if runtime is None else (runtime,):
        try:
            module = importlib.import_module(RUNTIMES[name])
        except ImportError:
            continue
        return module.Interpreter, f"{name} {importlib.metadata.version(name)}"
    expected = runtime or " or ".join(RUNTIMES)
    raise ModelMismatch(f"no runtime for the model is installed (expected {expected}: install wellread[edge])")


def _check_input(interpreter: Any, network: WellsNetwork | CallsNetwork | LegendsNetwork, folder: Path) -> None:
    """The input must be int8 with scale 1/255 and zero point −128, because `quantise` only flips a bit."""
    details = interpreter.get_input_details()
    shapes = [tuple(int(n) for n in detail["shape"]) for detail in details]
    if shapes != [network.input]:
        raise ModelMismatch(f"{folder / network.file}: input {shapes} (expected {[network.input]})")
    scale, zero_point = details[0]["quantization"]
    if details[0]["dtype"] is not np.int8 or abs(scale * 255 - 1) > 1e-3 or zero_point != -128:
        found = f"{np.dtype(details[0]['dtype']).name}, scale {scale:.6f}, zero point {zero_point}"
        raise ModelMismatch(f"{folder / network.file}: input {found} (expected int8, scale 1/255, zero point -128)")


def _wells_shapes(network: WellsNetwork) -> list[tuple[int, ...]]:
    _, height, width, _ = network.input
    cells = [(1, height // stride, width // stride) for stride in network.strides]
    return [(*shape, channels) for shape in cells for channels in (4, len(network.classes))]


def _check_outputs(interpreter: Any, expected: list[tuple[int, ...]], path: Path) -> None:
    details = interpreter.get_output_details()
    found = sorted(tuple(int(n) for n in detail["shape"]) for detail in details)
    if found != sorted(expected):
        raise ModelMismatch(f"{path}: outputs {found} (expected {sorted(expected)})")
    if any(detail["dtype"] is not np.int8 for detail in details):
        raise ModelMismatch(f"{path}: an output is not int8 (expected a fully quantised network)")


def _invoke(interpreter: Any, values: Any) -> None:
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], values)
    interpreter.invoke()


def _quantised(interpreter: Any, detail: Any) -> tuple[Any, float, int]:
    scale, zero_point = detail["quantization"]
    return interpreter.get_tensor(detail["index"]), float(scale), int(zero_point)


def _levels(interpreter: Any, network: WellsNetwork) -> list[Level]:
    """Outputs are known by their shape, never by their order: converters shuffle them."""
    by_shape = {tuple(int(n) for n in detail["shape"]): detail for detail in interpreter.get_output_details()}
    shapes = _wells_shapes(network)
    return [
        Level(stride, _quantised(interpreter, by_shape[boxes]), _quantised(interpreter, by_shape[classes]))
        for stride, boxes, classes in zip(network.strides, shapes[::2], shapes[1::2], strict=True)
    ]
