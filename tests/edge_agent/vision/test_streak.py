"""The second opinion: measured without the network, silent when unsure, flagged where it contradicts a call."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_agent.vision import Model, read_plate
from edge_agent.vision.patches import Image, cut_patches
from edge_agent.vision.streak import disputed, measure_streaks, with_second_opinion
from models.training.render import PlateSpec, render_plate
from protocol.assay import Call, ControlWells
from protocol.endpoint import plate_endpoints
from protocol.messages import Streak
from protocol.plate import Seat
from tests.edge_agent.vision.conftest import frame
from tests.make import HI, make_well, make_wells, replace

PITCHES = 0.9
BY_COLUMN = ["flowing"] * 6 + ["button"] * 2 + ["diffuse"] * 2 + ["empty"] * 2
CALLS = {name: BY_COLUMN[int(name[1:]) - 1] for name in HI.format.names()}


@pytest.fixture(scope="module")
def patches() -> Image:
    """A plain rendered plate: six columns of tears, two of buttons, two diffuse, two empty."""
    image, truth = render_plate(21, PlateSpec(calls=CALLS, turn_deg=0.0))
    return cut_patches(image, truth.index_to_px(), 8, 12, 64, PITCHES)


def measured(patches: Image, call: str | None = None) -> list[Streak]:
    streaks = measure_streaks(patches, PITCHES, HI.format, HI)
    return [streak for name, streak in streaks.items() if call in (None, CALLS[name])]


def opinions(patches: Image, call: str) -> list[str]:
    return [streak.opinion for streak in measured(patches, call)]


def flips(patches: Image) -> int:
    """Wells of which the opposite of the truth is measured."""
    return opinions(patches, "flowing").count("does_not_stream") + opinions(patches, "button").count("streams")


def test_tears_stream_and_buttons_do_not(patches: Image) -> None:
    assert opinions(patches, "flowing").count("streams") >= 42
    assert opinions(patches, "button").count("does_not_stream") >= 8
    assert flips(patches) == 0


@pytest.mark.parametrize("call", ["diffuse", "empty"])
def test_well_without_a_blob_never_streams(patches: Image, call: str) -> None:
    assert "streams" not in opinions(patches, call)


def test_measures_are_in_millimetres_of_the_plate(patches: Image) -> None:
    tears, buttons = measured(patches, "flowing"), measured(patches, "button")
    assert 1.5 < np.median([tear.length_mm for tear in tears]) < 3.5
    assert np.median([tear.tail_ratio for tear in tears]) < 0.6 < np.median([b.tail_ratio for b in buttons])
    assert np.median([b.length_mm / b.width_mm for b in buttons]) == pytest.approx(1, abs=0.08)
    assert min(tear.redness for tear in tears) > 10


CHANGES = {
    "warm light": lambda patch: patch * (1.15, 1.0, 0.8),
    "cold light": lambda patch: patch * (0.8, 1.0, 1.15),
    "haze": lambda patch: 0.6 * patch + 80,
    "dim": lambda patch: 0.55 * patch,
    "red and blue swapped": lambda patch: patch[..., ::-1],
    "colourless": lambda patch: np.repeat(patch.mean(axis=-1, keepdims=True), 3, axis=-1),
}


@pytest.mark.parametrize("change", CHANGES)
def test_light_haze_and_colour_turn_no_opinion_round(patches: Image, change: str) -> None:
    changed = np.clip(CHANGES[change](patches.astype(float)), 0, 255).astype(np.uint8)
    assert flips(changed) == 0
    assert opinions(changed, "flowing").count("streams") >= 36


def test_blur_leaves_it_undecided_not_wrong(patches: Image) -> None:
    assert flips(np.stack([cv2.GaussianBlur(patch, (0, 0), 4) for patch in patches])) <= 1


def test_light_on_a_tear_leaves_its_shape(patches: Image) -> None:
    lit = patches.copy()
    lit[:, 31:33, 31:33] = 255
    assert flips(lit) == 0


@pytest.mark.parametrize("level", [0, 90, 255])
def test_plate_without_anything_in_it_is_undecided(level: int) -> None:
    uniform = np.full((96, 64, 64, 3), level, np.uint8)
    assert set(measured(uniform)) == {Streak(opinion="undecided")}


def test_other_patch_size_gives_the_same_measures(patches: Image) -> None:
    large = np.stack([cv2.resize(patch, (96, 96), interpolation=cv2.INTER_CUBIC) for patch in patches])
    lengths = [[streak.length_mm for streak in measured(size, "flowing")] for size in (patches, large)]
    assert np.median(np.abs(np.subtract(*lengths))) < 0.1


def test_assay_that_does_not_stream_is_not_measured(patches: Image) -> None:
    assert measure_streaks(patches, PITCHES, HI.format, replace(HI, inhibited=(Call.BUTTON,))) == {}


def test_streaming_is_against_the_plates_own_rbc_controls(patches: Image) -> None:
    controls = ControlWells(role="rbc_control", wells=("A1", "B1", "C1"), expected=(Call.FLOWING,))
    with_controls = measure_streaks(patches, PITCHES, HI.format, replace(HI, controls=(controls,)))
    assert np.median([with_controls[name].streaming for name in controls.wells]) == pytest.approx(1, abs=0.01)
    assert with_controls["A7"].streaming < 0.85


def test_streaming_is_against_clear_tears_where_there_are_no_controls(patches: Image) -> None:
    tears = [streak.streaming for streak in measured(patches, "flowing") if streak.opinion == "streams"]
    assert np.quantile(tears, 0.75) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(
    ("call", "opinion", "expected"),
    [
        ("flowing", "streams", False),
        ("flowing", "does_not_stream", True),
        ("flowing", "undecided", False),
        ("button", "streams", True),
        ("partial", "undecided", False),
        ("diffuse", "does_not_stream", False),
        ("empty", "streams", True),
    ],
)
def test_disputed_is_a_sure_opposite(call: str, opinion: str, expected: bool) -> None:
    assert disputed(Call(call), Streak(opinion=opinion)) is expected
    well = with_second_opinion({"A1": make_well(call)}, {"A1": Streak(opinion=opinion)})["A1"]
    assert (well.call, well.flags) == (call, ("disputed",) if expected else ())


def test_well_that_was_not_read_has_no_second_opinion() -> None:
    hidden = make_well("obscured", flags=("glare",))
    assert with_second_opinion({"A1": hidden}, {"A1": Streak(opinion="streams")}) == {"A1": hidden}


def test_dispute_at_the_endpoint_keeps_the_row_from_high() -> None:
    wells = make_wells(6)
    contradicted = with_second_opinion(wells, {"A6": Streak(opinion="does_not_stream")})
    assert plate_endpoints(wells, HI)["A"].grade == "high"
    assert plate_endpoints(contradicted, HI)["A"].grade == "medium"
    assert plate_endpoints(contradicted, HI)["B"].grade == "high"


def test_plate_62_is_measured_as_people_see_it(model: Model, plates: Path) -> None:
    path = plates / "hi" / "hi-plate-62.jpg"
    view = read_plate(frame(path.read_bytes()), HI, model=model, seat=Seat.TOP_LEFT)
    label = json.loads(path.with_suffix(".json").read_text())
    clear = {name: call for name, call in label["wells"].items() if name not in label["ambiguous"]}
    wrong = {"flowing": "does_not_stream"}
    assert [name for name, call in clear.items() if view.wells[name].streak.opinion == wrong.get(call, "streams")] == []
    assert [name for name in clear if "disputed" in view.wells[name].flags] == []
    decided = [view.wells[name].streak.opinion != "undecided" for name in clear]
    assert np.mean(decided) > 0.6
