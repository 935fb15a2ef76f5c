"""The trail as a stream of bytes, for the API and for the command line; whoever takes it is himself in it."""

from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path

import msgspec
from sqlalchemy.ext.asyncio import AsyncEngine

from central.audit import export
from central.audit.chain import COMMAND, Actor, Change, record
from central.audit.heads import sign_head
from central.audit.queries import Wanted, walk
from central.audit.verify import Head
from central.db import transaction
from central.files import write_durably
from central.people.sites import EVERY_SITE, Sites


async def begin(
    engine: AsyncEngine, data_dir: Path, wanted: Wanted, kind: export.Format, *, actor: Actor, now: datetime
) -> Head:
    """Write down who takes what, and sign the trail up to there."""
    filters = {name: value for name, value in msgspec.to_builtins(wanted).items() if value is not None}
    taken = Change("audit.export", "audit", "trail", wanted.site, new={"format": kind, "wanted": filters})
    async with transaction(engine) as connection:
        await record(connection, actor, [taken], now)
    head = await sign_head(engine, data_dir, now)
    assert head is not None, "the trail is empty (expected this export in it)"
    return head


async def file_of(
    engine: AsyncEngine, wanted: Wanted, sites: Sites, kind: export.Format, head: Head
) -> AsyncIterator[bytes]:
    """The file, piece by piece: what is wanted of the entries up to this head."""
    yield export.first_lines(kind)
    async for entries in walk(engine, wanted, sites, head.number):
        yield export.lines(kind, entries)
    yield export.last_lines(kind, head)


async def write_trail(engine: AsyncEngine, data_dir: Path, target: Path, kind: export.Format, now: datetime) -> int:
    """All of it into a file, whole or not at all; how many entries."""
    head = await begin(engine, data_dir, Wanted(), kind, actor=COMMAND, now=now)
    pieces = [piece async for piece in file_of(engine, Wanted(), EVERY_SITE, kind, head)]
    write_durably(target, b"".join(pieces))
    return head.number
