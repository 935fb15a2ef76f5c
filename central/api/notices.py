"""`/api/v1/notices`, `/notice-rules`, `/notice-silences`: what somebody ought to look at, and who is told of it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated, Final

import msgspec
from litestar import Response, get, post, put
from litestar.params import JSONBody, PathParameter, QueryParameter

from central.api.deliveries import cursor_of
from central.api.paths import DeviceFilter, Limit, missing, with_query
from central.db import reading
from central.notices import editing
from central.notices.editing import (
    Doing,
    NewNoticeRule,
    NoticeOverError,
    NoticeRefusedError,
    NoticeUnknownError,
    StaleNoticeRuleError,
)
from central.notices.kinds import KINDS, LONGEST_S, Kind
from central.notices.queries import (
    LetterRow,
    NoticeRow,
    NoticeRuleRow,
    SilenceRow,
    get_notice,
    get_notice_rule,
    letters_of,
    list_notice_rules,
    list_notices,
    list_silences,
)
from central.parts import CentralRequest, Parts, Wired, actor_of, caller_sites
from central.people.permissions import ADMINS, OPERATORS, VIEWERS
from central.web.problems import ProblemError
from central.web.revisions import revision_tag, seen_revision, stale

_ID: Final = r"^[0-9a-f-]{36}$"
_DEVICE: Final = r"^[a-z0-9][a-z0-9-]{2,62}$(?!\n)"
IdPath = Annotated[str, PathParameter(pattern=_ID, description="Its id.")]
KindFilter = Annotated[Kind | None, QueryParameter(name="kind", description="Only notices of this kind.")]
AllOfThem = Annotated[bool, QueryParameter(name="all", description="Those that are over, too.")]
Before = Annotated[
    str | None, QueryParameter(pattern=r"^[0-9TZ:.+-]{1,40}_[0-9a-f-]{36}$", description="`next` of the page before.")
]

Limitation = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
Seconds = Annotated[int, msgspec.Meta(ge=0, le=LONGEST_S)]
Reason = Annotated[str, msgspec.Meta(min_length=1, max_length=1000, pattern=r"^[^\x00]+$(?!\n)")]
UserId = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f-]{36}$(?!\n)")]


class NoticeRuleIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When something is worth a notice, and who is told. What is left out is as the kind's first rule says it.

    `opens_at` and `closes_at` are in the kind's unit. `recipients` are ids of people of the site, who are written to at
    their own address. `secret` is kept sealed and never shown; left out of a change, the rule keeps what it has.
    """

    title: Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$(?!\n)")]
    kind: Kind
    enabled: bool = True
    device_id: Annotated[str, msgspec.Meta(pattern=_DEVICE)] | None = None
    opens_at: Limitation | None = None
    closes_at: Limitation | None = None
    hold_s: Seconds | None = None
    calm_s: Seconds | None = None
    window_s: Seconds | None = None
    least: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] | None = None
    repeat_s: Seconds | None = None
    tell_end: bool = True
    recipients: Annotated[tuple[UserId, ...], msgspec.Meta(max_length=50)] = ()
    webhook_url: Annotated[str, msgspec.Meta(min_length=1, max_length=500)] | None = None
    secret: Annotated[str, msgspec.Meta(min_length=1, max_length=200)] | None = None


