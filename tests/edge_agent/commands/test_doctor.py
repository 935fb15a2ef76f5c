"""The doctor: each check finds its trouble and says what to do."""

import socket
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edge_agent.clock import Jump
from edge_agent.clock_floor import save_clock
from edge_agent.commands.doctor import Check, examine
from edge_agent.config import CameraConfig, CentralConfig, Config, KeepConfig
from edge_agent.link.enrol import enrolment_file
from protocol.codec import as_json
from protocol.messages import BrokerAccess, Enrolment
from tests.edge_agent.bench import open_outbox, put
from tests.edge_agent.web import Answer, serving
from tests.make import NOON


def checks(config: Config, now: datetime | None = None) -> dict[str, Check]:
    return {check.name: check for check in examine(config, now)}


def bench(folder: Path, url: str = "", **fields: object) -> Config:
    if url:
        access = BrokerAccess("127.0.0.1", int(url.rsplit(":", 1)[1]), "bench-1", "x")
        enrolment_file(folder).write_bytes(as_json(Enrolment("bench-1", "Bench", access, "t")))
    values = {
        "state_dir": folder,
        "central": CentralConfig(url),
        "camera": CameraConfig(folder=folder),
        "keep": KeepConfig(free_mb=1),
    } | fields
    return Config(**values)  # type: ignore[arg-type]


def test_a_well_bench_is_well(tmp_path: Path) -> None:
    with serving(lambda _: Answer(200)) as url, closing(open_outbox(tmp_path)) as outbox:
        put(outbox, 1)
        found = checks(bench(tmp_path, url))
    assert [name for name, check in found.items() if not check.ok and name != "model"] == []
    assert found["outbox"].detail.startswith("1 readings")


def test_a_clock_that_was_never_set_is_found(tmp_path: Path) -> None:
    check = checks(bench(tmp_path), datetime(1970, 1, 1, tzinfo=UTC))["clock"]
    assert not check.ok
    assert "the clock says 1970-01-01" in check.detail


def test_a_full_disk_is_found(tmp_path: Path) -> None:
    check = checks(bench(tmp_path, keep=KeepConfig(free_mb=10**9)))["disk"]
    assert (check.ok, "MB free (expected at least" in check.detail) == (False, True)


def test_a_damaged_outbox_is_found(tmp_path: Path) -> None:
    with closing(open_outbox(tmp_path)) as outbox:
        put(outbox, *range(1, 20))
    path = tmp_path / "outbox.db"
    content = bytearray(path.read_bytes())
    content[4096 * 3 : 4096 * 4] = b"\xff" * 4096
    path.write_bytes(content)
    assert not checks(bench(tmp_path))["outbox"].ok


@pytest.mark.parametrize("status", [404, 500])
def test_a_central_that_is_not_well_is_found(tmp_path: Path, status: int) -> None:
    with serving(lambda _: Answer(status)) as url:
        check = checks(bench(tmp_path, url))["central"]
    assert not check.ok


def test_a_broker_that_does_not_answer_is_named(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        check = checks(bench(tmp_path, f"http://127.0.0.1:{port}"))["broker"]
    assert (check.ok, f"cannot reach the broker at 127.0.0.1:{port}" in check.detail) == (False, True)


def test_a_clock_that_was_set_while_the_agent_ran_is_told(tmp_path: Path) -> None:
    save_clock(tmp_path, datetime(2026, 11, 1, tzinfo=UTC), [Jump(NOON, 20.0), Jump(NOON, -3.5)])
    check = checks(bench(tmp_path), datetime(2099, 1, 1, tzinfo=UTC))["clock"]
    assert check.ok
    assert check.detail.endswith("; it was set while the agent ran (2 ×, last by -3.5 s)")


def test_an_agent_that_runs_well_is_told_from_one_that_does_not_run(tmp_path: Path) -> None:
    with closing(open_outbox(tmp_path)):
        assert checks(bench(tmp_path))["agent"].detail == "it runs, and nothing is in trouble"
    assert checks(bench(tmp_path))["agent"].detail == "it does not run"
