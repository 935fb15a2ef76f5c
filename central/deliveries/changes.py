"""The feed of changes: whoever reads along and remembers where he stopped misses none and sees none twice.

Numbers are given under the lock of one row that a writer holds until his transaction ends, so they are in the order of
the commits: when a number is seen, every lower one can be seen. (A sequence of the database gives no such promise: a
slow transaction commits its low number after a reader has passed it.) Call `announce` last, after the audit trail's
`record`: two locks that are always taken in one order never wait for each other.
"""

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, Literal

import msgspec
from sqlalchemy import Integer, Select, bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from central.db import CHUNK
from central.many import put_many
from central.people.sites import Sites
from central.tables import changes, changes_tip, run_records

Kind = Literal[
    "run.accepted",
    "run.matched",
    "run.changed",
    "run.approved",
    "run.voided",
    "plate.delivered",
    "delivery.placed",
    "delivery.acknowledged",
    "delivery.failed",
]


_ORDER: Final = (
    "number", "at", "kind", "site_id", "run_id", "plate_id", "submission_id", "delivery_id", "revision",
)  # fmt: skip


class News(msgspec.Struct, frozen=True, kw_only=True):
    """What changed: the thing's ids, and its revision where it has one."""

    kind: Kind
    site_id: str
    run_id: str | None = None
    plate_id: str | None = None
    submission_id: str | None = None
    delivery_id: str | None = None
    revision: int | None = None


class Numbered(News, frozen=True, kw_only=True):
    """The same in the feed."""

    number: int
    at: datetime


async def news_of_runs(connection: AsyncConnection, kind: Kind, run_ids: Sequence[str]) -> list[News]:
    """The same news of each of these runs, as its record stands, in this order."""
    columns = (run_records.c.run_id, run_records.c.site_id, run_records.c.plate_id, run_records.c.revision)
    found = await connection.execute(select(*columns).where(run_records.c.run_id.in_(run_ids)))
    known = {row.run_id: row for row in found}
    return [News(kind=kind, **known[run_id]._mapping) for run_id in run_ids]


async def news_of_plates(connection: AsyncConnection, kind: Kind, plate_ids: Sequence[str]) -> list[News]:
    """The same news of every run of these plates that is not void, by run."""
    columns = (run_records.c.run_id, run_records.c.site_id, run_records.c.plate_id, run_records.c.revision)
    news = []
    for at in range(0, len(plate_ids), CHUNK):
        query = select(*columns).where(
            run_records.c.plate_id.in_(plate_ids[at : at + CHUNK]), run_records.c.voided_at.is_(None)
        )
        news += [News(kind=kind, **row._mapping) for row in await connection.execute(query.order_by(columns[0]))]
    return news


async def announce(connection: AsyncConnection, news: Sequence[News], now: datetime) -> None:
    """Put these into the feed, in this order."""
    if not news:
        return
    taken = update(changes_tip).values(number=changes_tip.c.number + len(news)).returning(changes_tip.c.number)
    last = await connection.scalar(taken)
    assert last is not None, "the table changes_tip has no row (expected the one that the migration puts there)"
    first = last - len(news) + 1
    rows = [msgspec.structs.asdict(each) | {"number": first + at, "at": now} for at, each in enumerate(news)]
    await put_many(connection, changes, rows, leave_taken=False)


async def changes_after(connection: AsyncConnection, sites: Sites, after: int, limit: int) -> tuple[Numbered, ...]:
    """What came after this number, oldest first."""
    found = await connection.execute(_after(sites), {"after": after, "most": limit})
    return tuple(
        Numbered(
            number=number, at=at, kind=kind, site_id=site_id, run_id=run_id, plate_id=plate_id,
            submission_id=submission_id, delivery_id=delivery_id, revision=revision,
        )
        for number, at, kind, site_id, run_id, plate_id, submission_id, delivery_id, revision in found.all()
    )  # fmt: skip


@lru_cache(maxsize=1024)
def _after(sites: Sites) -> Select[Any]:
    """The question for the changes of these sites after a number: made once, as readers ask it all day long."""
    columns = [changes.c[name] for name in _ORDER]
    wanted = changes.c.number > bindparam("after"), sites.having(changes.c.site_id)
    return select(*columns).where(*wanted).order_by(changes.c.number).limit(bindparam("most", type_=Integer))
