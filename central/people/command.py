"""`wellread-central user …`: people who may sign in. Every change is in the audit trail."""

import sys
from pathlib import Path
from typing import Any

import click

from central.command import data_dir_option, json_option, load, now, on_database, print_json, read_database
from central.people.permissions import ROLES

_ROLE = click.option("--role", type=click.Choice(ROLES), required=True, help="What they may do.")
_SITE = click.option("--site", "sites", multiple=True, default=("main",), show_default=True, help="Where they belong.")


@click.group()
def user() -> None:
    """People who may sign in."""


@user.command("add")
@click.argument("name")
@_ROLE
@_SITE
@click.option("--password-stdin", is_flag=True, help="Read the password from the first line of standard input.")
@data_dir_option
def user_add(name: str, role: Any, sites: tuple[str, ...], password_stdin: bool, data_dir: Path | None) -> None:
    """Let someone sign in."""
    from central.people.users import add_user

    if password_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    else:
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    settings = load(data_dir=data_dir)
    add = lambda engine: add_user(  # noqa: E731
        engine, name=name, password=password, role=role, site_ids=sites, now=now()
    )
    person = on_database(settings, add, new=True)
    click.echo(f"{person.name} may sign in as {person.role}")


@user.command("invite")
@click.argument("name")
@_ROLE
@_SITE
@click.option("--email", help="Their address.")
@data_dir_option
def user_invite(name: str, role: Any, sites: tuple[str, ...], email: str | None, data_dir: Path | None) -> None:
    """Make an account and a one-time link, by which its owner sets a password within 7 days."""
    from central.people.users import add_user

    settings = load(data_dir=data_dir)
    add = lambda engine: add_user(  # noqa: E731
        engine, name=name, password=None, role=role, site_ids=sites, email=email, now=now()
    )
    on_database(settings, add, new=True)
    _print_link(settings, name)


@user.command("link")
@click.argument("name")
@data_dir_option
def user_link(name: str, data_dir: Path | None) -> None:
    """Make a one-time link by which someone sets a new password within 24 hours."""
    _print_link(load(data_dir=data_dir), name)


def _print_link(settings: Any, name: str) -> None:
    from central.audit.chain import COMMAND
    from central.people.links import make_link
    from central.serve import known_url

    link = _on_user(settings, name, lambda engine, user_id: make_link(engine, user_id, actor=COMMAND, now=now()))
    click.echo(f"Good once, until {link.expires_at:%Y-%m-%d %H:%M} UTC:\n\n  {known_url(settings)}/join/{link.code}\n")


@user.command("list")
@json_option
@data_dir_option
def user_list(as_json: bool, data_dir: Path | None) -> None:
    """Everybody, with role and sites."""
    from central.people.directory import list_users

    rows = read_database(load(data_dir=data_dir), list_users)
    if as_json:
        print_json(rows)
        return
    for row in rows:
        state = "erased" if row.erased_at else "disabled" if row.disabled_at else row.role
        codes = ", one-time codes" if row.second_factor else ""
        click.echo(f"{row.name}  {state}  sites: {', '.join(row.site_ids) or 'none'}{codes}")


@user.command("role")
@click.argument("name")
@click.argument("role", type=click.Choice(ROLES))
@data_dir_option
def user_role(name: str, role: Any, data_dir: Path | None) -> None:
    """Change what someone may do; ends every sign-in of theirs."""
    _change(data_dir, name, role=role)
    click.echo(f"{name} is {role} now")


@user.command("disable")
@click.argument("name")
@data_dir_option
def user_disable(name: str, data_dir: Path | None) -> None:
    """Shut someone out at once."""
    _change(data_dir, name, disabled=True)
    click.echo(f"{name} is shut out")


@user.command("enable")
@click.argument("name")
@data_dir_option
def user_enable(name: str, data_dir: Path | None) -> None:
    """Let someone in again."""
    _change(data_dir, name, disabled=False)
    click.echo(f"{name} may sign in again")


@user.command("remove-codes")
@click.argument("name")
@data_dir_option
def user_remove_codes(name: str, data_dir: Path | None) -> None:
    """Ask someone for no one-time codes any more: their telephone is gone, or the sealing key."""
    from central.audit.chain import COMMAND
    from central.people.second_factor import remove

    _on_user(load(data_dir=data_dir), name, lambda engine, user_id: remove(engine, user_id, actor=COMMAND, now=now()))
    click.echo(f"{name} is asked for no codes")


def _change(data_dir: Path | None, name: str, **wanted: Any) -> None:
    from central.audit.chain import COMMAND
    from central.people.users import UserChange, change_user

    change = UserChange(**wanted)
    _on_user(
        load(data_dir=data_dir),
        name,
        lambda engine, user_id: change_user(engine, user_id, change, actor=COMMAND, now=now()),
    )


def _on_user(settings: Any, name: str, work: Any) -> Any:
    """Do this with the engine and the id of the user of this name; one line where there is nobody."""
    from central.db import reading
    from central.people.users import UnknownUserError, user_id_of

    async def found(engine: Any) -> Any:
        async with reading(engine) as connection:
            user_id = await user_id_of(connection, name)
        return await work(engine, user_id)

    try:
        return on_database(settings, found)
    except UnknownUserError as error:
        raise click.ClickException(str(error)) from error
