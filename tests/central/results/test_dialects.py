"""LIMS files: byte for byte what the golden file says; what would need quoting or another row is refused."""

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from central.results.dialects import labware, labware_name
from tests.make import NOON

GOLDEN = Path(__file__).parents[2] / "data" / "labware" / "interface_S-1001_20261120_120000.csv"
COUNTS = dict.fromkeys(range(13), 0) | {8: 4, 9: 2, 10: 1, 11: 1}


def test_the_labware_file_is_byte_for_byte_the_golden_one() -> None:
    assert labware("S-1001", "NDV", COUNTS) == GOLDEN.read_bytes()
    assert labware_name("S-1001", NOON) == GOLDEN.name


def test_without_a_test_the_submission_stands_in_both_columns() -> None:
    assert labware("S-1001", None, COUNTS) == GOLDEN.read_bytes().replace(b",NDV,", b",S-1001,")


def test_there_are_always_fourteen_rows() -> None:
    lines = labware("S-1", "T", dict.fromkeys(range(12), 0)).decode().splitlines()
    assert len(lines) == 1 + 14
    assert lines[-1] == "S-1,T,12,0"


def test_an_endpoint_that_the_file_has_no_row_for_is_refused() -> None:
    with pytest.raises(ValueError, match=r"endpoints \[13\]"):
        labware("S-1", "T", {13: 1})


@pytest.mark.parametrize("submission", ["a,b", 'a"b', "a\nb", "=1+1", "-1", "", "ü", "S-1\n"])
def test_a_number_that_would_need_quoting_is_refused(submission: str) -> None:
    with pytest.raises(ValueError, match="not a laboratory's number"):
        labware(submission, None, COUNTS)


def test_a_file_name_is_one_name_in_utc() -> None:
    at = datetime(2026, 11, 20, 1, 2, 3, tzinfo=timezone(timedelta(hours=2)))
    assert labware_name("a/b:c", at) == "interface_a_b_c_20261119_230203.csv"


def test_the_file_holds_the_known_distribution_of_a_real_plate(plates: Path) -> None:
    expected = [tuple(map(str, row)) for row in json.loads(_vectors(plates))["labware_rows"]]
    counts = {int(name): int(count) for name, count in expected if name != "No."}
    lines = labware("S-1", None, counts).decode().splitlines()[1:]
    assert [tuple(line.split(",")[2:]) for line in lines] == expected


def _vectors(plates: Path) -> str:
    return (plates / "hi" / "endpoint-vectors.json").read_text()
