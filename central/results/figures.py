"""The figures of every run, kept a few seconds behind it by following the feed of changes; and a device's over time.

Ingest and review write nothing here and wait for nothing. Who follows the feed takes a stretch of it and moves the tip
in one transaction with what it worked out: of several centrals one is first, and the others' work is thrown away. Runs
that were here before there were figures get theirs from the newest down, a batch at a time.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final

import anyio.to_thread
import msgspec
import structlog
from sqlalchemy import Row, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from central.db import reading, transaction, upsert
from central.deliveries.changes import changes_after
from central.people.sites import EVERY_SITE, Sites
from central.results.aggregate import Run
from central.results.quality import By, Figures, Letter, Period, figures_of, periods
from central.results.queries import runs_of, select_runs
from central.review.dossier import control_sera_of, corrections_of
from central.tables import dead_letters, devices, figures_tip, run_figures, runs
from protocol.codec import decode_reading, decompress

log: Final = structlog.get_logger(__name__)

AT_ONCE: Final = 100
# More readings than that of one device are not added up for one answer: the newest are.
MOST_RUNS: Final = 100_000


class Quality(msgspec.Struct, frozen=True):
    """A device's figures. `complete`: no reading of the time that was asked for was left out."""

    periods: tuple[Period, ...]
    complete: bool


async def follow(engine: AsyncEngine, at_once: int = AT_ONCE) -> int:
    """Bring the figures up with the next stretch of the feed; how many changes that were."""
    async with reading(engine) as connection:
        tip = await connection.scalar(select(figures_tip.c.followed))
        news = await changes_after(connection, EVERY_SITE, tip or 0, at_once)
        work = await _load(connection, {each.run_id for each in news if each.run_id is not None})
    if news:
        rows = await anyio.to_thread.run_sync(_figures, work)
        await _put(engine, rows, "followed", tip, news[-1].number)
    return len(news)


async def catch_up(engine: AsyncEngine, at_once: int = AT_ONCE) -> int:
    """Figures of runs from before the feed was followed, from the newest down; how many were looked at."""
    async with reading(engine) as connection:
        below = await connection.scalar(select(figures_tip.c.below)) or 0
        if not below:
            return 0
        query = select(runs.c.number, runs.c.id).where(runs.c.number < below)
        some = (await connection.execute(query.order_by(runs.c.number.desc()).limit(at_once))).all()
        ids = {row.id for row in some}
        # What changed meanwhile has its figures already.
        ids -= set(await connection.scalars(select(run_figures.c.run_id).where(run_figures.c.run_id.in_(ids))))
        work = await _load(connection, ids)
    rows = await anyio.to_thread.run_sync(_figures, work)
    await _put(engine, rows, "below", below, some[-1].number if len(some) == at_once else 0)
    return len(some)


async def _load(connection: AsyncConnection, ids: set[str]) -> list[Callable[[], Figures]]:
    """All that the figures of these runs are worked out from."""
    if not ids:
        return []
    said = await corrections_of(connection, ids)
    stored = await connection.execute(select(runs.c.id, runs.c.document).where(runs.c.id.in_(ids)))
    documents = {row.id: row.document for row in stored}
    work = []
    for run in await runs_of(connection, select_runs().where(runs.c.id.in_(ids))):
        sera = await control_sera_of(connection, run.plate_id) if run.plate_id and run.control_rows else {}
        work.append(_later(run, documents[run.id], said.get(run.id, ()), sera))
    return work


def _later(run: Run, document: bytes, said: Sequence[Any], sera: dict[str, Any]) -> Callable[[], Figures]:
    return lambda: figures_of(run, decode_reading(decompress(document)), said, sera)


def _figures(work: Sequence[Callable[[], Figures]]) -> list[dict[str, Any]]:
    """As rows; a run that our own rules stumble over has none, and holds up no other."""
    rows = []
    for each in work:
        try:
            rows.append(msgspec.structs.asdict(each()))
        except (ValueError, ArithmeticError, LookupError) as error:
            log.warning("run_without_figures", reason=f"{type(error).__name__}: {error}")
    return rows


