"""`docs/permissions.md`: who may call what, made from the routes themselves; `make docs` writes it."""

import sys
from pathlib import Path

from litestar import Litestar

from central.app import create_app
from central.people.access import operations
from central.people.permissions import ROLES, SCOPES
from central.settings import Settings

_HEAD = """# Who may do what

Made by `make docs` from the routes; a test compares. A route that says nothing here is open to nobody.

Roles, each with what the ones before it may: {roles}. Keys have scopes instead: {scopes}.

**Sites.** Every operation shows and changes only what belongs to a site of the caller: a person's memberships, a key's
one site. Administrators see every site. What belongs to another is "not found" (404), never "forbidden" (403).

| operation | open to |
|---|---|
"""


def permissions_page(app: Litestar) -> str:
    """The page for the routes of an app."""
    head = _HEAD.format(roles=", ".join(ROLES), scopes=", ".join(f"`{scope}`" for scope in SCOPES))
    found = sorted(operations(app).items(), key=lambda each: each[0].split(" ")[::-1])
    return head + "".join(f"| `{name}` | {access.words} |\n" for name, access in found)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(permissions_page(create_app(Settings(), with_ingest=False)))
