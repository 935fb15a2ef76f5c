"""Figures over time: a point for each test of each submission of a farm, in the order in which they came in."""

from datetime import date
from typing import Final

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from central.people.sites import Sites
from central.results.aggregate import Run, summarise
from central.results.queries import submission_runs
from central.tables import submissions, tests

# The newest so many tests: more points than that say nothing on one chart.
MOST_POINTS: Final = 60


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """One test of one submission. `on`: the day of receipt, or of registration where nobody wrote that down."""

    site_id: str
    submission: str
    test: str
    farm: str | None
    antigen: str | None
    on: date
    n: int
    mean_log2: float
    gmt: float
    cv_percent: float | None
    positive_share: float


async def trend(
    connection: AsyncConnection,
    sites: Sites,
    *,
    farm: str | None = None,
    test: str | None = None,
    antigen: str | None = None,
) -> tuple[Point, ...]:
    """The points of a farm (and test, and antigen), oldest first; tests without a titre have none."""
    query = (
        select(
            submissions.c.site_id,
            submissions.c.name.label("submission"),
            submissions.c.farm,
            submissions.c.received_on,
            submissions.c.created_at,
            tests.c.name.label("test"),
            tests.c.antigen,
        )
        .join(tests, tests.c.submission_id == submissions.c.id)
        .where(sites.having(submissions.c.site_id), submissions.c.voided_at.is_(None))
        .order_by(submissions.c.created_at.desc(), submissions.c.id.desc(), tests.c.name)
        .limit(MOST_POINTS)
    )
    for column, value in ((submissions.c.farm, farm), (tests.c.name, test), (tests.c.antigen, antigen)):
        if value is not None:
            query = query.where(column == value)
    points = []
    runs: dict[tuple[str, str], tuple[Run, ...]] = {}
    for row in list(await connection.execute(query)):
        key = row.site_id, row.submission
        if key not in runs:
            runs[key] = await submission_runs(connection, row.submission, sites=Sites.of([row.site_id]))
        figures = summarise(row.submission, row.test, runs[key]).statistics
        if figures is None:
            continue
        points.append(
            Point(
                site_id=row.site_id,
                submission=row.submission,
                test=row.test,
                farm=row.farm,
                antigen=row.antigen,
                on=row.received_on or row.created_at.date(),
                n=figures.n,
                mean_log2=figures.mean_log2,
                gmt=figures.gmt,
                cv_percent=figures.cv_percent,
                positive_share=figures.positive_share,
            )
        )
    return tuple(sorted(points, key=lambda point: (point.on, point.submission, point.test)))
