"""A central with two laboratories, a key and somebody of every role in each, a device, runs: every id of it."""

import secrets
from dataclasses import dataclass
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from central.audit.chain import COMMAND, Change, record
from central.db import reading, transaction
from central.people.keys import create_key
from central.people.permissions import ROLES, SCOPES
from central.tables import devices, memberships, metadata, sites, users
from tests.central.web import people, runs
from tests.make import NOON, make_code

# Only the site "main" has these; who belongs to "north" must never see one.
CANARY = "S-CANARY-7351"
OTHERS = tuple(f"north-{role}" for role in ("viewer", "operator", "reviewer"))


@dataclass(frozen=True)
class Seeded:
    """What is there: ids and names of every kind, the device's token, and a key of each laboratory for everything."""

    known: tuple[Any, ...]
    upload_token: str
    keys: dict[str, str]


async def seed(engine: AsyncEngine) -> Seeded:
    """Fill a migrated database."""
    await people(engine, *ROLES)
    device = await runs(engine, 1, 2, code=make_code(CANARY))
    await runs(engine, 3, device_id="bench-north", epoch="epoch-n", code=make_code("S-NORTH"))
    async with transaction(engine) as connection:
        north = {"id": "north", "title": "North", "created_at": NOON, "unregistered": "register", "four_eyes": False}
        await connection.execute(insert(sites).values(north | {"revision": 1}))
        for name in OTHERS:
            role = name.removeprefix("north-")
            row = (await connection.execute(select(users).where(users.c.name == role))).one()._mapping
            theirs = dict(row) | {"id": f"0000-{name}", "name": name}
            await connection.execute(insert(users).values(theirs))
            await connection.execute(insert(memberships).values(user_id=theirs["id"], site_id="north"))
        await connection.execute(update(devices).where(devices.c.id == "bench-north").values(site_id="north"))
        await record(connection, COMMAND, [Change("site.add", "site", "main", "main", new={"canary": CANARY})], NOON)
    keys = {}
    for name, site in (("key", "main"), ("north-key", "north")):
        made = {"title": name, "site_id": site, "expires_at": None, "actor": COMMAND, "now": NOON}
        _, keys[name] = await create_key(engine, scopes=SCOPES, **made)  # type: ignore[arg-type]
    return Seeded(await _known(engine), device.upload_token, keys)


async def _known(engine: AsyncEngine) -> tuple[Any, ...]:
    """Some of whatever stands in a column that names something."""
    found: set[Any] = set()
    async with reading(engine) as connection:
        for table in metadata.sorted_tables:
            names = [column for column in table.columns if column.name in ("name", "number", "sha256", "code_sha256")]
            names += [column for column in table.columns if column.name == "id" or column.name.endswith("_id")]
            if names:
                for row in await connection.execute(select(*names).limit(6)):
                    found |= {value for value in row if isinstance(value, str | int)}
    return (*sorted(found, key=str), 1, secrets.token_hex(16))
