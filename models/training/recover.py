"""A released int8 network → weights that training can go on from. A release is all that is kept of a training.

    python -m models.training.recover models/hi-wells-v3        # writes train-data/<network>-v3.pt

Batch normalisation was folded into the convolutions by export; here each is opened again around the statistics that
rendered pictures give, so that the first training step starts from the very function that was released (to int8's
rounding, which `main` prints). Needs the train extra.
"""

# torch is not imported by the type checker, so its Module is Any there.
# mypy: disable-error-code="misc"

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import ai_edge_litert.interpreter as litert
import msgspec
import numpy as np
import torch
from torch import Tensor, nn

from edge_agent.vision.detector import Manifest
from edge_agent.vision.levels import even_levels
from models.training.dataset import draw_detector_picture, draw_patches
from models.training.legend_strips import draw_places
from models.training.legends import LegendsNet
from models.training.nets import CallsNet, WellsNet
from models.training.spec import Floats
from models.training.train import DATA

CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
STATISTICS_SEED = 3_500_000


class AnotherShapeError(ValueError):
    """A released network has other layers than the one that is trained today."""


def recover(path: Path, net: nn.Module, examples: Tensor) -> None:
    """Fill `net` with the weights of an int8 file whose layers run in the same order; `examples` are its inputs."""
    stored = _layers(path)
    own = _in_order(net, examples[:1])
    if [tuple(layer.weight.shape) for layer in own] != [weight.shape for weight, _ in stored]:
        raise AnotherShapeError(f"the layers of {path} do not run in the order of {type(net).__name__}'s")
    biases = {}
    for layer, (weight, bias) in zip(own, stored, strict=True):
        layer.weight.data = torch.from_numpy(weight.copy())
        if layer.bias is not None:
            layer.bias.data = torch.from_numpy(bias.copy())
        biases[layer] = torch.from_numpy(bias.copy())
    _open_norms(net, biases, examples)


def _layers(path: Path) -> list[tuple[Floats, Floats]]:
    """Float weights (out, in, height, width) and biases of every convolution, in the order in which they run."""
    interpreter = litert.Interpreter(
        str(path), experimental_op_resolver_type=litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    )
    interpreter.allocate_tensors()
    details = {tensor["index"]: tensor for tensor in interpreter.get_tensor_details()}
    layers = []
    for op in interpreter._get_ops_details():
        if op["op_name"] in CONVOLUTIONS:
            weight, bias = (_dequantised(interpreter, details[index]) for index in op["inputs"][1:3])
            if op["op_name"] == "DEPTHWISE_CONV_2D":
                weight = weight.transpose(3, 0, 1, 2)
            elif op["op_name"] == "CONV_2D":
                weight = weight.transpose(0, 3, 1, 2)
            layers.append((np.ascontiguousarray(weight), bias))
    return layers


def _dequantised(interpreter: Any, tensor: dict[str, Any]) -> Floats:
    raw = interpreter.get_tensor(tensor["index"]).astype(np.float32)
    form = tensor["quantization_parameters"]
    axes = [1] * raw.ndim
    axes[form["quantized_dimension"]] = -1
    scales, zeros = form["scales"].reshape(axes), form["zero_points"].reshape(axes)
    return np.asarray((raw - zeros) * scales, np.float32)


def _in_order(net: nn.Module, example: Tensor) -> list[nn.Module]:
    """The convolutions and linear layers as the network runs them."""
    order: list[nn.Module] = []
    layers = [module for module in net.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(lambda module, *_: order.append(module)) for layer in layers]
    with torch.no_grad():
        net.eval()(example)
    for hook in hooks:
        hook.remove()
    return order


def _open_norms(net: nn.Module, biases: dict[nn.Module, Tensor], examples: Tensor) -> None:
    """Let each normalisation subtract and divide by what the examples show, and put exactly that back."""

    def settle(norm: nn.BatchNorm2d, bias: Tensor) -> Any:
        def before(_: nn.Module, inputs: tuple[Tensor]) -> None:
            mean = inputs[0].mean(dim=(0, 2, 3))
            variance = inputs[0].var(dim=(0, 2, 3))
            norm.running_mean, norm.running_var = mean, variance
            norm.weight.data = torch.sqrt(variance + norm.eps)
            norm.bias.data = mean + bias

        return before

    pairs = [(m.conv, m.norm) for m in net.modules() if hasattr(m, "conv") and hasattr(m, "norm")]
    hooks = [norm.register_forward_pre_hook(settle(norm, biases[conv])) for conv, norm in pairs]
    with torch.no_grad():
        net.eval()(examples)
    for hook in hooks:
        hook.remove()


def _worst(net: nn.Module, path: Path, examples: Tensor) -> float:
    """Largest difference between the recovered network's outputs and the release's, in the outputs' own units."""
    interpreter = litert.Interpreter(str(path))
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]
    batch = examples[: source["shape"][0]]
    pixels = np.rint(batch.permute(0, 2, 3, 1).numpy() * 255).astype(np.uint8)
    interpreter.set_tensor(source["index"], (pixels ^ 0x80).view(np.int8))
    interpreter.invoke()
    given = []
    for output in interpreter.get_output_details():
        scale, zero = output["quantization"]
        raw = interpreter.get_tensor(output["index"])
        given.append(torch.from_numpy((raw.astype(np.float32) - zero) * scale))
    with torch.no_grad():
        outputs = net.eval()(batch)
    own = outputs if isinstance(outputs, tuple) else (outputs,)
    worst = 0.0
    for tensor in own:
        flat = tensor.permute(0, 2, 3, 1) if tensor.ndim == 4 else tensor
        flat = flat.clamp(min=-8)  # logits were clipped there
        worst = max(worst, min(float((flat - g).abs().mean()) for g in given if g.shape == flat.shape))
    return worst


def main() -> None:
    """Command line: recover the networks of a release."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("release", type=Path)
    release: Path = parser.parse_args().release
    networks = msgspec.json.decode((release / "manifest.json").read_bytes(), type=Manifest).networks
    pictures = np.stack([draw_detector_picture(STATISTICS_SEED + i)[0][..., ::-1] for i in range(16)])
    patches = np.concatenate([even_levels(draw_patches(STATISTICS_SEED + i)[0]) for i in range(8)])
    places = np.concatenate([draw_places(STATISTICS_SEED + i)[0] for i in range(30)])
    DATA.mkdir(exist_ok=True)
    for name, file, net, drawn in (
        ("wells", networks.wells.file, WellsNet(), pictures),
        ("calls", networks.calls.file, CallsNet(), patches),
        ("legends", networks.legends.file, LegendsNet(), places),
    ):
        shaped = drawn.reshape(*drawn.shape[:3], -1).astype(np.float32) / 255
        examples = torch.from_numpy(shaped).permute(0, 3, 1, 2).contiguous()
        try:
            recover(release / file, net, examples)
        except AnotherShapeError as error:  # the calls of v2 and before
            print(f"{name}: {error}; this network learns from nothing")
            continue
        print(f"{name}: {_worst(net, release / file, examples):.4f} mean difference of the worst output")
        torch.save(net.state_dict(), DATA / f"{name}-{release.name.rpartition('-')[2]}.pt")


if __name__ == "__main__":
    main()
