"""`/api/v1/statistics/quality`: how well a device reads, day by day or week by week."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Final

import msgspec
from litestar import get
from litestar.params import QueryParameter

from central.api.paths import missing
from central.db import reading
from central.parts import CentralRequest, Wired, caller_sites
from central.people.permissions import VIEWERS
from central.results.figures import quality_of
from central.results.quality import By, start_of

DeviceAsked = Annotated[
    str, QueryParameter(name="device", pattern=r"^[a-z0-9][a-z0-9-]{2,62}$", description="The device.")
]
ByAsked = Annotated[By, QueryParameter(name="by", description="Days, or weeks from their Mondays; UTC.")]
DaysAsked = Annotated[int, QueryParameter(ge=1, le=366, description="Of the last so many days, today among them.")]


class PeriodOut(msgspec.Struct, frozen=True, kw_only=True):
    """A day or week in which something was read or refused. Shares are null where there is nothing to count.

    `refused` counts messages that central refused, by reason. `high`, `medium` and `low` count rows by the grade of the
    device's own calls. `medians` are over readings: residual of the lattice and blur in well pitches, light, glare.
    `judged` rows were looked at by a reviewer, who left the endpoint of `exact` of them.
    """

    start: date
    readings: int
    refused: dict[str, int]
    wells: int
    calls: dict[str, int]
    high: int
    medium: int
    low: int
    low_share: float | None
    drifted: int
    controls_failed: int
    medians: dict[str, float]
    judged: int
    exact: int
    within_one: int
    withheld: int
    exact_share: float | None
    within_one_share: float | None


class QualityOut(msgspec.Struct, frozen=True):
    """A device's figures, oldest first. `complete`: no reading of the time that was asked for was left out."""

    device_id: str
    by: By
    complete: bool
    items: tuple[PeriodOut, ...]


@get(
    "/statistics/quality",
    access=VIEWERS.with_key("devices:read"),
    summary="Quality of a device's readings over time",
    description="Readings, refusals, classes, grades, picture quality and agreement with reviewers; some seconds old.",
)
async def get_quality(
    request: CentralRequest, parts: Wired, device: DeviceAsked, by: ByAsked = "day", days: DaysAsked = 30
) -> QualityOut:
    """The figures of one device."""
    since = first_moment(parts.now(), by, days)
    async with reading(parts.engine) as connection:
        found = await quality_of(connection, device, caller_sites(request), by=by, since=since)
    if found is None:
        raise missing("device", device)
    items = tuple(PeriodOut(**msgspec.structs.asdict(each)) for each in found.periods)
    return QualityOut(device, by, found.complete, items)


def first_moment(now: datetime, by: By, days: int) -> datetime:
    """The beginning of the first whole period of the last so many days."""
    return datetime.combine(start_of(now - timedelta(days=days - 1), by), time(), UTC)


HANDLERS: Final = (get_quality,)
