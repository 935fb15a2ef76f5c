"""E9: the broker is killed again and again, and loses what it kept. No reading depends on its memory."""

import asyncio
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from central.fleet.broker_child import BrokerError, find_mosquitto
from protocol.topics import broker_acl
from provisioning.processes import running_central
from tests.faults.database import free_port
from tests.faults.fleet import Reader, all_answered
from tests.faults.oracle import Oracle
from tests.faults.record import Result, is_full_run, record, times
from tests.faults.wire import verdict_of
from tests.system.conftest import add_admin

READERS = 2
SEED = 41
PASSWORD = "the-password-of-central"

pytestmark = [pytest.mark.system, pytest.mark.proof("E9")]


class Mosquitto:
    """A broker that writes down what it holds, and may lose that too."""

    def __init__(self, folder: Path) -> None:
        self.port, self.passwords = free_port(), folder / "passwords"
        self._kept, self._config = folder / "kept", folder / "mosquitto.conf"
        folder.mkdir()
        folder.chmod(0o755)
        self.passwords.touch()
        (folder / "acl").write_text(broker_acl())
        lines = (
            f"listener {self.port} 127.0.0.1", "allow_anonymous false", f"password_file {self.passwords}",
            f"acl_file {folder / 'acl'}", "use_username_as_clientid true", "persistence true",
            f"persistence_location {self._kept}/", "autosave_interval 1", "user root",
        )  # fmt: skip
        self._config.write_text("\n".join(lines) + "\n")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; it goes on with what it kept."""
        self._kept.mkdir(exist_ok=True)
        self._process = subprocess.Popen([find_mosquitto(), "-c", self._config], stderr=subprocess.DEVNULL)

    def kill(self, *, wipe: bool = False) -> None:
        """SIGKILL; with `wipe` its memory on the disk is gone too."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        if wipe:
            shutil.rmtree(self._kept)


@contextmanager
def laboratory(folder: Path, oracle: Oracle, mosquitto: Mosquitto) -> Iterator[list[Reader]]:
    """Central and readers on a broker that is ours to kill."""
    data_dir = folder / "central"
    settings = {
        "WELLREAD_BROKER_URL": f"mqtt://127.0.0.1:{mosquitto.port}",
        "WELLREAD_BROKER_PASSWORD_FILE": str(mosquitto.passwords),
        "WELLREAD_BROKER_PASSWORD": PASSWORD,
    }
    with ExitStack() as stack:
        central = stack.enter_context(running_central(data_dir, extra=settings))
        add_admin(data_dir)
        readers = [Reader(folder / f"reader-{n}", oracle, seed=n) for n in range(1, READERS + 1)]
        for reader in readers:
            stack.callback(reader.close)
            reader.enrol(central)
        mosquitto.start()
        stack.callback(mosquitto.kill)
        for reader in readers:
            stack.enter_context(reader.talking())
        yield readers


def test_a_broker_killed_and_wiped_again_and_again_loses_and_doubles_nothing(tmp_path: Path) -> None:
    try:
        find_mosquitto()
    except BrokerError as error:
        pytest.skip(str(error))
    kills, wipes, chance = times(30, 1000), times(5, 100), random.Random(SEED)
    started_s, oracle, captured = time.monotonic(), Oracle(tmp_path / "oracle"), 0
    schedule = [False] * kills + [True] * wipes
    chance.shuffle(schedule)
    mosquitto = Mosquitto(tmp_path / "broker")
    with laboratory(tmp_path, oracle, mosquitto) as readers:
        for wipe in schedule:
            until_s = time.monotonic() + chance.uniform(0.0, 0.8)
            while time.monotonic() < until_s:
                captured += 1
                for reader in readers:
                    reader.capture(captured)
                time.sleep(0.15)
            mosquitto.kill(wipe=wipe)
            mosquitto.start()
        healed_s = time.monotonic()
        all_answered(readers, 120)
        back_s = time.monotonic() - healed_s
    verdict = asyncio.run(verdict_of(f"sqlite+aiosqlite:///{tmp_path / 'central' / 'central.db'}", oracle.path))
    with suppress(FileNotFoundError):
        shutil.rmtree(tmp_path / "broker")
    record(
        Result(
            id="E9", title="Mosquitto (persistence on) killed while readers send",
            faults={"SIGKILL": kills, "SIGKILL and wiped folder": wipes}, seeds=f"{SEED}", acked=verdict.saved,
            lost=len(verdict.lost), doubled=len(verdict.doubled), altered=len(verdict.altered) + len(verdict.strange),
            misattributed=len(verdict.misattributed), worst_latency_s=back_s,
            latency_of="from the last kill to every answer", seconds=time.monotonic() - started_s, full=is_full_run(),
        )
    )  # fmt: skip
    assert verdict.clean
    assert verdict.saved == captured * READERS > 0
