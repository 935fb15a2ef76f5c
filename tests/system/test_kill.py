"""Kill -9 of the agent, the broker and central, each in the middle of 200 readings: every reading that the bench
reported "saved" is in central, once, with the digest it was saved with."""

import json
import os
import signal
from pathlib import Path

import pytest

from provisioning.processes import running_central, wait_for
from tests.system.conftest import Bench, add_admin, sign_in, wait_for_runs

READINGS = 200

pytestmark = pytest.mark.system


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def broker_of(parent: int) -> int:
    """The process id of central's Mosquitto."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    found = [int(pid) for pid in children if Path(f"/proc/{pid}/comm").read_text().strip() == "mosquitto"]
    assert len(found) == 1, f"{len(found)} brokers below central (expected 1)"
    return found[0]


def saved_at_least(bench: Bench, count: int) -> None:
    wait_for(f"{count} saved readings", lambda: True if len(bench.events("saved")) >= count else None, 240)


def test_what_was_saved_arrives_once_whatever_is_killed(tmp_path: Path, bench: Bench, photograph: Path) -> None:
    data_dir = tmp_path / "central"
    with running_central(data_dir) as central:
        add_admin(data_dir)
        bench.enrol(central)
        port = int(central.url.rsplit(":", 1)[1])
        bench.show(photograph, *(f"{number:03d}.jpg" for number in range(READINGS)))
        with bench.running() as agent:
            saved_at_least(bench, 40)
            kill(agent.pid)
        with bench.running():
            saved_at_least(bench, 80)
            kill(broker_of(central.process.pid))
            saved_at_least(bench, 120)
            kill(central.process.pid)
            central.process.wait()
            saved_at_least(bench, 150)
            with running_central(data_dir, port=port) as again:
                saved_at_least(bench, READINGS)
                saved = {event["id"]: event["digest"] for event in bench.events("saved")}
                with sign_in(again) as api:
                    runs = wait_for_runs(api, len(saved))
                    arrived = {run["id"]: api.get(f"/api/v1/runs/{run['id']}").json()["digest"] for run in runs}
    assert len(runs) == len({run["id"] for run in runs})
    lost = {reading: digest for reading, digest in saved.items() if arrived.get(reading) != digest}
    assert not lost, json.dumps(lost)
