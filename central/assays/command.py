"""`wellread-central profile`: check · add · trial · activate · list."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from central.command import data_dir_option, json_option, load, now, on_database, print_json, read_database

if TYPE_CHECKING:
    from protocol.assay import AssayProfile

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group()
def profile() -> None:
    """Assay profiles and their versions."""


@profile.command()
@click.argument("file", type=_FILE)
def check(file: Path) -> None:
    """Read a profile's file (JSON or TOML) and name every mistake in it."""
    from central.assays.registry import digest_of, key_text

    found = _read(file)
    click.echo(f"{key_text(found)} is sound, digest {digest_of(found)}")


@profile.command()
@click.argument("file", type=_FILE)
@data_dir_option
def add(file: Path, data_dir: Path | None) -> None:
    """Store a version; it counts only once it is activated."""
    from central.assays.registry import add as store
    from central.audit.chain import COMMAND

    made = _read(file)
    found = on_database(load(data_dir=data_dir), lambda engine: store(engine, made, actor=COMMAND, now=now()))
    click.echo(f"{found.name} version {found.version} is here; nothing is interpreted by it yet")


@profile.command()
@click.argument("name")
@click.argument("version", type=click.IntRange(min=1))
@click.option(
    "--last", type=click.IntRange(1, 2000), default=200, show_default=True, help="So many runs, newest first."
)
@click.option("--submission", help="The runs of this submission.")
@json_option
@data_dir_option
def trial(name: str, version: int, *, last: int, submission: str | None, as_json: bool, data_dir: Path | None) -> None:
    """Say which titres of stored runs would change; nothing is changed."""
    from sqlalchemy.ext.asyncio import AsyncConnection

    from central.assays.registry import UnknownProfileError, assays_of
    from central.assays.trial import Trial, try_profile

    async def work(connection: AsyncConnection) -> Trial:
        try:
            made = (await assays_of(connection, [(name, version)]))[name, version]
        except UnknownProfileError as error:
            raise ValueError(str(error)) from error
        return await try_profile(connection, made, last=last, submission=submission)

    found = read_database(load(data_dir=data_dir), work)
    if as_json:
        print_json(found)
        return
    for each in found.changed:
        plate = f"{each.submission} {each.test} plate {each.plate_number}" if each.submission else each.run_id
        grades = f"{each.grade_before} → {each.grade_after}"
        click.echo(f"{plate}, row {each.row}: {each.before} → {each.after}, grade {grades}")
    click.echo(f"{found.titres} of {found.rows} results and {found.grades} grades would change, in {found.runs} runs")


@profile.command()
@click.argument("name")
@click.argument("version", type=click.IntRange(min=1))
@click.option("--reason", required=True, help="Why this version counts from now on.")
@data_dir_option
def activate(name: str, version: int, reason: str, data_dir: Path | None) -> None:
    """Interpret runs that come in from now on by this version."""
    from sqlalchemy.ext.asyncio import AsyncEngine

    from central.assays.registry import ProfileVersion, UnknownProfileError
    from central.assays.registry import activate as use
    from central.audit.chain import COMMAND

    async def work(engine: AsyncEngine) -> ProfileVersion:
        try:
            return await use(engine, (name, version), reason=reason, actor=COMMAND, now=now())
        except UnknownProfileError as error:
            raise ValueError(str(error)) from error

    found = on_database(load(data_dir=data_dir), work)
    click.echo(f"runs are interpreted by {found.name} version {found.version} from now on")


@profile.command("list")
@json_option
@data_dir_option
def list_profiles(as_json: bool, data_dir: Path | None) -> None:
    """Every version of every profile."""
    from central.assays.registry import list_versions

    found = read_database(load(data_dir=data_dir), list_versions)
    if as_json:
        print_json(found)
        return
    for each in found:
        notes = [word for word, holds in (("active", each.active), ("shipped", each.shipped)) if holds]
        click.echo(f"{each.name}  {each.version}  {', '.join(notes) or '-'}  {each.title}")


def _read(file: Path) -> "AssayProfile":
    from central.assays.registry import ProfileError, read_profile

    try:
        return read_profile(file.read_bytes(), toml=file.suffix == ".toml")
    except ProfileError as error:
        raise click.ClickException(str(error)) from error
