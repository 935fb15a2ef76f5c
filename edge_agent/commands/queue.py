"""`wellread-agent queue`: what this reader holds that central may not have yet, and what a person can do about it.

Looking never disturbs a running agent. What changes something is asked of it (`edge_agent.outbox.requests`), or done at
once where none runs.
"""

import json
import secrets
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click

from edge_agent.config import Config

DEGRADED: Final = 3
_REQUEST_ID_BYTES: Final = 8


def look(config: Config, question: Callable[[Any], Any]) -> Any:
    """What the outbox's file says, beside a running agent or without one."""
    from edge_agent.outbox.file import OutboxError
    from edge_agent.outbox.look import open_for_looking

    try:
        with closing(open_for_looking(config.state_dir / "outbox.db")) as connection:
            return question(connection)
    except OutboxError as error:
        raise click.ClickException(str(error)) from error


def count(config: Config, as_json: bool) -> None:
    """Print how many readings stand where."""
    from edge_agent.outbox.look import count_states

    counts = look(config, count_states)
    click.echo(json.dumps(counts) if as_json else "\n".join(f"{name:14} {n}" for name, n in counts.items()))


@click.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per reading and line.")
@click.option("--all", "everything", is_flag=True, help="Also what central has.")
@click.pass_obj
def list_readings(config: Config, as_json: bool, everything: bool) -> None:
    """The readings that central lacks, oldest first."""
    from edge_agent.outbox.look import list_rows

    columns = ("seq", "state", "id", "photo", "rejected_code", "rejected_detail")
    for row in look(config, lambda connection: list_rows(connection, everything)):
        click.echo(
            json.dumps(row, default=str)
            if as_json
            else "  ".join(str(row[name]) for name in columns if row[name] is not None)
        )


@click.command()
@click.argument("reading_id", metavar="ID")
@click.pass_obj
def show(config: Config, reading_id: str) -> None:
    """One reading, whole: where it stands, why it was set aside, and what was captured."""
    from edge_agent.outbox.look import show_row

    row = look(config, lambda connection: show_row(connection, reading_id))
    if row is None:
        raise click.ClickException(f"no reading {reading_id} here (see `wellread-agent queue list --all`)")
    click.echo(json.dumps(row, indent=2, ensure_ascii=False, default=str))


@click.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID…|all")
@click.pass_obj
def retry(config: Config, ids: tuple[str, ...]) -> None:
    """Send quarantined readings again."""
    from edge_agent.outbox.requests import Retry

    _ask(config, Retry(ids))


@click.command()
@click.argument("reading_id", metavar="ID")
@click.option("--reason", required=True, help="Why it must not be sent; shown in the list.")
@click.pass_obj
def quarantine(config: Config, reading_id: str, reason: str) -> None:
    """Set a reading aside that central has not got: it is kept, and not sent."""
    from edge_agent.outbox.requests import Quarantine

    _ask(config, Quarantine(reading_id, reason))


def _passphrase_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--passphrase-file", type=click.Path(path_type=Path, exists=True, dir_okay=False),
        help="File whose first line is the passphrase that seals the archive.",
    )(command)  # fmt: skip


@click.command(name="export")
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--all", "everything", is_flag=True, help="Also what central has.")
@click.option("--pictures", is_flag=True, help="With their photographs.")
@_passphrase_option
@click.pass_obj
def export_readings(config: Config, path: Path, everything: bool, pictures: bool, passphrase_file: Path | None) -> None:
    """Write the readings that central lacks to one signed file, to be carried there by hand."""
    from edge_agent.link.signing import SigningKeyError
    from edge_agent.outbox.archive import export_archive
    from edge_agent.outbox.file import OutboxError
    from protocol.sealing import ArchiveError

    try:
        exported = export_archive(
            config.state_dir, path, datetime.now(UTC), everything=everything, pictures=pictures,
            passphrase=_passphrase(passphrase_file),
        )  # fmt: skip
    except (OutboxError, SigningKeyError, ArchiveError, OSError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{exported.readings} readings and {exported.pictures} pictures in {path}, signed by {exported.signer}")
    for line in exported.left_out:
        click.echo(f"left out: {line}", err=True)
    sys.exit(DEGRADED if exported.left_out else 0)


@click.command(name="import")
@click.argument("path", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--signer", help="Public key that the archive must be signed with, where it is not this reader's own.")
@_passphrase_option
@click.pass_obj
def import_readings(config: Config, path: Path, signer: str | None, passphrase_file: Path | None) -> None:
    """Take up an archive: this reader's own after its card died, or another's, to be kept."""
    from edge_agent.outbox.requests import Import

    _ask(config, Import(str(path.resolve()), _passphrase(passphrase_file), signer))


def _passphrase(path: Path | None) -> str | None:
    if path is None:
        return None
    lines = path.read_text(encoding="utf-8").splitlines()
    return lines[0] if lines else ""


def _ask(config: Config, request: Any) -> None:
    from edge_agent.outbox.file import OutboxError
    from edge_agent.outbox.requests import ask

    try:
        answer = ask(config.state_dir, request, secrets.token_hex(_REQUEST_ID_BYTES))
    except (OutboxError, OSError) as error:
        raise click.ClickException(str(error)) from error
    if answer is None:
        raise click.ClickException("the agent that runs here has not answered yet; it does this once it can")
    if answer.failed:
        raise click.ClickException(answer.text)
    click.echo(answer.text)


COMMANDS: Final = {
    "list": list_readings,
    "show": show,
    "retry": retry,
    "requeue": retry,
    "quarantine": quarantine,
    "export": export_readings,
    "import": import_readings,
}
