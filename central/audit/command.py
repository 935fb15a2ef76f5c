"""`wellread-central audit verify · head · export`: is the trail what was written, how long is it, and out it comes."""

from pathlib import Path
from typing import Any

import click

from central.command import data_dir_option, json_option, load, now, on_database, print_json


@click.group()
def audit() -> None:
    """The trail of every change."""


@audit.command("verify")
@click.option(
    "--heads",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of signed heads, such as a copy that is kept elsewhere; without it the one in the data folder.",
)
@click.option("--public-key", help="Only heads of this key prove anything (64 hexadecimal digits).")
@click.option(
    "--backup",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Verify the trail in this backup instead of the database.",
)
@json_option
@data_dir_option
def verify(
    heads: Path | None, public_key: str | None, backup: Path | None, as_json: bool, data_dir: Path | None
) -> None:
    """Find every edit, deletion, reordering and cut behind central's back. Exit status 1 where something is wrong."""
    from central.audit.check import check_backup, check_database
    from central.audit.heads import heads_dir

    settings = load(data_dir=data_dir)
    folder = heads or heads_dir(settings.data_dir)
    try:
        if backup is not None:
            report = check_backup(backup, folder, public_key)
        else:
            report = on_database(settings, lambda engine: check_database(engine, folder, public_key))
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        print_json(report)
    else:
        for finding in report.findings:
            click.echo(f"entry {finding.number}: {finding.what}")
        for note in report.notes:
            click.echo(f"note: {note}")
        head = report.newest_head
        until = f"the newest of {head.signed_at:%Y-%m-%d %H:%M} UTC at entry {head.number}" if head else "none at all"
        click.echo(f"{report.entries} entries, {report.heads} signed heads, {until}")
        click.echo("the trail is intact" if report.intact else "the trail is NOT what was written")
    if not report.intact:
        raise SystemExit(1)


@audit.command("head")
@json_option
@data_dir_option
def head(as_json: bool, data_dir: Path | None) -> None:
    """Sign how long the trail is now; keep what it prints, or the file it writes, away from this machine."""
    from central.audit.heads import heads_dir, sign_head

    settings = load(data_dir=data_dir)
    signed = on_database(settings, lambda engine: sign_head(engine, settings.data_dir, now()))
    if signed is None:
        raise click.ClickException("the audit trail is empty (expected at least one entry to sign)")
    if as_json:
        print_json(signed)
        return
    click.echo(f"entry {signed.number}, hash {signed.hash}\nkey {signed.public_key}")
    click.echo(f"signed into {heads_dir(settings.data_dir)}; copy that folder to another machine")


@audit.command("export")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--format", "kind", type=click.Choice(["csv", "jsonl"]), default="jsonl", show_default=True, help="Shape."
)
@data_dir_option
def export_trail(file: Path, kind: Any, data_dir: Path | None) -> None:
    """Write the whole trail into a file."""
    from central.audit.writing import write_trail

    settings = load(data_dir=data_dir)
    try:
        entries = on_database(settings, lambda engine: write_trail(engine, settings.data_dir, file, kind, now()))
    except OSError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{file}: {entries} entries")
