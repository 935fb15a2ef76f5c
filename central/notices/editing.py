"""What people do to rules, notices and silences; each is one transaction, with its entry in the trail."""

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from sqlalchemy import Row, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from central.audit.chain import Actor, Change, record
from central.db import transaction
from central.deliveries.editing import Desk
from central.deliveries.places import PlaceError, check_place
from central.notices.kinds import KINDS, LONGEST_S, OF_NO_DEVICE, SHORTEST_REPEAT_S, Kind, is_high, is_low
from central.notices.letters import address_of
from central.notices.states import STANDING
from central.people.sites import Sites
from central.tables import devices, notice_rules, notice_silences, notices
from central.tables import sites as sites_table

LONGEST_SILENCE: Final = timedelta(days=90)


class NoticeUnknownError(LookupError):
    """No such rule, notice, silence, site or device among what the caller sees."""


class NoticeRefusedError(ValueError):
    """What cannot be; the message holds the value and the expectation."""


class NoticeOverError(Exception):
    """A notice that is over cannot be acknowledged; a silence that is over cannot be ended."""


class StaleNoticeRuleError(Exception):
    """The rule is at another revision than the one that was seen."""

    def __init__(self, revision: int) -> None:
        """`revision` is what it has now."""
        super().__init__(f"the rule is at revision {revision} by now (expected the one that was seen)")
        self.revision = revision


class NewNoticeRule(msgspec.Struct, frozen=True, kw_only=True):
    """A rule as somebody wants it; `secret` None keeps the one that it has. `recipients` are ids of people."""

    title: str
    kind: Kind
    enabled: bool
    device_id: str | None
    opens_at: float
    closes_at: float
    hold_s: int
    calm_s: int
    window_s: int
    least: int
    repeat_s: int | None
    tell_end: bool
    recipients: tuple[str, ...]
    webhook_url: str | None
    secret: str | None = None


@dataclass(frozen=True, slots=True)
class Doing:
    """Who does something, whose things they see, and when."""

    sites: Sites
    actor: Actor
    now: datetime


async def add_rule(desk: Desk, site_id: str, wanted: NewNoticeRule, doing: Doing) -> str:
    """A rule; NoticeRefusedError where it cannot be, NoticeUnknownError where the caller sees no such site."""
    rule_id = str(uuid.uuid4())
    async with transaction(desk.engine) as connection:
        found = select(sites_table.c.id).where(sites_table.c.id == site_id, doing.sites.having(sites_table.c.id))
        if await connection.scalar(found) is None:
            raise NoticeUnknownError(f"no site {site_id!r} here")
        await _check(desk, connection, site_id, wanted, wanted.secret)
        sealed = None if wanted.secret is None else desk.seal.close(wanted.secret.encode(), rule_id)
        row = _said(wanted) | {"id": rule_id, "site_id": site_id, "revision": 1, "secret": sealed}
        await connection.execute(
            insert(notice_rules).values(row | {"created_at": doing.now, "created_by": doing.actor.id})
        )
        change = Change("notice_rule.add", "notice_rule", rule_id, site_id, new=_said(wanted))
        await record(connection, doing.actor, [change], doing.now)
    return rule_id


async def change_rule(desk: Desk, rule_id: str, wanted: NewNoticeRule, *, seen: int, doing: Doing) -> int:
    """The rule as it is wanted now; its new revision. Its kind stays: notices of it would be of something else."""
    async with transaction(desk.engine) as connection:
        before = await _rule(connection, rule_id, doing.sites)
        if before.revision != seen:
            raise StaleNoticeRuleError(before.revision)
        if wanted.kind != before.kind:
            raise NoticeRefusedError(f"kind {wanted.kind!r} (expected {before.kind!r}: make another rule instead)")
        kept = wanted.secret
        if kept is None and before.secret is not None and wanted.webhook_url is not None:
            kept = desk.seal.open(before.secret, rule_id).decode()
        await _check(desk, connection, before.site_id, wanted, kept)
        values = _said(wanted) | {"revision": seen + 1}
        if wanted.webhook_url is None:
            values["secret"] = None
        elif wanted.secret is not None:
            values["secret"] = desk.seal.close(wanted.secret.encode(), rule_id)
        await connection.execute(update(notice_rules).where(notice_rules.c.id == rule_id).values(values))
        old = {name: before._mapping[name] for name in _said(wanted)}
        change = Change("notice_rule.change", "notice_rule", rule_id, before.site_id, old, _said(wanted))
        await record(connection, doing.actor, [change], doing.now)
    return seen + 1


async def acknowledge(desk: Desk, notice_id: str, comment: str | None, doing: Doing) -> None:
    """Somebody has seen it and sees to it; the first who said so stays. NoticeOverError where it is over."""
    async with transaction(desk.engine) as connection:
        query = select(notices).where(notices.c.id == notice_id, doing.sites.having(notices.c.site_id))
        row = (await connection.execute(query.with_for_update())).one_or_none()
        if row is None or row.opened_at is None:
            raise NoticeUnknownError(f"no notice {notice_id!r} here")
        if row.acknowledged_at is not None:
            return
        if row.state not in STANDING:
            raise NoticeOverError(f"the notice was over at {row.closed_at:%Y-%m-%d %H:%M} UTC (expected an open one)")
        values = {"acknowledged_at": doing.now, "acknowledged_by": doing.actor.id, "comment": comment}
        await connection.execute(update(notices).where(notices.c.id == notice_id).values(values))
        new = {"acknowledged_at": doing.now, "acknowledged_by": doing.actor.id}
        change = Change("notice.acknowledge", "notice", notice_id, row.site_id, new=new, reason=comment)
        await record(connection, doing.actor, [change], doing.now)


