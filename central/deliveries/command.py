"""`wellread-central deliver …`: how far files have come, once more, and a file to look at without sending it."""

from pathlib import Path
from typing import Any

import click

from central.command import data_dir_option, json_option, load, now, on_database, print_json, read_database
from central.deliveries.states import DeliveryState
from central.people.sites import EVERY_SITE, Sites


@click.group()
def deliver() -> None:
    """Files for laboratory systems, and how far each has come."""


@deliver.command("list")
@click.option("--state", type=click.Choice([state.value for state in DeliveryState]), help="Only those that are here.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="How many, newest first.")
@json_option
@data_dir_option
def deliver_list(state: str | None, limit: int, as_json: bool, data_dir: Path | None) -> None:
    """Deliveries, newest first."""
    from central.deliveries.queries import list_deliveries

    rows = read_database(
        load(data_dir=data_dir), lambda connection: list_deliveries(connection, EVERY_SITE, state=state, limit=limit)
    )
    if as_json:
        print_json(rows)
        return
    for row in rows:
        error = f"  {row.last_error}" if row.last_error else ""
        made = f"{row.created_at:%Y-%m-%d %H:%M} UTC"
        click.echo(f"{row.id}  {row.state}  {row.name or 'no file yet'}  made {made}{error}")


@deliver.command("show")
@click.argument("delivery_id")
@json_option
@data_dir_option
def deliver_show(delivery_id: str, as_json: bool, data_dir: Path | None) -> None:
    """One delivery: what is different in it, and everything that happened to it."""
    from central.deliveries.differences import in_words
    from central.deliveries.queries import differences_of, get_delivery, log_of

    async def read(connection: Any) -> Any:
        found = await get_delivery(connection, delivery_id, EVERY_SITE)
        return found, await differences_of(connection, delivery_id), await log_of(connection, delivery_id)

    found, different, lines = read_database(load(data_dir=data_dir), read)
    if found is None:
        raise click.ClickException(_unknown(delivery_id))
    if as_json:
        print_json({"delivery": found, "differences": different, "log": lines})
        return
    click.echo(f"{found.name or 'no file yet'}  {found.state}  revision {found.revision} of {found.subject_kind}")
    if found.last_error:
        click.echo(f"what to do: {found.last_error}")
    if found.left_out:
        click.echo(f"without a result, and in no line: {', '.join(found.left_out)}")
    if different is not None:
        click.echo(in_words(different))
    for line in lines:
        click.echo(f"{line.at:%Y-%m-%d %H:%M:%S} UTC  {line.event}  {line.detail or ''}".rstrip())


@deliver.command("again")
@click.argument("delivery_id")
@data_dir_option
def deliver_again(delivery_id: str, data_dir: Path | None) -> None:
    """Try a failed one again from where it stopped; send any other again, under a new name."""
    from central.audit.chain import COMMAND
    from central.deliveries.editing import UnknownError, again

    going = lambda engine: again(engine, delivery_id, sites=EVERY_SITE, actor=COMMAND, now=now())  # noqa: E731
    try:
        found = on_database(load(data_dir=data_dir), going)
    except UnknownError as error:
        raise click.ClickException(_unknown(delivery_id)) from error
    click.echo(f"{found} is tried again" if found == delivery_id else f"{found} is on its way")


@deliver.command("render")
@click.argument("submission")
@click.option("--test", help="One test of the submission; all of them without.")
@click.option("--site", help="The laboratory, where two have a submission of that name.")
@click.option("--dialect", help="A shipped dialect, by its name.")
@click.option("--toml", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="One of your own.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="File to write; - for stdout.")
@data_dir_option
def deliver_render(
    *,
    submission: str,
    test: str | None,
    site: str | None,
    dialect: str | None,
    toml: Path | None,
    output: Path,
    data_dir: Path | None,
) -> None:
    """Write what a dialect makes of results as they are now; nothing is sent. What it leaves out goes to stderr."""
    from central.deliveries.preview import UnknownSubjectError, preview, subject_named
    from central.files import write_durably

    shape = _dialect(dialect, toml)
    sites = EVERY_SITE if site is None else Sites.of([site])

    async def read(connection: Any) -> Any:
        of, subject_id = await subject_named(connection, submission, test, sites)
        return await preview(connection, of, subject_id, shape, sites=sites, now=now())

    try:
        found = read_database(load(data_dir=data_dir), read)
        if output == Path("-"):
            click.echo(found.file.content, nl=False)
        else:
            write_durably(output, found.file.content, mode=0o666)
    except (UnknownSubjectError, OSError) as error:
        raise click.ClickException(str(error)) from error
    for each in found.left_out:
        click.echo(f"left out: {each.plate}, {each.what}: {each.why}", err=True)
    for each in found.against:
        click.echo(f"would not be sent now: {each}", err=True)


def _dialect(name: str | None, toml: Path | None) -> Any:
    from central.deliveries.dialect import DialectError, load, shipped

    if (name is None) == (toml is None):
        raise click.UsageError("--dialect and --toml (expected one of the two)")
    if toml is not None:
        try:
            return load(toml.read_text("utf-8"))
        except DialectError as error:
            lines = [f"line {each.line}: {each.detail}" if each.line else each.detail for each in error.findings]
            raise click.ClickException("\n".join(lines)) from error
        except (OSError, ValueError) as error:
            raise click.ClickException(str(error)) from error
    found = shipped().get(name or "")
    if found is None:
        raise click.ClickException(f"no dialect {name!r} (expected one of {', '.join(shipped())})")
    return found


def _unknown(delivery_id: str) -> str:
    return f"no delivery {delivery_id!r} (expected one of `wellread-central deliver list`)"
