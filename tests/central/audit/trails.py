"""A trail in a database, read out whole and put back whole, as somebody can who may drop triggers."""

from datetime import timedelta
from pathlib import Path

import msgspec
from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncEngine

from central.audit.chain import COLUMNS, COMMAND, Actor, Change, record
from central.audit.heads import heads_dir, kept_heads, sign_head
from central.audit.verify import Head, Tip
from central.db import reading, transaction
from central.tables import audit_entries, audit_heads, audit_tip
from central.tables.frozen import freeze, thaw
from tests.central.audit.saboteur import Trail
from tests.make import NOON

ENTRIES, SIGNED = 40, (5, 17, 40)


async def write(engine: AsyncEngine, data_dir: Path) -> Trail:
    """Forty changes, three signed heads, and the trail as it is now."""
    for number in range(1, ENTRIES + 1):
        actor = Actor("person", f"p-{number % 3}", "10.0.0.7", f"r-{number}") if number % 2 else COMMAND
        change = Change("run.void", "run", f"run-{number % 7}", "main", {"n": number}, {"n": number + 1}, "spilt")
        async with transaction(engine) as connection:
            await record(connection, actor, [change], NOON + timedelta(seconds=number))
        if number in SIGNED:
            await sign_head(engine, data_dir, NOON + timedelta(seconds=number, microseconds=7))
    return await read(engine, data_dir)


async def read(engine: AsyncEngine, data_dir: Path) -> Trail:
    async with reading(engine) as connection:
        rows = await connection.execute(select(audit_entries).order_by(audit_entries.c.number))
        tip = (await connection.execute(select(audit_tip.c.number, audit_tip.c.hash))).one()
        heads = await connection.execute(select(audit_heads).order_by(audit_heads.c.number))
        return Trail(
            tuple(tuple(row._mapping[name] for name in COLUMNS) for row in rows),
            Tip(*tip),
            tuple(Head(**row._mapping) for row in heads),
            tuple(kept_heads(heads_dir(data_dir))),
        )


async def put_back(engine: AsyncEngine, trail: Trail) -> None:
    """Leave this trail in the database, as somebody can who may drop triggers."""
    async with transaction(engine) as connection:
        await connection.run_sync(thaw)
        await connection.execute(delete(audit_entries))
        await connection.execute(delete(audit_heads))
        if trail.rows:
            rows = [dict(zip(COLUMNS, row, strict=True)) for row in trail.rows]
            await connection.execute(insert(audit_entries), rows)
        if trail.heads:
            await connection.execute(insert(audit_heads), [msgspec.structs.asdict(head) for head in trail.heads])
        await connection.execute(audit_tip.update().values(number=trail.tip.number, hash=trail.tip.hash))
        await connection.run_sync(freeze)
