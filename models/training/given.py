"""Plates whose place in the picture is given, so that only the judging of wells is compared.

Renders come with their truth; labelled photographs are read where they are present, and never kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_agent.vision.patches import cut_patches
from models.training.beyond import panel_endpoints
from models.training.dataset import PATCH_PITCHES, PATCH_PX, jitter
from models.training.photographs import load_labelled
from models.training.render import render_plate
from models.training.spec import CLASSES, EMPTY, Difficulty, Doubles, Floats, Image, PlateSpec, well_names

FINE_PX = round(126 * PATCH_PITCHES)  # side of a patch at the resolution for which the forty-line rule was written
NO_ANSWER = -1

Bools = NDArray[np.bool_]
Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class GivenPlate:
    """Patches of one plate as the network takes them and fine, what a panel would say of each, which of them count.

    `ends` holds the right endpoint of every row, NO_ANSWER where a panel would be divided or a well is cut off.
    """

    patches: Image
    fine: Image
    votes: Floats
    counts: Bools
    ends: Integers


def rendered(seed: int, difficulty: Difficulty, *, jittered: bool = False) -> GivenPlate:
    """A rendered plate at 40 to 130 px per pitch; `jittered` cuts its wells with the error of a fitted lattice."""
    rng = np.random.default_rng([seed, 2])
    pitch_px = float(np.exp(rng.uniform(np.log(40), np.log(130))))
    size_px = (round(pitch_px * 15.5), round(pitch_px * 11))
    spec = PlateSpec(difficulty=difficulty, size_px=size_px, turn_deg=float(rng.normal(0, 4)))
    image, truth = render_plate(seed, spec)
    homography = truth.index_to_px() @ jitter(rng) if jittered else truth.index_to_px()
    low, high = truth.centres_px.T - 0.3 * pitch_px, truth.centres_px.T + 0.3 * pitch_px
    inside = (low > 0).all(axis=0) & (high[0] < size_px[0]) & (high[1] < size_px[1])
    ends, agreed = panel_endpoints(truth.soft_calls)
    whole = inside.reshape(len(ends), -1).all(axis=1)
    return GivenPlate(*_cut(image, homography), truth.soft_calls, inside, np.where(agreed & whole, ends, NO_ANSWER))


def photographed_titration(stem: Path) -> GivenPlate:
    """A labelled titration, cut by its labelled corners; wells that its first reader was unsure of do not count."""
    label, image, corners = load_labelled(stem)
    names = well_names(8, 12)
    calls = [CLASSES.index(label["wells"][name]) for name in names]
    clear = np.array([name not in label.get("ambiguous", ()) for name in names])
    ends = np.array(list(label["endpoint_last_flowing_column"].values()))
    return GivenPlate(*_cut(image, corners), np.eye(5, dtype=np.float32)[calls], clear, ends)


def photographed_almost_empty(stem: Path) -> GivenPlate:
    """A plate of which only a few wells hold cells: those do not count, because nobody called them, and no row ends."""
    label, image, corners = load_labelled(stem)
    clear = np.array([label["wells"][name] == "clear" for name in well_names(8, 12)])
    votes = np.eye(5, dtype=np.float32)[np.full(len(clear), EMPTY)]
    return GivenPlate(*_cut(image, corners), votes, clear, np.full(8, NO_ANSWER))


def _cut(image: Image, homography: Doubles) -> tuple[Image, Image]:
    patches, fine = (cut_patches(image, homography, 8, 12, side, PATCH_PITCHES) for side in (PATCH_PX, FINE_PX))
    return patches, fine
