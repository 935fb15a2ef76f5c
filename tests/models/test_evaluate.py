"""Evaluation writes what it measured and leaves the rest as it was."""

import argparse
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from edge_agent.config import SHIPPED_MODEL
from edge_agent.vision import load_model
from models.training.agreement import Seen, agreement
from models.training.evaluate import Measuring, evaluate, parts_named
from models.training.floats import FloatInterpreter, load_float_model
from models.training.held_out import measure_calls, measure_wells
from models.training.workers import over_seeds


def test_parts_are_measured_in_their_own_order() -> None:
    assert parts_named("rivals, calls") == ("calls", "rivals")


def test_a_part_that_does_not_exist_is_refused_by_name() -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="not a part: 'photos'"):
        parts_named("wells,photos")


def test_work_is_done_once_per_seed_in_order() -> None:
    assert over_seeds(abs, [-3, 2, -1]) == [3, 2, 1]


def test_only_the_part_that_was_asked_for_changes(tmp_path: Path) -> None:
    release = tmp_path / SHIPPED_MODEL.name
    shutil.copytree(SHIPPED_MODEL, release)
    before = json.loads((release / "manifest.json").read_text())
    what = Measuring(release, tmp_path, tmp_path, None, beyond=1)
    evaluate(what, {"latency": lambda measuring: {"latency": {"plates": measuring.beyond}}})
    after = json.loads((release / "manifest.json").read_text())
    assert after == before | {"metrics": before["metrics"] | {"latency": {"plates": 1}}}


def test_the_detector_is_measured_without_float_networks(tmp_path: Path) -> None:
    report = measure_wells(SHIPPED_MODEL, tmp_path, 1)
    assert set(report) == {"pictures", "int8"}
    assert 0 <= report["int8"]["wells_found"] <= 1


def test_calls_are_calibrated_on_plates_inside_and_outside_the_training_range(tmp_path: Path) -> None:
    report, temperature = measure_calls(SHIPPED_MODEL, tmp_path, 2)
    none, _, chosen = report["temperatures"]
    assert (none["temperature"], chosen["temperature"]) == (1.0, temperature)
    assert chosen["inside"] == report["calibration_error"]
    assert sum(sum(row.values()) for row in report["confusion"].values()) == report["wells"]


def test_titres_and_calls_that_differ_are_counted_where_both_read() -> None:
    same = (Seen((1, None), ("flowing", "empty")), Seen((1, None), ("flowing", "empty")))
    differing = (Seen((1, 2), ("flowing", "empty")), Seen((1, None), ("button", "empty")))
    counted = agreement([same, differing, (Seen(), Seen((3,), ("flowing",))), (Seen(), Seen())])
    assert counted == {
        "plates": 4,
        "read_by_one": 1,
        "rows": 4,
        "titres_differ": 1,
        "wells": 4,
        "calls_differ": 1,
    }


def test_no_float_networks_are_no_error(tmp_path: Path) -> None:
    assert load_float_model(load_model(SHIPPED_MODEL), tmp_path) is None


class Wire:
    """An interpreter whose output is its input."""

    def __init__(self) -> None:
        self.tensors: dict[int, np.ndarray] = {}

    def get_output_details(self) -> list[dict[str, object]]:
        return [{"index": 7, "quantization": (0.0, 0)}]

    def set_tensor(self, index: int, values: np.ndarray) -> None:
        self.tensors[index] = values

    def get_tensor(self, index: int) -> np.ndarray:
        return self.tensors[index]


def test_a_float_network_takes_the_devices_pixels_and_gives_real_values() -> None:
    network = FloatInterpreter(Wire())
    network.set_tensor(7, np.array([-128, 127], np.int8))
    assert network.get_tensor(7).tolist() == [0.0, 1.0]
    assert network.get_output_details() == [{"index": 7, "quantization": (1.0, 0)}]
