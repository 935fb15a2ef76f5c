"""`/api/v1/delivery-rules` and `/deliveries`: what goes where, how far each file has come, and whether it arrived."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Final, Literal

import msgspec
from litestar import Response, get, post, put
from litestar.params import JSONBody, PathParameter, QueryParameter

from central.api.paths import Limit, missing, with_query
from central.db import reading
from central.deliveries import editing
from central.deliveries.dialect import Dialect, DialectError, load, shipped
from central.deliveries.editing import NewRule, NothingToSendError, StaleRuleError, UnknownError
from central.deliveries.places import Kind, PlaceError
from central.deliveries.queries import (
    DeliveryRow,
    LogLine,
    RuleRow,
    get_delivery,
    get_file,
    get_rule,
    list_deliveries,
    list_rules,
    log_of,
)
from central.deliveries.states import DeliveryState, DeliveryStateError
from central.parts import CentralRequest, Parts, Wired, actor_of, caller_sites
from central.people.permissions import ADMINS, OPERATORS, VIEWERS
from central.web.problems import ProblemError
from central.web.revisions import revision_tag, seen_revision, stale

_ID: str = r"^[0-9a-f-]{36}$"
IdPath = Annotated[str, PathParameter(pattern=_ID, description="Its id.")]
StateFilter = Annotated[
    DeliveryState | None, QueryParameter(name="state", description="Only deliveries that are here.")
]
RuleFilter = Annotated[str | None, QueryParameter(pattern=_ID, description="Only deliveries by this rule.")]
Before = Annotated[
    str | None, QueryParameter(pattern=r"^[0-9TZ:.+-]{1,40}_[0-9a-f-]{36}$", description="`next` of the page before.")
]


class RuleIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What goes where. `dialect` names a shipped one; `dialect_toml` is one of the site's own instead.

    `secret` is kept sealed and never shown; left out of a change, the rule keeps the one that it has.
    """

    title: Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$(?!\n)")]
    when: Literal["approved", "by_hand"] = "approved"
    of: Literal["submission", "test", "plate"] = "test"
    dialect: Annotated[str, msgspec.Meta(max_length=64, examples=["titres"])] | None = None
    dialect_toml: Annotated[str, msgspec.Meta(max_length=20_000)] | None = None
    target_kind: Kind
    target: dict[str, str | int | None]
    secret: Annotated[str, msgspec.Meta(min_length=1, max_length=8000)] | None = None
    enabled: bool = True


