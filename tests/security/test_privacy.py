"""Who is forgotten is nowhere by name any more, everything is still of one and the same person, and the trail holds."""

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from central.audit.check import check_database
from central.audit.heads import heads_dir, sign_head
from central.db import reading, transaction
from central.settings import Settings
from central.tables import metadata, users
from tests.central.web import PASSWORD, bearer, central, people
from tests.make import NOON

pytestmark = pytest.mark.anyio

NAME, EMAIL = "zaphira.quillfeather", "zq@poultry.example"


async def cells(engine: AsyncEngine) -> list[str]:
    """Every value of every table, and where it stands."""
    async with reading(engine) as connection:
        return [
            f"{table.name}.{column}: {value}"
            for table in metadata.sorted_tables
            for row in (await connection.execute(select(table))).mappings()
            for column, value in row.items()
        ]


async def test_an_erased_person_is_nowhere_by_name_and_the_trail_is_intact(
    engine: AsyncEngine, settings: Settings
) -> None:
    await people(engine, "admin", "operator")
    async with transaction(engine) as connection:
        named = users.update().where(users.c.name == "operator").values(name=NAME, email=EMAIL)
        await connection.execute(named)
        user_id = await connection.scalar(select(users.c.id).where(users.c.name == NAME))
    async with central(settings) as client:
        theirs = await bearer(client, NAME)
        assert (await client.post("/api/v1/submissions", json={"submission": "S-1"}, headers=theirs)).status_code == 201
        await client.post("/api/v1/tokens", json={"name": NAME, "password": "not this one at all"})
        await sign_head(engine, settings.data_dir, NOON)
        admin = await bearer(client, "admin")
        body = {"reason": "has left and asked for it"}
        erased = await client.post(f"/api/v1/users/{user_id}/erase", json=body, headers=admin)
        assert erased.status_code in (200, 204), erased.text
        again = await client.post("/api/v1/tokens", json={"name": NAME, "password": PASSWORD})
        assert again.status_code == 401
    everything = await cells(engine)
    assert [cell for cell in everything if NAME in cell or EMAIL in cell] == []
    assert sum(f"audit_entries.actor_id: {user_id}" in cell for cell in everything) >= 2
    assert (await check_database(engine, heads_dir(settings.data_dir))).intact
