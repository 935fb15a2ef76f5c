"""The SELECTs about rules and deliveries; rows leave here as frozen structs, without secrets and without bytes."""

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Row, Select, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from central.deliveries.differences import Differences
from central.deliveries.states import DeliveryState
from central.people.sites import Sites
from central.tables import deliveries, delivery_log, delivery_rules, withdrawals


class RuleRow(msgspec.Struct, frozen=True, kw_only=True):
    """A rule; `has_secret` stands for what is never shown."""

    id: str
    site_id: str
    title: str
    revision: int
    when: str
    of: str
    dialect: dict[str, Any]
    target_kind: str
    target: dict[str, Any]
    has_secret: bool
    enabled: bool
    created_at: datetime
    created_by: str


class DeliveryRow(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery without its bytes."""

    id: str
    rule_id: str
    site_id: str
    subject_kind: str
    subject_id: str
    revision: int
    state: str
    name: str | None
    media_type: str | None
    content_sha256: str | None
    left_out: tuple[str, ...] | None
    supersedes_id: str | None
    created_at: datetime
    created_by: str
    due_at: datetime
    attempts: int
    last_error: str | None
    placed_at: datetime | None
    acknowledged_at: datetime | None
    acknowledged_how: str | None


class WithdrawalRow(msgspec.Struct, frozen=True, kw_only=True):
    """A plate that is void and still in a file that is out: `file` says it, `told_id` takes it back."""

    id: str
    site_id: str
    delivery_id: str
    run_id: str
    plate: str
    file: str | None
    rule: str
    told_id: str | None
    told_state: str | None
    opened_at: datetime
    opened_by: str
    settled_at: datetime | None
    settled_by: str | None


class LogLine(msgspec.Struct, frozen=True):
    """What happened to a delivery."""

    at: datetime
    event: str
    detail: str | None


class File(msgspec.Struct, frozen=True):
    """A delivery's bytes as they were placed."""

    name: str
    media_type: str
    content: bytes
    sha256: str


async def list_rules(connection: AsyncConnection, sites: Sites) -> tuple[RuleRow, ...]:
    """Every rule of these sites, by title."""
    query = select(delivery_rules).where(sites.having(delivery_rules.c.site_id)).order_by(delivery_rules.c.title)
    return tuple(_rule(row._mapping) for row in await connection.execute(query))


async def get_rule(connection: AsyncConnection, rule_id: str, sites: Sites) -> RuleRow | None:
    """One rule."""
    query = select(delivery_rules).where(delivery_rules.c.id == rule_id, sites.having(delivery_rules.c.site_id))
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else _rule(row._mapping)


def _rule(row: Any) -> RuleRow:
    values = {name: row[name] for name in RuleRow.__struct_fields__ if name in delivery_rules.c}
    return RuleRow(**values, has_secret=row["secret"] is not None)


async def list_deliveries(
    connection: AsyncConnection,
    sites: Sites,
    *,
    state: str | None = None,
    rule_id: str | None = None,
    before: tuple[datetime, str] | None = None,
    limit: int = 50,
) -> tuple[DeliveryRow, ...]:
    """Deliveries, newest first; `before` is (created_at, id) of the last one seen."""
    order = deliveries.c.created_at, deliveries.c.id
    query = _deliveries(sites).order_by(*(column.desc() for column in order)).limit(limit)
    if before is not None:
        query = query.where(tuple_(*order) < before)
    for column, value in ((deliveries.c.state, state), (deliveries.c.rule_id, rule_id)):
        if value is not None:
            query = query.where(column == value)
    return tuple(_delivery(row._mapping) for row in await connection.execute(query))


async def get_delivery(connection: AsyncConnection, delivery_id: str, sites: Sites) -> DeliveryRow | None:
    """One delivery."""
    row = (await connection.execute(_deliveries(sites).where(deliveries.c.id == delivery_id))).one_or_none()
    return None if row is None else _delivery(row._mapping)


async def get_file(connection: AsyncConnection, delivery_id: str, sites: Sites) -> File | None:
    """A delivery's file; None where it has none (yet)."""
    columns = deliveries.c.name, deliveries.c.media_type, deliveries.c.content, deliveries.c.content_sha256
    query = select(*columns).where(deliveries.c.id == delivery_id, sites.having(deliveries.c.site_id))
    row = (await connection.execute(query)).one_or_none()
    return None if row is None or row.content is None else File(*row)


async def log_of(connection: AsyncConnection, delivery_id: str) -> tuple[LogLine, ...]:
    """What happened to a delivery, in order."""
    columns = delivery_log.c.at, delivery_log.c.event, delivery_log.c.detail
    query = select(*columns).where(delivery_log.c.delivery_id == delivery_id).order_by(delivery_log.c.number)
    return tuple(LogLine(*row) for row in await connection.execute(query))


async def differences_of(connection: AsyncConnection, delivery_id: str) -> Differences | None:
    """What a delivery changed against the one before; None where it is the first, or has no file yet."""
    found = await connection.scalar(select(deliveries.c.differences).where(deliveries.c.id == delivery_id))
    return None if found is None else msgspec.convert(found, Differences)


async def was_corrected(connection: AsyncConnection, row: Row[Any] | DeliveryRow) -> bool:
    """Whether a newer revision stands for a delivery."""
    of_subject = deliveries.c.rule_id == row.rule_id, deliveries.c.subject_id == row.subject_id
    newer = select(deliveries.c.id).where(*of_subject, deliveries.c.revision > row.revision)
    return await connection.scalar(newer.limit(1)) is not None


async def was_withdrawn(connection: AsyncConnection, row: Row[Any]) -> bool:
    """Whether something that a delivery says is void since."""
    query = select(withdrawals.c.id).where(withdrawals.c.delivery_id == row.id)
    return await connection.scalar(query.limit(1)) is not None


async def awaited_by(connection: AsyncConnection, row: DeliveryRow) -> DeliveryRow | None:
    """The earlier revision that a correction waits for, because it is being placed; None where it waits for none."""
    if row.state not in (DeliveryState.PENDING, DeliveryState.GENERATED):
        return None
    query = _deliveries(Sites.of([row.site_id])).where(
        deliveries.c.rule_id == row.rule_id,
        deliveries.c.subject_id == row.subject_id,
        deliveries.c.revision < row.revision,
        deliveries.c.state == DeliveryState.PLACING.value,
    )
    found = (await connection.execute(query.order_by(deliveries.c.revision).limit(1))).one_or_none()
    return None if found is None else _delivery(found._mapping)


async def list_withdrawals(
    connection: AsyncConnection, sites: Sites, *, limit: int, settled: bool = False, after: str | None = None
) -> tuple[WithdrawalRow, ...]:
    """Those that nobody settled yet, or those that somebody did, by id."""
    told = deliveries.alias("told")
    own = [withdrawals.c[name] for name in WithdrawalRow.__struct_fields__ if name in withdrawals.c]
    query = (
        select(
            *own,
            deliveries.c.name.label("file"),
            delivery_rules.c.title.label("rule"),
            told.c.state.label("told_state"),
        )
        .join(deliveries, deliveries.c.id == withdrawals.c.delivery_id)
        .join(delivery_rules, delivery_rules.c.id == deliveries.c.rule_id)
        .outerjoin(told, told.c.id == withdrawals.c.told_id)
        .where(
            sites.having(withdrawals.c.site_id),
            withdrawals.c.settled_at.is_not(None) if settled else withdrawals.c.settled_at.is_(None),
        )
        .order_by(withdrawals.c.id)
        .limit(limit)
    )
    if after is not None:
        query = query.where(withdrawals.c.id > after)
    return tuple(WithdrawalRow(**row._mapping) for row in await connection.execute(query))


def _deliveries(sites: Sites) -> Select[Any]:
    columns = [deliveries.c[name] for name in DeliveryRow.__struct_fields__]
    return select(*columns).where(sites.having(deliveries.c.site_id))


def _delivery(row: Any) -> DeliveryRow:
    return DeliveryRow(**dict(row) | {"left_out": None if row["left_out"] is None else tuple(row["left_out"])})
