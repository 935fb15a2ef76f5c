"""Central's tables in a database that lives as long as a test, without playing every migration."""

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from central.audit.chain import BEFORE_THE_FIRST
from central.db import transaction
from central.people.sites import MAIN_SITE
from central.tables import audit_tip, changes_tip, metadata, sites
from tests.make import NOON


async def make_tables(engine: AsyncEngine) -> None:
    """The newest tables with the rows that are always there."""
    site = {"id": MAIN_SITE, "title": "Main", "created_at": NOON, "revision": 1}
    async with transaction(engine) as connection:
        await connection.run_sync(metadata.create_all)
        await connection.execute(insert(sites).values(site | {"unregistered": "register", "four_eyes": False}))
        await connection.execute(insert(audit_tip).values(one=1, number=0, hash=BEFORE_THE_FIRST))
        await connection.execute(insert(changes_tip).values(one=1, number=0))
