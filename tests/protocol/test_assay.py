"""Assay profiles are data that is checked on the way in."""

import msgspec
import pytest

from protocol.assay import check_profile, parse_profile
from protocol.profiles import PROFILES, profile_named
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
    with pytest.raises(KeyError, match=r"'hi-97'.*hi-96, hi-96-serum-control"):
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
