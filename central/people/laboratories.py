"""Sites as administrators change them, and which site a reader's readings belong to."""

from datetime import datetime
from typing import Literal

import msgspec
from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from central.audit.chain import Actor, Change, record
from central.db import transaction
from central.notices.defaults import put_first_rules
from central.people.sites import Sites
from central.tables import devices, sites

Unregistered = Literal["register", "wait"]


class Site(msgspec.Struct, frozen=True):
    """A laboratory: what becomes of codes that nobody registered, and whether who reviewed may approve.

    A photograph goes `picture_days` after it came, once nobody needs it to decide (`results.keeping`); None: never.
    """

    id: str
    title: str
    created_at: datetime
    unregistered: Unregistered
    four_eyes: bool
    picture_days: int | None
    revision: int


class UnknownSiteError(LookupError):
    """No site, or no device, of this id."""


class StaleSiteError(Exception):
    """Somebody changed the site since; `now` is how it is."""

    def __init__(self, now: Site) -> None:
        """`now` goes into the answer."""
        super().__init__(f"the site was changed since (it has revision {now.revision} now)")
        self.now = now


async def list_sites(connection: AsyncConnection, which: Sites) -> tuple[Site, ...]:
    """These sites, by title."""
    query = select(*(sites.c[name] for name in Site.__struct_fields__)).where(which.having(sites.c.id))
    rows = await connection.execute(query.order_by(sites.c.title, sites.c.id))
    return tuple(Site(**row._mapping) for row in rows)


async def add_site(engine: AsyncEngine, site_id: str, title: str, *, actor: Actor, now: datetime) -> Site:
    """A new site; ValueError where its id is taken or its title is none."""
    site = Site(site_id, _title(title), now, "register", four_eyes=False, picture_days=None, revision=1)
    added = Change("site.add", "site", site_id, site_id, new={"title": site.title})
    try:
        async with transaction(engine) as connection:
            await connection.execute(insert(sites).values(msgspec.structs.asdict(site)))
            await put_first_rules(connection, site_id, now)
            await record(connection, actor, [added], now)
    except IntegrityError as error:
        raise ValueError(f"site {site_id!r} exists (expected a new id)") from error
    return site


async def change_site(
    engine: AsyncEngine, wanted: Site, *, seen_revision: int, actor: Actor, now: datetime, reason: str | None = None
) -> Site:
    """Title and settings as wanted; StaleSiteError where somebody was faster."""
    async with transaction(engine) as connection:
        found = await list_sites(connection, Sites.of([wanted.id]))
        if not found:
            raise UnknownSiteError(f"no site {wanted.id!r} here")
        (before,) = found
        after = msgspec.structs.replace(wanted, title=_title(wanted.title), revision=seen_revision + 1)
        names = ("title", "unregistered", "four_eyes", "picture_days")
        old = {name: getattr(before, name) for name in names if getattr(before, name) != getattr(after, name)}
        new = {name: getattr(after, name) for name in old}
        seen = (sites.c.id == wanted.id) & (sites.c.revision == seen_revision)
        if before.revision != seen_revision:
            raise StaleSiteError(before)
        if not old:
            return before
        changed = await connection.execute(update(sites).where(seen).values(new | {"revision": seen_revision + 1}))
        if changed.rowcount != 1:
            raise StaleSiteError(before)
        entry = Change("site.change", "site", wanted.id, wanted.id, old=old, new=new, reason=reason)
        await record(connection, actor, [entry], now)
    return after


async def move_device(
    engine: AsyncEngine, device_id: str, site_id: str, *, actor: Actor, now: datetime, reason: str
) -> None:
    """What this reader reads from now on is this site's; what it read stays where it is."""
    async with transaction(engine) as connection:
        query = select(devices.c.site_id).where(devices.c.id == device_id).with_for_update()
        before: str | None = await connection.scalar(query)
        there = await connection.scalar(select(sites.c.id).where(sites.c.id == site_id))
        if before is None or there is None:
            raise UnknownSiteError(f"no device {device_id!r}" if before is None else f"no site {site_id!r}")
        if before == site_id:
            return
        await connection.execute(update(devices).where(devices.c.id == device_id).values(site_id=site_id))
        moves = [
            Change("device.move", "device", device_id, at, {"site": before}, {"site": site_id}, reason)
            for at in (before, site_id)
        ]
        await record(connection, actor, moves, now)


def _title(text: str) -> str:
    title = text.strip()
    if not 1 <= len(title) <= 200 or not title.isprintable():
        raise ValueError(f"not a title for a site: {text[:80]!r} (expected 1 to 200 printable characters)")
    return title
