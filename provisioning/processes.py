"""Programs that the demo and the system tests start, watch and stop, as a person at a terminal would."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

_T = TypeVar("_T")

# A slow machine that is still installing nothing else starts central in 3 s; a minute means that it is stuck.
START_TIMEOUT_S = 60.0


class StartFailed(RuntimeError):  # noqa: N818 — it is what happened, and reads so where it is raised
    """A program ended or kept silent instead of starting; the message holds the end of its log."""


class Central(msgspec.Struct, frozen=True):
    """A central that answers: its process and its address."""

    process: subprocess.Popen[bytes]
    url: str


def module_command(package: str, *arguments: str) -> list[str]:
    """The command line of one of our programs in this very Python, whatever PATH says."""
    return [sys.executable, "-m", package, *arguments]


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without our own settings, so that a person's WELLREAD_… never leak in."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WELLREAD_")}
    return kept | dict(extra or {})


def wait_for(what: str, ready: Callable[[], _T | None], timeout_s: float = START_TIMEOUT_S) -> _T:
    """The first value other than None that `ready` gives; TimeoutError names what was waited for."""
    deadline = time.monotonic() + timeout_s
    while (value := ready()) is None:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not happen within {timeout_s:.0f} s")
        time.sleep(0.05)
    return value


def run_once(command: Sequence[str], *, stdin: str = "", extra: Mapping[str, str] | None = None) -> str:
    """What a short command prints; StartFailed with its complaint if it fails."""
    done = subprocess.run(
        list(command), input=stdin, capture_output=True, text=True, env=environment(extra), check=False
    )
    if done.returncode != 0:
        raise StartFailed(
            f"{' '.join(command[2:])} ended with {done.returncode}:\n{(done.stderr or done.stdout)[-2000:]}"
        )
    return done.stdout


@contextlib.contextmanager
def running(
    command: Sequence[str], log: Path, *, stdout: Path | None = None, extra: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A program in the background, its standard error in `log`; stopped politely, then killed, on the way out."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as errors, (stdout or log).open("ab") as output:
        process = subprocess.Popen(
            list(command), stdin=subprocess.DEVNULL, stdout=output, stderr=errors, env=environment(extra),
            start_new_session=True,  # Ctrl-C is ours to pass on, in the right order
        )  # fmt: skip
    try:
        yield process
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes], patience_s: float = 10.0) -> int:
    """Ask a program to stop, insist after a while; its exit status."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(patience_s)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.wait()


@contextlib.contextmanager
def running_central(data_dir: Path, *, port: int = 0, extra: Mapping[str, str] | None = None) -> Iterator[Central]:
    """Central with its child broker, once it answers."""
    ready_file, log = data_dir / "ready.json", data_dir / "central.log"
    data_dir.mkdir(parents=True, exist_ok=True)
    ready_file.unlink(missing_ok=True)
    command = module_command(
        "central", "serve", "--data-dir", str(data_dir), "--port", str(port), "--ready-file", str(ready_file)
    )
    with running(command, log, extra=extra) as process:
        ready = wait_for("central's start", lambda: _ready(process, ready_file, log))
        yield Central(process=process, url=str(ready["url"]))


def _ready(process: subprocess.Popen[bytes], ready_file: Path, log: Path) -> dict[str, Any] | None:
    if process.poll() is not None:
        raise StartFailed(f"central ended with {process.returncode}:\n{log.read_text(errors='replace')[-2000:]}")
    if not ready_file.exists():
        return None
    found: dict[str, Any] = json.loads(ready_file.read_text())
    return found
