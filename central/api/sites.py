"""`/api/v1/sites`: the laboratories of this central, and which of them a reader's readings belong to."""

from typing import Annotated

import msgspec
from litestar import Response, get, patch, post
from litestar.params import JSONBody, PathParameter

from central.api.paths import DevicePath, missing
from central.api.users import Reason
from central.db import reading
from central.parts import CentralRequest, Parts, Wired, actor_of, person_of
from central.people import laboratories
from central.people.laboratories import Site, StaleSiteError, UnknownSiteError, Unregistered
from central.people.permissions import ADMINS, VIEWERS
from central.people.sites import Sites
from central.web.problems import ProblemError
from central.web.revisions import revision_tag, seen_revision, stale

SITE_ID = r"^[a-z0-9][a-z0-9-]{0,62}$"
SitePath = Annotated[str, PathParameter(pattern=SITE_ID, description="Site.")]
PictureDays = Annotated[
    int,
    msgspec.Meta(ge=1, le=36_500, description="So long photographs are kept once they are settled; null: for ever."),
]
Title = Annotated[str, msgspec.Meta(max_length=200, examples=["Poultry diagnostics"])]


class SitesOut(msgspec.Struct, frozen=True):
    """The caller's sites, by title."""

    items: tuple[Site, ...]


class SiteIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new laboratory."""

    id: Annotated[str, msgspec.Meta(pattern=SITE_ID, examples=["north"])]
    title: Title


class SiteChangeIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is to be different; what is left out stays."""

    title: Title | None = None
    unregistered: Unregistered | None = None
    four_eyes: bool | None = None
    picture_days: PictureDays | msgspec.UnsetType | None = msgspec.UNSET
    reason: Reason | None = None


class MoveIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a reader belongs from now on, and why."""

    site_id: Annotated[str, msgspec.Meta(pattern=SITE_ID)]
    reason: Reason


@get("/sites", access=VIEWERS, summary="List sites")
async def get_sites(request: CentralRequest, parts: Wired) -> SitesOut:
    """Those that the caller belongs to; all, for an administrator."""
    async with reading(parts.engine) as connection:
        return SitesOut(await laboratories.list_sites(connection, person_of(request).sites))


@post("/sites", access=ADMINS, status_code=201, summary="Add a site")
async def post_site(request: CentralRequest, parts: Wired, data: JSONBody[SiteIn]) -> Site:
    """A new laboratory."""
    return await new_site(request, parts, data)


async def new_site(request: CentralRequest, parts: Parts, data: SiteIn) -> Site:
    """422 where the id is taken or the title is none."""
    try:
        return await laboratories.add_site(parts.engine, data.id, data.title, actor=actor_of(request), now=parts.now())
    except ValueError as error:
        raise ProblemError(422, str(error)) from error


@patch(
    "/sites/{site_id:str}",
    access=ADMINS,
    summary="Change a site",
    description="With the revision that was seen as `If-Match`; 412 where somebody was faster.",
)
async def patch_site(
    request: CentralRequest, parts: Wired, site_id: SitePath, data: JSONBody[SiteChangeIn]
) -> Response[Site]:
    """The site as it is then."""
    site = await changed_site(request, parts, site_id, data, seen_revision(request))
    return Response(site, headers={"etag": revision_tag(site.revision)})


async def changed_site(request: CentralRequest, parts: Parts, site_id: str, data: SiteChangeIn, seen: int) -> Site:
    """404, 412 or 422 where it cannot be."""
    async with reading(parts.engine) as connection:
        found = await laboratories.list_sites(connection, Sites.of([site_id]))
    if not found:
        raise missing("site", site_id)
    names = ("title", "unregistered", "four_eyes")
    wanted = {name: value for name in names if (value := getattr(data, name)) is not None}
    if data.picture_days is not msgspec.UNSET:
        wanted["picture_days"] = data.picture_days
    try:
        return await laboratories.change_site(
            parts.engine,
            msgspec.structs.replace(found[0], **wanted),
            seen_revision=seen,
            actor=actor_of(request),
            now=parts.now(),
            reason=data.reason,
        )
    except StaleSiteError as error:
        raise stale(str(error), error.now.revision) from error
    except ValueError as error:
        raise ProblemError(422, str(error)) from error


@post(
    "/devices/{device_id:str}/move",
    access=ADMINS,
    status_code=204,
    summary="Move a device to another site",
    description="What it reads from then on is that site's; what it read stays where it is.",
)
async def post_move(request: CentralRequest, parts: Wired, device_id: DevicePath, data: JSONBody[MoveIn]) -> None:
    """Where its readings belong."""
    await moved(request, parts, device_id, data)


async def moved(request: CentralRequest, parts: Parts, device_id: str, data: MoveIn) -> None:
    """404 where there is no such device or site."""
    actor = actor_of(request)
    try:
        await laboratories.move_device(
            parts.engine, device_id, data.site_id, actor=actor, now=parts.now(), reason=data.reason
        )
    except UnknownSiteError as error:
        raise ProblemError(404, str(error)) from error


HANDLERS = (get_sites, post_site, patch_site, post_move)
