"""`/api/v1/plates`, and a submission's plates and titres: lists that a laboratory system reads page by page.

What has no result is no item of any list, and `left_out` names it.
"""

from collections.abc import Mapping
from typing import Annotated

import msgspec
from litestar import Response, get
from litestar.params import QueryParameter

from central.api.paths import Limit, SubmissionPath, from_segment, segment, with_query
from central.api.plans import LAB_ID, UUID, SiteChoice
from central.api.results import TitreOut, titres_of
from central.api.submissions import the_one
from central.db import one_moment, reading
from central.deliveries.collect import collect
from central.laboratory.states import PlateState
from central.parts import CentralRequest, Parts, Wired, caller_sites
from central.people.permissions import VIEWERS
from central.people.sites import Sites
from central.results.lists import PlateListed, list_plates
from central.results.queries import speakers
from central.review.dossier import get_dossier

SiteFilter = Annotated[str | None, QueryParameter(pattern=LAB_ID, description="Only this laboratory's.")]
StateFilter = Annotated[PlateState | None, QueryParameter(name="state", description="Only plates that are here.")]
AfterPlate = Annotated[str | None, QueryParameter(pattern=UUID, description="`next` of the page before.")]
FewPlates = Annotated[int, QueryParameter(ge=1, le=50, description="The titres of at most so many plates.")]


class TitresOut(msgspec.Struct, frozen=True):
    """Titres by plate and row; `next` is the address of the following page, null at the end (also as `Link`)."""

    items: tuple[TitreOut, ...]
    left_out: tuple[str, ...]
    next: str | None


class PlateLine(msgspec.Struct, frozen=True, kw_only=True):
    """A plate in a list; `run_id` is the run that speaks for it, null while there is none."""

    id: str
    url: str
    site_id: str
    submission: str
    test: str
    plate_number: str
    state: PlateState
    revision: int
    location: str | None
    run_id: str | None


class PlatesOut(msgspec.Struct, frozen=True):
    """A page of plates; `next` is the address of the following one, null at the end (also as a `Link` header)."""

    items: tuple[PlateLine, ...]
    next: str | None


@get(
    "/plates",
    access=VIEWERS.with_key("results:read"),
    summary="List plates",
    description="In an order that stays. Follow `next` (or the `Link` header) for more.",
)
async def get_plates(
    *,
    request: CentralRequest,
    parts: Wired,
    after: AfterPlate = None,
    limit: Limit = 50,
    in_state: StateFilter = None,
    site: SiteFilter = None,
) -> Response[PlatesOut]:
    """A page of plates."""
    filters = {"state": in_state, "site": site}
    return await _plates(parts, _narrowed(caller_sites(request), site), "/api/v1/plates", after, limit, filters=filters)


@get(
    "/submissions/{submission:str}/plates",
    access=VIEWERS.with_key("results:read"),
    summary="A submission's plates",
    description="By test and number. Follow `next` (or the `Link` header) for more.",
)
async def get_submission_plates(
    *,
    request: CentralRequest,
    parts: Wired,
    submission: SubmissionPath,
    site: SiteChoice = None,
    after: AfterPlate = None,
    limit: Limit = 50,
) -> Response[PlatesOut]:
    """A page of the plates of a submission."""
    row = await the_one(parts, caller_sites(request), from_segment(submission), site)
    path = f"/api/v1/submissions/{segment(row.submission)}/plates"
    return await _plates(
        parts, Sites.of([row.site_id]), path, after, limit, filters={"site": site}, submission_id=row.id
    )


@get(
    "/submissions/{submission:str}/titres",
    access=VIEWERS.with_key("results:read"),
    summary="A submission's titres",
    description="Of the run that speaks for each plate, so many plates a page. `status` says whether they were signed.",
)
async def get_submission_titres(
    *,
    request: CentralRequest,
    parts: Wired,
    submission: SubmissionPath,
    site: SiteChoice = None,
    after: AfterPlate = None,
    limit: FewPlates = 20,
) -> Response[TitresOut]:
    """A page of the titres of a submission."""
    row = await the_one(parts, caller_sites(request), from_segment(submission), site)
    async with one_moment(parts.engine) as connection:
        rows = await list_plates(
            connection, Sites.of([row.site_id]), submission_id=row.id, after=after, limit=limit + 1
        )
        speaking = {run.plate_id: run.id for run in await speakers(connection, [plate.id for plate in rows[:limit]])}
        runs = [speaking[plate.id] for plate in rows[:limit] if plate.id in speaking]
        dossiers = [await get_dossier(connection, run_id, Sites.of([row.site_id])) for run_id in runs]
        there = [each for each in dossiers if each is not None]
        plates = (await collect(connection, there, None, at=parts.now(), revision=1)).plates if there else ()
    following = None
    if len(rows) > limit:
        path = f"/api/v1/submissions/{segment(row.submission)}/titres"
        following = with_query(path, after=rows[limit - 1].id, limit=limit, site=site)
    links = {"link": f'<{following}>; rel="next"'} if following else {}
    return Response(TitresOut(*titres_of(plates), following), headers=links)


async def _plates(
    parts: Parts,
    sites: Sites,
    path: str,
    after: str | None,
    limit: int,
    *,
    filters: Mapping[str, object],
    submission_id: str | None = None,
) -> Response[PlatesOut]:
    state = filters.get("state")
    async with reading(parts.engine) as connection:
        rows = await list_plates(
            connection,
            sites,
            submission_id=submission_id,
            state=state if isinstance(state, PlateState) else None,
            after=after,
            limit=limit + 1,
        )
        page = rows[:limit]
        speaking = {run.plate_id: run.id for run in await speakers(connection, [plate.id for plate in page])}
    following = with_query(path, after=page[-1].id, limit=limit, **filters) if len(rows) > limit else None
    links = {"link": f'<{following}>; rel="next"'} if following else {}
    items = tuple(_plate_line(plate, speaking.get(plate.id)) for plate in page)
    return Response(PlatesOut(items, following), headers=links)


def _plate_line(plate: PlateListed, run_id: str | None) -> PlateLine:
    values = {name: getattr(plate, name) for name in PlateLine.__struct_fields__ if hasattr(plate, name)}
    return PlateLine(**values, plate_number=plate.number, url=f"/api/v1/plates/{plate.id}", run_id=run_id)


def _narrowed(sites: Sites, wanted: str | None) -> Sites:
    """Those of the caller's sites that he asks for; one that is not his has nothing for him."""
    if wanted is None:
        return sites
    return Sites.of([wanted] if wanted in sites else [])


HANDLERS = (get_plates, get_submission_plates, get_submission_titres)