async def _put(engine: AsyncEngine, rows: Sequence[dict[str, Any]], tip: str, was: int | None, to: int) -> None:
    """Write these and move the tip, unless another central has moved it."""
    async with transaction(engine) as connection:
        moved = update(figures_tip).where(figures_tip.c[tip] == was).values({tip: to})
        if (await connection.execute(moved)).rowcount != 1 or not rows:
            return
        put = upsert(engine.dialect.name, run_figures)
        if tip == "below":
            await connection.execute(put.on_conflict_do_nothing(), rows)
            return
        changed = {name: put.excluded[name] for name in Figures.__struct_fields__ if name != "run_id"}
        await connection.execute(put.on_conflict_do_update(index_elements=["run_id"], set_=changed), rows)


async def quality_of(
    connection: AsyncConnection, device_id: str, sites: Sites, *, by: By, since: datetime
) -> Quality | None:
    """A device's figures since a moment; None where the caller sees no such device."""
    here = select(devices.c.id).where(devices.c.id == device_id, sites.having(devices.c.site_id))
    if await connection.scalar(here) is None:
        return None
    query = (
        select(*(run_figures.c[name] for name in Figures.__struct_fields__))
        .where(
            run_figures.c.device_id == device_id,
            run_figures.c.read_at >= since,
            sites.having(run_figures.c.site_id),
        )
        .order_by(run_figures.c.read_at.desc())
        .limit(MOST_RUNS + 1)
    )
    found = (await connection.execute(query)).all()
    refused = select(dead_letters.c.received_at, dead_letters.c.code, dead_letters.c.times).where(
        dead_letters.c.device_id == device_id, dead_letters.c.received_at >= since
    )
    letters = [Letter(row.received_at, row.code, row.times) for row in await connection.execute(refused)]
    # A year of a busy device takes a while: beside the loop that answers everybody else.
    made = await anyio.to_thread.run_sync(lambda: periods(map(_row, found[:MOST_RUNS]), letters, by))
    return Quality(made, len(found) <= MOST_RUNS)


def _row(row: Row[Any]) -> Figures:
    return Figures(**row._mapping)


async def low_shares(connection: AsyncConnection, site_id: str, since: datetime) -> dict[str, tuple[int, int]]:
    """Device → (low rows, rows) of what it read at this site since then."""
    rows = func.sum(run_figures.c.high + run_figures.c.medium + run_figures.c.low)
    query = (
        select(run_figures.c.device_id, func.sum(run_figures.c.low).label("low"), rows.label("rows"))
        .where(run_figures.c.site_id == site_id, run_figures.c.read_at >= since)
        .group_by(run_figures.c.device_id)
    )
    return {row.device_id: (int(row.low), int(row.rows)) for row in await connection.execute(query)}


async def latest(connection: AsyncConnection, device_id: str, count: int) -> list[tuple[int, datetime | None]]:
    """(drifted, calibrated at) of a device's newest readings, the newest first."""
    query = (
        select(run_figures.c.drifted, run_figures.c.calibrated_at)
        .where(run_figures.c.device_id == device_id)
        .order_by(run_figures.c.read_at.desc())
        .limit(count)
    )
    return [(row.drifted, row.calibrated_at) for row in await connection.execute(query)]


async def failed_controls(
    connection: AsyncConnection, site_id: str, since: datetime, also: Sequence[str]
) -> dict[str, str]:
    """Run → which control failed: of runs read since then, and of these."""
    failed = run_figures.c.controls_failed.is_not(None), run_figures.c.site_id == site_id
    query = select(run_figures.c.run_id, run_figures.c.controls_failed).where(*failed)
    found = list(await connection.execute(query.where(run_figures.c.read_at >= since)))
    if also:
        found += list(await connection.execute(query.where(run_figures.c.run_id.in_(also))))
    return {row.run_id: row.controls_failed for row in found}
