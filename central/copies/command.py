"""`wellread-central import · backup · restore`: what is carried in by hand, and everything out and back."""

from pathlib import Path

import click

from central.command import around_database, data_dir_option, json_option, load, nothing, now, on_database, print_json


@click.command("import")
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--accept-unsigned", is_flag=True, help="Take it although its device's own key did not sign it.")
@click.option("--by", metavar="NAME", help="The administrator who answers for that.")
@click.option(
    "--passphrase-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File whose first line is the passphrase that seals the archive.",
)
@json_option
@data_dir_option
def import_archives(
    *,
    paths: tuple[Path, ...],
    accept_unsigned: bool,
    by: str | None,
    passphrase_file: Path | None,
    as_json: bool,
    data_dir: Path | None,
) -> None:
    """Take readings and pictures that `wellread-agent queue export` wrote; taking them twice changes nothing."""
    from central.intake.carried import Trust, import_archive
    from central.intake.ingest import DatabaseUnavailableError

    settings = load(data_dir=data_dir)
    passphrase = passphrase_file.read_text().splitlines()[0] if passphrase_file is not None else None
    trust = Trust(by or "command line", accept_unsigned)
    for path in paths:
        take = lambda engine, path=path: import_archive(  # noqa: E731
            engine, settings.images_dir, path, trust, passphrase=passphrase, now=now()
        )
        try:
            found = on_database(settings, take)
        except DatabaseUnavailableError as error:
            raise click.ClickException(f"{path}: the database does not take it: {error} (import it again)") from error
        if as_json:
            print_json(found)
            continue
        signed = "signed by its device" if found.signed else "not signed by its device"
        click.echo(f"{path}: of {found.device_id}, {signed}")
        readings = f"{found.new} new, {found.repeated} here already, {found.conflicts} in conflict"
        click.echo(f"  readings: {readings}, {found.refused} refused (see `wellread-central dead-letters`)")
        pictures = f"{found.pictures_new} new, {found.pictures_here} here already"
        click.echo(f"  pictures: {pictures}, {found.pictures_refused} refused")


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--pictures/--no-pictures", default=True, show_default=True, help="Put the pictures in too.")
@data_dir_option
def backup(file: Path, pictures: bool, data_dir: Path | None) -> None:
    """Write everything of central into one file; central may go on meanwhile."""
    from central.copies.backup import back_up

    settings = load(data_dir=data_dir)
    contents = around_database(lambda: back_up(settings, file, with_pictures=pictures, now=now()))
    click.echo(
        f"{file}: {contents.rows['runs']} runs, {contents.rows['devices']} devices, {contents.pictures} pictures"
    )


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--replace", is_flag=True, help="Forget what is here first.")
@data_dir_option
def restore(file: Path, replace: bool, data_dir: Path | None) -> None:
    """Put a backup back, whole or not at all. Stop central first, and start it afterwards."""
    from central.copies.backup import restore as put_back
    from central.fleet.broker_child import BrokerError, alone_in

    settings = load(data_dir=data_dir)
    on_database(settings, nothing, new=True)
    folder = settings.data_dir / "broker"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        with alone_in(folder):
            found = around_database(lambda: put_back(settings, file, replace=replace, now=now()))
    except BrokerError as error:
        raise click.ClickException(f"{error}: stop it first") from error
    click.echo(f"as of {found.made_at:%Y-%m-%d %H:%M} UTC: {found.rows['runs']} runs, {found.rows['devices']} devices")
    click.echo(f"pictures: {found.pictures} from the backup; {found.pictures_missing} are not here")
    click.echo("Start central: its devices will account for what they hold, and send again what is not here.")
