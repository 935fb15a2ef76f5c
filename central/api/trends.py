"""`/api/v1/trends`: geometric mean titre and spread over time, for a farm, a test, an antigen."""

from datetime import date
from typing import Annotated

import msgspec
from litestar import get
from litestar.params import QueryParameter

from central.api.paths import TestFilter
from central.db import reading
from central.laboratory.trends import trend
from central.parts import CentralRequest, Wired, caller_sites
from central.people.permissions import VIEWERS

_SAID = r"^[^\x00-\x1f\x7f]{1,100}$"
FarmIs = Annotated[str | None, QueryParameter(name="farm", pattern=_SAID, description="Only this farm.")]
AntigenIs = Annotated[str | None, QueryParameter(name="antigen", pattern=_SAID, description="Only this antigen.")]


class PointOut(msgspec.Struct, frozen=True, kw_only=True):
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


class TrendOut(msgspec.Struct, frozen=True):
    """The newest 60 tests that have titres, oldest first."""

    items: tuple[PointOut, ...]


@get(
    "/trends",
    access=VIEWERS.with_key("results:read"),
    summary="Titres over time",
    description="A point for each test of each submission, over the current run of each plate.",
)
async def get_trends(
    request: CentralRequest, parts: Wired, farm: FarmIs = None, test: TestFilter = None, antigen: AntigenIs = None
) -> TrendOut:
    """The points of a farm, a test, an antigen."""
    async with reading(parts.engine) as connection:
        found = await trend(connection, caller_sites(request), farm=farm, test=test, antigen=antigen)
    return TrendOut(tuple(PointOut(**msgspec.structs.asdict(point)) for point in found))


HANDLERS = [get_trends]
