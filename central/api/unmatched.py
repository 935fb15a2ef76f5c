"""`/api/v1/unmatched`, alarms and comments: runs of no known plate, what does not fit, and what people say of it."""

from datetime import datetime
from typing import Annotated, Final, Literal

import msgspec
from litestar import Response, delete, get, post, put
from litestar.params import JSONBody, PathParameter, QueryParameter

from central.api.paths import After, Limit, RunPath, missing, with_query
from central.api.plans import UUID, Id, Reason, refusals
from central.db import reading, transaction
from central.laboratory import alarms, unmatched
from central.laboratory.alarms import AlarmRow
from central.laboratory.said import add_comment, comments_on, site_of
from central.laboratory.unmatched import WaitingRun
from central.parts import CentralRequest, Parts, Wired, actor_of, caller_sites
from central.people.permissions import OPERATORS, VIEWERS

CommentedKind = Literal["submission", "test", "plate", "run"]
AlarmPath = Annotated[int, PathParameter(ge=1, le=2**53, description="Number of the alarm.")]
KindPath = Annotated[CommentedKind, PathParameter(description="What it is said of.")]
ObjectPath = Annotated[str, PathParameter(pattern=UUID, description="Its id.")]
KindFilter = Annotated[str | None, QueryParameter(pattern=r"^[a-z_]{1,32}$", description="Only alarms of this kind.")]
Resolved = Annotated[bool, QueryParameter(description="Those that are resolved too.")]
ReasonQuery = Annotated[str, QueryParameter(name="reason", pattern=r"^[^\x00-\x1f\x7f]{1,1000}$", description="Why.")]
_TEXT: Final = r"^[^\x00-\x08\x0b-\x1f\x7f]*$(?!\n)"


class WaitingOut(msgspec.Struct, frozen=True, kw_only=True):
    """A run of no known plate; `submission`, `test` and `plate_number` are what its code said, null without one."""

    id: str
    number: int
    url: str
    site_id: str
    revision: int
    device_id: str
    device_name: str
    profile: str
    captured_at: datetime
    received_at: datetime
    submission: str | None
    test: str | None
    plate_number: str | None


class UnmatchedOut(msgspec.Struct, frozen=True):
    """A page of runs that wait, newest first; `next` is the address of the following one."""

    items: tuple[WaitingOut, ...]
    next: str | None


class PlateOfRunIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which plate a run is of, and how one knows."""

    plate_id: Id
    reason: Reason


class WhyIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why."""

    reason: Reason


