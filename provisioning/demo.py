"""Everything on one machine, one command: central with its broker, an enrolled reader, and plates to read.

The reader is a process of its own with a folder for a camera. The plates are freshly rendered: three submissions,
one plate read twice, one photograph that is none. `--photos` reads a folder of your own instead. The demo talks to
both programs only as their users do: command line and HTTP.
"""

import contextlib
import json
import secrets
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import click
import httpx

from provisioning.plates import DEMO_PHOTOGRAPHS, render_photographs
from provisioning.processes import Central, StartFailed, module_command, run_once, running, running_central, wait_for

ADMIN = "admin"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--photos", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Read this folder.")
@click.option("--data-dir", type=click.Path(file_okay=False, path_type=Path), help="Keep everything in this folder.")
@click.option("--port", default=0, help="Port of the dashboard; any free one by default.")
@click.option("--exit-after", type=click.IntRange(min=1), metavar="N", help="End once N runs are visible.")
@click.option("--timeout", "timeout_s", default=300.0, show_default=True, help="With --exit-after: seconds to wait.")
def main(photos: Path | None, data_dir: Path | None, port: int, exit_after: int | None, timeout_s: float) -> None:
    """Run broker, central and a reader on this machine until Ctrl-C."""
    for stopping in (signal.SIGTERM, signal.SIGINT):  # a shell may have started us with SIGINT ignored
        signal.signal(stopping, signal.default_int_handler)
    try:
        with _folder(data_dir) as folder:
            status = _demo(folder, photos, port, exit_after, timeout_s)
    except KeyboardInterrupt:
        click.echo("\nStopped.")
        status = 0 if exit_after is None else 1
    except (StartFailed, TimeoutError, httpx.HTTPError) as error:
        click.echo(f"The demo could not go on: {error}", err=True)
        status = 1
    sys.exit(status)


@contextlib.contextmanager
def _folder(kept: Path | None) -> Iterator[Path]:
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
        yield kept
        return
    with tempfile.TemporaryDirectory(prefix="wellread-demo-", ignore_cleanup_errors=True) as temporary:
        yield Path(temporary)


def _demo(folder: Path, photos: Path | None, port: int, exit_after: int | None, timeout_s: float) -> int:
    click.echo("Starting central and its broker …")
    with running_central(folder / "central", port=port) as central:
        password = _sign_in_for_this_run(folder / "central")
        client = httpx.Client(base_url=central.url, timeout=20, auth=_Bearer(central.url, password))
        with client as api, _reader(folder, central, api, photos):
            click.echo(f"\n  Dashboard  {central.url}\n  Sign in    {ADMIN} / {password}\n")
            if photos is None:
                click.echo(f"Reading {len(DEMO_PHOTOGRAPHS)} rendered photographs:")
            return _watch(api, exit_after, timeout_s)


class _Bearer(httpx.Auth):
    """A fresh access token whenever central says that the last one is over."""

    requires_response_body = True

    def __init__(self, url: str, password: str) -> None:
        self._request = httpx.Request("POST", f"{url}/api/v1/tokens", json={"name": ADMIN, "password": password})
        self._token = ""

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
            response = yield request
            if response.status_code != httpx.codes.UNAUTHORIZED:
                return
        answer = yield self._request
        self._token = answer.raise_for_status().json()["access_token"]
        request.headers["Authorization"] = f"Bearer {self._token}"
        yield request


def _sign_in_for_this_run(data_dir: Path) -> str:
    """The password of an administrator made now; kept with the data where the data are kept."""
    kept = data_dir / "demo-password"
    if kept.exists():
        return kept.read_text().strip()
    password = "-".join(secrets.token_hex(2) for _ in range(4))
    command = module_command("central", "user", "add", ADMIN, "--role", "admin", "--password-stdin")
    run_once(command, stdin=password + "\n", extra={"WELLREAD_DATA_DIR": str(data_dir)})
    kept.touch(mode=0o600)
    kept.write_text(password + "\n")
    return password


