"""The shape of the house: who may import whom, which modules stay pure, that every module says what it is for."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("protocol", "edge_agent", "central", "models", "provisioning")

MAY_IMPORT = {
    "protocol": {"protocol"},
    "edge_agent": {"edge_agent", "protocol"},
    "central": {"central", "protocol"},
    "models": {"models", "edge_agent", "protocol"},
    "provisioning": {"provisioning", "protocol", "models"},
}

# Modules that decide and never act, and the modules by which Python reaches disk, network, clock or chance.
PURE = (
    "protocol",
    "edge_agent/link/conversation.py",
    "edge_agent/link/window.py",
    "edge_agent/outbox/retention.py",
    "edge_agent/plate_text.py",
    "edge_agent/vision/annotate.py",
    "edge_agent/vision/blobs.py",
    "edge_agent/vision/colour.py",
    "edge_agent/vision/growth.py",
    "edge_agent/vision/liquid.py",
    "edge_agent/vision/plate_light.py",
    "edge_agent/vision/confirm.py",
    "edge_agent/vision/footprint.py",
    "edge_agent/vision/geometry.py",
    "edge_agent/vision/glare.py",
    "edge_agent/vision/lattice.py",
    "edge_agent/vision/legends.py",
    "edge_agent/vision/levels.py",
    "edge_agent/vision/orientation.py",
    "edge_agent/vision/patches.py",
    "edge_agent/vision/rims.py",
    "edge_agent/vision/shrink.py",
    "edge_agent/vision/spread.py",
    "edge_agent/vision/streak.py",
    "edge_agent/vision/tensors.py",
    "central/assays/charts.py",
    "central/assays/controls.py",
    "central/audit/verify.py",
    "central/results/aggregate.py",
    "central/intake/decide.py",
    "central/laboratory/states.py",
    "central/laboratory/worklist.py",
    "central/notices/decide.py",
    "central/notices/kinds.py",
    "central/notices/states.py",
    "central/deliveries/differences.py",
    "central/deliveries/states.py",
    "central/results/quality.py",
)
IO_MODULES = {
    "os", "pathlib", "io", "socket", "ssl", "http", "urllib", "httpx", "subprocess", "threading", "asyncio", "tempfile",
    "shutil", "sqlite3", "sqlite_utils", "sqlalchemy", "paho", "time", "random", "secrets", "uuid", "importlib",
}  # fmt: skip

ONE_HOME = {
    "paho": {"edge_agent/link/sync.py", "central/intake/link.py"},
    "ai_edge_litert": {"edge_agent/vision/detector.py", "models/training"},
    "tflite_runtime": {"edge_agent/vision/detector.py"},
    "picamera2": {"edge_agent/cameras/camera.py"},
    "sqlite_utils": {"edge_agent/outbox/look.py"},
    "torch": {"models/training"},
}


def modules(*places: str) -> list[Path]:
    """Our source files below these packages or at these paths."""
    found: list[Path] = []
    for place in places:
        path = ROOT / place
        found += [path] if path.is_file() else sorted(path.rglob("*.py"))
    return [path for path in found if "__pycache__" not in path.parts]


@cache
def imports(path: Path) -> tuple[str, ...]:
    """Full names of everything that a module imports, wherever in it."""
    return tuple(imported(path))


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import (expected the full name)"
            yield node.module or ""


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", modules(*PACKAGES), ids=name)
def test_imports_point_down(path: Path) -> None:
    allowed = MAY_IMPORT[path.relative_to(ROOT).parts[0]]
    ours = {module.split(".")[0] for module in imports(path)} & {*PACKAGES, "tests"}
    assert ours <= allowed


@pytest.mark.parametrize("path", modules(*PURE), ids=name)
def test_a_pure_module_reaches_no_disk_network_clock_or_chance(path: Path) -> None:
    assert not {module.split(".")[0] for module in imports(path)} & IO_MODULES


@pytest.mark.parametrize("path", modules(*PACKAGES, "tests"), ids=name)
def test_a_module_opens_by_saying_what_it_is_for(path: Path) -> None:
    tree = ast.parse(path.read_text())
    if path.name == "__init__.py" and not tree.body:
        return
    assert ast.get_docstring(tree)


@pytest.mark.parametrize("library", ONE_HOME)
def test_a_library_at_a_border_has_one_home(library: str) -> None:
    users = {name(path) for path in modules(*PACKAGES) if library in {m.split(".")[0] for m in imports(path)}}
    homes = ONE_HOME[library]
    assert all(any(user == home or user.startswith(f"{home}/") for home in homes) for user in users), users


@pytest.mark.parametrize("path", modules(*PACKAGES), ids=name)
def test_only_settings_and_entry_points_read_the_environment(path: Path) -> None:
    if path.name in {"settings.py", "config.py", "__main__.py", "processes.py"}:
        return
    text = path.read_text()
    assert "environ[" not in text
    assert "getenv(" not in text
    assert "environ.get(" not in text


@pytest.mark.parametrize("path", modules(*PACKAGES), ids=name)
def test_nothing_swallows_every_error_outside_the_main_loops(path: Path) -> None:
    loops = {
        "edge_agent/agent.py",
        "edge_agent/link/sync.py",
        "central/intake/mqtt.py",
        "central/web/problems.py",
        "central/deliveries/outbox.py",
        "central/notices/letters.py",
        "central/notices/running.py",
    }
    caught = [
        node.lineno
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ExceptHandler) and isinstance(node.type, ast.Name) and node.type.id == "Exception"
    ]
    assert not caught or name(path) in loops, f"{name(path)}:{caught}"
