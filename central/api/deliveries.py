"""`/api/v1/deliveries`: how far each file has come, what is different in it, and whether it arrived."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import msgspec
from litestar import Response, get, post
from litestar.params import JSONBody, QueryParameter

from central.api.delivery_rules import IdPath, MadeOut
from central.api.paths import Limit, missing, with_query
from central.db import reading
from central.deliveries import editing
from central.deliveries.differences import Differences
from central.deliveries.editing import NothingToSendError, UnknownError
from central.deliveries.queries import (
    DeliveryRow,
    LogLine,
    differences_of,
    get_delivery,
    get_file,
    list_deliveries,
    log_of,
)
from central.deliveries.states import DeliveryState, DeliveryStateError
from central.parts import CentralRequest, Parts, Wired, actor_of, caller_sites
from central.people.permissions import OPERATORS, VIEWERS
from central.web.headers import attachment
from central.web.problems import ProblemError

_ID: Final = r"^[0-9a-f-]{36}$"
StateFilter = Annotated[
    DeliveryState | None, QueryParameter(name="state", description="Only deliveries that are here.")
]
RuleFilter = Annotated[str | None, QueryParameter(pattern=_ID, description="Only deliveries by this rule.")]
Before = Annotated[
    str | None, QueryParameter(pattern=r"^[0-9TZ:.+-]{1,40}_[0-9a-f-]{36}$", description="`next` of the page before.")
]


class SendIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A submission, test or plate, as the rule has it, by its id."""

    subject_id: Annotated[str, msgspec.Meta(pattern=_ID + r"(?!\n)")]


class DeliveriesOut(msgspec.Struct, frozen=True):
    """A page of deliveries, newest first."""

    items: tuple[DeliveryRow, ...]
    next: str | None


class DeliveryOut(msgspec.Struct, frozen=True):
    """One delivery, what is different in it from the revision before (null in the first), and what happened to it."""

    delivery: DeliveryRow
    differences: Differences | None
    log: tuple[LogLine, ...]
    file_url: str | None


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
            parts.engine,
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
        lines = await log_of(connection, delivery_id)
        return DeliveryOut(found, await differences_of(connection, delivery_id), lines, file_url(found))


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
        "content-disposition": attachment(found.name),
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
    description="From where it stopped. 409 for one that has not failed, or that a newer revision stands for.",
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
        said = datetime.fromisoformat(at.replace(" ", "+"))
        moment = None if said.tzinfo is None else said.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ProblemError(400, f"before {text[:80]!r} (expected `next` of the page before)") from error
    if moment is None:
        raise ProblemError(400, f"before {text[:80]!r} (expected `next` of the page before)")
    return moment, delivery_id


HANDLERS: Final = (
    post_delivery,
    get_deliveries,
    get_one_delivery,
    get_delivery_file,
    post_acknowledge,
    post_retry,
)
