"""Learn the networks from rendered pictures only.

    python -m models.training.train wells --start train-data/wells-v3.pt
    python -m models.training.train calls
    python -m models.training.train settle --start train-data/calls-unsettled.pt

Steps and seeds are fixed, so a run can be repeated (to the rounding of the machine); an average of the weights over
the steps is what is kept. Needs the train extra.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from models.training.augment import recolour_patches, vary_picture
from models.training.dataset import PLATES_PER_SHARD, load_calls, write_calls, write_wells
from models.training.losses import DetectorLoss, assign
from models.training.nets import CallsNet, WellsNet
from models.training.spec import Difficulty, Floats, Image

DATA = Path("train-data")
WELLS_SEED, CALLS_SEED, TRAIN_SEED = 1_000_000, 2_000_000, 7
WELLS_RATE, CALLS_RATE, SETTLE_RATE = 2e-3, 3e-3, 1.5e-3
CALLS_EPOCHS, SETTLE_EPOCHS = 12, 2
# Every look that training has, half of it drawn near the ends of its ranges.
CALLS_PLATES: Mapping[Difficulty, range] = {
    "varied": range(CALLS_SEED, CALLS_SEED + 1600),
    "wide": range(CALLS_SEED + 1600, CALLS_SEED + 3200),
}
# To settle: well-kept benches among the others, or the boundary of button and tear stays as soft as on bad pictures.
SETTLE_PLATES: Mapping[Difficulty, range] = {
    "natural": range(CALLS_SEED + 3200, CALLS_SEED + 3680),
    "carded": range(CALLS_SEED + 3680, CALLS_SEED + 4160),
    "varied": range(CALLS_SEED, CALLS_SEED + 400),
    "wide": range(CALLS_SEED + 1600, CALLS_SEED + 2000),
}
Batch = TypeVar("Batch")


class Average:
    """A running average of a network's weights: steadier than the last step's."""

    def __init__(self, net: nn.Module, most: float) -> None:
        self._net, self._most, self._steps = net, most, 0
        self._state: dict[str, Tensor] = {k: v.clone().float() for k, v in net.state_dict().items()}

    def update(self) -> None:
        """Take the network's present weights in."""
        self._steps += 1
        keep = min(self._most, (1 + self._steps) / (10 + self._steps))
        for name, value in self._net.state_dict().items():
            self._state[name].mul_(keep).add_(value.detach().float(), alpha=1 - keep)

    def save(self, path: Path) -> None:
        """Write the average, in the network's own types."""
        own = self._net.state_dict()
        torch.save({name: value.to(own[name].dtype) for name, value in self._state.items()}, path)


def train_wells(
    folder: Path, out: Path, steps: int, start: Path | None, *, rate: float = WELLS_RATE, batch: int = 8
) -> None:
    """Teach WellsNet, going on from `start` if given; a checkpoint every 100 steps lets a first model be tried."""
    torch.manual_seed(TRAIN_SEED)
    rng = np.random.default_rng(TRAIN_SEED)
    net = _started(WellsNet(), start)
    average, loss_of = Average(net, 0.997), DetectorLoss()
    optimiser = _optimiser(net, rate, 2e-2)
    started, seen = time.monotonic(), []
    for step, (pictures, classes, targets) in enumerate(_ahead(islice(_wells_batches(folder, rng, batch), steps))):
        _set_rate(optimiser, rate, step, steps, warm=60)
        with torch.autocast("cpu", torch.bfloat16):
            outputs = net(_lit(pictures))
        loss, overlap = loss_of(outputs, classes, targets)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 10.0)
        optimiser.step()
        average.update()
        seen.append((float(loss.detach()), overlap))
        if step % 50 == 49:
            mean_loss, mean_overlap = np.mean(seen[-50:], axis=0)
            took = time.monotonic() - started
            print(f"{took:6.0f} s  step {step + 1}  loss {mean_loss:.3f}  overlap {mean_overlap:.3f}", flush=True)
        if step % 100 == 99 or step == steps - 1:
            average.save(out)
            _note(out, folder, started, step + 1, start)


def train_calls(
    folder: Path,
    out: Path,
    epochs: int,
    start: Path | None,
    *,
    rate: float = CALLS_RATE,
    seed: int = TRAIN_SEED,
    batch: int = 128,
) -> None:
    """Teach CallsNet from soft labels, going on from `start` if given."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    patches, soft = load_calls(folder)
    net = _started(CallsNet(), start)
    average = Average(net, 0.998)
    optimiser = _optimiser(net, rate, 2e-2)
    per_epoch, started = len(patches) // batch, time.monotonic()
    for epoch in range(epochs):
        losses = []
        for index, (inputs, votes) in enumerate(_ahead(_calls_batches(patches, soft, rng, batch))):
            steps = epochs * per_epoch
            _set_rate(optimiser, rate, epoch * per_epoch + index, steps, warm=min(200, steps // 10))
            with torch.autocast("cpu", torch.bfloat16):
                logits = net(inputs.contiguous(memory_format=torch.channels_last))
            loss = functional.cross_entropy(logits.float(), votes)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            average.update()
            losses.append(float(loss.detach()))
        average.save(out)
        _note(out, folder, started, (epoch + 1) * per_epoch, start)
        print(f"{time.monotonic() - started:6.0f} s  epoch {epoch + 1}  loss {np.mean(losses):.4f}", flush=True)


def _started(net: nn.Module, start: Path | None) -> nn.Module:
    """Ready to learn, from an earlier release's weights if there are any."""
    if start is not None:
        net.load_state_dict(torch.load(start, weights_only=True))
    return net.to(memory_format=torch.channels_last).train()


