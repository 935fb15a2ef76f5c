"""The command line: the first user, claim codes; and `serve` as a process that starts, answers and ends."""

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from click.testing import CliRunner, Result

from central.__main__ import main
from central.db import make_engine, migrate
from central.fleet.devices import redeem
from central.intake.ingest import ingest
from central.intake.plan import Delivery
from central.serve import own_url
from central.settings import Settings
from protocol.messages import EnrolmentRequest
from tests.central.wire import ADDRESS, enrol, make_delivery
from tests.make import NOON

PASSWORD = "correct horse battery"


def run(settings: Settings, *arguments: str, stdin: str | None = None) -> Result:
    """The command, on this test's database."""
    environment = {"WELLREAD_DATABASE_URL": settings.database_url, "WELLREAD_DATA_DIR": str(settings.data_dir)}
    return CliRunner().invoke(main, list(arguments), input=stdin, env=environment)


def fill(settings: Settings, *deliveries: Delivery) -> None:
    """A database with the device `bench-1` and these readings."""

    async def put() -> None:
        await migrate(settings)
        engine = make_engine(settings.database)
        await enrol(engine)
        await ingest(engine, deliveries, now=NOON)
        await engine.dispose()

    asyncio.run(put())


def test_the_first_user_is_added_before_anything_else_exists(settings: Settings) -> None:
    added = run(settings, "user", "add", "Anna", "--role", "admin", "--password-stdin", stdin=f"{PASSWORD}\n")
    assert (added.exit_code, added.output) == (0, "anna may sign in as admin\n")
    again = run(settings, "user", "add", "anna", "--role", "viewer", "--password-stdin", stdin=f"{PASSWORD}\n")
    assert again.exit_code == 1
    assert "user 'anna' exists" in again.output


def test_a_password_is_asked_for_twice_and_not_shown(settings: Settings) -> None:
    added = run(settings, "user", "add", "anna", "--role", "admin", stdin=f"{PASSWORD}\n{PASSWORD}\n")
    assert added.exit_code == 0
    assert PASSWORD not in added.output
    differ = run(settings, "user", "add", "berta", "--role", "admin", stdin=f"{PASSWORD}\nanother one here\n")
    assert differ.exit_code == 1


@pytest.mark.parametrize("password", ["", "short"])
def test_a_short_password_is_refused(settings: Settings, password: str) -> None:
    refused = run(settings, "user", "add", "anna", "--role", "admin", "--password-stdin", stdin=f"{password}\n")
    assert refused.exit_code == 1
    assert f"a password of {len(password)} characters" in refused.output


def test_a_claim_code_comes_with_the_command_for_the_reader(settings: Settings) -> None:
    found = json.loads(run(settings, "device", "claim", "North bench", "--json").stdout)
    assert found["command"] == f"wellread-agent enrol {found['claim_code']} --central http://127.0.0.1:8000"
    request = EnrolmentRequest(found["claim_code"], "bench-1", "0.1.0")

    in_time = datetime.fromisoformat(found["expires_at"]) - timedelta(minutes=1)

    async def use() -> str:
        engine = make_engine(settings.database)
        try:
            return (await redeem(engine, request, ADDRESS, now=in_time)).name
        finally:
            await engine.dispose()

    assert asyncio.run(use()) == "North bench"


def test_a_claim_is_printed_for_people_too(settings: Settings) -> None:
    assert "\n  wellread-agent enrol " in run(settings, "device", "claim", "North bench").output


def test_devices_are_listed_and_revoked(settings: Settings) -> None:
    fill(settings, make_delivery(1))
    assert "bench-1  Bench bench-1  offline, last heard of: never, runs: 1" in run(settings, "device", "list").output
    assert run(settings, "device", "revoke", "bench-1").exit_code == 0
    (listed,) = json.loads(run(settings, "device", "list", "--json").stdout)
    assert listed["revoked_at"] is not None


def test_revoking_an_unknown_device_names_it(settings: Settings) -> None:
    fill(settings)
    refused = run(settings, "device", "revoke", "bench-9")
    assert (refused.exit_code, "no device 'bench-9'" in refused.output) == (1, True)


def test_dead_letters_are_listed(settings: Settings) -> None:
    fill(settings, Delivery("wellread/v1/bench-1/reading", b"poison"))
    assert "wellread/v1/bench-1/reading  undecodable: starts with b'pois'" in run(settings, "dead-letters").output
    (letter,) = json.loads(run(settings, "dead-letters", "--json").stdout)
    assert (letter["code"], letter["times"]) == ("undecodable", 1)


