"""`wellread-central key` and `site`: who gets in, and where; each change is the command's in the trail."""

import json

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from central.db import reading
from central.settings import Settings
from central.tables import audit_entries
from tests.central.deliveries.test_deliver_command import on
from tests.central.test_main import fill, run


async def trail(engine: AsyncEngine) -> list[tuple[str, str, str]]:
    """(who, what, of what) of every change."""
    query = select(audit_entries).order_by(audit_entries.c.number)
    async with reading(engine) as connection:
        return [(row.actor_kind, row.action, row.object_id) for row in await connection.execute(query)]


def test_a_key_is_made_shown_once_listed_and_revoked(settings: Settings) -> None:
    fill(settings)
    scopes = ("--scope", "results:read", "--scope", "deliveries:read")
    made = json.loads(run(settings, "key", "make", "LIMS", *scopes, "--days", "30", "--json").stdout)
    assert made["key"].startswith(f"wr_{made['id']}_")
    listed = run(settings, "key", "list").output
    assert f"{made['id']}  LIMS  until" in listed
    assert "last used: never" in listed
    assert made["key"] not in listed
    assert "opens nothing" in run(settings, "key", "revoke", made["id"]).output
    (row,) = json.loads(run(settings, "key", "list", "--json").stdout)
    assert (row["scopes"], row["revoked_at"] is not None) == (["results:read", "deliveries:read"], True)
    mine = [entry for entry in on(settings, trail) if entry[1].startswith("key.")]
    assert mine == [("command", "key.make", made["id"]), ("command", "key.revoke", made["id"])]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("make", "LIMS", "--scope", "results:read", "--site", "nowhere"), "no site 'nowhere'"),
        (("make", "", "--scope", "results:read"), "not a title for a key"),
        (("make", "LIMS", "--scope", "everything"), "is not one of"),
        (("make", "LIMS"), "Missing option '--scope'"),
        (("revoke", "0123456789ab"), "no key '0123456789ab'"),
    ],
)
def test_a_key_that_cannot_be_is_one_clear_line(settings: Settings, arguments: tuple[str, ...], said: str) -> None:
    fill(settings)
    refused = run(settings, "key", *arguments)
    assert (refused.exit_code != 0, said in refused.output) == (True, True), refused.output


def test_a_laboratory_is_added_once_and_listed(settings: Settings) -> None:
    assert run(settings, "site", "add", "north", "North").output == "north is a laboratory: North\n"
    assert "site 'north' exists" in run(settings, "site", "add", "north", "Again").output
    assert "not an id for a site: 'N o'" in run(settings, "site", "add", "N o", "North").output
    listed = run(settings, "site", "list").output.splitlines()
    assert "north  North  unknown codes: register" in listed
    assert {row["id"] for row in json.loads(run(settings, "site", "list", "--json").stdout)} == {"main", "north"}
    assert [entry for entry in on(settings, trail) if entry[1] == "site.add"] == [("command", "site.add", "north")]
