"""`wellread-agent`: run · read · calibrate · queue · enrol · doctor · config.

Exit: 0 ok, 1 failed, 2 usage, 3 degraded.
"""

import importlib
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any, Final, TypeVar

import click

from edge_agent import AGENT_VERSION
from edge_agent.commands.queue import COMMANDS
from edge_agent.config import Config, example_toml, load_config
from edge_agent.logs import configure_logs

DEGRADED: Final = 3

_F = TypeVar("_F", bound=Callable[..., Any])


class _Commands(click.Group):
    """Imports the commands that look at photographs only when they are used: vision takes most of a second to load."""

    LATE: Final = {
        "calibrate": ("edge_agent.commands.calibrate", "Remember how a plate looks in this bench's seat."),
        "read": ("edge_agent.commands.read", "Read photographs and print the plates; needs no network."),
    }

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *self.LATE])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in self.LATE:
            command: click.Command = getattr(importlib.import_module(self.LATE[cmd_name][0]), cmd_name)
            return command
        return super().get_command(ctx, cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = {name: text for name, (_, text) in self.LATE.items()}
        rows |= {name: command.get_short_help_str(100) for name, command in self.commands.items()}
        with formatter.section("Commands"):
            formatter.write_dl(sorted(rows.items()))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(AGENT_VERSION, prog_name="wellread-agent")
def main() -> None:
    """Reads microplates at the bench, keeps every reading, and sends it to central."""
    configure_logs()


def _settings(command: _F) -> _F:
    """The options by which every command finds its configuration."""
    file = click.option(
        "--config", "config_file", type=click.Path(path_type=Path, dir_okay=False),
        help="Configuration file; without it /etc/wellread/agent.toml, if there is one.",
    )  # fmt: skip
    state = click.option("--state-dir", type=click.Path(path_type=Path), help="Folder of outbox and enrolment.")
    return file(state(command))


def _load(config_file: Path | None, **overrides: Any) -> Config:
    given = {name.replace("__", "."): value for name, value in overrides.items() if value is not None}
    try:
        return load_config(config_file, overrides=given)
    except ValueError as error:
        raise click.ClickException(str(error)) from error


@main.command()
@_settings
@click.option("--folder", type=click.Path(path_type=Path), help="Read the photographs in this folder, and new ones.")
@click.option("--code", help="The plate in view, as submission,test,plate number; the picture must not contradict it.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per photograph and line.")
def run(config_file: Path | None, state_dir: Path | None, folder: Path | None, code: str | None, as_json: bool) -> None:
    """Photograph, read, keep and send, until stopped.

    With a wrong configuration it photographs nothing, says what is wrong, and goes on sending until that is mended.
    """
    from edge_agent.barcode import parse_code
    from edge_agent.compose import run as run_agent
    from edge_agent.health import notify_systemd
    from edge_agent.link.enrol import EnrolmentError
    from edge_agent.outbox.file import OutboxError
    from edge_agent.safe_mode import what_is_left

    options = {"state_dir": state_dir, "camera.folder": folder, "camera.kind": "folder" if folder else None}
    given = {name: value for name, value in options.items() if value is not None}
    stop, trigger, notify_socket = Event(), Event(), os.environ.get("NOTIFY_SOCKET")
    try:
        plate = parse_code(code, "given") if code else None
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        signal.signal(signal.SIGUSR1, lambda *_: trigger.set())
        run_agent(
            lambda: load_config(config_file, overrides=given),
            lambda: what_is_left(config_file, os.environ, given),
            say=_say_json if as_json else _say_plainly,
            notify=lambda state: notify_systemd(state, notify_socket),
            stop=stop,
            trigger=trigger,
            given=plate,
        )
    except (OutboxError, EnrolmentError, ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error


@main.command()
@click.argument("claim_code")
@click.option("--central", "central_url", help="Address of central, as https://central.example.org.")
@_settings
def enrol(claim_code: str, central_url: str | None, config_file: Path | None, state_dir: Path | None) -> None:
    """Make this reader a device of central, with a claim code from its Devices page."""
    import httpx

    from edge_agent.link.enrol import EnrolmentError, device_id
    from edge_agent.link.enrol import enrol as exchange

    config = _load(config_file, state_dir=state_dir, central__url=central_url)
    if not config.central.url:
        raise click.UsageError("central's address is not known (expected --central URL, or url in [central])")
    try:
        own_id = device_id(config.state_dir, os.urandom)
        with httpx.Client(timeout=10.0) as client:
            access = exchange(config.central.url, claim_code, config.state_dir, own_id, client)
    except (EnrolmentError, OSError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"enrolled as {access.enrolment.device_id} ({access.enrolment.name}) at {access.central_url}")


@main.command()
@_settings
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per check and line.")
def doctor(config_file: Path | None, state_dir: Path | None, as_json: bool) -> None:
    """Check disk, clock, camera, model, calibration, outbox, enrolment, central and broker."""
    from edge_agent.commands.doctor import examine

    healthy = True
    for check in examine(_load(config_file, state_dir=state_dir)):
        healthy &= check.ok
        if as_json:
            click.echo(json.dumps({"check": check.name, "ok": check.ok, "detail": check.detail}, ensure_ascii=False))
        else:
            click.echo(f"{'ok ' if check.ok else 'BAD'}  {check.name:10} {check.detail}")
    sys.exit(0 if healthy else DEGRADED)


@main.group(invoke_without_command=True)
@_settings
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def queue(ctx: click.Context, config_file: Path | None, state_dir: Path | None, as_json: bool) -> None:
    """What this reader holds that central may not have yet."""
    config = ctx.obj = _load(config_file, state_dir=state_dir)
    if ctx.invoked_subcommand is not None:
        return
    from edge_agent.commands.queue import count

    count(config, as_json)


for _name, _command in COMMANDS.items():
    queue.add_command(_command, _name)


@main.group(name="config")
def config_group() -> None:
    """The configuration: what is in force, whether it is right, an example."""


@config_group.command()
@_settings
def show(config_file: Path | None, state_dir: Path | None) -> None:
    """Print the configuration in force, as JSON."""
    import msgspec

    click.echo(msgspec.json.format(msgspec.json.encode(_load(config_file, state_dir=state_dir), enc_hook=str)).decode())


@config_group.command()
@_settings
def check(config_file: Path | None, state_dir: Path | None) -> None:
    """Say whether the configuration is right; a wrong key or value is named."""
    _load(config_file, state_dir=state_dir)
    click.echo("ok")


@config_group.command()
def example() -> None:
    """Print an agent.toml with every key, what it means and its default."""
    click.echo(example_toml(), nl=False)


def _say_json(event: dict[str, Any]) -> None:
    # One write, so that a reader of this stream never sees half a line; flushed, because it is what "saved" means.
    sys.stdout.write(json.dumps(event, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def _say_plainly(event: dict[str, Any]) -> None:
    texts = {
        "saved": "saved    {photo}  {plate}",
        "refused": "refused  {photo}  {reason}: {detail}",
        "trouble": "TROUBLE  {part}: {detail}",
        "mended": "mended   {part}",
    }
    click.echo(texts[event["event"]].format_map(event | {"plate": event.get("plate") or event.get("note")}))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
