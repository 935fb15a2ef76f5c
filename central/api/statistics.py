"""`/api/v1/statistics`: how far devices and reviewers agree, what devices see, and how good their pictures are."""

from collections.abc import Sequence
from typing import Annotated, Final

import msgspec
from litestar import get
from litestar.params import QueryParameter
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from central.api.paths import DeviceFilter
from central.db import reading
from central.parts import CentralRequest, Wired, caller_sites
from central.people.permissions import VIEWERS
from central.people.sites import Sites
from central.results.queries import runs_of, select_runs
from central.review.agreement import Agreement, Compared, agreement, compare
from central.review.corrections import Action, effective
from central.review.dossier import corrections_of
from central.tables import run_records, runs
from protocol.assay import Call
from protocol.codec import decode_reading, decompress
from protocol.endpoint import seen_endpoints

MOST_RUNS: Final = 2000
_AT_ONCE: Final = 200
Last = Annotated[int, QueryParameter(ge=1, le=MOST_RUNS, description="Over the last so many reviewed runs.")]


class AgreementOut(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of one device and model over reviewed runs: rows whose endpoint stayed, or moved by one dilution."""

    device_id: str
    model: str
    runs: int
    rows: int
    exact: int
    within_one: int
    withheld: int
    exact_share: float | None
    within_one_share: float | None
    wells: int
    overridden: int
    calls: dict[Call, int]
    confidence: float | None


class AgreementsOut(msgspec.Struct, frozen=True):
    """Per device and model."""

    items: tuple[AgreementOut, ...]


@get("/statistics/agreement", access=VIEWERS, summary="Agreement between device and reviewer")
async def get_agreement(
    request: CentralRequest, parts: Wired, last: Last = 500, device: DeviceFilter = None
) -> AgreementsOut:
    """Exact and within one dilution, classes and confidence, per device and model."""
    async with reading(parts.engine) as connection:
        found = await agreements(connection, caller_sites(request), last=last, device=device)
    return AgreementsOut(tuple(AgreementOut(**msgspec.structs.asdict(each)) for each in found))


async def agreements(
    connection: AsyncConnection, sites: Sites, *, last: int, device: str | None = None
) -> tuple[Agreement, ...]:
    """The figures over the last reviewed runs that are not void."""
    query = (
        select(runs.c.id)
        .join(run_records, run_records.c.run_id == runs.c.id)
        .where(run_records.c.revision > 1, run_records.c.voided_at.is_(None), sites.having(run_records.c.site_id))
        .order_by(runs.c.number.desc())
        .limit(last)
    )
    if device is not None:
        query = query.where(runs.c.device_id == device)
    ids = (await connection.scalars(query)).all()
    compared: list[Compared] = []
    for start in range(0, len(ids), _AT_ONCE):
        compared += await _compared(connection, ids[start : start + _AT_ONCE])
    return agreement(compared)


async def _compared(connection: AsyncConnection, ids: Sequence[str]) -> list[Compared]:
    said = await corrections_of(connection, ids)
    stored = await connection.execute(select(runs.c.id, runs.c.document).where(runs.c.id.in_(ids)))
    documents = {row.id: row.document for row in stored}
    found = []
    for run in await runs_of(connection, select_runs().where(runs.c.id.in_(ids))):
        if all(each.action is Action.INTERPRET for each in said.get(run.id, ())):
            continue
        made = decode_reading(decompress(documents[run.id]))
        own = seen_endpoints(made.plate, made.wells, run.assay)
        now = effective(made, said[run.id], run.assay)
        found.append(compare(run, made, own, now))
    return found


HANDLERS: Final = (get_agreement,)
