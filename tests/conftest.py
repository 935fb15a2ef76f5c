"""Every test process starts with the project's own environment variables removed; no domain objects here."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

_PLATES = os.environ.get("WELLREAD_PLATES")
_YOLO11N = os.environ.get("WELLREAD_YOLO11N")
for _name in [name for name in os.environ if name.startswith("WELLREAD_")]:
    del os.environ[_name]


# What waits for real processes, kills them or runs for long, the longest first: nobody waits for it at the end.
_LONG = ("faults", "simulation", "system", "security", "provisioning", "models")
_TESTS = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The rooms that take longest come first; within them and after them the order stays."""
    items.sort(key=lambda item: _place(item.path))


def _place(path: Path) -> int:
    room = path.relative_to(_TESTS).parts[0] if path.is_relative_to(_TESTS) else ""
    return _LONG.index(room) if room in _LONG else len(_LONG)


def pytest_collection_finish() -> None:
    """All that was imported stays: the collector looks through it no more (a third of the time to make an app)."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _logs_as_before() -> Iterator[None]:
    """A program that a test runs in this process sets up its log; the next test's log is not that one."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--overwrite` writes golden files anew instead of comparing with them."""
    parser.addoption("--overwrite", action="store_true", help="write golden files anew; look at the difference")


@pytest.fixture(scope="session")
def plates() -> Path:
    """The folder of real photographs; the test is skipped where it is absent."""
    folder = Path(_PLATES) if _PLATES else Path(__file__).parents[2] / "shared" / "plates"
    if not folder.is_dir():
        pytest.skip(f"no photographs at {folder} (set WELLREAD_PLATES to a folder that has them)")
    return folder


@pytest.fixture(scope="session")
def yolo11n() -> Path:
    """The network that reading a plate is timed beside; the benchmark is skipped where it is absent."""
    if not _YOLO11N:
        pytest.skip("no peer to time beside (sh tests/benchmarks/make_baseline.sh FOLDER, then set WELLREAD_YOLO11N)")
    return Path(_YOLO11N)
