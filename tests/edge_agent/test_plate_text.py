"""A plate as text: a grid of letters, both endpoints, titre, grade and flags."""

from edge_agent.plate_text import LETTERS, legend, plate_text
from protocol.assay import Call
from protocol.endpoint import plate_endpoints
from protocol.messages import Colour, PlateSeen
from protocol.profiles import PROFILES
from tests.make import HI, make_well, make_wells

SEEN = PlateSeen(96, 8, 12, 0, False, "seat", 95, 0.02, 60.0)
UNKNOWN = PlateSeen(96, 8, 12, 270, False, "unknown", 96, 0.02, 60.0)


def lines(wells=None, plate=SEEN) -> list[str]:
    wells = wells or make_wells({"A": 7, "B": 0, "C": 12})
    endpoints = plate_endpoints(wells, HI) if plate is SEEN else {}
    return plate_text("p.jpg", plate, wells, endpoints, HI).splitlines()


def row(letter: str, found: list[str]) -> list[str]:
    return next(line for line in found if line.startswith(f"  {letter} ")).split()


def test_row_shows_calls_endpoints_titre_and_grade() -> None:
    assert row("A", lines()) == ["A", *"FFFFFFFBDDDD", "7", "7", "1:128", "high"]


def test_row_without_inhibition_and_full_row_are_censored() -> None:
    assert row("B", lines())[13:] == ["0", "0", "<1:2", "high", "below"]
    assert row("C", lines())[13:] == ["12", "12", "≥1:4096", "high", "at_limit"]


def test_every_call_has_its_own_letter() -> None:
    assert len(set(LETTERS.values())) == len(LETTERS) == len(Call)


def test_row_that_could_not_be_read_has_no_titre() -> None:
    wells = make_wells() | {name: make_well("not_read") for name in HI.format.row("D")}
    assert row("D", lines(wells)) == ["D", *"············", "–", "–", "not", "read", "low", "gap"]


def test_flags_are_named_by_well() -> None:
    wells = make_wells() | {"D1": make_well(flags=("low_confidence", "not_seen"))}
    assert "flagged: D1 low_confidence, not_seen" in lines(wells)


def test_unknown_a1_is_said_and_has_no_endpoints() -> None:
    found = lines(plate=UNKNOWN)
    assert any("there are no endpoints" in line for line in found)
    assert row("A", found) == ["A", *"FFFFFFFBDDDD"]


def test_the_legend_of_hi_names_its_calls_and_no_others() -> None:
    assert legend(HI) == "F flowing · B button · P partial · D diffuse · E empty · ? obscured · · not read"


def test_an_mic_is_told_in_its_own_words() -> None:
    mic = PROFILES["mic-96"]
    wells = {name: make_well("growth" if name[1:] in {"1", "2", "3"} else "clear") for name in mic.format.names()}
    found = plate_text("p.jpg", SEEN, wells, plate_endpoints(wells, mic), mic)
    assert row("A", found.splitlines())[13:] == ["9", "9", "MIC", "0.032", "mg/L", "high", "anidulafungin"]
    assert "titre" not in found
    assert "flowing" not in found


def test_wells_without_endpoints_are_counted() -> None:
    profile = PROFILES["colour-96"]
    measured = Colour(80.0, 40.0, 0.0, -20.0, 40.0, 0.0, "plate_light", 0.5, 0.0)
    wells = {name: make_well("negative") for name in profile.format.names()} | {
        "B2": make_well("positive", colour=measured)
    }
    found = plate_text("p.jpg", SEEN, wells, {}, profile)
    assert "1 positive, 95 negative" in found
    assert "colours compared with the plate light" in found
