"""The picture's right to veto the seat: a plate turned by 180° never gets through, an ordinary one always does."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_agent.vision import Model, Refused, read_plate
from edge_agent.vision.legends import GLYPHS, Legends, cut_sides, judge_legends
from edge_agent.vision.orientation import (
    Evidence,
    Kind,
    check_orientation,
    flag_orientation,
    layout_evidence,
    legends_evidence,
    tears_evidence,
)
from models.training.render import PlateSpec, render_plate
from models.training.turned import outcome, photographs, turned_in_seat, upside_down, wrong_high
from protocol.assay import AssayProfile, Call
from protocol.endpoint import plate_endpoints
from protocol.messages import Well
from protocol.plate import Seat
from protocol.profiles import PROFILES
from tests.edge_agent.vision.conftest import frame, jpeg
from tests.make import HI, make_well, make_wells

Turnable = tuple[np.ndarray, np.ndarray, float]


def turned(wells: dict[str, Well]) -> dict[str, Well]:
    """The same plate the other way round."""
    return dict(zip(wells, reversed(list(wells.values())), strict=True))


WEAK_SIDE = {Call.FLOWING: "diffuse", Call.DIFFUSE: "button", Call.CLEAR: "growth"}


def titrating(profile: AssayProfile, endpoint: int) -> dict[str, Well]:
    """A clean plate of any assay, every series with the same endpoint and controls as they should be."""
    strong = profile.inhibited[0]
    wells = {name: make_well(WEAK_SIDE[strong]) for name in profile.format.names()}
    wells |= {name: make_well(strong.value) for series in profile.series for name in series.wells[:endpoint]}
    return wells | {name: make_well(c.expected[0]) for c in profile.controls for name in c.wells if c.expected}


@pytest.mark.parametrize("profile", [one for one in PROFILES.values() if one.series], ids=lambda profile: profile.name)
@pytest.mark.parametrize("endpoint", [2, 5, 8])
def test_titrations_speak_for_their_strong_side(profile: AssayProfile, endpoint: int) -> None:
    wells = titrating(profile, endpoint)
    assert layout_evidence(wells, profile).ln > 8
    assert layout_evidence(turned(wells), profile).ln < -8


def test_reversed_rows_are_counted_in_words() -> None:
    assert layout_evidence(turned(make_wells(5)), HI).words == (
        "the inhibited wells lie on the weak side in 8 of 8 rows"
    )


@pytest.mark.parametrize("call", ["flowing", "diffuse", "empty", "obscured"])
def test_plate_of_one_kind_of_well_says_nothing(call: str) -> None:
    assert layout_evidence({name: make_well(call) for name in HI.format.names()}, HI).ln == pytest.approx(0)


def scattered(seed: int) -> dict[str, Well]:
    """A plate of which no row is a titration."""
    calls = np.random.default_rng(seed).choice(["flowing", "button", "diffuse"], 96)
    return {name: make_well(call) for name, call in zip(HI.format.names(), calls, strict=True)}


def test_plate_without_titrations_neither_doubts_nor_confirms_the_seat() -> None:
    found = [layout_evidence(scattered(seed), HI) for seed in range(50)]
    assert {check_orientation([evidence]) for evidence in found} == {"unconfirmed"}


def test_a_turned_plate_whose_scattered_wells_look_like_titrations_by_chance_is_not_confirmed() -> None:
    # The layout of one of 200 turned renders was worth 6.6 nats, and letters were not to be seen.
    assert check_orientation([Evidence("layout", 6.6, ""), Evidence("legends", 0.0, "")]) == "unconfirmed"


def negative_but(rows: str) -> dict[str, Well]:
    """All sera negative, except that those of `rows` have titre 5."""
    titrating = {name: well for name, well in make_wells(5).items() if name[0] in rows}
    return {name: make_well("diffuse") for name in HI.format.names()} | titrating


@pytest.mark.parametrize(("rows", "standing"), [("", "unconfirmed"), ("CF", "unconfirmed"), ("CEF", "confirmed")])
def test_three_sera_that_titrate_confirm_the_seat(rows: str, standing: str) -> None:
    assert check_orientation([layout_evidence(negative_but(rows), HI)]) == standing


def test_one_odd_row_does_not_outweigh_seven() -> None:
    wells = make_wells(5)
    wells |= {name: make_well("flowing" if int(name[1:]) > 4 else "button") for name in HI.format.row("C")}
    assert check_orientation([layout_evidence(wells, HI)]) == "confirmed"


def tear(taper_px: int) -> np.ndarray:
    """A patch with a red drop whose tail ends `taper_px` below the middle."""
    patch = np.full((64, 64, 3), (80, 160, 110), np.uint8)
    head = (32, 32 - round(0.3 * taper_px))
    cv2.circle(patch, head, 5, (150, 20, 40), -1)
    tip = (32, 32 + round(0.7 * taper_px))
    cv2.fillPoly(patch, [np.array([(head[0] - 5, head[1]), (head[0] + 5, head[1]), tip])], (150, 20, 40))
    return patch


@pytest.mark.parametrize(("taper_px", "contradicts"), [(14, False), (-14, True)])
def test_tears_only_contradict(taper_px: int, contradicts: bool) -> None:
    found = tears_evidence(np.stack([tear(taper_px)] * 20), 0.9)
    assert found.ln < -8 if contradicts else found.ln == 0


def test_few_tears_are_no_proof() -> None:
    assert tears_evidence(np.stack([tear(-14)] * 3), 0.9).ln > -8


def legends(*, read: int) -> Legends:
    """What the network's answers are worth with so many of the 20 characters read."""
    answers = np.full((20, len(GLYPHS)), 0.002)
    answers[:, -1] = 0.96
    answers[np.arange(read), np.arange(read)], answers[np.arange(read), -1] = 0.96, 0.002
    return judge_legends(answers / answers.sum(axis=1, keepdims=True))


