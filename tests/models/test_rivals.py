"""The comparison with others is fair: one endpoint rule for all, and only what has a right answer counts."""

import json
from pathlib import Path

import numpy as np
import pytest

from edge_agent.config import SHIPPED_MODEL
from edge_agent.vision import load_model
from models.training.dataset import PATCH_PITCHES
from models.training.given import FINE_PX, NO_ANSWER, GivenPlate, photographed_titration, rendered
from models.training.rivals import (
    NETWORK,
    QUOTED,
    RULE,
    Judged,
    forty_line_rule,
    judge_all,
    score,
    score_detections,
)
from models.training.spec import BUTTON, DIFFUSE, FLOWING
from models.training.tables import rivals_table
from protocol.endpoint import RowEndpoint


def red_shape(length: float, tip: float) -> np.ndarray:
    """A fine patch with a red shape, `length` pitches long, whose lower end is `tip` times as wide as its head."""
    offsets = ((np.arange(FINE_PX) + 0.5) / FINE_PX - 0.5) * PATCH_PITCHES
    x, y = np.meshgrid(offsets, offsets)
    along = np.clip(y / length + 0.5, 0, 1)
    patch = np.full((FINE_PX, FINE_PX, 3), (90, 150, 90), np.uint8)
    patch[(np.abs(y) < length / 2) & (np.abs(x) < 0.08 * (1 - (1 - tip) * along))] = (150, 30, 40)
    return patch


def plate(votes: list[int], counts: list[bool], ends: list[int]) -> GivenPlate:
    none = np.zeros((0, 0, 0, 3), np.uint8)
    return GivenPlate(none, none, np.eye(5, dtype=np.float32)[votes], np.array(counts), np.array(ends))


def row(titre: int | None, grade: str = "high") -> RowEndpoint:
    return RowEndpoint(titre, titre, 2.0, grade, ())  # type: ignore[arg-type]


def test_the_forty_line_rule_tells_a_tear_from_a_bar_and_from_nothing() -> None:
    empty = np.full((FINE_PX, FINE_PX, 3), (90, 150, 90), np.uint8)
    patches = np.stack([red_shape(0.3, 0.1), red_shape(0.3, 1.0), empty])
    assert forty_line_rule(patches).tolist() == [True, False, False]


def test_every_judge_reads_a_plain_plate_and_the_rule_says_no_class() -> None:
    given = rendered(5, "plain")
    judged = judge_all(given, load_model(SHIPPED_MODEL), None)
    scores = {name: score([given], [one]) for name, one in judged.items()}
    assert scores[NETWORK]["flowing_right"] >= 0.97
    assert scores[NETWORK]["rows_exact"] >= 6
    assert (scores[RULE]["class_right"], scores[RULE]["calibration_error"]) == (None, None)


def test_rows_without_a_right_answer_and_wells_that_do_not_count_are_left_out() -> None:
    given = plate([FLOWING, BUTTON, DIFFUSE], [True, True, False], [3, NO_ANSWER, 2, 5])
    endpoints = (row(3), row(9), row(3, "low"), row(None, "low"))
    judged = Judged(np.array([FLOWING, DIFFUSE, FLOWING]), np.array([0.9, 0.9, 0.9]), endpoints)
    scores = score([given], [judged])
    assert (scores["wells"], scores["class_right"], scores["flowing_right"]) == (2, 0.5, 1.0)
    assert (scores["rows"], scores["rows_exact"], scores["rows_within_1"]) == (3, 1, 2)
    assert (scores["rows_high"], scores["rows_high_exact"]) == (1, 1)


def test_our_rules_on_another_detectors_scores(tmp_path: Path) -> None:
    weak = [{"cls": "Flowing", "conf": 0.9}, {"cls": "Flowing", "conf": 0.4}, None, {"cls": "Non-Flowing", "conf": 0.8}]
    path = tmp_path / "vectors.json"
    path.write_text(json.dumps({"wells": {"A": weak}, "last_flowing": {"A": 2}}))
    found = score_detections(path)
    assert found == {"rows": 1, "score_as_probability": 0, "half_of_one_plus_score": 1, "from_half_on": 0}


def test_the_other_detectors_scores_are_no_probabilities(plates: Path) -> None:
    path = plates / "hi" / "endpoint-vectors.json"
    if not path.exists():
        pytest.skip(f"no detections at {path}")
    found = score_detections(path)
    assert (found["score_as_probability"], found["half_of_one_plus_score"], found["rows"]) == (5, 8, 8)


def test_the_network_is_better_than_the_floor_on_the_photographed_titration(plates: Path) -> None:
    stem = plates / "hi" / "hi-plate-62"
    if not stem.with_suffix(".jpg").exists():
        pytest.skip(f"no photograph at {stem}")
    given = photographed_titration(stem)
    judged = judge_all(given, load_model(SHIPPED_MODEL), None)
    network, rule = (score([given], [judged[name]]) for name in (NETWORK, RULE))
    assert network["flowing_right"] >= rule["flowing_right"]
    assert network["rows_exact"] >= max(rule["rows_exact"], 7)


def test_the_table_has_a_line_for_every_judge_of_every_set() -> None:
    given = plate([FLOWING], [True], [1])
    figures = {NETWORK: score([given], [Judged(np.array([FLOWING]), np.array([0.9]), (row(1),))])}
    table = rivals_table({"renders": {"varied": figures, "beyond": figures}})
    assert table.count("| this network | 100.00% | 100.00% | 1 of 1 |") == 2
    assert "photographed" not in table


def test_quoted_figures_stand_beside_the_photographed_titration_and_say_so() -> None:
    given = plate([FLOWING], [True], [1])
    figures = {NETWORK: score([given], [Judged(np.array([FLOWING]), np.array([0.9]), (row(1),))])}
    table = rivals_table({"renders": {}, "titration": figures, "quoted": QUOTED})
    assert "| *forty-line rule as first written, quoted* | 100.00% | – | 8 of 8 |" in table
