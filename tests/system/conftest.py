"""A laboratory in a temporary folder: central with its broker, and one bench, each as real processes."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import httpx
import pytest

from models.training.render import PlateSpec, render_plate
from provisioning.processes import Central, module_command, run_once, running, running_central, wait_for

PASSWORD = "a-laboratory-password"


@pytest.fixture(scope="session")
def photograph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rendered plate with a code, small enough to be read in a fraction of a second."""
    picture, _ = render_plate(7, PlateSpec(code="S-7,NDV,1", size_px=(1280, 920)))
    path = tmp_path_factory.mktemp("photographs") / "plate.jpg"
    assert cv2.imwrite(str(path), picture)
    return path


class Bench:
    """One reader: its state folder, the folder its camera looks at, and its process."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "reader"
        self.inbox = folder / "inbox"
        self.inbox.mkdir(parents=True)
        self.events_file = folder / "events.jsonl"
        self.log = folder / "reader.log"

    def running(self) -> Any:
        """The agent as a process, its events appended to one file over all its lives."""
        command = module_command(
            "edge_agent", "run", "--state-dir", str(self.state), "--folder", str(self.inbox), "--json"
        )
        return running(command, self.log, stdout=self.events_file)

    def show(self, photograph: Path, *names: str) -> None:
        """Put copies of a photograph under the camera, each complete at once."""
        for name in names:
            part = self.inbox / f".{name}.part"
            shutil.copyfile(photograph, part)
            part.rename(self.inbox / name)

    def events(self, kind: str) -> list[dict[str, Any]]:
        """What the agent said so far, only whole lines."""
        if not self.events_file.exists():
            return []
        lines = self.events_file.read_text().split("\n")[:-1]
        found = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]
        return [event for event in found if event.get("event") == kind]

    def enrol(self, central: Central) -> None:
        """Make this reader a device of central."""
        with sign_in(central) as api:
            claim = api.post("/api/v1/claims", json={"name": "Bench"}).raise_for_status().json()["claim_code"]
        run_once(module_command("edge_agent", "enrol", claim, "--central", central.url, "--state-dir", str(self.state)))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A reader that nobody has enrolled yet."""
    return Bench(tmp_path)


@pytest.fixture
def central(tmp_path: Path) -> Iterator[Central]:
    """A running central with one administrator."""
    data_dir = tmp_path / "central"
    with running_central(data_dir) as running_now:
        add_admin(data_dir)
        yield running_now


def add_admin(data_dir: Path) -> None:
    """The administrator that `sign_in` uses."""
    command = module_command("central", "user", "add", "admin", "--role", "admin", "--password-stdin")
    run_once(command, stdin=PASSWORD + "\n", extra={"WELLREAD_DATA_DIR": str(data_dir)})


def sign_in(central: Central) -> httpx.Client:
    """The API with a token that is good for a quarter of an hour."""
    answer = httpx.post(f"{central.url}/api/v1/tokens", json={"name": "admin", "password": PASSWORD}, timeout=20)
    token = answer.raise_for_status().json()["access_token"]
    return httpx.Client(base_url=central.url, headers={"Authorization": f"Bearer {token}"}, timeout=20)


def all_runs(api: httpx.Client) -> list[dict[str, Any]]:
    """Every run that central shows, over all pages."""
    runs: list[dict[str, Any]] = []
    address: str | None = "/api/v1/runs"
    while address:
        answer = api.get(address).raise_for_status()
        runs += answer.json()["items"]
        address = answer.links.get("next", {}).get("url")
    return runs


def wait_for_runs(api: httpx.Client, count: int, timeout_s: float = 90) -> list[dict[str, Any]]:
    """All runs, once there are this many."""

    def enough() -> list[dict[str, Any]] | None:
        runs = all_runs(api)
        return runs if len(runs) >= count else None

    return wait_for(f"{count} runs in central", enough, timeout_s)
