"""The services that systemd starts: they parse, are let do little, and start commands with settings that exist."""

import configparser
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Final

import pytest

from central.settings import Settings
from edge_agent.config import load_config
from models.training.render import PlateSpec, render_plate
from tests.edge_agent.vision.conftest import jpeg

ROOT: Final = Path(__file__).parents[2]
UNITS: Final = sorted((ROOT / "provisioning").glob("*/*.service"))
# What `systemd-analyze security` may say of a service at most, of 10.
MOST_EXPOSED: Final = 1.5

each_unit = pytest.mark.parametrize("unit", UNITS, ids=[unit.stem for unit in UNITS])


class _Unit(configparser.RawConfigParser):
    """A unit file; of a key that stands there several times the last one."""

    optionxform = staticmethod(str)  # type: ignore[assignment]


def read(unit: Path) -> _Unit:
    """The file's sections and keys."""
    parser = _Unit(strict=False, interpolation=None)
    parser.read_string(unit.read_text())
    return parser


def analysed(unit: Path, folder: Path, *command: str) -> str:
    """What `systemd-analyze` says of the unit, on a machine where nothing of ours is installed."""
    tool = shutil.which("systemd-analyze")
    if tool is None:
        pytest.skip("systemd-analyze is not installed (apt-get install systemd)")
    copy = folder / unit.name
    copy.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", unit.read_text(), flags=re.MULTILINE))
    done = subprocess.run([tool, *command, str(copy)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_agent_and_central_have_one_each() -> None:
    assert [unit.name for unit in UNITS] == ["wellread-central.service", "wellread-agent.service"]


@each_unit
def test_systemd_understands_every_line(unit: Path, tmp_path: Path) -> None:
    assert analysed(unit, tmp_path, "verify") == ""


@each_unit
def test_it_may_do_little_that_it_does_not_need(unit: Path, tmp_path: Path) -> None:
    said = analysed(unit, tmp_path, "security", "--offline=true", "--no-pager")
    found = re.search(r"exposure level for \S+: ([0-9.]+)", said)
    assert found is not None, said
    assert float(found[1]) <= MOST_EXPOSED


@each_unit
def test_it_starts_a_command_that_is_installed(unit: Path) -> None:
    command = Path(read(unit)["Service"]["ExecStart"].split()[0])
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert command.name in scripts
    # docs/operations.md says to install there.
    assert command.parent == Path("/opt/wellread/.venv/bin")


@each_unit
def test_its_data_is_where_systemd_makes_a_folder_for_it(unit: Path) -> None:
    service = read(unit)["Service"]
    name, _, folder = service["Environment"].partition("=")
    assert folder == f"/var/lib/{service['StateDirectory']}"
    if name.startswith("WELLREAD_AGENT_"):
        assert str(load_config(None, {name: folder}).state_dir) == folder
    else:
        assert name.removeprefix("WELLREAD_").lower() in Settings.__struct_fields__


def test_the_agent_is_ended_when_its_loops_stand_still() -> None:
    (unit,) = (unit for unit in UNITS if unit.stem == "wellread-agent")
    service = read(unit)["Service"]
    assert (service["Type"], service["Restart"]) == ("notify", "always")
    assert int(service["WatchdogSec"]) >= 10  # the agent itself falls silent within ten seconds


# What `MemoryDenyWriteExecute=` asks of the kernel (Linux 6.3), before the command starts in the same process.
_WITHOUT_NEW_CODE: Final = """
import ctypes, runpy, sys
if ctypes.CDLL(None).prctl(65, 1, 0, 0, 0):
    sys.exit(77)
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


def without_new_code(*command: str) -> subprocess.CompletedProcess[str]:
    """A command that may not make memory executable; skipped where the kernel cannot forbid it."""
    line = [sys.executable, "-c", _WITHOUT_NEW_CODE, *command]
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode == 77:
        pytest.skip("this kernel cannot forbid executable memory (Linux 6.3 or later can)")
    return done


def test_a_plate_is_read_where_no_memory_may_become_executable(tmp_path: Path) -> None:
    image, _ = render_plate(5002, PlateSpec(difficulty="plain", fill=0.85))
    (tmp_path / "plate.jpg").write_bytes(jpeg(image))
    done = without_new_code("edge_agent", "read", str(tmp_path / "plate.jpg"), "--json")
    assert done.returncode == 0, done.stderr
    assert '"flowing"' in done.stdout


def test_central_starts_where_no_memory_may_become_executable(tmp_path: Path) -> None:
    done = without_new_code("central", "migrate", "--data-dir", str(tmp_path))
    assert done.returncode == 0, done.stderr
