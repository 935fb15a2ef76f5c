"""E11: whatever stops a loop of the agent, systemd hears no `WATCHDOG=1` any more, and a restart photographs at once.

Real agents, each told of a socket of this test's own in systemd's place. One loop of each is stopped in its own way.
"""

import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Thread
from typing import Final

import pytest

from provisioning.processes import module_command, running, wait_for
from tests.faults.record import Result, is_full_run, record, times
from tests.faults.saboteur import WHATS

# The promise. A machine that is busy with other tests may take longer, so a short run only looks at what happens.
MOST_S: Final = 10.0
PATIENCE_S: Final = MOST_S if is_full_run() else 30.0
# So long after the last word nobody can think that another follows; systemd would act after its own, longer time.
SILENT_S: Final = 4.0
STOPPED: Final = "stopped"

pytestmark = [pytest.mark.system, pytest.mark.proof("E11")]


class Systemd:
    """What an agent tells systemd, with the time."""

    def __init__(self, path: Path) -> None:
        self.path, self.heard = path, list[tuple[float, str]]()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                word = self._socket.recv(1000).decode()
            except OSError:
                return
            if not word:
                return
            self.heard.append((time.monotonic(), word))

    def close(self) -> None:
        """Listen no more."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def wait(self, word: str, count: int = 1) -> float:
        """When this was said for the n-th time."""

        def found() -> float | None:
            times = [at_s for at_s, one in self.heard if one == word]
            return times[count - 1] if len(times) >= count else None

        return wait_for(f"{word} ({count})", found, 90)

    def last_s(self) -> float:
        """When the watchdog was fed last."""
        return max((at_s for at_s, word in self.heard if word == "WATCHDOG=1"), default=0.0)


class Agent:
    """A real agent with an empty folder before its camera."""

    def __init__(self, folder: Path, what: str) -> None:
        self.what, self._folder = what, folder
        folder.mkdir()
        (folder / "inbox").mkdir()
        self.log, self.switch = folder / "log", folder / "switch"
        self.systemd = Systemd(folder / "notify")
        self.process: subprocess.Popen[bytes] | None = None

    @contextmanager
    def running(self) -> Iterator["Agent"]:
        """The agent as a process."""
        folder, run = self._folder, ("run", "--json")
        arguments = (*run, "--state-dir", str(folder / "state"), "--folder", str(folder / "inbox"))
        harmed = ("tests.faults.saboteur", self.what, str(self.switch))
        command = module_command(*(harmed if self.what in WHATS else ("edge_agent",)), *arguments)
        with running(command, self.log, extra={"NOTIFY_SOCKET": str(self.systemd.path)}) as self.process:
            try:
                yield self
            finally:
                self.process.kill()

    def harm(self) -> float:
        """Stop the loop; when that was."""
        self.switch.touch()
        if self.what == STOPPED:
            assert self.process is not None
            self.process.send_signal(signal.SIGSTOP)
        return time.monotonic()

    def reasons(self) -> list[str]:
        """The parts that were said to get on no more."""
        lines = self.log.read_text().splitlines()
        return [part for part in ("main", "sync", "uploads") if any(_names(line, part) for line in lines)]


def _names(line: str, part: str) -> bool:
    return "no progress" in line and f'"part": "{part}"' in line


@pytest.fixture
def start(memory_folder: Path) -> Iterator[Callable[[str], Agent]]:
    """Starts agents, side by side."""
    with ExitStack() as stack:

        def begin(what: str) -> Agent:
            agent = Agent(memory_folder / what, what)
            stack.callback(agent.systemd.close)
            return stack.enter_context(agent.running())

        yield begin


def test_whatever_stops_a_loop_the_watchdog_is_fed_no_more(start: Callable[[str], Agent]) -> None:
    began_s = time.monotonic()
    agents = [start(what) for what in (*WHATS, STOPPED)]
    for agent in agents:
        agent.systemd.wait("READY=1")
        agent.systemd.wait("WATCHDOG=1", 2)
    harmed_s = {agent.what: agent.harm() for agent in agents}
    for agent in agents:
        wait_for(f"silence of {agent.what}", lambda one=agent: _is_silent(one.systemd), 60)  # type: ignore[misc]
    fed_for_s = {agent.what: max(0.0, agent.systemd.last_s() - harmed_s[agent.what]) for agent in agents}
    assert max(fed_for_s.values()) <= PATIENCE_S, fed_for_s
    # A frozen loop is named, and only that one; what keeps every thread from running leaves nobody to say so.
    frozen = {agent.what: agent.reasons() for agent in agents}
    assert [frozen["main"], frozen["sync"], frozen["uploads"]] == [["main"], ["sync"], ["uploads"]]
    assert "main" in frozen["busy"]
    record(
        Result(
            id="E11", part="loops", title="Each loop of an agent stopped in turn: how long systemd still hears of it",
            faults=dict.fromkeys((*WHATS, STOPPED), 1), acked=0, lost=0, doubled=0, altered=0,
            worst_latency_s=max(fed_for_s.values()), latency_of="until the last WATCHDOG=1",
            seconds=time.monotonic() - began_s, full=is_full_run(),
        )
    )  # fmt: skip


def _is_silent(systemd: Systemd) -> bool | None:
    return True if time.monotonic() - systemd.last_s() > SILENT_S else None


def test_an_agent_that_is_started_again_is_soon_ready_to_photograph(start: Callable[[str], Agent]) -> None:
    first = start("sound")
    first.systemd.wait("READY=1")
    assert first.process is not None
    ready_s = []
    for again in range(2, 2 + times(1, 10)):
        first.process.kill()
        first.process.wait()
        began_s = time.monotonic()
        with first.running():
            ready_s.append(first.systemd.wait("READY=1", again) - began_s)
    assert max(ready_s) <= PATIENCE_S
    record(
        Result(
            id="E11", part="restart", title="An agent killed and started again", faults={"SIGKILL": len(ready_s)},
            acked=0, lost=0, doubled=0, altered=0, worst_latency_s=max(ready_s), latency_of="until READY=1",
            seconds=sum(ready_s), full=is_full_run(),
        )
    )  # fmt: skip


def test_a_stop_on_purpose_is_told(start: Callable[[str], Agent]) -> None:
    agent = start("sound")
    agent.systemd.wait("READY=1")
    assert agent.process is not None
    agent.process.send_signal(signal.SIGTERM)
    agent.systemd.wait("STOPPING=1")
    assert agent.process.wait(30) == 0
