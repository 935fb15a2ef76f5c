"""Colours of wells: against the plate's own light or its blanks, whatever the lamp."""

import msgspec
import numpy as np
import pytest

from edge_agent.vision.colour import cielab, figure, judge_colour
from edge_agent.vision.detector import Model
from edge_agent.vision.judge import judge_wells
from edge_agent.vision.liquid import find_liquid
from edge_agent.vision.patches import cut_patches
from edge_agent.vision.quality import check_wells, measure_light
from edge_agent.vision.refusal import Refused
from protocol.assay import Call, Range
from protocol.messages import Colour
from protocol.profiles import PROFILES
from tests.edge_agent.vision.coloured import draw_plate, photograph, placed
from tests.make import make_well, replace
from tests.spoilt import colour_chart

COLOUR, BLANKS, MIC = PROFILES["colour-96"], PROFILES["colour-96-blanks"], PROFILES["mic-96"]
PINK, PURPLE, YELLOW, RED, GREEN = (226, 140, 160), (110, 20, 110), (225, 205, 90), (210, 60, 70), (90, 190, 110)
SOME = {"A1": RED, "D6": YELLOW, "H12": PURPLE, "C9": GREEN}


def read(model: Model, image: np.ndarray, profile=COLOUR):
    """The wells of a drawn plate, judged without being looked for."""
    where = placed()
    patches = cut_patches(image, where.homography, 8, 12, 64, 0.9)
    light = measure_light(patches, 0.9, profile)
    return judge_wells(model, patches, light, where, photograph(image), profile)[0]


def called(wells, call: str) -> set[str]:
    return {name for name, well in wells.items() if well.call == call}


@pytest.mark.parametrize("light", [(1.0, 1.0), (0.35, 1.0), (1.0, 0.45)])
def test_coloured_wells_are_positive_and_no_others_whichever_side_the_lamp_stands(model, light) -> None:
    wells = read(model, draw_plate(SOME, light=light))
    assert called(wells, "positive") == set(SOME)
    assert called(wells, "negative") == set(wells) - set(SOME)


@pytest.mark.parametrize("gains", [(1.0, 0.85, 0.6), (0.7, 0.85, 1.0)])
def test_the_lamps_own_colour_turns_no_well_positive(model, gains) -> None:
    lit = (draw_plate(SOME) * np.array(gains[::-1])).astype(np.uint8)
    assert called(read(model, lit), "positive") == set(SOME)


def test_a_plate_of_empty_wells_has_nothing_positive(model) -> None:
    assert called(read(model, draw_plate({})), "negative") == set(COLOUR.format.names())


def test_the_reading_says_what_a_colour_was_compared_with(model) -> None:
    image = draw_plate(SOME)
    assert {well.colour.reference for well in read(model, image).values()} == {"plate_light"}
    assert {well.colour.reference for well in read(model, image, BLANKS).values()} == {"blanks"}


def test_a_medium_that_is_coloured_itself_is_no_positive_where_there_are_blanks(model) -> None:
    medium = dict.fromkeys(BLANKS.format.names(), (235, 200, 205))
    wells = read(model, draw_plate(medium | {"B3": RED}), BLANKS)
    assert called(wells, "positive") == {"B3"}
    assert called(wells, "negative") == set(wells) - {"B3"}


def test_without_a_blank_that_can_be_seen_nothing_is_read(model) -> None:
    white = draw_plate({f"{row}12": (255, 255, 255) for row in "ABCDEFGH"})
    white[:, 12 * 60 - 20 :] = 255
    wells = read(model, white, BLANKS)
    assert {well.call for well in wells.values()} <= {Call.OBSCURED, Call.NOT_READ}
    assert "no_blanks" in wells["A1"].flags


def test_discs_lie_on_liquid_that_is_nearer_to_the_middle_than_its_rim() -> None:
    image = draw_plate(dict.fromkeys(COLOUR.format.names(), PURPLE), drawn_to_middle=0.05)
    row, column = np.divmod(np.arange(96), 12)
    true = 0.05 * np.column_stack([5.5 - column, 3.5 - row])
    shift = find_liquid(image, placed()).shift_pitch
    assert np.hypot(*(shift - true).T).max() < 0.3 - 0.15
    assert np.hypot(*true.T).max() > 0.3


