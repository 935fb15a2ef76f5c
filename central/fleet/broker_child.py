"""One Mosquitto process after another, on the same port: started again when it dies, stopped with central.

The kernel ends the child when central is killed; one that outlived its central all the same is ended before the next
starts, so that the port is free again.
"""

import asyncio
import fcntl
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Final

import structlog

from central.files import write_durably
from central.fleet.mosquitto import configuration
from protocol.topics import broker_acl

_START_S: Final = 10.0
_STOP_S: Final = 5.0
_RELOAD_S: Final = 3.0
_LONGEST_RESTART_S: Final = 5.0

# Debian puts it where a plain user's PATH does not look.
_SYSTEM_FOLDERS: Final = "/usr/local/sbin:/usr/sbin:/sbin"

_log: Final = structlog.get_logger(__name__)


class BrokerError(Exception):
    """The broker cannot be run or reached; the message says what to do."""


def find_mosquitto(folders: Sequence[str | None] = (None, _SYSTEM_FOLDERS)) -> str:
    """The broker's program, on the PATH or where Debian puts it; BrokerError says which package has it."""
    for path in folders:
        if found := shutil.which("mosquitto", path=path):
            return found
    raise BrokerError(
        "mosquitto is not installed (expected the program of the MQTT broker): install the package 'mosquitto', "
        "for example with 'sudo apt-get install mosquitto', or set WELLREAD_BROKER_URL to one that runs already"
    )


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold the broker's folder: two centrals on one would end each other's child."""
    with (folder / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BrokerError(f"another central runs on {folder.parent} (expected one at a time)") from error
        yield


class BrokerChild:
    """One Mosquitto process after another, on the same port."""

    def __init__(self, folder: Path, port: int, program: str) -> None:
        self._folder = folder
        self._port = port
        self._program = program
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._reloaded = asyncio.Event()
        self._ready = asyncio.Event()
        self._last_line = ""

    @asynccontextmanager
    async def kept_running(self) -> AsyncIterator[None]:
        """Started, started again when it dies, stopped at the end."""
        user = "root" if os.geteuid() == 0 else None
        write_durably(self._folder / "mosquitto.conf", configuration(self._folder, self._port, user=user).encode())
        write_durably(self._folder / "acl", broker_acl().encode())
        await asyncio.to_thread(end_left_over, self._folder)
        await self._start()
        watching = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            await cancelled(watching)
            await self._stop()

    async def reload(self) -> None:
        """Have the password file read again; returns once it was (or the child is gone and will read it anyway)."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        self._reloaded.clear()
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGHUP)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._reloaded.wait(), _RELOAD_S)

    async def _watch(self) -> None:
        """Start the child again whenever it ends; wait longer each time it fails at once."""
        delay_s = 0.1
        while True:
            assert self._process is not None
            code = await self._process.wait()
            _log.warning("broker_ended", code=code, last_line=self._last_line, again_in_s=delay_s)
            await asyncio.sleep(delay_s)
            delay_s = min(2 * delay_s, _LONGEST_RESTART_S)
            with suppress(BrokerError):
                await self._start()
                delay_s = 0.1

    async def _start(self) -> None:
        """A process that accepts connections; BrokerError with its last words if it does not come up."""
        if self._reading is not None:
            await cancelled(self._reading)
        self._process = await asyncio.create_subprocess_exec(
            *_dying_with_us(),
            self._program,
            "-c",
            str(self._folder / "mosquitto.conf"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C on our terminal is for us; we stop it after the last acknowledgement
        )
        write_durably(self._folder / "pid", str(self._process.pid).encode())
        self._ready.clear()
        self._reading = asyncio.create_task(self._read_log(self._process))
        deadline = asyncio.get_running_loop().time() + _START_S
        while not self._ready.is_set():
            if self._process.returncode is not None or asyncio.get_running_loop().time() > deadline:
                await self._stop()
                raise BrokerError(f"mosquitto does not start on port {self._port}: {self._last_line or 'no message'}")
            await asyncio.sleep(0.01)

    async def _read_log(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        while line := (await process.stderr.readline()).decode(errors="replace").strip():
            self._last_line = line.partition(": ")[2] or line
            if self._last_line.startswith("Reloading config"):
                self._reloaded.set()
            elif self._last_line.endswith(" running"):  # "mosquitto version … running": the listener is open
                self._ready.set()
            _log.debug("broker", line=self._last_line)

    async def _stop(self) -> None:
        process, reading_log = self._process, self._reading
        if process is not None and process.returncode is None:
            with suppress(ProcessLookupError):
                process.terminate()
            try:
                await asyncio.wait_for(process.wait(), _STOP_S)
            except TimeoutError:
                process.kill()
                await process.wait()
        if reading_log is not None:
            await asyncio.wait([reading_log], timeout=1)
            await cancelled(reading_log)


def _dying_with_us() -> tuple[str, ...]:
    """The kernel ends the child when central is killed (util-linux; elsewhere `end_left_over` does, later)."""
    setpriv = shutil.which("setpriv")
    return (setpriv, "--pdeathsig", "KILL", "--") if setpriv else ()


def end_left_over(folder: Path) -> None:
    """End a child of an earlier central that still holds the port: only a process that runs our configuration."""
    note, configured = folder / "pid", str(folder / "mosquitto.conf").encode()
    if not note.is_file():
        return
    command_line = Path("/proc") / note.read_text() / "cmdline"
    deadline = time.monotonic() + _STOP_S
    while _content(command_line).endswith(configured + b"\0") and time.monotonic() < deadline:
        with suppress(ProcessLookupError):
            os.kill(int(note.read_text()), signal.SIGKILL)
        time.sleep(0.01)


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        return b""


async def cancelled(task: asyncio.Task[None]) -> None:
    """End a task and wait until it has ended; what it failed of by itself is raised here."""
    task.cancel()
    (result,) = await asyncio.gather(task, return_exceptions=True)
    if isinstance(result, Exception):
        raise result
