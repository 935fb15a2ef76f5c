"""What the second opinion is worth: its limits fitted on renders, and the network, the measurement and the forty-line
rule side by side.

    python -m models.training.second_opinion --plates ../shared/plates

The forty-line rule is the floor that any reader has to beat: CIELAB a* above 8, area
and tail ratio of the largest part, limits as they fitted one photographed plate. Runs with the edge runtime alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_agent.vision import Model, load_model
from edge_agent.vision.blobs import Blobs, find_blobs
from edge_agent.vision.patches import cut_patches
from edge_agent.vision.streak import clear_blobs, disputed, measure_streaks
from models.training.dataset import PATCH_PITCHES, PATCH_PX, jitter
from models.training.measure import softmax
from models.training.photographs import load_labelled
from models.training.render import render_plate
from models.training.spec import CLASSES, FLOWING, Difficulty, Doubles, Floats, Image, PlateSpec, well_names
from protocol.assay import Call
from protocol.plate import plate_format
from protocol.profiles import profile_named

RELEASE = Path("models/hi-wells-v1")
FIT_SEED, TEST_SEED = 5_000_000, 5_100_000
RULE_PX = round(126 * PATCH_PITCHES)  # side of a patch at the resolution for which the rule's limits were found
RULE_REACH, RULE_REDNESS, RULE_AREA_PX, RULE_TAIL = 0.3, 8.0, 150, 0.68

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Plate:
    """Patches of one plate, as the network takes them and fine, what a panel would say of each, which of them count."""

    patches: Image
    fine: Image
    votes: Floats
    counts: Bools


@dataclass(frozen=True, slots=True)
class Judged:
    """What each judge says of the wells of many plates: true where it streams; `decided` where the measurement is.

    Per row of those plates: whether the last flowing well is the true one.
    """

    truth: Bools
    network: Bools
    rule: Bools
    streams: Bools
    decided: Bools
    disputed: Bools
    titres_network: Bools
    titres_rule: Bools


def rendered(seed: int, difficulty: Difficulty) -> Plate:
    """A rendered plate as the device would cut it, at a resolution of 40 to 130 px per pitch."""
    rng = np.random.default_rng([seed, 2])
    pitch_px = float(np.exp(rng.uniform(np.log(40), np.log(130))))
    size_px = (round(pitch_px * 15.5), round(pitch_px * 11))
    spec = PlateSpec(difficulty=difficulty, size_px=size_px, turn_deg=float(rng.normal(0, 4)))
    image, truth = render_plate(seed, spec)
    patches, fine = _cut(image, truth.index_to_px() @ jitter(rng))
    low, high = truth.centres_px.T - 0.3 * pitch_px, truth.centres_px.T + 0.3 * pitch_px
    inside = (low > 0).all(axis=0) & (high[0] < size_px[0]) & (high[1] < size_px[1])
    return Plate(patches, fine, truth.soft_calls, inside)


def photographed(stem: Path) -> Plate:
    """A labelled photograph, cut by its labelled corners."""
    label, image, corners = load_labelled(stem)
    names = well_names(8, 12)
    calls = [CLASSES.index(label["wells"][name]) for name in names]
    clear = np.array([name not in label.get("ambiguous", ()) for name in names])
    return Plate(*_cut(image, corners), np.eye(5, dtype=np.float32)[calls], clear)


def _cut(image: Image, homography: Doubles) -> tuple[Image, Image]:
    patches, fine = (cut_patches(image, homography, 8, 12, side, PATCH_PITCHES) for side in (PATCH_PX, RULE_PX))
    return patches, fine


def forty_line_rule(patches: Image) -> Bools:
    """Streams if the largest part redder than its well's neutral is large enough and has a narrow lower end."""
    offsets = ((np.arange(RULE_PX) + 0.5) / RULE_PX - 0.5) * PATCH_PITCHES
    disc = np.hypot(*np.meshgrid(offsets, offsets)) < RULE_REACH
    streams = []
    for patch in patches:
        red = cv2.cvtColor(patch.astype(np.float32) / 255, cv2.COLOR_RGB2Lab)[..., 1]
        marked = ((red > RULE_REDNESS) & disc).astype(np.uint8)
        count, labels, stats, _ = cv2.connectedComponentsWithStats(marked)
        if count < 2:
            streams.append(False)
            continue
        largest = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
        rows = (labels == largest).sum(axis=1)
        rows = rows[np.flatnonzero(rows)[0] : np.flatnonzero(rows)[-1] + 1]
        place = (np.arange(len(rows)) + 0.5) / len(rows)
        body = rows[(place > 0.15) & (place < 0.5)]
        tail = rows[place > 0.7].mean() / body.mean() if body.size else 1.0
        streams.append(bool(stats[largest, cv2.CC_STAT_AREA] > RULE_AREA_PX and tail < RULE_TAIL))
    return np.array(streams)


