"""What the commands share: settings, a database for one piece of work, options, and errors as one line."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from central.settings import Settings, load_settings

_T = TypeVar("_T")


def data_dir_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--data-dir`."""
    kind = click.Path(file_okay=False, path_type=Path)
    return click.option("--data-dir", type=kind, help="Folder of database, pictures and keys.")(command)


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def load(**given: Any) -> Settings:
    """Settings from the environment, then from the command line."""
    try:
        return msgspec.structs.replace(load_settings(), **{name: v for name, v in given.items() if v is not None})
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def on_database(settings: Settings, use: Callable[[Any], Awaitable[_T]], *, new: bool = False) -> _T:
    """Use an engine once; `new` makes the tables first, where a command may be the first one ever."""
    from central.db import make_engine
    from central.db import migrate as bring_up

    async def run() -> _T:
        if new:
            await bring_up(settings)
        engine = make_engine(settings.database)
        try:
            return await use(engine)
        finally:
            await engine.dispose()

    return around_database(run)


def around_database(work: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
    """Do it; what goes wrong is one line."""
    from central.db import DATABASE_ERRORS

    try:
        return asyncio.run(work())
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    except DATABASE_ERRORS as error:
        reason = str(getattr(error, "orig", None) or error)
        raise click.ClickException(f"the database cannot be used: {reason} (see `wellread-central migrate`)") from error


def read_database(settings: Settings, query: Callable[[Any], Awaitable[_T]]) -> _T:
    """What this query finds."""
    from central.db import reading

    async def read(engine: Any) -> _T:
        async with reading(engine) as connection:
            return await query(connection)

    return on_database(settings, read)


async def nothing(_engine: Any) -> None:
    """`migrate` needs no more than the tables."""


def print_json(value: Any) -> None:
    """For programs, and readable."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2))


def now() -> datetime:
    """The time that it is."""
    return datetime.now(UTC)
