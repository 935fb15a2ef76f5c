"""`wellread-central pictures`: which photographs may go, and have them gone now instead of tonight."""

from pathlib import Path

import click

from central.command import data_dir_option, json_option, load, now, on_database, print_json


@click.group()
def pictures() -> None:
    """Photographs that their laboratories keep no longer."""


@pictures.command("due")
@json_option
@data_dir_option
def due(as_json: bool, data_dir: Path | None) -> None:
    """Say what would be removed now; nothing is."""
    from central.results import keeping

    found = on_database(load(data_dir=data_dir), lambda engine: keeping.due(engine, now()))
    if as_json:
        print_json(found)
        return
    for each in found:
        size = f"{each.bytes / 1e6:.1f} MB"
        click.echo(f"{each.site_id}: {each.pictures} photographs, {size}, older than {each.picture_days} days")
    if not found:
        click.echo("no photograph may go")


@pictures.command("remove")
@data_dir_option
def remove(data_dir: Path | None) -> None:
    """Remove what may go; what they showed stays, and the audit trail names each."""
    from central.audit.chain import COMMAND
    from central.results import keeping

    settings = load(data_dir=data_dir)
    removed = on_database(settings, lambda engine: keeping.remove(engine, settings.images_dir, now(), actor=COMMAND))
    click.echo(f"{removed} photographs removed")
