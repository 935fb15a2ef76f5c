"""How the reader itself is: disk, temperature; and what systemd is told of it."""

import contextlib
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_THERMAL: Final = Path("/sys/class/thermal/thermal_zone0/temp")


@dataclass(frozen=True)
class Health:
    """What can be measured without the camera. `temperature_celsius` is None where the machine does not say."""

    disk_free_mb: int
    temperature_celsius: float | None


def measure(state_dir: Path, thermal: Path = _THERMAL) -> Health:
    """The machine's state now."""
    existing = next(folder for folder in (state_dir, *state_dir.absolute().parents) if folder.is_dir())
    temperature = None
    with contextlib.suppress(OSError, ValueError):
        temperature = int(thermal.read_text(encoding="ascii")) / 1000
    return Health(shutil.disk_usage(existing).free // 1_000_000, temperature)


def notify_systemd(state: str, address: str | None) -> None:
    """Tell systemd `READY=1`, `WATCHDOG=1` or `STOPPING=1`; nothing where it did not start us (no NOTIFY_SOCKET)."""
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    # That there is no descriptor left for it must not end whoever says that all is well.
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notify,
    ):
        notify.sendto(state.encode(), address)