def test_liquid_under_its_rims_is_left_there() -> None:
    shift = find_liquid(draw_plate(SOME), placed()).shift_pitch
    assert np.abs(shift).max() < 0.06


def test_resazurin_that_turned_pink_is_growth_and_purple_is_none(model) -> None:
    colours = {name: PINK if name[0] in "ABC" else PURPLE for name in MIC.format.names()}
    wells = read(model, draw_plate(colours), MIC)
    assert called(wells, "growth") == {name for name in wells if name[0] in "ABC"}
    assert called(wells, "clear") == {name for name in wells if name[0] not in "ABC"}


def test_a_well_without_indicator_is_neither_growth_nor_clear(model) -> None:
    assert called(read(model, draw_plate({"A1": PINK}), MIC), "indeterminate") == set(MIC.format.names()) - {"A1"}


def colour(lightness=90.0, a=0.0, b=0.0) -> Colour:
    return Colour(lightness, a, b, lightness - 100, a, b, "plate_light", 0.5, 0.0)


def test_a_colour_between_two_classes_is_indeterminate() -> None:
    call, chances = judge_colour(colour(a=12.0), COLOUR.colour)
    assert call is Call.INDETERMINATE
    assert sum(chances.values()) == pytest.approx(1)
    assert chances[Call.POSITIVE] == pytest.approx(chances[Call.NEGATIVE], abs=0.01)


def test_confidence_grows_with_the_distance_from_a_classes_limit() -> None:
    chances = [judge_colour(colour(a=a), COLOUR.colour)[1][Call.POSITIVE] for a in (15.0, 17.5, 20.0, 40.0)]
    assert chances[0] == pytest.approx(0.5, abs=0.02)
    assert chances == sorted(chances)
    assert chances[-1] > 0.99


def test_hue_is_measured_around_the_circle() -> None:
    blue = colour(a=-20.0, b=-20.0)
    assert figure(blue, "hue_degrees") == pytest.approx(-135)
    classes = COLOUR.colour.classes
    around = replace(classes[0], ranges=(Range("hue_degrees", 3.0, at_least=200.0, at_most=250.0),))
    assert judge_colour(blue, replace(COLOUR.colour, classes=(around, classes[2])))[0] is Call.POSITIVE


def test_cielab_is_that_of_the_standard() -> None:
    red, blue = cielab(np.array([1.0, 0, 0])), cielab(np.array([0, 0, 1.0]))
    assert red == pytest.approx([53.24, 80.09, 67.20], abs=0.1)
    assert blue == pytest.approx([32.30, 79.19, -107.86], abs=0.1)


def test_the_colour_travels_with_its_well_and_with_no_other() -> None:
    document = msgspec.to_builtins(make_well(colour=colour()))
    assert document["colour"]["reference"] == "plate_light"
    assert "colour" not in msgspec.to_builtins(make_well())


@pytest.mark.parametrize("profile", [COLOUR, BLANKS, MIC, PROFILES["mic-96-pellets"]], ids=lambda each: each.name)
def test_a_chart_of_coloured_discs_is_no_plate_for_any_profile(profile) -> None:
    pitch = 1700 / 13
    homography = np.array([[pitch, 0, pitch], [0, pitch, pitch], [0, 0, 1.0]])
    patches = cut_patches(colour_chart(8, 12, round_fields=True), homography, 8, 12, 64, 0.9)
    with pytest.raises(Refused, match="no_plate"):
        check_wells(patches, measure_light(patches, 0.9, profile), 0.9, profile.format, pitch, profile)


def test_a_plate_of_very_different_colours_is_still_a_plate() -> None:
    colours = {name: (RED, YELLOW, GREEN, PURPLE)[i % 4] for i, name in enumerate(COLOUR.format.names())}
    patches = cut_patches(draw_plate(colours), placed().homography, 8, 12, 64, 0.9)
    light = measure_light(patches, 0.9, COLOUR)
    assert check_wells(patches, light, 0.9, COLOUR.format, 60, COLOUR)["colour_step_lab"] > 25