class NewNoticeRuleIn(NoticeRuleIn, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A rule of a site."""

    site_id: Annotated[str, msgspec.Meta(max_length=64)] = "main"


class NoticeRulesOut(msgspec.Struct, frozen=True):
    """Every rule that the caller sees."""

    items: tuple[NoticeRuleRow, ...]


class KindLine(msgspec.Struct, frozen=True):
    """A kind: what it measures, in which unit, and whether more of it is worse."""

    kind: Kind
    title: str
    unit: str
    measures: str
    rising: bool
    opens_at: float
    closes_at: float


class KindsOut(msgspec.Struct, frozen=True):
    """What there may be notices of."""

    items: tuple[KindLine, ...]


class NoticesOut(msgspec.Struct, frozen=True):
    """A page of notices, newest first."""

    items: tuple[NoticeRow, ...]
    next: str | None


class NoticeOut(msgspec.Struct, frozen=True):
    """One notice and who was told of it."""

    notice: NoticeRow
    letters: tuple[LetterRow, ...]


class SeenIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What whoever sees to it says."""

    comment: Reason | None = None


class SilenceIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Of a rule, a device, or a device by a rule nobody is told anything until then (90 days at most)."""

    until: Annotated[datetime, msgspec.Meta(tz=True)]
    reason: Reason
    site_id: Annotated[str, msgspec.Meta(max_length=64)] = "main"
    rule_id: Annotated[str, msgspec.Meta(pattern=_ID + r"(?!\n)")] | None = None
    device_id: Annotated[str, msgspec.Meta(pattern=_DEVICE)] | None = None


class SilencesOut(msgspec.Struct, frozen=True):
    """Silences that last, the one that ends first before the others."""

    items: tuple[SilenceRow, ...]


class NoticeMadeOut(msgspec.Struct, frozen=True):
    """What was made."""

    id: str


@contextmanager
def refusals(kind: str, name: str) -> Iterator[None]:
    """What cannot be, as answers."""
    try:
        yield
    except NoticeUnknownError as error:
        raise ProblemError(404, str(error)) from error
    except NoticeOverError as error:
        raise ProblemError(409, str(error)) from error
    except NoticeRefusedError as error:
        raise ProblemError(422, str(error)) from error
    except StaleNoticeRuleError as error:
        raise stale(f"{kind} {name}: {error}", error.revision) from error


def doing_of(request: CentralRequest, parts: Parts) -> Doing:
    """Who does it, and when."""
    return Doing(caller_sites(request), actor_of(request), parts.now())


@get("/notice-kinds", access=VIEWERS, summary="List kinds of notices", description="With their units and first limits.")
async def get_notice_kinds() -> KindsOut:
    """What there may be notices of."""
    return KindsOut(
        tuple(
            KindLine(kind, each.title, each.unit, each.measures, each.rising, each.opens_at, each.closes_at)
            for kind, each in KINDS.items()
        )
    )


@get("/notice-rules", access=ADMINS, summary="List notice rules", description="Without their secrets.")
async def get_notice_rules(request: CentralRequest, parts: Wired) -> NoticeRulesOut:
    """Every rule."""
    async with reading(parts.engine) as connection:
        return NoticeRulesOut(await list_notice_rules(connection, caller_sites(request)))


@post(
    "/notice-rules",
    access=ADMINS,
    status_code=201,
    summary="Make a notice rule",
    description="A second rule of a kind may look at one device alone, or tell others. 422 says what cannot be.",
)
async def post_notice_rule(request: CentralRequest, parts: Wired, data: JSONBody[NewNoticeRuleIn]) -> NoticeMadeOut:
    """A rule."""
    with refusals("notice rule", data.title):
        made = await editing.add_rule(parts.desk, data.site_id, wanted_rule(data), doing_of(request, parts))
    return NoticeMadeOut(made)


@get("/notice-rules/{rule_id:str}", access=ADMINS, summary="One notice rule", description="Without its secret.")
async def get_one_notice_rule(request: CentralRequest, parts: Wired, rule_id: IdPath) -> Response[NoticeRuleRow]:
    """One rule, with its revision as ETag."""
    async with reading(parts.engine) as connection:
        found = await get_notice_rule(connection, rule_id, caller_sites(request))
    if found is None:
        raise missing("notice rule", rule_id)
    return Response(found, headers={"etag": revision_tag(found.revision)})


@put(
    "/notice-rules/{rule_id:str}",
    access=ADMINS,
    status_code=204,
    summary="Change a notice rule",
    description="Names the revision that was seen (`If-Match`). Switched off, it closes its notices and tells nobody.",
)
async def put_notice_rule(request: CentralRequest, parts: Wired, rule_id: IdPath, data: JSONBody[NoticeRuleIn]) -> None:
    """The rule as it is wanted now."""
    seen = seen_revision(request)
    with refusals("notice rule", rule_id):
        await editing.change_rule(parts.desk, rule_id, wanted_rule(data), seen=seen, doing=doing_of(request, parts))


@get(
    "/notices",
    access=VIEWERS.with_key("results:read"),
    summary="List notices",
    description="Those that are not over, newest first. Follow `next` (or the `Link` header) for older ones.",
)
async def get_notices(
    *,
    request: CentralRequest,
    parts: Wired,
    all_of_them: AllOfThem = False,
    of_kind: KindFilter = None,
    device: DeviceFilter = None,
    before: Before = None,
    limit: Limit = 50,
) -> Response[NoticesOut]:
    """A page of notices."""
    async with reading(parts.engine) as connection:
        found = await list_notices(
            connection,
            caller_sites(request),
            standing=not all_of_them,
            kind=of_kind,
            device=device,
            before=None if before is None else cursor_of(before),
            limit=limit,
        )
    following = None
    if len(found) == limit:
        asked = {"all": "true" if all_of_them else None, "kind": of_kind, "device": device}
        following = with_query("/api/v1/notices", **asked, before=next_cursor(found), limit=limit)
    links = {"link": f'<{following}>; rel="next"'} if following else {}
    return Response(NoticesOut(found, following), headers=links)


@get(
    "/notices/{notice_id:str}",
    access=VIEWERS.with_key("results:read"),
    summary="One notice",
    description="With every letter about it, and what became of each.",
)
async def get_one_notice(request: CentralRequest, parts: Wired, notice_id: IdPath) -> NoticeOut:
    """One notice."""
    async with reading(parts.engine) as connection:
        found = await get_notice(connection, notice_id, caller_sites(request))
        if found is None:
            raise missing("notice", notice_id)
        return NoticeOut(found, await letters_of(connection, notice_id))


@post(
    "/notices/{notice_id:str}/acknowledge",
    access=OPERATORS,
    status_code=204,
    summary="Say that somebody sees to it",
    description="It is not told again; it closes when it is over. The first who says so stays. 409 once it is over.",
)
async def post_notice_acknowledge(
    request: CentralRequest, parts: Wired, notice_id: IdPath, data: JSONBody[SeenIn]
) -> None:
    """Somebody sees to it."""
    with refusals("notice", notice_id):
        await editing.acknowledge(parts.desk, notice_id, data.comment, doing_of(request, parts))
    await parts.notices.refresh(parts.engine)


@get("/notice-silences", access=VIEWERS, summary="List silences", description="Those that last.")
async def get_silences(request: CentralRequest, parts: Wired) -> SilencesOut:
    """Who is not told of what."""
    async with reading(parts.engine) as connection:
        return SilencesOut(await list_silences(connection, caller_sites(request), parts.now()))


@post(
    "/notice-silences",
    access=OPERATORS,
    status_code=201,
    summary="Silence a rule or a device",
    description="Notices open and close as ever. What still stands at the end of the silence is told then.",
)
async def post_silence(request: CentralRequest, parts: Wired, data: JSONBody[SilenceIn]) -> NoticeMadeOut:
    """Nobody is told for a while."""
    with refusals("silence", data.site_id):
        made = await editing.silence(
            parts.desk,
            data.site_id,
            rule_id=data.rule_id,
            device_id=data.device_id,
            until=data.until,
            reason=data.reason,
            doing=doing_of(request, parts),
        )
    return NoticeMadeOut(made)


@post(
    "/notice-silences/{silence_id:str}/end",
    access=OPERATORS,
    status_code=204,
    summary="End a silence",
    description="From now on people are told again. 409 where it had ended.",
)
async def post_silence_end(request: CentralRequest, parts: Wired, silence_id: IdPath) -> None:
    """Told again."""
    with refusals("silence", silence_id):
        await editing.end_silence(parts.desk, silence_id, doing_of(request, parts))


def wanted_rule(data: NoticeRuleIn) -> NewNoticeRule:
    """The rule that is meant: what is left out is as the kind's first rule says it."""
    said = {name: value for name, value in msgspec.structs.asdict(data).items() if name in _RULE}
    facts = KINDS[data.kind]
    first = {name: getattr(facts, name) for name in _FIRST if said[name] is None}
    return NewNoticeRule(**said | first)


_RULE: Final = frozenset(NewNoticeRule.__struct_fields__)
_FIRST: Final = ("opens_at", "closes_at", "hold_s", "calm_s", "window_s", "least")


def next_cursor(found: Sequence[NoticeRow]) -> str:
    """Where the page after these begins."""
    return f"{found[-1].opened_at.isoformat()}_{found[-1].id}"


HANDLERS: Final = (
    get_notice_kinds,
    get_notice_rules,
    post_notice_rule,
    get_one_notice_rule,
    put_notice_rule,
    get_notices,
    get_one_notice,
    post_notice_acknowledge,
    get_silences,
    post_silence,
    post_silence_end,
)
