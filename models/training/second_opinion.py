"""What the second opinion is worth: its limits fitted on renders, and the network, the measurement and the forty-line
rule side by side.

    python -m models.training.second_opinion --plates ../shared/plates

The comparison of whole readers is in `rivals`. Runs with the edge runtime alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_agent.config import SHIPPED_MODEL
from edge_agent.vision import Model, load_model
from edge_agent.vision.blobs import Blobs, find_blobs
from edge_agent.vision.streak import clear_blobs, disputed, measure_streaks
from models.training.dataset import PATCH_PITCHES
from models.training.given import Bools, GivenPlate, photographed_titration, rendered
from models.training.measure import softmax
from models.training.rivals import forty_line_rule
from models.training.spec import CLASSES, FLOWING, Doubles
from protocol.assay import Call
from protocol.plate import plate_format
from protocol.profiles import profile_named

FIT_SEED, TEST_SEED = 5_000_000, 5_100_000


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


def judge(model: Model, plates: Sequence[GivenPlate]) -> Judged:
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


def fit_limits(plates: Sequence[GivenPlate]) -> tuple[Doubles, float, float]:
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
    parser.add_argument("--release", type=Path, default=SHIPPED_MODEL)
    parser.add_argument("--plates", type=Path, default=Path("../shared/plates"), help="labelled photographs, if any")
    parser.add_argument("--count", type=int, default=60, help="rendered plates of each kind")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    model, count = load_model(arguments.release), arguments.count
    weights, streams_from, compact_below = fit_limits(
        [rendered(FIT_SEED + i, "varied", jittered=True) for i in range(count)]
    )
    print("intercept, per ln tail, per ln slenderness:", weights.round(2).tolist())
    print(f"streams from {streams_from:.2f}, does not stream below {compact_below:.2f}")
    print(HEAD)
    for difficulty in ("plain", "varied"):
        plates = [rendered(TEST_SEED + i, difficulty, jittered=True) for i in range(count)]
        print(table_row(f"{difficulty} renders", judge(model, plates)))
    stem = arguments.plates / "hi" / "hi-plate-62"
    if stem.with_suffix(".jpg").exists():
        print(table_row("photograph, plate 62", judge(model, [photographed_titration(stem)])))


if __name__ == "__main__":
    main()
