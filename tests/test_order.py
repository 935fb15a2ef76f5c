"""The order in which tests run: what takes longest first, and no test file that it cannot take."""

from pathlib import Path
from types import SimpleNamespace

from tests.conftest import pytest_collection_modifyitems

TESTS = Path(__file__).parent


def in_order(*paths: Path) -> list[Path]:
    items = [SimpleNamespace(path=path) for path in paths]
    pytest_collection_modifyitems(items)  # type: ignore[arg-type]
    return [item.path for item in items]


def test_rooms_that_take_long_come_first_and_the_others_stay_as_they_were() -> None:
    long, last, first = (
        TESTS / "faults" / "test_kill.py",
        TESTS / "protocol" / "test_a.py",
        TESTS / "central" / "test_b.py",
    )
    assert in_order(last, first, long) == [long, last, first]


def test_a_test_file_from_elsewhere_is_taken_too() -> None:
    elsewhere, long = Path("/elsewhere/test_mine.py"), TESTS / "models" / "test_render.py"
    assert in_order(elsewhere, long) == [long, elsewhere]
