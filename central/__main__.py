"""`wellread-central`: serve · migrate · user · key · site · device · deliver · import · backup · restore · audit …

Settings come from `WELLREAD_…`. Each command is a few lines around one function of the package; what goes wrong is one
line that names the value.
"""

from pathlib import Path

import click

from central.assays.command import profile
from central.audit.command import audit
from central.command import data_dir_option, json_option, load, nothing, now, on_database, print_json, read_database
from central.copies.command import backup, import_archives, restore
from central.deliveries.command import deliver
from central.laboratory.command import worklist
from central.people.command import key, site, user
from central.results.command import pictures
from central.review.command import verify
from central.settings import Settings


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="wellread", message="%(prog)s %(version)s")
def main() -> None:
    """The central server of Wellread."""


@main.command()
@click.option("--host", help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; 0 for any free one.")
@click.option("--ready-file", type=click.Path(dir_okay=False, path_type=Path), help="Write the address here once up.")
@data_dir_option
def serve(host: str | None, port: int | None, ready_file: Path | None, data_dir: Path | None) -> None:
    """Run central: web server, ingest, and Mosquitto where no broker is given."""
    from central.db import DATABASE_ERRORS
    from central.logs import configure_logs
    from central.serve import ServeError, Serving, write_ready
    from central.serve import serve as run

    settings = load(host=host, port=port, data_dir=data_dir)
    configure_logs()

    def announce(serving: Serving) -> None:
        click.echo(f"Wellread central at {serving.url}")
        if not serving.has_users:
            folder = "" if settings.data_dir == Settings().data_dir else f" --data-dir {settings.data_dir}"
            click.echo(f"Nobody can sign in yet. Add someone: wellread-central user add NAME --role admin{folder}")
        if ready_file is not None:
            write_ready(ready_file, serving)

    try:
        run(settings, announce)
    except (ServeError, *DATABASE_ERRORS) as error:
        raise click.ClickException(str(error)) from error


@main.command()
@data_dir_option
def migrate(data_dir: Path | None) -> None:
    """Bring the database to this version's tables."""
    on_database(load(data_dir=data_dir), nothing, new=True)
    click.echo("the database has this version's tables")


@main.group()
def device() -> None:
    """Readers that belong to this central."""


@device.command("claim")
@click.argument("name")
@json_option
@data_dir_option
def device_claim(name: str, as_json: bool, data_dir: Path | None) -> None:
    """Make a one-time code that enrols a reader under this name."""
    from central.fleet.devices import create_claim
    from central.serve import known_url

    settings = load(data_dir=data_dir)
    claim = on_database(settings, lambda engine: create_claim(engine, name, by="command line", now=now()), new=True)
    command = f"wellread-agent enrol {claim.code} --central {known_url(settings)}"
    if as_json:
        print_json({"claim_code": claim.code, "name": claim.name, "expires_at": claim.expires_at, "command": command})
        return
    click.echo(f"Good once, until {claim.expires_at:%Y-%m-%d %H:%M} UTC. On the reader:\n\n  {command}\n")


@device.command("list")
@json_option
@data_dir_option
def device_list(as_json: bool, data_dir: Path | None) -> None:
    """Every device, with when it was last heard of."""
    from central.fleet.queries import list_devices

    rows = read_database(load(data_dir=data_dir), list_devices)
    if as_json:
        print_json(rows)
        return
    for row in rows:
        online = "online" if row.status is not None and row.status.online else "offline"
        heard = f"{row.status_at:%Y-%m-%d %H:%M} UTC" if row.status_at else "never"
        state = "revoked" if row.revoked_at else online
        click.echo(f"{row.id}  {row.name}  {state}, last heard of: {heard}, runs: {row.runs}")


@device.command("revoke")
@click.argument("device_id")
@data_dir_option
def device_revoke(device_id: str, data_dir: Path | None) -> None:
    """Shut a device out; its runs stay. A running central takes notice within two seconds."""
    from central.fleet.devices import revoke

    known = on_database(load(data_dir=data_dir), lambda engine: revoke(engine, device_id, now=now()))
    if not known:
        raise click.ClickException(f"no device {device_id!r} (expected one of `wellread-central device list`)")
    click.echo(f"{device_id} is shut out")


@main.command("dead-letters")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="How many, newest first.")
@json_option
@data_dir_option
def dead_letters(limit: int, as_json: bool, data_dir: Path | None) -> None:
    """Messages that could not be accepted; their bytes are kept in the database."""
    from central.fleet.queries import list_dead_letters

    letters = read_database(load(data_dir=data_dir), lambda connection: list_dead_letters(connection, limit=limit))
    if as_json:
        print_json(letters)
        return
    for letter in letters:
        came = f"{letter.received_at:%Y-%m-%d %H:%M} UTC, {letter.times}x"
        click.echo(f"{letter.number}  {came}  {letter.topic}  {letter.code}: {letter.detail}")


main.add_command(audit)
main.add_command(worklist)
main.add_command(user)
main.add_command(key)
main.add_command(site)
main.add_command(deliver)
main.add_command(import_archives)
main.add_command(profile)
main.add_command(verify)
main.add_command(pictures)
main.add_command(backup)
main.add_command(restore)


if __name__ == "__main__":
    main(prog_name="wellread-central")