def judge(model: Model, plates: Sequence[Plate]) -> Judged:
    """All judges on the wells that count."""
    form, profile = plate_format(96), profile_named("hi-96")
    network = model.manifest.networks.calls
    parts, rows = [], []
    for plate in plates:
        calls = softmax(model.call_logits(plate.patches), network.temperature).argmax(axis=1)
        streaks = list(measure_streaks(plate.patches, PATCH_PITCHES, form, profile).values())
        columns = (
            plate.votes.argmax(axis=1) == FLOWING,
            calls == FLOWING,
            forty_line_rule(plate.fine),
            np.array([streak.opinion == "streams" for streak in streaks]),
            np.array([streak.opinion != "undecided" for streak in streaks]),
            np.array([disputed(Call(CLASSES[c]), s) for c, s in zip(calls, streaks, strict=True)]),
        )
        parts.append(np.stack(columns)[:, plate.counts])
        true, network_says, rule_says = (_last_flowing(column) for column in columns[:3])
        rows.append(np.stack([network_says == true, rule_says == true]))
    return Judged(*np.concatenate(parts, axis=1), *np.concatenate(rows, axis=1))


def _last_flowing(streams: Bools) -> NDArray[np.int64]:
    return np.asarray((streams.reshape(-1, 12) * np.arange(1, 13)).max(axis=1))


def fit_limits(plates: Sequence[Plate]) -> tuple[Doubles, float, float]:
    """What explains the panel's votes on clear blobs best, and the scores from which it streams, below which not.

    The first is an intercept and the weights of ln tail ratio and ln slenderness; 3 of 100 blobs that are no tears
    reach the second, 5 of 100 tears fall below the third.
    """
    shapes, votes = [], []
    for plate in plates:
        blobs = find_blobs(plate.patches, PATCH_PITCHES)
        use = clear_blobs(blobs) & plate.counts
        shapes.append(_shapes(blobs)[use])
        votes.append(plate.votes[use, FLOWING])
    x, y = np.concatenate(shapes), np.concatenate(votes)
    weights = np.zeros(3)
    for _ in range(30):
        p = 1 / (1 + np.exp(-x @ weights))
        hessian = (x * (p * (1 - p))[:, None]).T @ x + 1e-6 * np.eye(3)
        weights = weights + np.linalg.solve(hessian, x.T @ (y - p))
    scores, tears = x @ weights, y > 0.5
    return weights, float(np.quantile(scores[~tears], 0.97)), float(np.quantile(scores[tears], 0.05))


def _shapes(blobs: Blobs) -> Doubles:
    tail, slenderness = np.maximum(blobs.tail, 0.01), np.maximum(blobs.length, 0.01) / np.maximum(blobs.width, 0.01)
    return np.stack([np.ones(len(tail)), np.log(tail), np.log(slenderness)], axis=1)


def table_row(name: str, judged: Judged) -> str:
    """One line of the comparison: shares right, and how disputes relate to the network's mistakes."""
    right, wrong = judged.network == judged.truth, judged.network != judged.truth
    agreed, undecided = judged.decided & ~judged.disputed, ~judged.decided
    figures = (
        f"{right.mean():.2%}",
        f"{(judged.rule == judged.truth).mean():.2%}",
        f"{(judged.streams == judged.truth)[judged.decided].mean():.2%} of {judged.decided.mean():.0%}",
        f"{_share(judged.disputed & right, right)}",
        f"{(judged.disputed & wrong).sum()} of {wrong.sum()}",
        f"{judged.titres_network.mean():.1%}",
        f"{judged.titres_rule.mean():.1%}",
        f"{_share(agreed & wrong, agreed)}",
        f"{_share(undecided & wrong, undecided)}",
        f"{_share(judged.disputed & wrong, judged.disputed)}",
    )
    return f"| {name} | {len(right)} | " + " | ".join(figures) + " |"


def _share(part: Bools, whole: Bools) -> str:
    return f"{part.sum() / whole.sum():.2%}" if whole.any() else "–"


HEAD = """
| | wells | right: network | forty-line rule | measurement, where decided | falsely disputed | mistakes disputed \
| titres exact: network | forty-line rule | network wrong where both agree | measurement undecided | disputed |
|---|---|---|---|---|---|---|---|---|---|---|---|"""


def main() -> None:
    """Command line: print the limits that fit, and the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--release", type=Path, default=RELEASE)
    parser.add_argument("--plates", type=Path, default=Path("../shared/plates"), help="labelled photographs, if any")
    parser.add_argument("--count", type=int, default=60, help="rendered plates of each kind")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    model, count = load_model(arguments.release), arguments.count
    weights, streams_from, compact_below = fit_limits([rendered(FIT_SEED + i, "varied") for i in range(count)])
    print("intercept, per ln tail, per ln slenderness:", weights.round(2).tolist())
    print(f"streams from {streams_from:.2f}, does not stream below {compact_below:.2f}")
    print(HEAD)
    for difficulty in ("plain", "varied"):
        plates = [rendered(TEST_SEED + i, difficulty) for i in range(count)]
        print(table_row(f"{difficulty} renders", judge(model, plates)))
    stem = arguments.plates / "hi" / "hi-plate-62"
    if stem.with_suffix(".jpg").exists():
        print(table_row("photograph, plate 62", judge(model, [photographed(stem)])))


if __name__ == "__main__":
    main()
