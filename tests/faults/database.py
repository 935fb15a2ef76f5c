"""A PostgreSQL of the test's own that may be crashed: its postmaster is our direct child, and it syncs as it would."""

import asyncio
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Literal

import asyncpg  # type: ignore[import-untyped]
import pytest

Crash = Literal["SIGKILL of all", "immediate shutdown", "SIGKILL of a backend"]
CRASHES: Final[tuple[Crash, ...]] = ("SIGKILL of all", "immediate shutdown", "SIGKILL of a backend")

_START_S: Final = 60.0
_SETTINGS: Final = {
    "listen_addresses": "127.0.0.1",
    "fsync": "on",
    "synchronous_commit": "on",
    "shared_buffers": "32MB",
    "max_connections": "60",
    "min_wal_size": "32MB",
    "max_wal_size": "64MB",
    "log_min_messages": "panic",
}


def free_port() -> int:
    """A port of loopback that nobody has."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Postgres:
    """A server in a folder, started and crashed at will."""

    def __init__(self, folder: Path, programs: Path, user: str | None) -> None:
        self.folder, self.port = folder, free_port()
        self._programs, self._user = programs, user
        self._process: subprocess.Popen[bytes] | None = None

    def make(self) -> None:
        """A new cluster."""
        command: list[str | Path] = [
            self._programs / "initdb",
            "-D",
            self.folder,
            "-U",
            "postgres",
            "-A",
            "trust",
            "--no-sync",
        ]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, **self._as_user())

    def url(self, database: str = "postgres", port: int | None = None) -> str:
        """SQLAlchemy's URL of a database here, or behind a proxy at `port`."""
        return f"postgresql+asyncpg://postgres@127.0.0.1:{port or self.port}/{database}"

    def start(self) -> None:
        """Start the postmaster; it may still be recovering."""
        (self.folder / "postmaster.pid").unlink(missing_ok=True)  # it was our child, and is waited for: no other has it
        options = [word for name, value in _SETTINGS.items() for word in ("-c", f"{name}={value}")]
        command: list[str | Path] = [
            self._programs / "postgres",
            "-D",
            self.folder,
            "-p",
            str(self.port),
            "-k",
            self.folder,
            *options,
        ]
        with (self.folder.parent / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log, **self._as_user())

    def keep_running(self) -> None:
        """Start it again if it has ended by itself, as a supervisor does."""
        if self._process is not None and self._process.poll() is not None:
            self.start()

    def wait_until_serving(self) -> None:
        """Until a query is answered."""
        deadline_s = time.monotonic() + _START_S
        while True:
            try:
                self.execute("SELECT 1")
                return
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                if time.monotonic() > deadline_s:
                    raise TimeoutError(f"PostgreSQL does not serve after {_START_S} s") from error
                time.sleep(0.05)

    def execute(self, statement: str) -> None:
        """One statement as the administrator."""
        asyncio.run(self._execute(statement))

    async def _execute(self, statement: str) -> None:
        connection = await asyncpg.connect(host="127.0.0.1", port=self.port, user="postgres", timeout=5)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    def crash(self, kind: Crash, chance: random.Random) -> None:
        """Crash it. After the first two kinds it must be started again; after the third it recovers by itself."""
        assert self._process is not None
        children = [int(pid) for pid in _children(self._process.pid)]
        if kind == "SIGKILL of a backend":
            backends = [pid for pid in children if b"127.0.0.1" in _command_line(pid)]
            if backends:
                with suppress(ProcessLookupError):
                    os.kill(chance.choice(backends), signal.SIGKILL)
            return
        if kind == "SIGKILL of all":
            for pid in (self._process.pid, *children):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        else:
            self._process.send_signal(signal.SIGQUIT)
        self._process.wait()
        _wait_for_end_of(children)

    def stop(self) -> None:
        """Stop it, whatever state it is in."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGQUIT)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def _as_user(self) -> dict[str, Any]:
        if self._user is None:
            return {}
        return {"user": self._user, "group": pwd.getpwnam(self._user).pw_gid, "extra_groups": []}


def find_programs() -> Path | None:
    """The folder of PostgreSQL's programs: a system's own, or that of the development environment's wheel."""
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    on_path = shutil.which("initdb")
    return Path(on_path).resolve().parent if on_path else None


@contextmanager
def postgres(folder: Path | None = None) -> Iterator[Postgres]:
    """A running server, in `folder` or in memory; the test is skipped where PostgreSQL cannot be run as a child."""
    programs = find_programs()
    if programs is None:
        pytest.skip("PostgreSQL's programs are not installed (apt-get install postgresql)")
    user = _plain_user() if os.geteuid() == 0 else None
    shared = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else None
    with TemporaryDirectory(prefix="wellread-pg-", dir=folder or shared, ignore_cleanup_errors=True) as made:
        home = Path(made)
        home.chmod(0o755)
        data = home / "data"
        data.mkdir(mode=0o700)
        if user is not None:
            shutil.chown(data, user)
        server = Postgres(data, programs, user)
        server.make()
        server.start()
        try:
            server.wait_until_serving()
            yield server
        finally:
            server.stop()


def _plain_user() -> str:
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    pytest.skip("no user to run PostgreSQL as (expected postgres or nobody)")


def _children(pid: int) -> Sequence[str]:
    try:
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return ()


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _wait_for_end_of(pids: Sequence[int]) -> None:
    """Orphans hold the shared memory until they have noticed; the next postmaster refuses to start before that."""
    deadline_s = time.monotonic() + 10
    while any(b"postgres" in _command_line(pid) for pid in pids) and time.monotonic() < deadline_s:
        time.sleep(0.01)
