"""`wellread-central user …`, `key …`, `site …`: who gets in, and where. Every change is in the audit trail."""

import re
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import click

from central.command import data_dir_option, json_option, load, now, on_database, print_json, read_database
from central.people.permissions import ROLES, SCOPES
from central.people.sites import EVERY_SITE, MAIN_SITE

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


@click.group()
def key() -> None:
    """Keys of laboratory systems and scripts."""


@key.command("make")
@click.argument("title")
@click.option("--scope", "scopes", multiple=True, required=True, type=click.Choice(SCOPES), help="What it may do.")
@click.option("--site", "site_id", default=MAIN_SITE, show_default=True, help="The laboratory that it is for.")
@click.option("--days", type=click.IntRange(1, 3650), help="How long it is good for; for ever without.")
@json_option
@data_dir_option
def key_make(
    *, title: str, scopes: tuple[Any, ...], site_id: str, days: int | None, as_json: bool, data_dir: Path | None
) -> None:
    """Make a key; it is shown once, now."""
    from central.audit.chain import COMMAND
    from central.people.keys import create_key

    made_at = now()
    expires_at: datetime | None = None if days is None else made_at + timedelta(days=days)
    make = lambda engine: create_key(  # noqa: E731
        engine, title=title, site_id=site_id, scopes=scopes, expires_at=expires_at, actor=COMMAND, now=made_at
    )
    key_id, secret = on_database(load(data_dir=data_dir), make)
    if as_json:
        print_json({"id": key_id, "key": secret, "expires_at": expires_at})
        return
    until = "" if expires_at is None else f", until {expires_at:%Y-%m-%d %H:%M} UTC"
    click.echo(f"Shown once; send it as `Authorization: Bearer …`{until}:\n\n  {secret}\n")


@key.command("list")
@json_option
@data_dir_option
def key_list(as_json: bool, data_dir: Path | None) -> None:
    """Every key without its secret, the newest first."""
    from central.people.keys import list_keys

    rows = read_database(load(data_dir=data_dir), list_keys)
    if as_json:
        print_json(rows)
        return
    for row in rows:
        ends = "for ever" if row.expires_at is None else f"until {row.expires_at:%Y-%m-%d}"
        state = "revoked" if row.revoked_at else ends
        used = "never" if row.last_used_at is None else f"{row.last_used_at:%Y-%m-%d %H:%M} UTC"
        click.echo(f"{row.id}  {row.title}  {state}  site: {row.site_id}  {', '.join(row.scopes)}  last used: {used}")


@key.command("revoke")
@click.argument("key_id")
@data_dir_option
def key_revoke(key_id: str, data_dir: Path | None) -> None:
    """Let nobody in with a key any more."""
    from central.audit.chain import COMMAND
    from central.people.keys import revoke_key

    revoke = lambda engine: revoke_key(engine, key_id, actor=COMMAND, now=now())  # noqa: E731
    if not on_database(load(data_dir=data_dir), revoke):
        raise click.ClickException(f"no key {key_id!r} (expected one of `wellread-central key list`)")
    click.echo(f"{key_id} opens nothing any more")


@click.group()
def site() -> None:
    """Laboratories of this central, which do not see each other's things."""


@site.command("add")
@click.argument("site_id")
@click.argument("title")
@data_dir_option
def site_add(site_id: str, title: str, data_dir: Path | None) -> None:
    """Add a laboratory: its id, which stays, and what people call it."""
    from central.api.sites import SITE_ID
    from central.audit.chain import COMMAND
    from central.people.laboratories import add_site

    if not re.fullmatch(SITE_ID, site_id):
        raise click.ClickException(f"not an id for a site: {site_id[:80]!r} (expected 1 to 63 of a-z, 0-9 and -)")
    add = lambda engine: add_site(engine, site_id, title, actor=COMMAND, now=now())  # noqa: E731
    added = on_database(load(data_dir=data_dir), add, new=True)
    click.echo(f"{added.id} is a laboratory: {added.title}")


@site.command("list")
@json_option
@data_dir_option
def site_list(as_json: bool, data_dir: Path | None) -> None:
    """Every laboratory."""
    from central.people.laboratories import list_sites

    rows = read_database(load(data_dir=data_dir), lambda connection: list_sites(connection, EVERY_SITE))
    if as_json:
        print_json(rows)
        return
    for row in rows:
        eyes = ", who reviewed does not approve" if row.four_eyes else ""
        click.echo(f"{row.id}  {row.title}  unknown codes: {row.unregistered}{eyes}")
