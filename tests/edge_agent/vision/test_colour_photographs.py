"""Colours on photographs of other people's plates, where they are present: the table of docs/decisions/0011.

Corners are the labels', so that what is measured is the judging and not the finding.
"""

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_agent.vision.geometry import Placed
from edge_agent.vision.image import open_photograph
from edge_agent.vision.judge import judge_wells
from edge_agent.vision.patches import cut_patches
from edge_agent.vision.quality import measure_light
from protocol.endpoint import plate_endpoints, result_text
from protocol.messages import Well
from protocol.plate import Seat, plate_format
from protocol.profiles import PROFILES

FORM = plate_format(96)
MIC = PROFILES["mic-96"]
# As the author of the photograph reads it.
MICS = ("0.032", "0.064", "0.125", "≤ 0.004", "0.125", "0.032", "64", "1")
EMPTY = (
    ("eliza/eliza__BlankClose", 0),
    ("eliza/eliza__BlankFar", 0),
    *((f"wetlab-ot2/wetlab-ot2__dual_{name}", i) for name in ("0bd791a2", "c6bcb5ed", "e5fce085") for i in (0, 1)),
    ("wetlab-ot2/wetlab-ot2__dual_c71a6071", 0),
)


def read(plates: Path, name: str, profile: str, plate: int = 0) -> tuple[dict[str, Well], dict]:
    """The wells of one labelled photograph, and its label."""
    label = json.loads((plates / "other" / f"{name}.json").read_text())["plates"][plate]
    photograph = open_photograph((plates / "other" / f"{name}.jpg").read_bytes())
    corners = label["corners"]
    to = np.array(list(corners.values()) if isinstance(corners, dict) else corners, np.float32) / photograph.scale
    homography = cv2.getPerspectiveTransform(np.array([[0, 0], [11, 0], [0, 7], [11, 7]], np.float32), to)
    placed = Placed(homography, FORM, Seat.TOP_LEFT, np.ones((8, 12), bool), 0.0)
    patches = cut_patches(photograph.image_bgr, homography, 8, 12, 64, 0.9)
    light = measure_light(patches, 0.9, PROFILES[profile])
    return judge_wells(None, patches, light, placed, photograph, PROFILES[profile])[0], label


def ranks(values: list[float]) -> np.ndarray:
    """Places in order, equal ones shared."""
    seen = np.array(values)
    return np.array([(seen < value).sum() + (seen == value).sum() / 2 for value in seen])


def agreement(first: list[float], second: list[float]) -> float:
    """Spearman's rank correlation."""
    return float(np.corrcoef(ranks(first), ranks(second))[0, 1])


def strength(well: Well) -> float:
    """How coloured a well is."""
    return float(np.hypot(well.colour.delta_a, well.colour.delta_b))


def test_every_well_and_mic_of_a_resazurin_plate_is_as_its_author_reads_it(plates: Path) -> None:
    wells, label = read(plates, "mic-reader/mic-reader__whatsapp_20260205", "mic-96")
    wanted = {"pink": "growth", "purple": "clear"}
    assert [name for name, well in wells.items() if well.call != wanted[label["wells"][name]]] == []
    found = [result_text(row, end.reported(MIC), MIC) for row, end in plate_endpoints(wells, MIC).items()]
    assert found == [f"MIC {value} mg/L" for value in MICS]


@pytest.mark.parametrize(("name", "plate"), EMPTY)
def test_an_empty_plate_has_nothing_positive(plates: Path, name: str, plate: int) -> None:
    wells, _ = read(plates, name, "colour-96", plate)
    assert [name for name, well in wells.items() if well.call == "positive"] == []
    assert sum(well.call == "negative" for well in wells.values()) >= 92


def test_purple_grows_with_what_was_added_and_with_the_published_absorbance(plates: Path) -> None:
    wells, _ = read(plates, "tipica/tipica__sam_100_50", "colour-96")
    for row in "ABCDEFGH":
        assert agreement([strength(wells[f"{row}{column}"]) for column in range(2, 13)], list(range(11))) > 0.98
    with (plates / "other" / "tipica" / "gt_well_results_100_50.csv").open(encoding="utf-8-sig") as file:
        published = {line["Well"]: float(line["PAbs_G_raw"]) for line in csv.DictReader(file)}
    assert agreement([strength(wells[name]) for name in published], list(published.values())) > 0.98


@pytest.mark.parametrize(("dye", "least"), [("red", 0.9), ("yellow", 0.9), ("green", 0.7)])
def test_a_single_dye_is_the_stronger_the_more_of_it_was_dispensed(plates: Path, dye: str, least: float) -> None:
    wells, label = read(plates, "wetlab-ot2/wetlab-ot2__pre_rotation", "colour-96")
    volumes = label["well_values"]["data"]
    alone = [name for name, each in volumes.items() if each[dye] + each["water"] >= 199]
    assert agreement([strength(wells[name]) for name in alone], [volumes[name][dye] for name in alone]) > least


@pytest.mark.parametrize("iteration", [0, 1, 2])
def test_dye_of_a_robots_rows_is_positive_and_empty_wells_are_not(plates: Path, iteration: int) -> None:
    wells, label = read(plates, f"optobot-ot2/optobot-ot2__iter{iteration}", "colour-96")
    wanted = {"dye": "positive", "empty": "negative"}
    assert [name for name, well in wells.items() if well.call != wanted[label["wells"][name]]] == []
