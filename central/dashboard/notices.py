"""The pages of notices: what stands, who was told, what is silenced; and for administrators the rules."""

from datetime import timedelta
from typing import Annotated, Any, Final

import msgspec
from litestar import Response, get, post
from litestar.response import Redirect, Template

from central.api.deliveries import cursor_of
from central.api.notices import AllOfThem, Before, IdPath, doing_of, next_cursor, refusals
from central.api.paths import missing, with_query
from central.dashboard.fields import FORM, Revision, Short, Text, may
from central.dashboard.pages import PAGE_SIZE, page
from central.db import reading
from central.notices import editing
from central.notices.editing import NewNoticeRule
from central.notices.kinds import KINDS, value_words
from central.notices.queries import (
    NoticeRuleRow,
    get_notice,
    get_notice_rule,
    letters_of,
    list_notice_rules,
    list_notices,
    list_silences,
)
from central.notices.words import said, where_to_look
from central.parts import CentralRequest, Parts, Wired, caller_sites
from central.people.directory import list_users
from central.people.permissions import ADMINS, OPERATORS, VIEWERS
from central.review.dossier import names_of
from central.web.problems import ProblemError

HOURS: Final = (1, 4, 24, 7 * 24)


class SeenForm(msgspec.Struct, frozen=True):
    """What whoever sees to it says; it may be empty."""

    comment: Text = ""


class SilenceForm(msgspec.Struct, frozen=True):
    """Of a notice's rule at its device, or of one of the two, for so many hours."""

    of: Short = "both"
    hours: Annotated[int, msgspec.Meta(ge=1, le=90 * 24)] = 1
    reason: Text = ""


class RuleForm(msgspec.Struct, frozen=True):
    """What a page may change of a rule; the rest stays, and is changed by the API."""

    revision: Revision
    title: Short = ""
    opens_at: Short = ""
    closes_at: Short = ""
    hold_s: Short = ""
    calm_s: Short = ""
    repeat_s: Short = ""
    enabled: Short = ""
    people: Short | list[Short] = ""  # one that is ticked comes by itself


@get("/notices", access=VIEWERS, include_in_schema=False)
async def get_notices_page(
    *, request: CentralRequest, parts: Wired, all_of_them: AllOfThem = False, before: Before = None
) -> Template:
    """What stands, newest first, and what is silenced."""
    sites = caller_sites(request)
    await parts.notices.refresh(parts.engine)
    async with reading(parts.engine) as connection:
        found = await list_notices(
            connection,
            sites,
            standing=not all_of_them,
            before=None if before is None else cursor_of(before),
            limit=PAGE_SIZE,
        )
        silences = await list_silences(connection, sites, parts.now())
        rules = {rule.id: rule for rule in await list_notice_rules(connection, sites)}
        names = await names_of(connection, {each.acknowledged_by for each in found if each.acknowledged_by})
    following = None
    if len(found) == PAGE_SIZE:
        following = with_query("/notices", all="true" if all_of_them else None, before=next_cursor(found))
    return page(
        request,
        parts,
        "notices.html",
        "/notices",
        notices=found,
        rules=rules,
        silences=silences,
        names=names,
        kinds=KINDS,
        look=where_to_look,
        all_of_them=all_of_them,
        next_link=following,
        operator=may(request, "operator"),
    )


@get("/notices/rules", access=VIEWERS, include_in_schema=False)
async def get_rules_page(request: CentralRequest, parts: Wired) -> Template:
    """The rules, with a form for each."""
    return await _rules_page(request, parts)


async def _rules_page(request: CentralRequest, parts: Parts, problem: ProblemError | None = None) -> Template:
    admin = may(request, "admin")
    async with reading(parts.engine) as connection:
        rules = await list_notice_rules(connection, caller_sites(request))
        everybody = await list_users(connection) if admin else ()
    reachable = [each for each in everybody if each.email and each.disabled_at is None and each.erased_at is None]
    answer = page(
        request,
        parts,
        "notice-rules.html",
        "/notices",
        rules=rules,
        kinds=KINDS,
        people=reachable,
        words=value_words,
        problem=problem,
        has_mail=parts.mailer is not None,
    )
    answer.status_code = 200 if problem is None else problem.status
    return answer


@post("/notices/rules/{rule_id:str}", access=ADMINS, include_in_schema=False)
async def post_rule_form(
    request: CentralRequest, parts: Wired, rule_id: IdPath, data: Annotated[RuleForm, FORM]
) -> Response[Any]:
    """A rule as the form has it, or the page again with what is wrong."""
    async with reading(parts.engine) as connection:
        before = await get_notice_rule(connection, rule_id, caller_sites(request))
    if before is None:
        raise missing("notice rule", rule_id)
    try:
        with refusals("notice rule", rule_id):
            await editing.change_rule(
                parts.desk, rule_id, _wanted(before, data), seen=data.revision, doing=doing_of(request, parts)
            )
    except ProblemError as error:
        return await _rules_page(request, parts, error)
    return Redirect("/notices/rules", status_code=303)


