"""Where fault tests put things, and why they skip."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import msgspec
import pytest

from tests.faults.kill import Counts
from tests.system.conftest import bench, photograph

__all__ = ["bench", "lives", "memory_folder", "photograph", "strace"]

# A process that allows anyone of its user to trace it, as the lives of `kill` do.
_TRACEABLE: Final = """
import ctypes, time
ctypes.CDLL(None).prctl(0x59616D61, -1, 0, 0, 0)
print(1, flush=True)
time.sleep(20)
"""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """`make faults ONLY=e1` runs one proof."""
    only = os.environ.get("FAULTS_ONLY", "").upper()
    if only:
        others = [item for item in items if only not in {mark.args[0] for mark in item.iter_markers("proof")}]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item not in others]


@pytest.fixture
def memory_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: a killed process leaves there what it would leave on a disk, sooner."""
    shared = Path("/dev/shm")
    if not os.access(shared, os.W_OK):
        yield tmp_path
        return
    with TemporaryDirectory(prefix="wellread-faults-", dir=shared) as folder:
        yield Path(folder)


@pytest.fixture
def strace() -> str:
    """The tracer; the test is skipped where it is missing or may not attach."""
    found = shutil.which("strace")
    if found is None:
        pytest.skip("strace is not installed (apt-get install strace)")
    child = subprocess.Popen([sys.executable, "-c", _TRACEABLE], stdout=subprocess.PIPE)
    assert child.stdout is not None
    try:
        child.stdout.read(1)
        tried = subprocess.run(
            ["timeout", "-s", "INT", "0.5", found, "-p", str(child.pid)], capture_output=True, text=True, check=False
        )
    finally:
        child.kill()
        child.communicate()
    if "attached" not in tried.stderr:
        pytest.skip(f"strace may not attach here: {tried.stderr.strip()[-200:]}")
    return found


def lives(*arguments: object) -> Counts:
    """What `python -m tests.faults.kill` counted."""
    command = [sys.executable, "-m", "tests.faults.kill", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return msgspec.json.decode(done.stdout.splitlines()[-1], type=Counts)