@contextlib.contextmanager
def _reader(folder: Path, central: Central, api: httpx.Client, photos: Path | None) -> Iterator[None]:
    """An enrolled agent, reading the folder that photographs appear in."""
    state, inbox = folder / "reader", photos or folder / "photographs"
    inbox.mkdir(parents=True, exist_ok=True)
    if not (state / "enrolment.json").exists():
        claim = api.post("/api/v1/claims", json={"name": "Demo bench"})
        claim.raise_for_status()
        enrol = ("enrol", claim.json()["claim_code"], "--central", central.url, "--state-dir", str(state))
        run_once(module_command("edge_agent", *enrol))
    command = module_command("edge_agent", "run", "--state-dir", str(state), "--folder", str(inbox), "--json")
    with running(command, folder / "reader.log", stdout=folder / "reader.jsonl") as process, _rendering(inbox, photos):
        follower = threading.Thread(target=_follow_refusals, args=(folder / "reader.jsonl",), daemon=True)
        follower.start()
        yield
        if process.poll() is not None:
            raise StartFailed(f"the reader ended with {process.returncode}; see {folder / 'reader.log'}")


@contextlib.contextmanager
def _rendering(inbox: Path, photos: Path | None) -> Iterator[None]:
    """Rendered photographs appear in the inbox one by one, as a technician would put plates on the bench."""
    if photos is not None:
        yield
        return
    stopped = threading.Event()
    painter = threading.Thread(target=render_photographs, args=(inbox, stopped), name="painter", daemon=True)
    painter.start()
    try:
        yield
    finally:
        stopped.set()
        painter.join(10)


def _follow_refusals(events: Path) -> None:
    """Print what the reader refused; accepted readings are printed when central has them."""
    wait_for("the reader's first line", lambda: True if events.exists() else None)
    with events.open() as lines:
        while True:
            line = lines.readline()
            if not line.endswith("\n"):
                time.sleep(0.2)
                continue
            event = json.loads(line)
            if event.get("event") == "refused":
                click.echo(f"  refused  {event.get('photo')}: {event.get('reason')} — {event.get('detail', '')}")


def _watch(api: httpx.Client, exit_after: int | None, timeout_s: float) -> int:
    """Print a line per run as it becomes visible through the API; 0 once `exit_after` of them are."""
    seen: set[str] = set()
    deadline = time.monotonic() + timeout_s
    while exit_after is None or len(seen) < exit_after:
        for run in _new_runs(api, seen):
            seen.add(run["id"])
            click.echo(_line(run))
        if exit_after is not None and time.monotonic() > deadline:
            click.echo(f"{len(seen)} of {exit_after} runs were visible after {timeout_s:.0f} s", err=True)
            return 1
        time.sleep(0.5)
    click.echo(f"{len(seen)} runs are visible.")
    return 0


def _new_runs(api: httpx.Client, seen: set[str]) -> list[dict[str, Any]]:
    """Runs not yet seen, oldest first, whatever the number of pages."""
    fresh: list[dict[str, Any]] = []
    address: str | None = "/api/v1/runs"
    while address:
        answer = api.get(address)
        answer.raise_for_status()
        page = [run for run in answer.json()["items"] if run["id"] not in seen]
        fresh += page
        following = answer.links.get("next", {}).get("url")
        address = following if page else None
    return fresh[::-1]


def _line(run: dict[str, Any]) -> str:
    plate = " ".join(str(run.get(key) or "?") for key in ("submission", "test", "plate_number"))
    ends = run["endpoints"]
    titres = " ".join(
        f"{row}{'–' if e['last_flowing'] is None else e['last_flowing']}" for row, e in sorted(ends.items())
    )
    return f"  run      {plate:<16} log2 titres {titres}"


if __name__ == "__main__":
    main()
