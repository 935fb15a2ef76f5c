"""What the machine says of itself, and what systemd hears."""

import socket
from pathlib import Path

import pytest

from edge_agent.health import measure, notify_systemd


def test_disk_and_temperature_are_measured(tmp_path: Path) -> None:
    thermal = tmp_path / "temp"
    thermal.write_text("48312\n")
    health = measure(tmp_path / "not" / "yet", thermal)
    assert health.disk_free_mb > 0
    assert health.temperature_celsius == 48.312


def test_a_machine_without_a_thermometer_is_no_error(tmp_path: Path) -> None:
    assert measure(tmp_path, tmp_path / "none").temperature_celsius is None


def test_systemd_hears_that_the_agent_is_ready(tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(address)
        notify_systemd("READY=1", address)
        assert systemd.recv(100) == b"READY=1"


def test_without_systemd_nobody_is_told(tmp_path: Path) -> None:
    notify_systemd("READY=1", None)
    notify_systemd("READY=1", str(tmp_path / "nobody"))


def test_a_process_without_a_descriptor_left_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_socket(*arguments: object) -> socket.socket:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(socket, "socket", no_socket)
    notify_systemd("WATCHDOG=1", str(tmp_path / "nobody"))
