"""The page of titres over time, with a chart that the server draws."""

from typing import Final

import msgspec
from litestar import get
from litestar.response import Template

from central.dashboard.fields import Sought
from central.dashboard.pages import page
from central.db import reading
from central.laboratory.trends import Point, trend
from central.parts import CentralRequest, Wired, person_of
from central.people.permissions import VIEWERS
from central.results.aggregate import display

# A chart in its own units.
CHART_WIDTH: Final = 640
CHART_HEIGHT: Final = 200


class ChartPoint(msgspec.Struct, frozen=True):
    """A point of the chart, in its own units."""

    x: float
    y: float
    words: str


@get("/trends", access=VIEWERS, include_in_schema=False)
async def get_trends_page(
    request: CentralRequest, parts: Wired, farm: Sought = "", test: Sought = "", antigen: Sought = ""
) -> Template:
    """Titres over time: a chart and the table behind it."""
    async with reading(parts.engine) as connection:
        points = await trend(
            connection, person_of(request).sites, farm=farm or None, test=test or None, antigen=antigen or None
        )
    return page(
        request,
        parts,
        "trends.html",
        "/trends",
        points=points,
        chart=chart(points),
        width=CHART_WIDTH,
        height=CHART_HEIGHT,
        wanted={"farm": farm, "test": test, "antigen": antigen},
        display=display,
    )


def chart(points: tuple[Point, ...]) -> tuple[ChartPoint, ...]:
    """Mean log₂ titres from left to right, 0 to 12 from below to above."""
    step = (CHART_WIDTH - 60) / max(len(points) - 1, 1)
    return tuple(
        ChartPoint(
            round(40 + at * step, 1),
            round(CHART_HEIGHT - 20 - min(point.mean_log2, 12) / 12 * (CHART_HEIGHT - 40), 1),
            f"{point.on}, {point.submission} {point.test}: mean log₂ {display(point.mean_log2, 2)} of {point.n} sera",
        )
        for at, point in enumerate(points)
    )


HANDLERS: Final = (get_trends_page,)
