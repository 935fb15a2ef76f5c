"""`/api/v1/control-sera`: lots of known titre, and their Levey-Jennings charts."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Final

import msgspec
from litestar import Response, get, patch, post
from litestar.params import JSONBody, PathParameter

from central.api.paths import missing
from central.assays.charts import Chart, Observation, Rule, chart
from central.assays.controls import SerumKind
from central.assays.sera import (
    NewSerum,
    SerumError,
    SerumRow,
    StaleSerumError,
    add_serum,
    change_serum,
    get_serum,
    list_sera,
    observations,
)
from central.db import reading
from central.parts import CentralRequest, Parts, Wired, actor_of, caller_sites, person_of
from central.people.permissions import OPERATORS, REVIEWERS, VIEWERS
from central.people.sites import MAIN_SITE
from central.web.problems import ProblemError
from central.web.revisions import revision_tag, seen_revision, stale

_LAB_ID: Final = r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,63}$(?!\n)"
_PLAIN: Final = r"^[^\x00-\x1f\x7f]*$(?!\n)"
LabId = Annotated[str, msgspec.Meta(pattern=_LAB_ID, examples=["NDV-positive"])]
Steps = Annotated[int, msgspec.Meta(ge=0, le=24)]
ControlPath = Annotated[str, PathParameter(pattern=r"^[0-9a-f-]{36}$", description="Id of the control serum.")]


class ControlSerumIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new lot. `expected_log2` is of a positive one, in dilutions; a negative one is at most `tolerance_log2`."""

    name: LabId
    lot: LabId
    kind: SerumKind
    profile: LabId
    tolerance_log2: Steps
    expected_log2: Steps | None = None
    antigen: Annotated[str, msgspec.Meta(max_length=100, pattern=_PLAIN)] | None = None
    site_id: LabId = MAIN_SITE


class TargetIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a reviewer sets for a lot: the target of its chart, both or none, and why; `retired` ends its use."""

    mean: Annotated[float, msgspec.Meta(ge=0, le=24)] | None
    sd: Annotated[float, msgspec.Meta(gt=0, le=24)] | None
    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=1000, pattern=_PLAIN)]
    retired: bool = False


class PointOut(msgspec.Struct, frozen=True):
    """One observation; `z` in SDs from the mean, `rules` are those of Westgard's that it breaks."""

    run_id: str
    row: str
    at: datetime
    log2: int
    z: float | None
    rules: tuple[Rule, ...]


class ChartOut(msgspec.Struct, frozen=True):
    """A Levey-Jennings chart. `provisional`: mean and SD are those of the points; `enough`: of at least 20."""

    mean: float | None
    sd: float | None
    provisional: bool
    enough: bool
    points: tuple[PointOut, ...]


class ControlSerumOut(msgspec.Struct, frozen=True, kw_only=True):
    """A lot."""

    id: str
    site_id: str
    name: str
    lot: str
    kind: SerumKind
    profile: str
    antigen: str | None
    expected_log2: int | None
    tolerance_log2: int
    target_mean: float | None
    target_sd: float | None
    revision: int
    retired_at: datetime | None


class ControlSeraOut(msgspec.Struct, frozen=True):
    """Lots, those in use first."""

    items: tuple[ControlSerumOut, ...]


@get("/control-sera", access=VIEWERS, summary="List control sera")
async def get_control_sera(request: CentralRequest, parts: Wired) -> ControlSeraOut:
    """Every lot."""
    async with reading(parts.engine) as connection:
        rows = await list_sera(connection, caller_sites(request))
    return ControlSeraOut(tuple(serum_out(row) for row in rows))


@post("/control-sera", access=OPERATORS, status_code=201, summary="Add a lot of a control serum")
async def post_control_serum(
    request: CentralRequest, parts: Wired, data: JSONBody[ControlSerumIn]
) -> Response[ControlSerumOut]:
    """A new lot."""
    return _answer(await added(request, parts, data), 201)


@get("/control-sera/{control_id:str}", access=VIEWERS, summary="One control serum")
async def get_control_serum(
    request: CentralRequest, parts: Wired, control_id: ControlPath
) -> Response[ControlSerumOut]:
    """One lot; the ETag is its revision."""
    async with reading(parts.engine) as connection:
        row = await get_serum(connection, control_id, caller_sites(request))
    if row is None:
        raise missing("control serum", control_id)
    return _answer(row)


@get("/control-sera/{control_id:str}/chart", access=VIEWERS, summary="Levey-Jennings chart of a control serum")
async def get_control_chart(request: CentralRequest, parts: Wired, control_id: ControlPath) -> ChartOut:
    """The chart of a lot."""
    async with reading(parts.engine) as connection:
        row = await get_serum(connection, control_id, caller_sites(request))
        if row is None:
            raise missing("control serum", control_id)
        found = chart_of(row, await observations(connection, control_id))
    points = tuple(PointOut(**msgspec.structs.asdict(point)) for point in found.points)
    return ChartOut(found.mean, found.sd, found.provisional, found.enough, points)


@patch(
    "/control-sera/{control_id:str}",
    access=REVIEWERS,
    summary="Set a control serum's target, or retire it",
    description="Needs `If-Match` with the revision that was seen.",
)
async def patch_control_serum(
    request: CentralRequest, parts: Wired, control_id: ControlPath, data: JSONBody[TargetIn]
) -> Response[ControlSerumOut]:
    """The lot with its target."""
    return _answer(await targeted(request, parts, control_id, data, seen_revision(request)))


async def added(request: CentralRequest, parts: Parts, data: ControlSerumIn) -> SerumRow:
    """Add it; what is wrong as a problem."""
    new = NewSerum(**msgspec.structs.asdict(data))
    try:
        return await add_serum(
            parts.engine, new, sites_seen=person_of(request).sites, actor=actor_of(request), now=parts.now()
        )
    except SerumError as error:
        raise ProblemError(409, str(error)) from error


async def targeted(request: CentralRequest, parts: Parts, control_id: str, data: TargetIn, seen: int) -> SerumRow:
    """Set its target; what is wrong as a problem."""
    if (data.mean is None) != (data.sd is None):
        raise ProblemError(400, f"mean {data.mean} and sd {data.sd} (expected both or none)")
    values = {"target_mean": data.mean, "target_sd": data.sd, "retired_at": parts.now() if data.retired else None}
    try:
        row = await change_serum(
            parts.engine,
            control_id,
            values,
            seen=seen,
            sites_seen=person_of(request).sites,
            actor=actor_of(request),
            now=parts.now(),
            reason=data.reason,
        )
    except StaleSerumError as error:
        raise stale(str(error), error.here.revision) from error
    if row is None:
        raise missing("control serum", control_id)
    return row


def chart_of(row: SerumRow, found: Sequence[Observation]) -> Chart:
    """A lot's chart, with its target where one was set."""
    target = None if row.target_mean is None or row.target_sd is None else (row.target_mean, row.target_sd)
    return chart(found, target)


def serum_out(row: SerumRow) -> ControlSerumOut:
    """A lot as the API shows it."""
    return ControlSerumOut(**msgspec.structs.asdict(row))


def _answer(row: SerumRow, status: int = 200) -> Response[ControlSerumOut]:
    return Response(serum_out(row), status_code=status, headers={"etag": revision_tag(row.revision)})


HANDLERS: Final = (get_control_sera, post_control_serum, get_control_serum, get_control_chart, patch_control_serum)
