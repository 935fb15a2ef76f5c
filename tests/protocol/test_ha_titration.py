"""Haemagglutination titration: the last dilution that agglutinates completely."""

import msgspec
import pytest

from protocol.endpoint import plate_endpoints, result_text
from protocol.profiles import PROFILES
from tests.make import make_well

HA = PROFILES["ha-titration"]
LETTERS = {"d": "diffuse", "p": "partial", "b": "button", "f": "flowing", "-": "not_read"}


def plate(letters: str):
    """Every row the same; the twelfth letter is the cell control."""
    return {
        name: make_well(LETTERS[letter])
        for row in HA.format.row_labels()
        for name, letter in zip(HA.format.row(row), letters, strict=True)
    }


@pytest.mark.parametrize(
    ("letters", "text"),
    [
        ("ddddddfffff" + "f", "1:64"),
        ("ddddddpffff" + "b", "1:64"),
        ("fffffffffff" + "f", "<1:2"),
        ("ddddddddddd" + "f", "≥1:2048"),
        ("-----------" + "f", "not read"),
    ],
)
def test_the_titre_is_the_last_dilution_that_agglutinates_completely(letters, text) -> None:
    endpoint = plate_endpoints(plate(letters), HA)["A"]
    assert result_text("A", endpoint.reported(HA), HA) == text
    assert endpoint.last_flowing is None


def test_cells_that_agglutinate_without_virus_fail_the_plate() -> None:
    endpoint = plate_endpoints(plate("ddddddfffff" + "d"), HA)["A"]
    assert endpoint.grade == "low"
    assert "control_failed" in endpoint.flags


def test_a_well_that_settles_before_the_endpoint_is_a_skipped_one() -> None:
    assert "skipped" in plate_endpoints(plate("ddfdddfffff" + "f"), HA)["A"].flags


def test_the_endpoints_of_hi_say_nothing_about_other_assays_rules() -> None:
    hi = PROFILES["hi-96"]
    wells = {name: make_well("flowing") for name in hi.format.names()}
    document = msgspec.to_builtins(plate_endpoints(wells, hi)["A"])
    assert list(document) == ["last_flowing", "step_fit", "margin_ln", "grade", "flags"]
