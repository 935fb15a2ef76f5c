"""`/api/v1/audit`: every change by anyone, searched and exported. A reviewer sees the entries of his own sites.

Whoever takes the trail away as a file is himself in it.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import msgspec
from litestar import Response, get
from litestar.params import QueryParameter
from litestar.response import Stream
from sqlalchemy.ext.asyncio import AsyncConnection

from central.api.paths import After, Limit, with_query
from central.audit import export, writing
from central.audit.chain import Entry
from central.audit.queries import Wanted, names_of, search
from central.db import reading
from central.parts import CentralRequest, Parts, Wired, actor_of, person_of
from central.people.permissions import REVIEWERS
from central.people.sites import Sites
from central.web.headers import attachment

_WORD: Final = r"^[A-Za-z0-9][A-Za-z0-9._:/@-]{0,199}$"
_PRINTABLE: Final = r"^[^\x00-\x1f\x7f]{1,100}$"

ActorFilter = Annotated[str | None, QueryParameter(name="actor", pattern=_WORD, description="Id of who did it.")]
KindFilter = Annotated[str | None, QueryParameter(pattern=r"^[a-z_]{1,16}$", description="Only things of this kind.")]
ObjectFilter = Annotated[str | None, QueryParameter(pattern=_WORD, description="Only the thing with this id.")]
ActionFilter = Annotated[
    str | None, QueryParameter(pattern=r"^[a-z][a-z_.]{0,63}$", description="`run.void`; `run` for all of a run's.")
]
SiteFilter = Annotated[str | None, QueryParameter(pattern=_WORD, description="Only this site.")]
Since = Annotated[datetime | None, QueryParameter(description="From this moment on.")]
Until = Annotated[datetime | None, QueryParameter(description="Before this moment.")]
TextFilter = Annotated[
    str | None, QueryParameter(pattern=_PRINTABLE, description="In the id, the old and new values or the reason.")
]


class EntryOut(msgspec.Struct, frozen=True, kw_only=True):
    """One change. `actor_name` is looked up now; null where nobody of this id is known (any more)."""

    number: int
    at: datetime
    actor_kind: str
    actor_id: str
    actor_name: str | None
    address: str | None
    site_id: str | None
    action: Annotated[str, msgspec.Meta(examples=["run.void"])]
    object_kind: str
    object_id: str
    old: Any
    new: Any
    reason: str | None
    request_id: str | None
    previous: str
    hash: str


class EntriesOut(msgspec.Struct, frozen=True):
    """A page of entries, newest first; `next` is the address of the following one."""

    items: tuple[EntryOut, ...]
    next: str | None


@get(
    "/audit",
    access=REVIEWERS,
    summary="Search the audit trail",
    description="Newest first. Who belongs to some sites sees their entries; entries of no single site are for admins.",
)
async def get_audit(
    *,
    request: CentralRequest,
    parts: Wired,
    after: After = None,
    limit: Limit = 50,
    actor: ActorFilter = None,
    object_kind: KindFilter = None,
    object_id: ObjectFilter = None,
    action: ActionFilter = None,
    site: SiteFilter = None,
    since: Since = None,
    until: Until = None,
    text: TextFilter = None,
) -> Response[EntriesOut]:
    """A page of entries."""
    wanted = wanted_of(
        actor=actor,
        object_kind=object_kind,
        object_id=object_id,
        action=action,
        site=site,
        since=since,
        until=until,
        text=text,
    )
    found, following = await entries_page(parts, wanted, person_of(request).sites, after=after, limit=limit)
    address = None if following is None else address_of("/api/v1/audit", wanted, after=following, limit=limit)
    links = {"link": f'<{address}>; rel="next"'} if address else {}
    return Response(EntriesOut(found, address), headers=links)


@get(
    "/audit/export",
    access=REVIEWERS,
    media_type="application/jsonl",
    summary="Export the audit trail",
    description="Oldest first, with the signed head: last line of JSON lines, header `Wellread-Audit-Head` of both.",
)
async def get_audit_export(
    *,
    request: CentralRequest,
    parts: Wired,
    file_format: Annotated[export.Format, QueryParameter(name="format", description="csv or jsonl.")] = "jsonl",
    actor: ActorFilter = None,
    object_kind: KindFilter = None,
    object_id: ObjectFilter = None,
    action: ActionFilter = None,
    site: SiteFilter = None,
    since: Since = None,
    until: Until = None,
    text: TextFilter = None,
) -> Stream:
    """All entries that are wanted, as a file; the trail says who took them."""
    wanted = wanted_of(
        actor=actor,
        object_kind=object_kind,
        object_id=object_id,
        action=action,
        site=site,
        since=since,
        until=until,
        text=text,
    )
    data_dir = parts.settings.data_dir
    head = await writing.begin(parts.engine, data_dir, wanted, file_format, actor=actor_of(request), now=parts.now())
    headers = {
        "content-disposition": attachment(f"audit-{head.number}.{file_format}"),
        "wellread-audit-head": f"{head.number} {head.hash} {head.public_key} {head.signature}",
    }
    body = writing.file_of(parts.engine, wanted, person_of(request).sites, file_format, head)
    return Stream(body, media_type=export.MEDIA_TYPES[file_format], headers=headers)


def wanted_of(
    *,
    actor: str | None,
    object_kind: str | None,
    object_id: str | None,
    action: str | None,
    site: str | None,
    since: datetime | None,
    until: datetime | None,
    text: str | None,
) -> Wanted:
    """The filters of a request; a time without a zone is UTC."""
    return Wanted(
        actor=actor,
        object_kind=object_kind,
        object_id=object_id,
        action=action,
        site=site,
        since=_utc(since),
        until=_utc(until),
        text=text,
    )


def _utc(at: datetime | None) -> datetime | None:
    return at.replace(tzinfo=UTC) if at is not None and at.tzinfo is None else at


def address_of(path: str, wanted: Wanted, **more: object) -> str:
    """The address of a page or file with these filters."""
    named = msgspec.to_builtins(wanted)
    return with_query(path, **named, **more)


async def entries_page(
    parts: Parts, wanted: Wanted, sites: Sites, *, after: int | None, limit: int
) -> tuple[tuple[EntryOut, ...], int | None]:
    """A page of entries with names, and the number to go on after; None at the end."""
    async with reading(parts.engine) as connection:
        entries = await search(connection, wanted, sites, after=after, limit=limit + 1)
        shown = await entries_out(connection, entries[:limit])
    return shown, shown[-1].number if len(entries) > limit else None


async def entries_out(connection: AsyncConnection, entries: Sequence[Entry]) -> tuple[EntryOut, ...]:
    """Entries as the API shows them, with the names of today."""
    names = await names_of(connection, entries)
    return tuple(_entry_out(entry, names) for entry in entries)


def _entry_out(entry: Entry, names: dict[tuple[str, str], str]) -> EntryOut:
    values = msgspec.structs.asdict(entry)
    known = {"actor_name": names.get((entry.actor_kind, entry.actor_id))}
    return EntryOut(**(values | known | {"old": _value(entry.old), "new": _value(entry.new)}))


def _value(text: str | None) -> Any:
    return None if text is None else msgspec.json.decode(text)
