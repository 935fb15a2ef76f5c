"""docs/security.md claims nothing that no test shows, and leaves no requirement out."""

import re
from collections import Counter

import pytest

from tests.security.table import PAGE, ROOT, load, page, shown_by, state

DOCUMENT = load()

# How many requirements of the two levels each chapter of ASVS 5.0.0 has.
CHAPTERS = {
    1: 27, 2: 11, 3: 19, 4: 10, 5: 9, 6: 35, 7: 18, 8: 7, 9: 7, 10: 29,
    11: 14, 12: 9, 13: 13, 14: 9, 15: 13, 16: 16, 17: 7,
}  # fmt: skip


def test_the_page_is_what_the_file_says() -> None:
    assert PAGE.read_text() == page(), "run `make docs`"


def test_no_requirement_is_left_out() -> None:
    found = Counter(int(number.split(".")[0]) for number in DOCUMENT["requirement"])
    assert dict(found) == CHAPTERS
    assert (len(DOCUMENT["level_1"]), len(DOCUMENT["requirement"])) == (70, 70 + 183)
    assert set(DOCUMENT["level_1"]) <= set(DOCUMENT["requirement"])


@pytest.mark.parametrize("number", DOCUMENT["requirement"])
def test_a_requirement_is_met_by_tests_that_exist_or_says_why_not(number: str) -> None:
    entry = DOCUMENT["requirement"][number]
    assert len(set(entry) - {"tests"}) == 1
    assert (state(entry) == "met") == bool(entry.get("tests")), "met by what?"
    for file, name in shown_by(DOCUMENT, entry):
        assert re.search(rf"^(async )?def {name}\(", (ROOT / file).read_text(), re.MULTILINE), f"{file} has no {name}"


def test_the_policy_names_its_times() -> None:
    policy = (ROOT / "SECURITY.md").read_text()
    assert re.search(r"within \d+ (hours|days)", policy)
    assert "sbom" in policy.lower()