class AlarmOut(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a person should look at, raised once until it is resolved."""

    number: int
    site_id: str
    kind: str
    object_kind: str
    object_id: str
    detail: str
    raised_at: datetime
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    resolved_at: datetime | None


class AlarmsOut(msgspec.Struct, frozen=True):
    """A page of alarms, newest first; `next` is the address of the following one."""

    items: tuple[AlarmOut, ...]
    next: str | None


class CommentIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What somebody says."""

    text: Annotated[str, msgspec.Meta(min_length=1, max_length=2000, pattern=_TEXT)]


class CommentOut(msgspec.Struct, frozen=True):
    """What somebody said; `author` is the name that is known today."""

    number: int
    at: datetime
    user_id: str
    author: str
    text: str


class CommentsOut(msgspec.Struct, frozen=True):
    """What was said of a thing, oldest first."""

    items: tuple[CommentOut, ...]


@get(
    "/unmatched",
    access=VIEWERS.with_key("results:read"),
    summary="Runs of no known plate",
    description="Newest first: their code is missing, or nobody registered it. Follow `next` for older ones.",
)
async def get_unmatched(
    request: CentralRequest, parts: Wired, after: After = None, limit: Limit = 50
) -> Response[UnmatchedOut]:
    """A page of runs that wait."""
    async with reading(parts.engine) as connection:
        rows = await unmatched.list_waiting(connection, caller_sites(request), after=after, limit=limit + 1)
    shown = rows[:limit]
    following = with_query("/api/v1/unmatched", after=shown[-1].number, limit=limit) if len(rows) > limit else None
    links = {"link": f'<{following}>; rel="next"'} if following else {}
    return Response(UnmatchedOut(tuple(waiting_out(row) for row in shown), following), headers=links)


def waiting_out(row: WaitingRun) -> WaitingOut:
    """A waiting run as the API shows it."""
    return WaitingOut(**msgspec.structs.asdict(row), url=f"/api/v1/runs/{row.id}")


@put(
    "/runs/{run_id:str}/plate",
    access=OPERATORS,
    status_code=204,
    summary="Say which plate a run is of",
    description="A run that waits, and a plate of its own laboratory that is planned for the run's profile.",
)
async def put_run_plate(request: CentralRequest, parts: Wired, run_id: RunPath, data: JSONBody[PlateOfRunIn]) -> None:
    """This run is of this plate."""
    with refusals():
        await unmatched.say_plate(
            parts.engine,
            run_id,
            data.plate_id,
            sites=caller_sites(request),
            actor=actor_of(request),
            now=parts.now(),
            reason=data.reason,
        )


@delete(
    "/runs/{run_id:str}/plate",
    access=OPERATORS,
    summary="Take back which plate a run is of",
    description="The run waits again. Not where somebody signed for it.",
)
async def delete_run_plate(request: CentralRequest, parts: Wired, run_id: RunPath, reason: ReasonQuery) -> None:
    """This run is of no known plate."""
    with refusals():
        await unmatched.take_back(
            parts.engine,
            run_id,
            sites=caller_sites(request),
            actor=actor_of(request),
            now=parts.now(),
            reason=reason,
        )


@get(
    "/alarms",
    access=VIEWERS.with_key("results:read"),
    summary="Alarms",
    description="Newest first, those that are not resolved. Follow `next` for older ones.",
)
async def get_alarms(
    *,
    request: CentralRequest,
    parts: Wired,
    after: After = None,
    limit: Limit = 50,
    kind: KindFilter = None,
    resolved: Resolved = False,
) -> Response[AlarmsOut]:
    """A page of alarms."""
    async with reading(parts.engine) as connection:
        rows = await alarms.list_alarms(
            connection, caller_sites(request), after=after, limit=limit + 1, kind=kind, resolved=resolved
        )
    shown = rows[:limit]
    following = None
    if len(rows) > limit:
        more = "true" if resolved else None
        following = with_query("/api/v1/alarms", after=shown[-1].number, limit=limit, kind=kind, resolved=more)
    links = {"link": f'<{following}>; rel="next"'} if following else {}
    return Response(AlarmsOut(tuple(alarm_out(row) for row in shown), following), headers=links)


def alarm_out(row: AlarmRow) -> AlarmOut:
    """An alarm as the API shows it."""
    return AlarmOut(**msgspec.structs.asdict(row))


@post(
    "/alarms/{number:int}/acknowledge",
    access=OPERATORS,
    status_code=200,
    summary="Say that an alarm was seen",
    description="Who said it first stays.",
)
async def post_acknowledge(request: CentralRequest, parts: Wired, number: AlarmPath) -> AlarmOut:
    """Somebody has seen it."""
    async with transaction(parts.engine) as connection:
        found = await alarms.acknowledge(
            connection, caller_sites(request), number, actor=actor_of(request), now=parts.now()
        )
    if found is None:
        raise missing("alarm", str(number))
    return alarm_out(found)


@post(
    "/alarms/{number:int}/resolve",
    access=OPERATORS,
    status_code=200,
    summary="Say that an alarm is dealt with",
    description="With a reason. It is raised again when it happens again.",
)
async def post_resolve(request: CentralRequest, parts: Wired, number: AlarmPath, data: JSONBody[WhyIn]) -> AlarmOut:
    """It is dealt with."""
    async with transaction(parts.engine) as connection:
        found = await alarms.resolve(
            connection,
            caller_sites(request),
            number,
            reason=data.reason,
            actor=actor_of(request),
            now=parts.now(),
        )
    if found is None:
        raise missing("alarm", str(number))
    return alarm_out(found)


@get("/comments/{kind:str}/{object_id:str}", access=VIEWERS, summary="What was said of a thing")
async def get_comments(request: CentralRequest, parts: Wired, kind: KindPath, object_id: ObjectPath) -> CommentsOut:
    """Comments, oldest first."""
    return await _comments(request, parts, kind, object_id)


async def _comments(request: CentralRequest, parts: Parts, kind: str, object_id: str) -> CommentsOut:
    async with reading(parts.engine) as connection:
        if await site_of(connection, caller_sites(request), kind, object_id) is None:
            raise missing(kind, object_id)
        found = await comments_on(connection, caller_sites(request), [object_id])
    return CommentsOut(tuple(CommentOut(**msgspec.structs.asdict(each)) for each in found))


@post("/comments/{kind:str}/{object_id:str}", access=OPERATORS, summary="Say something of a thing")
async def post_comment(
    request: CentralRequest, parts: Wired, kind: KindPath, object_id: ObjectPath, data: JSONBody[CommentIn]
) -> CommentsOut:
    """A new comment; all of them with it."""
    async with transaction(parts.engine) as connection:
        number = await add_comment(
            connection, caller_sites(request), kind, object_id, data.text, actor=actor_of(request), now=parts.now()
        )
    if number is None:
        raise missing(kind, object_id)
    return await _comments(request, parts, kind, object_id)


HANDLERS = [
    get_unmatched,
    put_run_plate,
    delete_run_plate,
    get_alarms,
    post_acknowledge,
    post_resolve,
    get_comments,
    post_comment,
]
