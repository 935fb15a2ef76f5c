"""Every dialect × every state: what has no result is never a blank, a zero or a negative for a laboratory system."""

import pytest

from central.deliveries.dialect import Dialect, shipped
from central.deliveries.results import PlateResult
from tests.central.deliveries.sayings import NOTHING, PAGE, levels, page, said, states

STATES = dict(states())
UNREAD = ("well: obscured", "well: not_read")
NO_ENDPOINT = ("row: no endpoint", "row: not reportable")
EVERY = [
    pytest.param(dialect, state, id=f"{dialect.name}-{state}")
    for dialect in shipped().values()
    for state in STATES
    if state.partition(":")[0] in levels(dialect)
]


def spoken(dialect: Dialect, state: str) -> dict[str, str]:
    """What is said, where something is."""
    found = said(dialect, STATES[state])
    return found if isinstance(found, dict) else {}


def test_there_are_thirteen_dialects_and_every_call_and_status_is_a_state() -> None:
    assert len(shipped()) == 13
    assert len(STATES) == 13 + 7 + 5


@pytest.mark.parametrize(("dialect", "state"), EVERY)
def test_nothing_is_negative_and_nothing_is_zero_that_was_not_counted_or_titrated_so(
    dialect: Dialect, state: str
) -> None:
    for name, value in spoken(dialect, state).items():
        assert not value.startswith(("-", "−")), (name, value)
        if value.strip("0.,") == "":
            counted = name.endswith("_count") or dialect.shape.startswith("counts")
            below = name == "titre_log2" and state == "row: below the first dilution"
            assert counted or below or (value == "" and (dialect.reader == "people" or name == "censor")), name


@pytest.mark.parametrize("state", UNREAD)
@pytest.mark.parametrize("dialect", [d for d in shipped().values() if "well" in levels(d)], ids=lambda d: d.name)
def test_a_well_that_was_not_read_is_nothing_or_an_error_or_counted_as_such(dialect: Dialect, state: str) -> None:
    found = said(dialect, STATES[state])
    if dialect.source == "plates":
        read = spoken(dialect, "well: flowing")
        assert found == read | {"positive_count": "63", "invalid_count": "1"}
    elif dialect.shape == "asm":
        assert found == {"error": "not read"}
    elif dialect.reader == "people":
        assert isinstance(found, dict)
        assert (found["call"], found["confidence"]) == ("", "")
    else:
        assert found == NOTHING


@pytest.mark.parametrize("state", NO_ENDPOINT)
@pytest.mark.parametrize("dialect", [d for d in shipped().values() if "row" in levels(d)], ids=lambda d: d.name)
def test_a_row_without_a_result_is_nothing_and_in_no_count(dialect: Dialect, state: str) -> None:
    found = said(dialect, STATES[state])
    if dialect.shape.startswith("counts"):
        assert isinstance(found, dict)
        counted = {name: value for name, value in found.items() if name.isdigit()}
        assert counted == {"8": "7"}
    elif dialect.reader == "people":
        assert isinstance(found, dict)
        assert (found["titre"], found["titre_log2"], found["censor"]) == ("", "", "")
    else:
        assert found == NOTHING


@pytest.mark.parametrize("dialect", list(shipped().values()), ids=lambda d: d.name)
def test_of_a_plate_of_which_nothing_was_read_nothing_is_said(dialect: Dialect) -> None:
    found = said(dialect, STATES["plate: nothing was read"])
    if dialect.reader == "people":
        assert isinstance(found, dict)
        assert set(found.values()) == {""}
    else:
        assert found in (NOTHING, "refused", {"error": "not read"}, {})  # the last: no serum is in any count


@pytest.mark.parametrize("dialect", [d for d in shipped().values() if "row" in levels(d)], ids=lambda d: d.name)
def test_what_has_a_result_is_said_as_it_is(dialect: Dialect) -> None:
    for state, log2, text in (
        ("row: 8 dilutions, grade low", "8", "256"),
        ("row: below the first dilution", "0", "2"),
        ("row: at the last dilution", "12", "4096"),
    ):
        found = spoken(dialect, state)
        assert found.get("titre_log2", log2) == log2
        assert found.get("titre", text) == text
        if dialect.shape == "counts":
            assert found["No."] == "8"


def test_the_page_says_what_the_dialects_say() -> None:
    assert PAGE.read_text() == page(), "run `make docs`"


def test_a_plate_is_a_state_of_its_own() -> None:
    assert all(isinstance(plate, PlateResult) for plate in STATES.values())


@pytest.mark.parametrize("dialect", [d for d in shipped().values() if "row" in levels(d)], ids=lambda d: d.name)
def test_no_titre_is_said_of_a_plate_whose_controls_failed(dialect: Dialect) -> None:
    found = said(dialect, STATES["plate: invalid"])
    if dialect.reader == "people":
        assert isinstance(found, dict)
        assert (found["titre"], found["titre_log2"], found["censor"]) == ("", "", "")
    else:
        assert found in (NOTHING, "refused", {})  # the last: no serum is in any count
