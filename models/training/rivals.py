"""One table: this reader beside the others that its wells could have been judged by.

    python -m models.training.rivals --plates ../shared/plates

Every judge is given where the plate lies, so that only the judging of wells is compared, and its calls go through the
same endpoint rule. The forty-line rule is the floor: CIELAB a* above 8, area and tail ratio of the largest part, limits
as they fitted one photographed plate. A patch network of somebody else can be put beside it (`--network FILE`, float,
64 × 64 RGB patches of 0–1, classes in our order). Photographs are read where they are present.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

import ai_edge_litert.interpreter as litert
import cv2
import numpy as np

from edge_agent.config import SHIPPED_MODEL
from edge_agent.vision import Model
from edge_agent.vision.calls import CANDIDATE_FROM
from edge_agent.vision.streak import measure_streaks, with_second_opinion
from models.training.dataset import PATCH_PITCHES
from models.training.given import (
    FINE_PX,
    NO_ANSWER,
    Bools,
    GivenPlate,
    Integers,
    photographed_almost_empty,
    photographed_titration,
    rendered,
)
from models.training.measure import calibrate_calls, call_scores, softmax
from models.training.spec import CLASSES, DIFFUSE, EMPTY, FLOWING, Difficulty, Doubles, Image
from models.training.tables import rivals_table
from models.training.workers import loaded, over_seeds
from protocol.assay import Call
from protocol.endpoint import RowEndpoint, WellEvidence, last_flowing, plate_endpoints, step_fit
from protocol.messages import Well
from protocol.plate import plate_format
from protocol.profiles import profile_named

RIVAL_SEED = 5_200_000
RULE_REACH, RULE_REDNESS, RULE_AREA_PX, RULE_TAIL = 0.3, 8.0, 150, 0.68
NETWORK, CHECKED, RULE, OTHER = (
    "this network",
    "this network and the second opinion",
    "forty-line rule",
    "patch network",
)
# Measured on the photographed titration when they were made, with its corners given: repeated here, because their code
# and weights are not here. The rule's limits were found on that very plate; our writing of it gets less there.
QUOTED: Final = {
    "forty-line rule as first written, quoted": {"flowing_right": 1.0, "class_right": None, "rows_exact": 8},
    "a first probe, two minutes of training, quoted": {"flowing_right": 1.0, "class_right": 0.9785, "rows_exact": 7},
}


@dataclass(frozen=True, slots=True)
class Judged:
    """What one judge says of one plate; `confidences` is None for a judge that knows no probability (and no class)."""

    calls: Integers
    confidences: Doubles | None
    endpoints: tuple[RowEndpoint, ...]


Verdicts = dict[str, Judged]
_NONE: Final = np.zeros((0, 0, 0, 3), np.uint8)


def forty_line_rule(patches: Image) -> Bools:
    """Streams if the largest part redder than neutral is large enough and has a narrow lower end; on fine patches."""
    offsets = ((np.arange(FINE_PX) + 0.5) / FINE_PX - 0.5) * PATCH_PITCHES
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


def judge_all(plate: GivenPlate, model: Model, other: Path | None) -> Verdicts:
    """Every judge on one plate."""
    temperature = model.manifest.networks.calls.temperature
    own = _wells(softmax(model.call_logits(plate.patches), temperature))
    streaks = measure_streaks(plate.patches, PATCH_PITCHES, plate_format(96), profile_named("hi-96"))
    judged = {NETWORK: _judged(own), CHECKED: _judged(with_second_opinion(own, streaks))}
    if other is not None:
        judged[OTHER] = _judged(_wells(softmax(_foreign_logits(other, plate.patches), 1.0)))
    streams = np.where(forty_line_rule(plate.fine), FLOWING, DIFFUSE)
    ruled = _judged(_wells(np.eye(len(CLASSES))[streams]))
    return judged | {RULE: Judged(ruled.calls, None, ruled.endpoints)}


def _wells(probabilities: Doubles) -> dict[str, Well]:
    """Calls as the device stores them, without any of its reasons not to read a well."""
    profile, wells = profile_named("hi-96"), {}
    for name, row in zip(profile.format.names(), probabilities, strict=True):
        confidence = float(row.max())
        flags = ("low_confidence",) if confidence < profile.low_confidence else ()
        candidates = {Call(CLASSES[i]): float(row[i]) for i in np.flatnonzero(row > CANDIDATE_FROM)}
        wells[name] = Well(Call(CLASSES[int(row.argmax())]), confidence, candidates, flags)
    return wells


def _judged(wells: Mapping[str, Well]) -> Judged:
    calls = np.array([CLASSES.index(well.call) for well in wells.values()])
    confidences = np.array([well.confidence for well in wells.values()])
    return Judged(calls, confidences, tuple(plate_endpoints(wells, profile_named("hi-96")).values()))


@cache
def _foreign(path: Path) -> Any:
    interpreter = litert.Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    return interpreter


def _foreign_logits(path: Path, patches: Image) -> Doubles:
    interpreter = _foreign(path)
    batch = int(interpreter.get_input_details()[0]["shape"][0])
    parts = []
    for start in range(0, len(patches), batch):
        part = patches[start : start + batch].astype(np.float32) / 255
        padded = np.pad(part, ((0, batch - len(part)), (0, 0), (0, 0), (0, 0)))
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], padded)
        interpreter.invoke()
        parts.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[: len(part)])
    return np.asarray(np.concatenate(parts), np.float64)


def score(plates: Sequence[GivenPlate], judged: Sequence[Judged]) -> dict[str, Any]:
    """One line of the table: wells and rows right, rows graded high and right, calibration error; None where unsaid.

    Rows without a right answer are left out; a row without a titre is neither exact nor within one dilution.
    """
    profile = profile_named("hi-96")
    counts = np.concatenate([plate.counts for plate in plates])
    votes = np.concatenate([plate.votes for plate in plates])[counts]
    calls = np.concatenate([one.calls for one in judged])[counts]
    sure = [one.confidences for one in judged if one.confidences is not None]
    confidences = np.concatenate(sure)[counts] if sure else None
    found = [
        (row, int(end))
        for p, one in zip(plates, judged, strict=True)
        for row, end in zip(one.endpoints, p.ends, strict=True)
    ]
    rows = [(row.reported(profile), row.grade, end) for row, end in found if end != NO_ANSWER]
    off = np.array([99 if titre is None else abs(titre - end) for titre, _, end in rows])
    high = np.array([grade == "high" for _, grade, _ in rows], bool)
    scores = call_scores(calls, votes.argmax(axis=1))
    return {
        **scores,
        "class_right": scores["class_right"] if sure else None,
        "rows": len(rows),
        "rows_exact": int((off == 0).sum()),
        "rows_within_1": int((off <= 1).sum()),
        "rows_high": int(high.sum()) if sure else None,
        "rows_high_exact": int((high & (off == 0)).sum()) if sure else None,
        "calibration_error": None if confidences is None else calibrate_calls(calls, confidences, votes).error,
    }


def score_almost_empty(plate: GivenPlate, judged: Judged) -> dict[str, int | None]:
    """What a judge makes of wells without cells, of the few that hold some, and of rows that have no titre."""
    profile, empty = profile_named("hi-96"), judged.calls == EMPTY
    speaks = judged.confidences is not None
    return {
        "empty_wells": int(plate.counts.sum()),
        "called_empty": int((empty & plate.counts).sum()) if speaks else None,
        "called_flowing": int(((judged.calls == FLOWING) & plate.counts).sum()),
        "cells_found": int((~empty & ~plate.counts).sum()) if speaks else None,
        "rows_with_a_titre": sum((row.reported(profile) or 0) > 0 for row in judged.endpoints),
        "rows_graded_high": sum(row.grade == "high" for row in judged.endpoints) if speaks else None,
    }


def score_detections(path: Path) -> dict[str, int]:
    """Rows of another detector's plate whose endpoint our rules find in its detections.

    Its picture is not among ours, so right is what its own detections say when every one of them counts.
    """
    vectors = json.loads(path.read_text())
    ends = list(vectors["last_flowing"].values())
    rows = {
        name: [_step([_detected(well, rule) for well in row]) for row in vectors["wells"].values()]
        for name, rule in {"score_as_probability": 0.0, "half_of_one_plus_score": 0.5}.items()
    } | {"from_half_on": [_last_from_half_on(row) for row in vectors["wells"].values()]}
    return {"rows": len(ends)} | {name: int((np.array(found) == ends).sum()) for name, found in rows.items()}


def _detected(found: Mapping[str, Any] | None, least: float) -> WellEvidence:
    """A detection as the rules see it, its score laid between `least` and 1."""
    if found is None:
        return WellEvidence(Call.NOT_READ, 0.5)
    p = least + (1 - least) * float(found["conf"])
    flows = found["cls"] == "Flowing"
    return WellEvidence(Call.FLOWING if flows else Call.DIFFUSE, p if flows else 1 - p)


def _step(row: Sequence[WellEvidence]) -> int | None:
    fitted = step_fit(row)
    return None if fitted is None else fitted[0]


def _last_from_half_on(row: Sequence[Mapping[str, Any] | None]) -> int | None:
    return last_flowing([_detected(well if well and well["conf"] >= 0.5 else None, 0.5) for well in row])


def judge_render(release: Path, other: Path | None, difficulty: Difficulty, seed: int) -> tuple[GivenPlate, Verdicts]:
    """One rendered plate, judged by all; its patches are dropped, for they would have to travel between processes."""
    plate = rendered(seed, difficulty)
    return replace(plate, patches=_NONE, fine=_NONE), judge_all(plate, loaded(release), other)


def measure_rivals(release: Path, plates: Path, count: int, other: Path | None) -> dict[str, Any]:
    """The whole comparison, `count` renders of each kind; what photographs would give is left out where they lack."""
    report: dict[str, Any] = {"plates": count, "renders": {}, "quoted": QUOTED}
    for difficulty in ("varied", "beyond"):
        work = partial(judge_render, release, other, difficulty)
        judged = over_seeds(work, range(RIVAL_SEED, RIVAL_SEED + count))
        report["renders"][difficulty] = _scores(judged)
    titration, empty = (plates / "hi" / name for name in ("hi-plate-62", "hi-plate-three-wells"))
    if titration.with_suffix(".jpg").exists():
        plate = photographed_titration(titration)
        report["titration"] = _scores([(plate, judge_all(plate, loaded(release), other))])
    if empty.with_suffix(".jpg").exists():
        plate = photographed_almost_empty(empty)
        verdicts = judge_all(plate, loaded(release), other)
        report["almost_empty"] = {name: score_almost_empty(plate, one) for name, one in verdicts.items()}
    if (vectors := plates / "hi" / "endpoint-vectors.json").exists():
        report["other_detector"] = score_detections(vectors)
    return report


def _scores(judged: Sequence[tuple[GivenPlate, Verdicts]]) -> dict[str, Any]:
    plates = [plate for plate, _ in judged]
    return {name: score(plates, [verdicts[name] for _, verdicts in judged]) for name in judged[0][1]}


def main() -> None:
    """Command line: print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--release", type=Path, default=SHIPPED_MODEL)
    parser.add_argument("--plates", type=Path, default=Path("../shared/plates"), help="labelled photographs, if any")
    parser.add_argument("--count", type=int, default=150, help="rendered plates of each kind")
    parser.add_argument("--network", type=Path, help="a patch network of somebody else, float TFLite")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    print(rivals_table(measure_rivals(arguments.release, arguments.plates, arguments.count, arguments.network)))


if __name__ == "__main__":
    main()
