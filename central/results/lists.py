"""Plates in order, and the files that a run has: the SELECTs behind what a laboratory system reads."""

from datetime import datetime
from typing import Final

import msgspec
from sqlalchemy import and_, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from central.laboratory.states import PlateState
from central.people.sites import Sites
from central.tables import deliveries, plates, submissions, tests

# Of one run; more were superseded long ago.
MAX_FILES: Final = 100


class PlateListed(msgspec.Struct, frozen=True, kw_only=True):
    """A plate and what it is part of."""

    id: str
    site_id: str
    submission: str
    test: str
    number: str
    state: PlateState
    revision: int
    location: str | None


class FileListed(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery that is of a run's plate, of its test or of its submission."""

    id: str
    subject_kind: str
    name: str
    media_type: str
    content_sha256: str
    state: str
    supersedes_id: str | None
    created_at: datetime


async def list_plates(
    connection: AsyncConnection,
    sites: Sites,
    *,
    submission_id: str | None = None,
    state: PlateState | None = None,
    after: str | None = None,
    limit: int = 50,
) -> tuple[PlateListed, ...]:
    """Plates by id; those of one submission by test and number. `after` is the id of the last one that was seen."""
    order = (plates.c.id,) if submission_id is None else (tests.c.name, plates.c.number, plates.c.id)
    query = (
        select(plates, submissions.c.site_id, submissions.c.name.label("submission"), tests.c.name.label("test"))
        .join(tests, tests.c.id == plates.c.test_id)
        .join(submissions, submissions.c.id == tests.c.submission_id)
        .where(sites.having(submissions.c.site_id))
        .order_by(*order)
        .limit(limit)
    )
    if submission_id is not None:
        query = query.where(submissions.c.id == submission_id)
    if state is not None:
        query = query.where(plates.c.state == state.value)
    if after is not None:
        seen = select(*order).join(tests, tests.c.id == plates.c.test_id).where(plates.c.id == after)
        query = query.where(tuple_(*order) > seen.scalar_subquery())
    names = PlateListed.__struct_fields__
    return tuple(
        PlateListed(**{name: row._mapping[name] for name in names} | {"state": PlateState(row.state)})
        for row in await connection.execute(query)
    )


async def files_of_plate(connection: AsyncConnection, sites: Sites, plate_id: str) -> tuple[FileListed, ...]:
    """The files that were made of a plate, alone or with its test or submission; the newest first."""
    of = (
        select(plates.c.id.label("plate"), tests.c.id.label("test"), tests.c.submission_id.label("submission"))
        .join(tests, tests.c.id == plates.c.test_id)
        .where(plates.c.id == plate_id)
        .subquery()
    )
    kind, subject = deliveries.c.subject_kind, deliveries.c.subject_id
    is_of_it = or_(*(and_(kind == name, subject == of.c[name]) for name in ("plate", "test", "submission")))
    names = FileListed.__struct_fields__
    query = (
        select(*(deliveries.c[name] for name in names))
        .join(of, is_of_it)
        .where(sites.having(deliveries.c.site_id), deliveries.c.content_sha256.is_not(None))
        .order_by(deliveries.c.created_at.desc(), deliveries.c.id.desc())
        .limit(MAX_FILES)
    )
    return tuple(FileListed(**row._mapping) for row in await connection.execute(query))
