"""What waits for a reviewer: runs that speak for their plate, with a row graded low or medium or flagged, and that
nobody has accepted yet. Oldest first.
"""

from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Select, func, literal_column, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from central.laboratory.states import PlateState
from central.people.sites import Sites
from central.results.aggregate import Run
from central.results.queries import marked, runs_of, select_runs
from central.tables import plates, run_records, runs, submissions


class Filters(msgspec.Struct, frozen=True, kw_only=True):
    """Which of the queue: every one that is set must hold."""

    site: str | None = None
    device: str | None = None
    profile: str | None = None
    assignee: str | None = None


class QueuePage(msgspec.Struct, frozen=True):
    """Some of the queue; `next_after` continues it, None at its end."""

    runs: tuple[Run, ...]
    next_after: int | None


def _waits() -> list[ColumnElement[bool]]:
    """As the index `ix_run_records_waiting` says it, word for word: a parameter would hide it from the planner."""
    return [
        run_records.c.accepted_at.is_(None),
        run_records.c.voided_at.is_(None),
        or_(run_records.c.worst_grade != literal_column("'high'"), run_records.c.flagged.is_(True)),
        plates.c.state.not_in([PlateState.VOID.value, PlateState.APPROVED.value, PlateState.DELIVERED.value]),
    ]


def _queue(sites: Sites, filters: Filters) -> Select[Any]:
    query = select_runs(sites).where(*_waits())
    columns = {
        "site": run_records.c.site_id,
        "device": runs.c.device_id,
        "profile": runs.c.profile,
        "assignee": submissions.c.assignee_id,
    }
    for name, column in columns.items():
        value = getattr(filters, name)
        if value is not None:
            query = query.where(column == value)
    return query


async def list_queue(
    connection: AsyncConnection, sites: Sites, filters: Filters, *, after: int | None = None, limit: int = 50
) -> QueuePage:
    """A page of the queue. What a later reading has replaced is left out, so a page may be shorter than `limit`."""
    query = _queue(sites, filters).order_by(runs.c.number).limit(limit + 1)
    if after is not None:
        query = query.where(runs.c.number > after)
    found = await runs_of(connection, query)
    page = found[:limit]
    shown = tuple(run for run in await marked(connection, page) if run.current)
    return QueuePage(shown, page[-1].number if len(found) > limit else None)


async def neighbours(
    connection: AsyncConnection, sites: Sites, filters: Filters, number: int
) -> tuple[str | None, str | None]:
    """The ids of the runs before and after this one in the queue."""
    before = await _nearest(connection, sites, filters, before=number)
    return before, await _nearest(connection, sites, filters, after=number)


async def _nearest(
    connection: AsyncConnection, sites: Sites, filters: Filters, *, before: int | None = None, after: int | None = None
) -> str | None:
    """The nearest current one; those that were replaced are passed over, some at a time."""
    while True:
        query = _queue(sites, filters).limit(20)
        if before is not None:
            query = query.where(runs.c.number < before).order_by(runs.c.number.desc())
        else:
            query = query.where(runs.c.number > after).order_by(runs.c.number)
        found = await runs_of(connection, query)
        nearest = next((run.id for run in await marked(connection, found) if run.current), None)
        if nearest is not None or not found:
            return nearest
        before, after = (found[-1].number, None) if before is not None else (None, found[-1].number)


async def count_waiting(connection: AsyncConnection, sites: Sites) -> int:
    """How many runs wait, replaced ones among them: what a page's heading says."""
    query = (
        select(func.count())
        .select_from(run_records)
        .join(plates, plates.c.id == run_records.c.plate_id)
        .where(*_waits(), sites.having(run_records.c.site_id))
    )
    return int(await connection.scalar(query) or 0)
