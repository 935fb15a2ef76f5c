"""Learn to read the characters on a plate's frame, from drawn strips only.

    python -m models.training.legends

Draws what is missing into train-data/legends.npz, then trains; seeds are fixed. Needs the train extra and the fonts
that `legend_strips` names.
"""

# torch is not imported by the type checker, so its Module is Any there.
# mypy: disable-error-code="misc"

from __future__ import annotations

import argparse
import json
import time
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from edge_agent.vision.legends import GLYPHS
from models.training.legend_strips import IGNORED, draw_places
from models.training.nets import Conv
from models.training.spec import Image
from models.training.train import DATA, TRAIN_SEED, Average

LEGENDS_SEED = 4_000_000
BATCH = 256
RATE = 4e-3


class LegendsNet(nn.Module):
    """One place of the frame (36 × 36, evened out) to the logits of `GLYPHS`; about 70 thousand parameters."""

    def __init__(self) -> None:
        super().__init__()
        widths = ((1, 16, 2), (16, 24, 2), (24, 40, 1), (40, 48, 2))
        self.features = nn.Sequential(*[Conv(i, o, 3, s) for i, o, s in widths])
        # Where a character's strokes lie tells 6 from 9, so the last step keeps places apart instead of averaging them.
        self.join = nn.Conv2d(48, 48, 4)
        self.logits = nn.Linear(48, len(GLYPHS))

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(functional.relu(self.join(self.features(x))).mean((2, 3)))


def draw_strips(count: int, seed: int, processes: int) -> tuple[Image, NDArray[np.int64]]:
    """Places of `count` strips with what stands in each; those without a truth are left out."""
    with get_context("spawn").Pool(processes) as pool:
        drawn = pool.map(draw_places, range(seed, seed + count), chunksize=100)
    places, truth = (np.concatenate(part) for part in zip(*drawn, strict=True))
    return places[truth != IGNORED], truth[truth != IGNORED]


def train_legends(places: Image, truth: NDArray[np.int64], out: Path, epochs: int, start: Path | None) -> None:
    """Teach LegendsNet, going on from `start` if given; the running average of the weights is kept."""
    torch.manual_seed(TRAIN_SEED)
    rng = np.random.default_rng(TRAIN_SEED)
    net = LegendsNet().to(memory_format=torch.channels_last).train()
    if start is not None:
        net.load_state_dict(torch.load(start, weights_only=True))
    average = Average(net, 0.998)
    optimiser = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=epochs * (len(places) // BATCH))
    started = time.monotonic()
    for epoch in range(epochs):
        losses = []
        for chosen in rng.permutation(len(places))[: len(places) // BATCH * BATCH].reshape(-1, BATCH):
            inputs = torch.from_numpy(vary(places[chosen], rng)[:, None]).float() / 255
            with torch.autocast("cpu", torch.bfloat16):
                logits = net(inputs.contiguous(memory_format=torch.channels_last))
            loss = functional.cross_entropy(logits.float(), torch.from_numpy(truth[chosen]), label_smoothing=0.01)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            average.update()
            losses.append(float(loss.detach()))
        average.save(out)
        print(f"{time.monotonic() - started:6.0f} s  epoch {epoch + 1}  loss {np.mean(losses):.4f}", flush=True)
    steps, minutes = epochs * (len(places) // BATCH), round((time.monotonic() - started) / 60, 1)
    note = {"renders": len(places), "steps": steps, "minutes": minutes} | ({"start": start.stem} if start else {})
    out.with_suffix(".json").write_text(json.dumps(note))


def vary(places: Image, rng: np.random.Generator) -> Image:
    """The same places a little aside, half of them dark for light: strips are costly to draw."""
    places = np.roll(places, rng.integers(-2, 3, 2), (1, 2))
    return np.where(rng.random((len(places), 1, 1)) < 0.5, places, 255 - places)


def accuracy(weights: Path, places: Image, truth: NDArray[np.int64]) -> dict[str, float]:
    """Shares of characters read right, and of other places taken for a character with some confidence."""
    net = LegendsNet().eval()
    net.load_state_dict(torch.load(weights, weights_only=True))
    with torch.inference_mode():
        probabilities = net(torch.from_numpy(places[:, None]).float() / 255).softmax(1).numpy()
    nothing = truth == len(GLYPHS) - 1
    best, sure = probabilities.argmax(axis=1), probabilities.max(axis=1) > 0.7
    return {
        "characters_right": round(float((best == truth)[~nothing].mean()), 4),
        "characters_misread": round(float((sure & (best != truth) & (best != len(GLYPHS) - 1))[~nothing].mean()), 4),
        "seen_where_nothing_is": round(float((sure & (best != truth))[nothing].mean()), 4),
    }


def main() -> None:
    """Command line: draw, train, measure on strips not trained on."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strips", type=int, default=24_000)
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--start", type=Path, help="weights to go on from")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    cv2.setNumThreads(1)
    DATA.mkdir(exist_ok=True)
    cached = DATA / "legends.npz"
    if not cached.exists():
        places, truth = draw_strips(arguments.strips, LEGENDS_SEED, arguments.threads)
        np.savez(cached, places=places, truth=truth)
    with np.load(cached) as drawn:
        train_legends(drawn["places"], drawn["truth"], DATA / "legends.pt", arguments.epochs, arguments.start)
    unseen = draw_strips(1000, LEGENDS_SEED - 10_000, arguments.threads)
    print(json.dumps(accuracy(DATA / "legends.pt", *unseen)))


if __name__ == "__main__":
    main()