def test_characters_at_the_opposite_edges_contradict_the_seat() -> None:
    assert legends_evidence(legends(read=0), legends(read=20)).ln < -8


def test_frame_without_characters_says_nothing() -> None:
    assert legends_evidence(legends(read=0), legends(read=0)).ln == 0


def test_two_characters_are_no_proof() -> None:
    assert abs(legends_evidence(legends(read=0), legends(read=2)).ln) < 2


def test_clear_contradiction_is_refused_with_its_reasons() -> None:
    found = [Evidence("tears", -20, "38 of 40 tears run towards the first row"), Evidence("legends", 0.1, "nothing")]
    with pytest.raises(Refused, match=r"38 of 40 tears run towards the first row .*turn the plate") as caught:
        check_orientation(found)
    assert caught.value.reason == "orientation_doubted"


@pytest.mark.parametrize("kind", ["tears", "legends", "mirror"])
def test_one_clear_contradiction_outweighs_a_layout_that_agrees(kind: Kind) -> None:
    with pytest.raises(Refused):
        check_orientation([Evidence(kind, -9, "upside down"), Evidence("layout", 32, "")])


def test_layout_against_readable_characters_is_a_doubt_and_no_refusal() -> None:
    assert check_orientation([Evidence("layout", -20, "7 of 8 rows"), Evidence("legends", 50, "")]) == "doubted"


@pytest.mark.parametrize(
    ("ln", "standing"),
    [(-5.0, "doubted"), (-2.0, "unconfirmed"), (0.0, "unconfirmed"), (5.0, "unconfirmed"), (9.0, "confirmed")],
)
def test_weak_evidence_is_kept_as_a_doubt_or_as_no_confirmation(ln: float, standing: str) -> None:
    assert check_orientation([Evidence("layout", ln, "")]) == standing


def test_readable_characters_settle_a_weak_contradiction() -> None:
    weak = Evidence("tears", -5, "7 of 12 tears run towards the first row")
    assert check_orientation([weak, Evidence("layout", 20, "")]) == "doubted"
    assert check_orientation([weak, Evidence("legends", 30, "")]) == "confirmed"


def graded_high(wells: dict[str, Well]) -> str:
    """The rows graded high."""
    return "".join(row for row, endpoint in plate_endpoints(wells, HI).items() if endpoint.grade == "high")


def test_no_row_of_a_doubted_plate_is_graded_high() -> None:
    assert not graded_high(flag_orientation(make_wells(5), "doubted", HI))


def test_confirmed_seat_changes_nothing() -> None:
    assert flag_orientation(make_wells(5), "confirmed", HI) == make_wells(5)


def test_no_row_of_an_unconfirmed_plate_is_graded_high() -> None:
    wells = negative_but("C")
    assert graded_high(wells) == "ABCDEFGH"
    assert not graded_high(flag_orientation(wells, "unconfirmed", HI))


