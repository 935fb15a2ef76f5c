"""Assay profiles are data that is checked on the way in."""

import msgspec
import pytest

from protocol.assay import Call
from protocol.profiles import PROFILES, profile_named
from protocol.soundness import check_profile, parse_profile
from tests.make import HI, replace


@pytest.mark.parametrize("profile", PROFILES.values(), ids=str)
def test_a_shipped_profile_is_sound_and_survives_json(profile) -> None:
    check_profile(profile)
    assert parse_profile(msgspec.json.encode(profile)) == profile


def test_every_well_of_a_plate_has_one_role() -> None:
    roles = PROFILES["hi-96-serum-control"].roles()
    assert len(roles) == 96
    assert roles["A11"] == "sample"
    assert roles["A12"] == "serum_control"


def test_the_serum_control_layout_has_eleven_dilutions() -> None:
    assert PROFILES["hi-96"].dilutions == 12
    assert PROFILES["hi-96-serum-control"].dilutions == 11


def test_an_unknown_profile_is_named_with_those_that_exist() -> None:
    with pytest.raises(KeyError, match=r"'hi-97'.*hi-96, hi-96-serum-control, mic-96"):
        profile_named("hi-97")
    with pytest.raises(KeyError, match="version of assay profile 'hi-96': 7"):
        profile_named("hi-96", 7)


def test_a_misspelt_field_is_refused_by_name() -> None:
    document = msgspec.to_builtins(HI) | {"first_dilutoin": 10}
    with pytest.raises(ValueError, match="first_dilutoin"):
        parse_profile(msgspec.json.encode(document))


def test_a_well_with_two_roles_is_refused() -> None:
    twice = replace(HI, series=(HI.series[0], replace(HI.series[1], wells=("A1", "B2"))))
    with pytest.raises(ValueError, match="'A1' has two roles"):
        check_profile(twice)


def test_a_well_beyond_the_plate_is_refused() -> None:
    beyond = replace(HI, series=(replace(HI.series[0], wells=("A13",)),))
    with pytest.raises(ValueError, match="'A13' is not on a 96-well plate"):
        check_profile(beyond)


MIC, COLOUR, PELLETS = PROFILES["mic-96"], PROFILES["colour-96"], PROFILES["mic-96-pellets"]


def with_range(**fields):
    """A colour profile whose first class has this range."""
    limits = replace(COLOUR.colour.classes[0].ranges[0], **fields)
    first = replace(COLOUR.colour.classes[0], ranges=(limits,))
    return replace(COLOUR, colour=replace(COLOUR.colour, classes=(first, *COLOUR.colour.classes[1:])))


@pytest.mark.parametrize(
    ("profile", "mistake"),
    [
        (replace(HI, inhibited=(Call.CLEAR,)), "inhibited: 'clear' is never seen where wells are judged by cells"),
        (replace(HI, colour=COLOUR.colour), "colour: criteria in a profile that is judged by cells"),
        (replace(HI, series=()), "no series"),
        (replace(HI, reported_rule="unbroken"), "reported_rule 'unbroken'"),
        (replace(HI, first_dilution=0), "first_dilution 0"),
        (replace(MIC, colour=None), "colour: no criteria in a profile that is judged by colour"),
        (replace(MIC, concentration_unit=""), "concentration_unit ''"),
        (replace(MIC, series=(replace(MIC.series[0], concentrations=(1.0,)),)), "1 concentrations for 12 wells"),
        (
            replace(MIC, series=(replace(MIC.series[0], concentrations=MIC.series[0].concentrations[::-1]),)),
            "expected the strongest first",
        ),
        (replace(MIC, series=(MIC.series[0], replace(MIC.series[1], row="A"))), "two series are called 'A'"),
        (replace(PELLETS, controls=PELLETS.controls[:1]), "no well has that role"),
        (replace(PELLETS, growth=replace(PELLETS.growth, clear_below=0.6)), "clear_below 0.6"),
        (replace(COLOUR, samples=()), "reports 'calls' needs samples"),
        (with_range(scatter=0.0), "scatter of 0.0"),
        (with_range(at_least=None), "has no limit"),
        (with_range(at_most=3.0), "at_least 15.0"),
        (replace(COLOUR, limits=replace(COLOUR.limits, least_light=-1.0)), "least_light -1.0"),
        (replace(HI, least_within_one=1.0), "least_within_one 1.0 (expected a number between 0 and 1)"),
        (replace(MIC, least_within_one=0.7), "least_within_one 0.7 with reports 'mic'"),
    ],
)
def test_a_profile_that_contradicts_itself_is_refused_with_the_mistake(profile, mistake) -> None:
    with pytest.raises(ValueError, match=r"assay profile '") as refused:
        check_profile(profile)
    assert mistake in str(refused.value)


def test_every_mistake_is_named_at_once() -> None:
    with pytest.raises(ValueError, match=r"'Q9'.*first_dilution 0"):
        check_profile(replace(HI, first_dilution=0, series=(replace(HI.series[0], wells=("Q9",)),)))