def test_a_database_without_tables_is_named_with_the_way_out(tmp_path: Path) -> None:
    refused = run(Settings(data_dir=tmp_path), "device", "list")
    assert refused.exit_code == 1
    assert "no such table" in refused.output
    assert "wellread-central migrate" in refused.output


def test_a_typing_error_in_a_setting_is_named() -> None:
    refused = CliRunner().invoke(main, ["migrate"], env={"WELLREAD_BROKER_ULR": "x"})
    assert "did you mean WELLREAD_BROKER_URL?" in refused.output


@pytest.mark.parametrize(
    ("settings_of", "url"),
    [
        ({}, "http://127.0.0.1:81"),
        ({"host": "::1"}, "http://[::1]:81"),
        ({"public_url": "https://central.lab/"}, "https://central.lab"),
    ],
)
def test_the_own_address_can_be_opened(settings_of: dict[str, Any], url: str) -> None:
    assert own_url(Settings(**settings_of), 81) == url


@contextmanager
def serving(data_dir: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[bytes], dict[str, Any], Path]]:
    """`wellread-central serve` as a process, once its ready file is there."""
    ready, log = data_dir / "ready.json", data_dir.parent / "serve.log"
    command = [sys.executable, "-W", "error", "-m", "central", "serve", "--port", "0"]
    command += ["--data-dir", str(data_dir), "--ready-file", str(ready), *arguments]
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            deadline = time.monotonic() + 30
            while not ready.exists():
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.02)
            yield process, json.loads(ready.read_bytes()), log
        finally:
            process.kill()


def test_serve_starts_on_a_free_port_answers_and_ends_cleanly(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as (process, ready, log):
        with urlopen(f"{ready['url']}/healthz", timeout=10) as answer:
            assert answer.status == 200
        claim = run(Settings(data_dir=tmp_path / "data"), "device", "claim", "Bench")
        assert f"--central {ready['url']}" in claim.output
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0, log.read_text()
    assert f"Wellread central at {ready['url']}\n" in log.read_text()
    assert "Nobody can sign in yet" in log.read_text()
    assert "Traceback" not in log.read_text()


def test_two_centrals_on_one_folder_are_one_clear_line(tmp_path: Path) -> None:
    with serving(tmp_path / "data"):
        command = [sys.executable, "-m", "central", "serve", "--port", "0", "--data-dir", str(tmp_path / "data")]
        second = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert second.returncode == 1
    assert "another central runs on" in second.stderr
    assert "Traceback" not in second.stderr


def test_a_port_in_use_is_one_clear_line(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as (_, ready, _log):
        port = ready["url"].rpartition(":")[2]
        refused = run(Settings(data_dir=tmp_path / "other"), "serve", "--port", port)
    assert refused.exit_code == 1
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in refused.output


def test_a_backup_is_one_command_and_so_is_its_way_back(settings: Settings, tmp_path: Path) -> None:
    fill(settings, make_delivery(1), make_delivery(2))
    target = tmp_path / "central.tar"
    written = run(settings, "backup", str(target))
    assert (written.exit_code, written.output) == (0, f"{target}: 2 runs, 1 devices, 0 pictures\n")
    elsewhere = Settings(data_dir=tmp_path / "elsewhere")
    restored = run(elsewhere, "restore", str(target))
    assert restored.exit_code == 0, restored.output
    assert "2 runs, 1 devices" in restored.output
    assert "2 runs" not in run(elsewhere, "restore", str(target)).output  # not empty any more
    (listed,) = json.loads(run(elsewhere, "device", "list", "--json").stdout)
    assert listed["runs"] == 2


def test_a_running_central_is_not_restored_under_its_feet(tmp_path: Path) -> None:
    data = Settings(data_dir=tmp_path / "data")
    with serving(tmp_path / "data"):
        assert run(data, "backup", str(tmp_path / "b.tar")).exit_code == 0
        refused = run(data, "restore", str(tmp_path / "b.tar"), "--replace")
    assert (refused.exit_code, "stop it first" in refused.output) == (1, True)


def test_an_archive_of_nobody_is_one_clear_line(settings: Settings, tmp_path: Path) -> None:
    fill(settings)
    rubble = tmp_path / "rubble"
    rubble.write_bytes(b"rubble")
    refused = run(settings, "import", str(rubble))
    assert (refused.exit_code, refused.output.count("\n")) == (1, 1), refused.output
