"""Growth in a dilution series → the MIC, as CLSI and EUCAST read it."""

import pytest

from protocol.assay import Call
from protocol.endpoint import WellEvidence, plate_endpoints, result_text, row_endpoint
from protocol.profiles import PROFILES
from tests.make import make_well, replace

MIC = PROFILES["mic-96"]
LETTERS = {"c": "clear", "g": "growth", "w": "weak_growth", "i": "indeterminate", "-": "not_read"}


def mic(letters: str, inhibited: tuple[Call, ...] = (Call.CLEAR,)):
    """`cccggg`: the strongest concentration first."""
    calls = [Call(LETTERS[letter]) for letter in letters]
    wells = [WellEvidence(call, 0.95 if call in inhibited else 0.05) for call in calls]
    return row_endpoint(wells, inhibited=inhibited, reports="mic")


@pytest.mark.parametrize(("letters", "k"), [("ccccgggg", 4), ("gggggggg", 0), ("cccccccc", 8), ("cgggg", 1)])
def test_the_endpoint_is_the_weakest_of_the_unbroken_run_without_growth(letters, k) -> None:
    assert mic(letters).by_rule == k


def test_nothing_is_said_to_flow() -> None:
    assert mic("ccccgggg").last_flowing is None


def test_with_a_single_skipped_well_the_highest_mic_is_read_and_flagged() -> None:
    endpoint = mic("cccgcggg")
    assert endpoint.by_rule == 3
    assert "skipped" in endpoint.flags
    assert endpoint.grade != "high"


def test_with_more_than_one_skipped_well_nothing_is_reported() -> None:
    endpoint = mic("ccgccggg")
    assert (endpoint.by_rule, endpoint.grade) == (None, "low")
    assert endpoint.flags == ("skipped",)


@pytest.mark.parametrize("unread", ["i", "-"])
def test_a_well_that_decides_and_cannot_be_read_leaves_no_mic(unread) -> None:
    endpoint = mic(f"cccc{unread}ggg")
    assert (endpoint.by_rule, endpoint.grade) == (None, "low")
    assert "gap" in endpoint.flags


def test_an_unread_well_among_clear_ones_is_flagged_and_passed_over() -> None:
    endpoint = mic("cc-ccggg")
    assert endpoint.by_rule == 5
    assert "gap" in endpoint.flags


def test_an_unread_weakest_well_does_not_make_the_mic_at_most_it() -> None:
    assert mic("ccccccc-").by_rule is None


def test_trailing_growth_counts_as_growth_where_inhibition_must_be_complete() -> None:
    endpoint = mic("cccwwwgg")
    assert endpoint.by_rule == 3
    assert "trailing" in endpoint.flags


def test_trailing_growth_counts_as_inhibited_where_the_profile_says_so() -> None:
    assert mic("cccwwwgg", (Call.CLEAR, Call.WEAK_GROWTH)).by_rule == 6


def wells(row: str, letters: str):
    """`letters` from column 1 to 12."""
    found = {name: make_well("growth" if name == "H1" else "clear") for name in MIC.format.names()}
    names = MIC.format.row(row)
    return found | {name: make_well(LETTERS[each]) for name, each in zip(names, letters, strict=True)}


@pytest.mark.parametrize(
    ("row", "letters", "text"),
    [
        ("C", "gggggccccccc", "MIC 0.125 mg/L"),
        ("C", "cccccccccccc", "MIC ≤ 0.004 mg/L"),
        ("C", "gggggggggggg", "MIC > 8 mg/L"),
        ("G", "ggggggggggcc", "MIC 64 mg/L"),
        ("H", "ggggggggcccc", "MIC 1 mg/L"),
        ("C", "ggcccgcccccc", "not read"),
    ],
)
def test_an_mic_is_written_with_its_unit_and_its_censoring(row, letters, text) -> None:
    endpoint = plate_endpoints(wells(row, letters), MIC)[row]
    assert result_text(row, endpoint.reported(MIC), MIC) == text


def test_a_plate_whose_growth_control_does_not_grow_is_graded_low() -> None:
    endpoints = plate_endpoints(wells("A", "ggggcccccccc") | {"H1": make_well("clear")}, MIC)
    assert {endpoint.grade for endpoint in endpoints.values()} == {"low"}
    assert all("control_failed" in endpoint.flags for endpoint in endpoints.values())


def test_the_step_fit_can_be_reported_instead() -> None:
    profile = replace(MIC, reported_rule="step_fit")
    endpoint = plate_endpoints(wells("C", "gggggccccccc"), profile)["C"]
    assert endpoint.reported(profile) == endpoint.step_fit == 7
