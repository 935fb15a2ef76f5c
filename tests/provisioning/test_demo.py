"""The demo ends by itself once its runs are visible through central's API, and says so by its exit status."""

import subprocess
import sys
from pathlib import Path

import pytest

from provisioning.plates import DEMO_PHOTOGRAPHS
from provisioning.processes import environment

pytestmark = pytest.mark.system

PLATES = sum(photograph.code is not None for photograph in DEMO_PHOTOGRAPHS)


def demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "provisioning.demo", *arguments],
        capture_output=True, text=True, timeout=240, env=environment(), check=False,
    )  # fmt: skip


def test_the_demo_reads_every_plate_and_refuses_the_empty_stage(tmp_path: Path) -> None:
    done = demo("--exit-after", str(PLATES), "--data-dir", str(tmp_path / "demo"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("  run ") == PLATES
    assert "refused  03-empty-stage.jpg: no_plate" in done.stdout
    assert "admin / " in done.stdout


def test_the_demo_says_when_runs_stay_away(tmp_path: Path) -> None:
    empty = tmp_path / "no-photographs"
    empty.mkdir()
    done = demo("--exit-after", "1", "--timeout", "3", "--photos", str(empty))
    assert done.returncode != 0
    assert "0 of 1 runs" in done.stderr
