"""The SELECTs about rules, notices, silences and letters; rows leave here as frozen structs, without secrets."""

from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import Row, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from central.notices.kinds import Kind
from central.notices.states import STANDING, NoticeState
from central.people.sites import Sites
from central.tables import notice_letters, notice_rules, notice_silences, notices


class NoticeRuleRow(msgspec.Struct, frozen=True, kw_only=True):
    """A rule; `has_secret` stands for what is never shown. Limits are in the kind's unit, times in seconds."""

    id: str
    site_id: str
    title: str
    revision: int
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
    has_secret: bool
    created_at: datetime
    created_by: str


class NoticeRow(msgspec.Struct, frozen=True, kw_only=True):
    """A notice that was opened. `easing`: it is over, and closes if it stays so."""

    id: str
    site_id: str
    rule_id: str
    kind: Kind
    object_kind: str
    object_id: str
    device_id: str | None
    state: NoticeState
    value: float
    detail: str
    opened_at: datetime
    closed_at: datetime | None
    told_at: datetime | None
    tells: int
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    comment: str | None


class SilenceRow(msgspec.Struct, frozen=True, kw_only=True):
    """Who is not told of what, until when and why."""

    id: str
    site_id: str
    rule_id: str | None
    device_id: str | None
    until: datetime
    reason: str
    created_at: datetime
    created_by: str


class LetterRow(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one letter; `recipient` is a person's id, of a call `webhook`."""

    id: str
    event: str
    round: int
    channel: str
    recipient: str
    state: str
    created_at: datetime
    sent_at: datetime | None
    attempts: int
    last_error: str | None


_SHOWN: Final = (*(state.value for state in STANDING), NoticeState.CLOSED.value)


async def list_notice_rules(connection: AsyncConnection, sites: Sites) -> tuple[NoticeRuleRow, ...]:
    """Every rule of these sites, by site and title."""
    query = select(notice_rules).where(sites.having(notice_rules.c.site_id))
    rows = await connection.execute(query.order_by(notice_rules.c.site_id, notice_rules.c.title, notice_rules.c.id))
    return tuple(_rule(row) for row in rows)


async def get_notice_rule(connection: AsyncConnection, rule_id: str, sites: Sites) -> NoticeRuleRow | None:
    """One rule."""
    query = select(notice_rules).where(notice_rules.c.id == rule_id, sites.having(notice_rules.c.site_id))
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else _rule(row)


def _rule(row: Row[Any]) -> NoticeRuleRow:
    values = {name: row._mapping[name] for name in NoticeRuleRow.__struct_fields__ if name != "has_secret"}
    return NoticeRuleRow(**values | {"recipients": tuple(row.recipients), "has_secret": row.secret is not None})


async def list_notices(
    connection: AsyncConnection,
    sites: Sites,
    *,
    standing: bool = True,
    kind: Kind | None = None,
    device: str | None = None,
    before: tuple[datetime, str] | None = None,
    limit: int = 50,
) -> tuple[NoticeRow, ...]:
    """Notices, newest first: those that are not over, or with `standing` False all of them."""
    query = select(notices).where(
        sites.having(notices.c.site_id),
        notices.c.state.in_([state.value for state in STANDING] if standing else _SHOWN),
    )
    for column, value in ((notices.c.kind, kind), (notices.c.device_id, device)):
        if value is not None:
            query = query.where(column == value)
    if before is not None:
        query = query.where(tuple_(notices.c.opened_at, notices.c.id) < before)
    query = query.order_by(notices.c.opened_at.desc(), notices.c.id.desc()).limit(limit)
    return tuple(_notice(row) for row in await connection.execute(query))


async def get_notice(connection: AsyncConnection, notice_id: str, sites: Sites) -> NoticeRow | None:
    """One notice that was opened."""
    query = select(notices).where(
        notices.c.id == notice_id, notices.c.state.in_(_SHOWN), sites.having(notices.c.site_id)
    )
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else _notice(row)


def _notice(row: Row[Any]) -> NoticeRow:
    values = {name: row._mapping[name] for name in NoticeRow.__struct_fields__}
    return NoticeRow(**values | {"state": NoticeState(row.state)})


async def count_open(connection: AsyncConnection) -> dict[str, int]:
    """Site → notices that stand and that nobody has acknowledged."""
    query = (
        select(notices.c.site_id, func.count().label("many"))
        .where(notices.c.state.in_([state.value for state in STANDING]), notices.c.acknowledged_at.is_(None))
        .group_by(notices.c.site_id)
    )
    return {row.site_id: row.many for row in await connection.execute(query)}


async def list_silences(connection: AsyncConnection, sites: Sites, now: datetime) -> tuple[SilenceRow, ...]:
    """Silences that last, the one that ends first before the others."""
    query = select(*(notice_silences.c[name] for name in SilenceRow.__struct_fields__)).where(
        sites.having(notice_silences.c.site_id), notice_silences.c.until > now, notice_silences.c.ended_at.is_(None)
    )
    rows = await connection.execute(query.order_by(notice_silences.c.until, notice_silences.c.id))
    return tuple(SilenceRow(**row._mapping) for row in rows)


async def letters_of(connection: AsyncConnection, notice_id: str) -> tuple[LetterRow, ...]:
    """Who was told of a notice, in order; ask only for one that the caller sees."""
    query = select(*(notice_letters.c[name] for name in LetterRow.__struct_fields__)).where(
        notice_letters.c.notice_id == notice_id
    )
    rows = await connection.execute(query.order_by(notice_letters.c.round, notice_letters.c.id))
    return tuple(LetterRow(**row._mapping) for row in rows)
