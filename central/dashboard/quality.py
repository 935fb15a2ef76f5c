"""The page of how well a device reads, over time, with charts that the server draws."""

from collections.abc import Sequence
from typing import Annotated, Final

import msgspec
from litestar import get
from litestar.params import QueryParameter
from litestar.response import Template

from central.api.paths import missing
from central.api.quality import ByAsked, DaysAsked, first_moment
from central.dashboard.pages import page
from central.db import reading
from central.fleet.queries import device_names
from central.parts import CentralRequest, Wired, caller_sites
from central.people.permissions import VIEWERS
from central.results.aggregate import display
from central.results.figures import quality_of
from central.results.quality import MEASURES, Period

WIDTH: Final = 640
HEIGHT: Final = 120
# What has a chart of its own; everything is in the table.
_CHARTED: Final = ("residual_pitch", "blur_pitch", "light_share", "glare")

Chosen = Annotated[
    str, QueryParameter(name="device", pattern=r"^([a-z0-9][a-z0-9-]{2,62})?$", description="The device.")
]


class Bar(msgspec.Struct, frozen=True):
    """A period in a chart, in the chart's own units."""

    x: float
    y: float
    width: float
    height: float
    words: str


class Chart(msgspec.Struct, frozen=True):
    """Bars from 0 to `most`."""

    title: str
    most: str
    bars: tuple[Bar, ...]


@get("/quality", access=VIEWERS, include_in_schema=False)
async def get_quality_page(
    request: CentralRequest, parts: Wired, device: Chosen = "", by: ByAsked = "day", days: DaysAsked = 30
) -> Template:
    """A device's figures by day or week: charts and the table behind them."""
    sites = caller_sites(request)
    async with reading(parts.engine) as connection:
        devices = await device_names(connection, sites)
        shown = device or next(iter(devices), "")
        since = first_moment(parts.now(), by, days)
        found = await quality_of(connection, shown, sites, by=by, since=since) if shown else None
    if shown and found is None:
        raise missing("device", shown)
    periods = () if found is None else found.periods
    return page(
        request,
        parts,
        "quality.html",
        "/devices",
        devices=devices,
        device=shown,
        by=by,
        days=days,
        periods=periods,
        complete=found is None or found.complete,
        charts=charts(periods),
        measures=MEASURES,
        width=WIDTH,
        height=HEIGHT,
        display=display,
    )


def charts(periods: Sequence[Period]) -> tuple[Chart, ...]:
    """What changes over time, each against the highest of its own values."""
    series: dict[str, list[tuple[str, float | None]]] = {
        "readings": [(str(each.start), each.readings) for each in periods],
        "share of low rows": [(str(each.start), each.low_share) for each in periods],
        "share of rows whose endpoint reviewers left": [(str(each.start), each.exact_share) for each in periods],
    }
    for name in _CHARTED:
        series[f"median {MEASURES[name]}"] = [(str(each.start), each.medians.get(name)) for each in periods]
    return tuple(
        _chart(title, points) for title, points in series.items() if any(value is not None for _, value in points)
    )


def _chart(title: str, points: list[tuple[str, float | None]]) -> Chart:
    most = max((value for _, value in points if value is not None), default=0.0)
    step = (WIDTH - 20) / max(len(points), 1)
    bars = []
    for at, (start, value) in enumerate(points):
        if value is None:
            continue
        tall = (HEIGHT - 20) * value / most if most > 0 else 0.0
        words = f"{start}: {value:.3g}"
        bars.append(
            Bar(round(10 + at * step, 1), round(HEIGHT - 10 - tall, 1), round(step * 0.8, 1), round(tall, 1), words)
        )
    return Chart(title, f"{most:.3g}", tuple(bars))


HANDLERS: Final = (get_quality_page,)