@pytest.mark.parametrize(("positive", "flagged"), [({"B3"}, True), ({"B3", "G10"}, False)])
def test_unconfirmed_plate_of_single_samples_is_flagged_unless_it_reads_the_same_turned(
    positive: set[str], flagged: bool
) -> None:
    profile = PROFILES["colour-96"]
    wells = {name: make_well("positive" if name in positive else "negative") for name in profile.format.names()}
    assert all(bool(well.flags) is flagged for well in flag_orientation(wells, "unconfirmed", profile).values())


def test_plate_that_is_all_negative_reads_the_same_either_way_and_needs_no_confirmation() -> None:
    assert graded_high(flag_orientation(negative_but(""), "unconfirmed", HI)) == "ABCDEFGH"


@pytest.fixture(scope="module", params=[5_000_000, 5_000_001])
def render(request: pytest.FixtureRequest) -> Turnable:
    """A rendered titration, where its wells are, and its pitch."""
    image, truth = render_plate(request.param, PlateSpec(turn_deg=0.0))
    return image, truth.centres_px, float(np.hypot(*(truth.centres_px[1] - truth.centres_px[0])))


def test_render_as_it_should_lie_is_read(model: Model, render: Turnable) -> None:
    assert outcome(model, render[0]).name == "read"


def test_turned_render_is_refused(model: Model, render: Turnable) -> None:
    assert outcome(model, upside_down(render[0])).name == "orientation_doubted"
    assert outcome(model, turned_in_seat(*render)).name == "orientation_doubted"


@pytest.mark.parametrize("seed", [5_000_007, 5_000_049])
def test_turned_plate_that_shows_nothing_is_not_confirmed_and_no_titre_of_it_is_graded_high(
    model: Model, seed: int
) -> None:
    image, truth = render_plate(seed, PlateSpec(difficulty="varied", turn_deg=0.0))
    found = outcome(model, turned_in_seat(image, truth.centres_px, float(np.ptp(truth.centres_px[:12, 0]) / 11)))
    assert (found.name, wrong_high(found.high, truth)) == ("unconfirmed", 0)


def test_sides_of_a_turned_picture_are_the_opposite_sides_turned(render: Turnable) -> None:
    image, centres, _ = render
    height, width = image.shape[:2]
    corners, ends = centres[[0, 11, 84, 95]], [[0, 0], [11, 0], [0, 7], [11, 7]]
    turned_corners = np.array([width - 1, height - 1]) - corners[::-1]
    given, turned = (
        cut_sides(picture, cv2.getPerspectiveTransform(np.array(ends, np.float32), places.astype(np.float32)))
        for picture, places in ((image, corners), (upside_down(image), turned_corners))
    )
    assert alike(given.left, turned.right[::-1, ::-1]) > 0.99
    assert alike(given.top, turned.bottom[::-1, ::-1]) > 0.99
    assert alike(given.left, turned.left) < 0.9


def alike(one: np.ndarray, other: np.ndarray) -> float:
    """The correlation of two pictures."""
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


@pytest.mark.parametrize("axis", [0, 1])
def test_plate_seen_from_below_is_named_so(model: Model, render: Turnable, axis: int) -> None:
    with pytest.raises(Refused, match="as in a mirror") as caught:
        read_plate(frame(jpeg(np.flip(render[0], axis))), HI, model=model, seat=Seat.TOP_LEFT)
    assert caught.value.reason == "orientation_doubted"


def test_evidence_travels_with_the_reading_of_an_unknown_seat(model: Model, render: Turnable) -> None:
    view = read_plate(frame(jpeg(upside_down(render[0]))), HI, model=model, seat=None)
    assert view.quality["orientation_legends_ln"] < -8
    assert not any("orientation_doubted" in well.flags for well in view.wells.values())


@pytest.fixture(scope="module")
def real(plates: Path) -> list[tuple[str, *Turnable]]:
    """The HI photographs."""
    return list(photographs(plates))


def test_photographs_as_they_should_lie_are_read(model: Model, real: list[tuple[str, *Turnable]]) -> None:
    assert {name: outcome(model, image).name for name, image, *_ in real} == {name: "read" for name, *_ in real}


def test_turned_photographs_are_refused(model: Model, real: list[tuple[str, *Turnable]]) -> None:
    for _, image, centres, pitch in real:
        assert outcome(model, upside_down(image)).name == "orientation_doubted"
        assert outcome(model, turned_in_seat(image, centres, pitch)).name == "orientation_doubted"