class NewRuleIn(RuleIn, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A rule of a site."""

    site_id: Annotated[str, msgspec.Meta(max_length=64)] = "main"


class RulesOut(msgspec.Struct, frozen=True):
    """Every rule that the caller sees, by title."""

    items: tuple[RuleRow, ...]


class MadeOut(msgspec.Struct, frozen=True):
    """What was made."""

    id: str
    url: str


class SendIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A submission, test or plate, as the rule has it, by its id."""

    subject_id: Annotated[str, msgspec.Meta(pattern=_ID + r"(?!\n)")]


class DeliveriesOut(msgspec.Struct, frozen=True):
    """A page of deliveries, newest first."""

    items: tuple[DeliveryRow, ...]
    next: str | None


class DeliveryOut(msgspec.Struct, frozen=True):
    """One delivery and what happened to it."""

    delivery: DeliveryRow
    log: tuple[LogLine, ...]
    file_url: str | None


class DialectLine(msgspec.Struct, frozen=True):
    """A shipped dialect."""

    name: str
    version: int
    title: str
    reader: str


class DialectsOut(msgspec.Struct, frozen=True):
    """The shipped dialects, by name."""

    items: tuple[DialectLine, ...]


@get("/dialects", access=VIEWERS.with_key("deliveries:read"), summary="List dialects", description="The shipped ones.")
async def get_dialects() -> DialectsOut:
    """The shapes that files may have."""
    return DialectsOut(tuple(DialectLine(d.name, d.version, d.title, d.reader) for d in shipped().values()))


@get("/delivery-rules", access=ADMINS, summary="List delivery rules", description="Without their secrets.")
async def get_rules(request: CentralRequest, parts: Wired) -> RulesOut:
    """Every rule."""
    async with reading(parts.engine) as connection:
        return RulesOut(await list_rules(connection, caller_sites(request)))


@post(
    "/delivery-rules",
    access=ADMINS,
    status_code=201,
    summary="Make a delivery rule",
    description="From now on what is approved of the site goes there. Nothing is sent of what was approved before.",
)
async def post_rule(request: CentralRequest, parts: Wired, data: JSONBody[NewRuleIn]) -> MadeOut:
    """A rule."""
    if data.site_id not in caller_sites(request):
        raise missing("site", data.site_id)
    try:
        made = await editing.add_rule(
            parts.desk, data.site_id, wanted_of(data), actor=actor_of(request), now=parts.now()
        )
    except UnknownError as error:
        raise missing("site", data.site_id) from error
    except (DialectError, PlaceError) as error:
        raise ProblemError(422, str(error)) from error
    return MadeOut(made, f"/api/v1/delivery-rules/{made}")


@get("/delivery-rules/{rule_id:str}", access=ADMINS, summary="One delivery rule", description="Without its secret.")
async def get_one_rule(request: CentralRequest, parts: Wired, rule_id: IdPath) -> Response[RuleRow]:
    """One rule, with its revision as ETag."""
    async with reading(parts.engine) as connection:
        found = await get_rule(connection, rule_id, caller_sites(request))
    if found is None:
        raise missing("delivery rule", rule_id)
    return Response(found, headers={"etag": revision_tag(found.revision)})


@put(
    "/delivery-rules/{rule_id:str}",
    access=ADMINS,
    status_code=204,
    summary="Change a delivery rule",
    description="Names the revision that was seen (`If-Match`). Files that were made already stay as they are.",
)
async def put_rule(request: CentralRequest, parts: Wired, rule_id: IdPath, data: JSONBody[RuleIn]) -> None:
    """The rule as it is wanted now."""
    seen = seen_revision(request)
    try:
        await editing.change_rule(
            parts.desk,
            rule_id,
            wanted_of(data),
            seen=seen,
            sites=caller_sites(request),
            actor=actor_of(request),
            now=parts.now(),
        )
    except UnknownError as error:
        raise missing("delivery rule", rule_id) from error
    except StaleRuleError as error:
        raise stale(str(error), error.revision) from error
    except (DialectError, PlaceError) as error:
        raise ProblemError(422, str(error)) from error


@post(
    "/delivery-rules/{rule_id:str}/deliveries",
    access=OPERATORS.with_key("deliveries:write"),
    status_code=201,
    summary="Send by hand",
    description="What is approved whole goes again, under a new name. 409 where something of it is not approved.",
)
async def post_delivery(request: CentralRequest, parts: Wired, rule_id: IdPath, data: JSONBody[SendIn]) -> MadeOut:
    """A delivery by hand."""
    try:
        made = await editing.send(
            parts.desk,
            rule_id,
            data.subject_id,
            sites=caller_sites(request),
            actor=actor_of(request),
            now=parts.now(),
        )
    except UnknownError as error:
        raise missing("delivery rule", rule_id) from error
    except NothingToSendError as error:
        raise ProblemError(409, str(error)) from error
    return MadeOut(made, f"/api/v1/deliveries/{made}")


@get(
    "/deliveries",
    access=VIEWERS.with_key("deliveries:read"),
    summary="List deliveries",
    description="Newest first. Follow `next` (or the `Link` header) for older ones.",
)
async def get_deliveries(
    *,
    request: CentralRequest,
    parts: Wired,
    at: StateFilter = None,
    rule: RuleFilter = None,
    before: Before = None,
    limit: Limit = 50,
) -> Response[DeliveriesOut]:
    """A page of deliveries."""
    async with reading(parts.engine) as connection:
        found = await list_deliveries(
            connection,
            caller_sites(request),
            state=None if at is None else at.value,
            rule_id=rule,
            before=None if before is None else cursor_of(before),
            limit=limit,
        )
    following = None
    if len(found) == limit:
        following = with_query("/api/v1/deliveries", state=at, rule=rule, before=next_cursor(found), limit=limit)
    links = {"link": f'<{following}>; rel="next"'} if following else {}
    return Response(DeliveriesOut(found, following), headers=links)


@get(
    "/deliveries/{delivery_id:str}",
    access=VIEWERS.with_key("deliveries:read"),
    summary="One delivery",
    description="How far it has come, and what happened to it.",
)
async def get_one_delivery(request: CentralRequest, parts: Wired, delivery_id: IdPath) -> DeliveryOut:
    """One delivery."""
    async with reading(parts.engine) as connection:
        found = await get_delivery(connection, delivery_id, caller_sites(request))
        if found is None:
            raise missing("delivery", delivery_id)
        return DeliveryOut(found, await log_of(connection, delivery_id), file_url(found))


@get(
    "/deliveries/{delivery_id:str}/file",
    access=VIEWERS.with_key("deliveries:read"),
    media_type="application/octet-stream",
    summary="A delivery's file",
    description="Byte for byte as it was placed; the strong ETag is its SHA-256.",
)
async def get_delivery_file(request: CentralRequest, parts: Wired, delivery_id: IdPath) -> Response[bytes]:
    """The bytes."""
    async with reading(parts.engine) as connection:
        found = await get_file(connection, delivery_id, caller_sites(request))
    if found is None:
        raise missing("file of delivery", delivery_id)
    headers = {
        "content-disposition": f'attachment; filename="{found.name}"',
        "etag": f'"{found.sha256}"',
        "x-content-type-options": "nosniff",
    }
    return Response(found.content, media_type=found.media_type, headers=headers)


@post(
    "/deliveries/{delivery_id:str}/acknowledge",
    access=OPERATORS.with_key("deliveries:write"),
    status_code=204,
    summary="Say that a file arrived",
    description="Once or again. 409 for one that was not placed yet, or was superseded.",
)
async def post_acknowledge(request: CentralRequest, parts: Wired, delivery_id: IdPath) -> None:
    """The other side has it."""
    await _do(editing.acknowledge, request, parts, delivery_id)


@post(
    "/deliveries/{delivery_id:str}/retry",
    access=OPERATORS.with_key("deliveries:write"),
    status_code=204,
    summary="Try a failed delivery again",
    description="From where it stopped. 409 for one that has not failed.",
)
async def post_retry(request: CentralRequest, parts: Wired, delivery_id: IdPath) -> None:
    """Again."""
    await _do(editing.retry, request, parts, delivery_id)


async def _do(act: Any, request: CentralRequest, parts: Parts, delivery_id: str) -> None:
    try:
        await act(parts.engine, delivery_id, sites=caller_sites(request), actor=actor_of(request), now=parts.now())
    except UnknownError as error:
        raise missing("delivery", delivery_id) from error
    except DeliveryStateError as error:
        raise ProblemError(409, str(error)) from error


def wanted_of(data: RuleIn) -> NewRule:
    """The rule that is meant; 422 where its dialect is none."""
    return NewRule(
        title=data.title,
        when=data.when,
        of=data.of,
        dialect=_dialect(data),
        target_kind=data.target_kind,
        target={name: value for name, value in data.target.items() if value is not None},
        secret=data.secret,
        enabled=data.enabled,
    )


def _dialect(data: RuleIn) -> Dialect:
    if (data.dialect is None) == (data.dialect_toml is None):
        raise ProblemError(422, "dialect and dialect_toml (expected one of the two)")
    if data.dialect_toml is not None:
        try:
            return load(data.dialect_toml)
        except DialectError as error:
            raise ProblemError(422, str(error)) from error
    found = shipped().get(data.dialect or "")
    if found is None:
        raise ProblemError(422, f"no dialect {data.dialect!r} (expected one of {', '.join(shipped())})")
    return found


def file_url(row: DeliveryRow) -> str | None:
    """Where a delivery's file is, once it has one."""
    return None if row.content_sha256 is None else f"/api/v1/deliveries/{row.id}/file"


def next_cursor(found: Sequence[DeliveryRow]) -> str:
    """Where the page after these begins."""
    return f"{found[-1].created_at.isoformat()}_{found[-1].id}"


def cursor_of(text: str) -> tuple[datetime, str]:
    """(created_at, id) of the last one seen; 400 where it is none of ours."""
    at, _, delivery_id = text.rpartition("_")
    try:
        moment = datetime.fromisoformat(at.replace(" ", "+"))
    except ValueError as error:
        raise ProblemError(400, f"before {text[:80]!r} (expected `next` of the page before)") from error
    if moment.tzinfo is None:
        raise ProblemError(400, f"before {text[:80]!r} (expected `next` of the page before)")
    return moment, delivery_id


HANDLERS: Final = (
    get_dialects,
    get_rules,
    post_rule,
    get_one_rule,
    put_rule,
    post_delivery,
    get_deliveries,
    get_one_delivery,
    get_delivery_file,
    post_acknowledge,
    post_retry,
)