def _wanted(before: NoticeRuleRow, data: RuleForm) -> NewNoticeRule:
    kept = {name: getattr(before, name) for name in NewNoticeRule.__struct_fields__ if name != "secret"}
    changed = {
        "title": data.title.strip() or before.title,
        "enabled": bool(data.enabled),
        "opens_at": _number(data.opens_at, "opens at"),
        "closes_at": _number(data.closes_at, "closes at"),
        "hold_s": int(_number(data.hold_s, "hold")),
        "calm_s": int(_number(data.calm_s, "calm")),
        "repeat_s": int(_number(data.repeat_s, "repeat")) if data.repeat_s.strip() else None,
        "recipients": (data.people,) if isinstance(data.people, str) and data.people else tuple(data.people),
    }
    return NewNoticeRule(**kept | changed)


def _number(text: str, of: str) -> float:
    try:
        found = float(text)
    except ValueError as error:
        raise ProblemError(422, f"{of}: {text[:40]!r} (expected a number)") from error
    if not 0 <= found <= 1e8:
        raise ProblemError(422, f"{of}: {text[:40]!r} (expected a number from 0 to 100,000,000)")
    return found


@get("/notices/{notice_id:str}", access=VIEWERS, include_in_schema=False)
async def get_notice_page(request: CentralRequest, parts: Wired, notice_id: IdPath) -> Template:
    """One notice: what, since when, who sees to it, who was told."""
    async with reading(parts.engine) as connection:
        found = await get_notice(connection, notice_id, caller_sites(request))
        if found is None:
            raise missing("notice", notice_id)
        letters = await letters_of(connection, notice_id)
        rule = await get_notice_rule(connection, found.rule_id, caller_sites(request))
        people = {each.recipient for each in letters if each.channel == "email"}
        names = await names_of(connection, people | ({found.acknowledged_by} if found.acknowledged_by else set()))
    return page(
        request,
        parts,
        "notice.html",
        "/notices",
        notice=found,
        letters=letters,
        rule=rule,
        names=names,
        kinds=KINDS,
        said=said(found.kind, found.value),
        link=where_to_look(found.kind, found.object_kind, found.object_id),
        hours=HOURS,
        operator=may(request, "operator"),
    )


@post("/notices/{notice_id:str}/acknowledge", access=OPERATORS, include_in_schema=False)
async def post_seen_form(
    request: CentralRequest, parts: Wired, notice_id: IdPath, data: Annotated[SeenForm, FORM]
) -> Redirect:
    """Somebody sees to it."""
    comment = data.comment.replace("\0", "").strip() or None
    with refusals("notice", notice_id):
        await editing.acknowledge(parts.desk, notice_id, comment, doing_of(request, parts))
    await parts.notices.refresh(parts.engine)
    return Redirect(f"/notices/{notice_id}", status_code=303)


@post("/notices/{notice_id:str}/silence", access=OPERATORS, include_in_schema=False)
async def post_silence_form(
    request: CentralRequest, parts: Wired, notice_id: IdPath, data: Annotated[SilenceForm, FORM]
) -> Redirect:
    """Nobody is told of such notices for a while."""
    async with reading(parts.engine) as connection:
        found = await get_notice(connection, notice_id, caller_sites(request))
    if found is None:
        raise missing("notice", notice_id)
    reason = data.reason.replace("\0", "").strip()
    if not reason:
        raise ProblemError(422, "no reason (expected why nobody is to be told)")
    with refusals("silence", notice_id):
        await editing.silence(
            parts.desk,
            found.site_id,
            rule_id=None if data.of == "device" else found.rule_id,
            device_id=None if data.of == "rule" else found.device_id,
            until=parts.now() + timedelta(hours=data.hours),
            reason=reason,
            doing=doing_of(request, parts),
        )
    return Redirect("/notices", status_code=303)


@post("/notices/silences/{silence_id:str}/end", access=OPERATORS, include_in_schema=False)
async def post_silence_end_form(request: CentralRequest, parts: Wired, silence_id: IdPath) -> Redirect:
    """From now on people are told again."""
    with refusals("silence", silence_id):
        await editing.end_silence(parts.desk, silence_id, doing_of(request, parts))
    return Redirect("/notices", status_code=303)


HANDLERS: Final = (
    get_notices_page,
    get_rules_page,
    post_rule_form,
    get_notice_page,
    post_seen_form,
    post_silence_form,
    post_silence_end_form,
)