def _note(weights: Path, folder: Path, started: float, steps: int, start: Path | None) -> None:
    """What the manifest will say about this training."""
    renders = len(list(folder.glob("*.json"))) or PLATES_PER_SHARD * len(list(folder.glob("*.npz")))
    minutes = round((time.monotonic() - started) / 60, 1)
    note: dict[str, object] = {"renders": renders, "steps": steps, "minutes": minutes}
    if start is not None:
        note["start"] = start.stem
        if start.with_suffix(".json").exists():
            note["before"] = json.loads(start.with_suffix(".json").read_text())
    weights.with_suffix(".json").write_text(json.dumps(note))


def _wells_batches(folder: Path, rng: np.random.Generator, batch: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    names = sorted(path.stem for path in folder.glob("*.json"))
    while True:
        order = rng.permutation(len(names))
        for start in range(0, len(order) - batch + 1, batch):
            loaded = [vary_picture(rng, *_load(folder, names[i])) for i in order[start : start + batch]]
            assigned = [assign(boxes) for _, boxes in loaded]
            pictures = torch.from_numpy(np.stack([picture for picture, _ in loaded])).permute(0, 3, 1, 2)
            yield (
                pictures,
                torch.from_numpy(np.stack([classes for classes, _ in assigned])),
                torch.from_numpy(np.stack([targets for _, targets in assigned])),
            )


def _calls_batches(
    patches: Image, soft: Floats, rng: np.random.Generator, batch: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Every patch once, in chance order and varied."""
    order = rng.permutation(len(patches))
    for start in range(0, len(order) - batch + 1, batch):
        chosen = np.sort(order[start : start + batch])
        inputs = torch.from_numpy(recolour_patches(rng, patches[chosen])).permute(0, 3, 1, 2)
        yield inputs, torch.from_numpy(soft[chosen])


def _ahead(batches: Iterator[Batch]) -> Iterator[Batch]:
    """The same batches, each made while the network learns from the one before."""
    with ThreadPoolExecutor(1) as maker:
        pending = maker.submit(next, batches, None)
        while (batch := pending.result()) is not None:
            pending = maker.submit(next, batches, None)
            yield batch


def _load(folder: Path, name: str) -> tuple[Image, Floats]:
    picture = np.asarray(cv2.imread(str(folder / f"{name}.jpg"))[..., ::-1], dtype=np.uint8)
    return picture, np.array(json.loads((folder / f"{name}.json").read_text()), np.float32).reshape(-1, 5)


def _lit(pictures: Tensor) -> Tensor:
    """0–1 floats with a little random light and colour."""
    count = pictures.shape[0]
    x = pictures.float() / 255
    x = x * (1 + 0.15 * (torch.rand(count, 3, 1, 1) - 0.5)) + 0.1 * (torch.rand(count, 1, 1, 1) - 0.5)
    return x.clamp(0, 1).contiguous(memory_format=torch.channels_last)


def _optimiser(net: nn.Module, rate: float, decay: float) -> torch.optim.Optimizer:
    matrices = [p for p in net.parameters() if p.ndim > 1]
    others = [p for p in net.parameters() if p.ndim <= 1]
    return torch.optim.AdamW(
        [{"params": matrices, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}], lr=rate
    )


def _set_rate(optimiser: torch.optim.Optimizer, peak: float, step: int, steps: int, warm: int) -> None:
    rate = peak * min(1, (step + 1) / warm) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))
    for group in optimiser.param_groups:
        group["lr"] = rate


def main() -> None:
    """Command line: render what is missing, then train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", choices=["wells", "calls", "settle"])
    parser.add_argument("--renders", type=int, default=4400, help="pictures to render for wells")
    parser.add_argument("--steps", type=int, default=2800)
    parser.add_argument("--epochs", type=int, help=f"calls {CALLS_EPOCHS}, settle {SETTLE_EPOCHS}")
    parser.add_argument("--start", type=Path, help="weights to go on from")
    parser.add_argument("--rate", type=float, help="highest learning rate, if not the network's own")
    parser.add_argument(
        "--seed", type=int, default=TRAIN_SEED, help="of calls and settle; another one writes …-seed<N>.pt"
    )
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    cv2.setNumThreads(1)
    folder = DATA / arguments.network
    if arguments.network == "wells":
        if not folder.exists():
            write_wells(folder, arguments.renders, WELLS_SEED, arguments.threads)
        train_wells(folder, DATA / "wells.pt", arguments.steps, arguments.start, rate=arguments.rate or WELLS_RATE)
    else:
        settling = arguments.network == "settle"
        if not folder.exists():
            write_calls(folder, SETTLE_PLATES if settling else CALLS_PLATES, arguments.threads)
        name = "calls" if settling else "calls-unsettled"
        name += ".pt" if arguments.seed == TRAIN_SEED else f"-seed{arguments.seed}.pt"
        train_calls(
            folder,
            DATA / name,
            arguments.epochs or (SETTLE_EPOCHS if settling else CALLS_EPOCHS),
            arguments.start,
            rate=arguments.rate or (SETTLE_RATE if settling else CALLS_RATE),
            seed=arguments.seed,
        )


if __name__ == "__main__":
    main()