async def silence(
    desk: Desk, site_id: str, *, rule_id: str | None, device_id: str | None, until: datetime, reason: str, doing: Doing
) -> str:
    """Nobody is told of a rule, of a device, or of a device by a rule, until then."""
    if rule_id is None and device_id is None:
        raise NoticeRefusedError("no rule and no device (expected one of them, or both)")
    if not doing.now < until <= doing.now + LONGEST_SILENCE:
        raise NoticeRefusedError(f"until {until.isoformat()} (expected a moment within the next 90 days)")
    row = {
        "id": str(uuid.uuid4()), "site_id": site_id, "rule_id": rule_id, "device_id": device_id, "until": until,
        "reason": reason, "created_at": doing.now, "created_by": doing.actor.id,
    }  # fmt: skip
    async with transaction(desk.engine) as connection:
        here = Sites.of([site_id] if site_id in doing.sites else [])
        if rule_id is not None:
            await _rule(connection, rule_id, here)
        if device_id is not None:
            await _device(connection, device_id, here)
        await connection.execute(insert(notice_silences).values(row))
        new = {"rule": rule_id, "device": device_id, "until": until}
        change = Change("notice_silence.add", "notice_silence", str(row["id"]), site_id, new=new, reason=reason)
        await record(connection, doing.actor, [change], doing.now)
    return str(row["id"])


async def end_silence(desk: Desk, silence_id: str, doing: Doing) -> None:
    """From now on people are told again. NoticeOverError where it had ended."""
    async with transaction(desk.engine) as connection:
        mine = notice_silences.c.id == silence_id, doing.sites.having(notice_silences.c.site_id)
        row = (await connection.execute(select(notice_silences).where(*mine).with_for_update())).one_or_none()
        if row is None:
            raise NoticeUnknownError(f"no silence {silence_id!r} here")
        if row.ended_at is not None or row.until <= doing.now:
            raise NoticeOverError("the silence has ended (expected one that lasts)")
        await connection.execute(update(notice_silences).where(*mine).values(ended_at=doing.now))
        old, new = {"until": row.until}, {"ended_at": doing.now}
        change = Change("notice_silence.end", "notice_silence", silence_id, row.site_id, old, new)
        await record(connection, doing.actor, [change], doing.now)


async def _check(
    desk: Desk, connection: AsyncConnection, site_id: str, wanted: NewNoticeRule, secret: str | None
) -> None:
    facts = KINDS[wanted.kind]
    if is_high(wanted.kind, wanted.closes_at, wanted.opens_at) and wanted.closes_at != wanted.opens_at:
        way = "at most" if facts.rising else "at least"
        raise NoticeRefusedError(f"closes_at {wanted.closes_at:g} (expected {way} opens_at, {wanted.opens_at:g})")
    if is_low(wanted.kind, wanted.opens_at, wanted.closes_at):
        raise NoticeRefusedError(f"opens_at {wanted.opens_at:g} (expected no value at which the notice is over)")
    if facts.unit == "share" and not 0 < wanted.opens_at <= 1:
        raise NoticeRefusedError(f"opens_at {wanted.opens_at:g} (expected a share above 0, up to 1)")
    if bool(facts.window_s) != bool(wanted.window_s) or wanted.window_s > LONGEST_S:
        expected = "1 or more" if facts.window_s else f"0, as {wanted.kind} does not look back"
        raise NoticeRefusedError(f"window_s {wanted.window_s} (expected {expected})")
    if wanted.repeat_s is not None and wanted.repeat_s < SHORTEST_REPEAT_S:
        raise NoticeRefusedError(f"repeat_s {wanted.repeat_s} (expected {SHORTEST_REPEAT_S} or more, or none)")
    if wanted.device_id is not None and wanted.kind in OF_NO_DEVICE:
        expected = f"none: {wanted.kind} is of no single device"
        raise NoticeRefusedError(f"device_id {wanted.device_id!r} (expected {expected})")
    if wanted.device_id is not None:
        await _device(connection, wanted.device_id, Sites.of([site_id]))
    for user_id in wanted.recipients:
        if await address_of(connection, user_id, site_id) is None:
            expected = "somebody of the site with an e-mail address"
            raise NoticeRefusedError(f"recipient {user_id!r} (expected {expected})")
    if wanted.webhook_url is None and wanted.secret is not None:
        raise NoticeRefusedError("a secret without webhook_url (expected both)")
    if wanted.webhook_url is not None:
        try:
            check_place("webhook", {"url": wanted.webhook_url}, secret, desk.bounds)
        except PlaceError as error:
            raise NoticeRefusedError(str(error)) from error


async def _rule(connection: AsyncConnection, rule_id: str, sites: Sites) -> Row[Any]:
    query = select(notice_rules).where(notice_rules.c.id == rule_id, sites.having(notice_rules.c.site_id))
    row = (await connection.execute(query.with_for_update())).one_or_none()
    if row is None:
        raise NoticeUnknownError(f"no notice rule {rule_id!r} here")
    return row


async def _device(connection: AsyncConnection, device_id: str, sites: Sites) -> None:
    query = select(devices.c.id).where(devices.c.id == device_id, sites.having(devices.c.site_id))
    if await connection.scalar(query) is None:
        raise NoticeUnknownError(f"no device {device_id!r} of this site")


def _said(wanted: NewNoticeRule) -> dict[str, Any]:
    """Everything of a rule but its secret."""
    values = msgspec.structs.asdict(wanted)
    del values["secret"]
    return values | {"recipients": sorted(set(wanted.recipients))}
