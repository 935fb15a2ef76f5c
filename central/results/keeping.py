"""Photographs go when their laboratory says so, and only then; what they showed stays, and says that they are gone.

A laboratory may say for how many days it keeps photographs (`sites.picture_days`; where it says nothing, for ever). An
older one goes once nobody needs it to decide: every run that names it is approved or void, or of a plate that is. Runs,
calls and titres are never touched. The picture's row stays with `removed_at`, so that no device is asked for it again,
and the trail names it. The row is written first: a file that outlives it is removed the next time.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import anyio.to_thread
import msgspec
import structlog
from sqlalchemy import ColumnElement, Select, and_, exists, false, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from central.audit.chain import SYSTEM, Actor, Change, record
from central.db import DATABASE_ERRORS, reading, transaction
from central.laboratory.states import PlateState
from central.results.images import discard
from central.tables import images, plates, run_records, runs, sites

log: Final = structlog.get_logger(__name__)

# One transaction's worth: each picture has an entry in the trail, and other writers wait for that.
AT_ONCE: Final = 100
_EVERY_S: Final = 24 * 3600.0
_AGAIN_S: Final = 600.0
# Not `amended`: somebody has to judge that plate again.
_SETTLED: Final = (PlateState.APPROVED, PlateState.DELIVERED, PlateState.VOID)


class Due(msgspec.Struct, frozen=True):
    """Photographs of a laboratory that may go today."""

    site_id: str
    picture_days: int
    pictures: int
    bytes: int


async def due(engine: AsyncEngine, now: datetime) -> tuple[Due, ...]:
    """What `remove` would remove, by laboratory; one that several share is counted at one of them."""
    async with reading(engine) as connection:
        kept = await _kept_days(connection)
        found = _may_go(kept, now).subquery()
        query = select(found.c.site_id, func.count(), func.sum(found.c.bytes)).group_by(found.c.site_id)
        rows = (await connection.execute(query.order_by(found.c.site_id))).all() if kept else ()
    return tuple(Due(site_id, kept[site_id], pictures, int(size)) for site_id, pictures, size in rows)


async def remove(engine: AsyncEngine, folder: Path, now: datetime, *, actor: Actor = SYSTEM) -> int:
    """Remove every photograph that may go; how many those were."""
    await _finish(engine, folder)
    removed = 0
    while gone := await _mark(engine, now, actor):
        await anyio.to_thread.run_sync(_discard, folder, gone)
        removed += len(gone)
    return removed


async def kept_to(engine: AsyncEngine, folder: Path, now: Callable[[], datetime]) -> None:
    """Remove what may go once a day, for ever."""
    while True:
        wait_s = _EVERY_S
        try:
            removed = await remove(engine, folder, now())
        except (*DATABASE_ERRORS, OSError) as error:
            log.warning("pictures_not_removed", error=str(error), again_in_s=_AGAIN_S)
            wait_s = _AGAIN_S
        else:
            if removed:
                log.info("pictures_removed", pictures=removed)
        await asyncio.sleep(wait_s)


async def _kept_days(connection: AsyncConnection) -> dict[str, int]:
    query = select(sites.c.id, sites.c.picture_days).where(sites.c.picture_days.is_not(None))
    return {row.id: row.picture_days for row in await connection.execute(query)}


def _may_go(kept: dict[str, int], now: datetime) -> Select[Any]:
    """The pictures that no run of theirs needs, each with a laboratory that says so; the oldest first."""
    by_site = []
    for site_id, days in sorted(kept.items()):
        before = now - timedelta(days=days)
        by_site.append(and_(run_records.c.site_id == site_id, runs.c.received_at < before, images.c.stored_at < before))
    settled = or_(
        run_records.c.approved_at.is_not(None), run_records.c.voided_at.is_not(None), plates.c.state.in_(_SETTLED)
    )
    fits = and_(or_(false(), *by_site), settled)
    named = (
        select(runs.c.id)
        .join(run_records, run_records.c.run_id == runs.c.id)
        .outerjoin(plates, plates.c.id == run_records.c.plate_id)
        .where(runs.c.image_sha256 == images.c.sha256)
    )
    site_of = named.with_only_columns(func.min(run_records.c.site_id)).correlate(images).scalar_subquery()
    return (
        select(images.c.sha256, images.c.bytes, site_of.label("site_id"))
        .where(images.c.removed_at.is_(None), exists(named.where(fits)), ~exists(named.where(_not(fits))))
        .order_by(images.c.stored_at, images.c.sha256)
    )


def _not(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """Whether it does not hold, or nobody can say: a run of no plate has no state."""
    return func.coalesce(condition, False).is_(False)


async def _mark(engine: AsyncEngine, now: datetime, actor: Actor) -> Sequence[str]:
    async with transaction(engine) as connection:
        kept = await _kept_days(connection)
        if not kept:
            return ()
        found = (await connection.execute(_may_go(kept, now).limit(AT_ONCE))).all()
        if not found:
            return ()
        mine = images.c.sha256.in_([row.sha256 for row in found]) & images.c.removed_at.is_(None)
        marked = update(images).where(mine).values(removed_at=now).returning(images.c.sha256)
        gone = set(await connection.scalars(marked))  # another central may have been faster
        changes = [
            Change(
                "picture.remove",
                "picture",
                row.sha256,
                row.site_id,
                old={"bytes": row.bytes},
                new={"removed_at": now, "picture_days": kept[row.site_id]},
            )
            for row in found
            if row.sha256 in gone
        ]
        await record(connection, actor, changes, now)
    return sorted(gone)


async def _finish(engine: AsyncEngine, folder: Path) -> None:
    """Remove the files of those whose removal was written down before a crash."""
    async with reading(engine) as connection:
        removed = (await connection.scalars(select(images.c.sha256).where(images.c.removed_at.is_not(None)))).all()
    await anyio.to_thread.run_sync(_discard, folder, removed)


def _discard(folder: Path, names: Sequence[str]) -> None:
    for sha256 in names:
        discard(folder, sha256)
