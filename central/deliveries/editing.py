"""What people and machines do to rules and deliveries; each change is one transaction, with its entry in the trail."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import msgspec
from sqlalchemy import Row, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from central.audit.chain import Actor, Change, record
from central.db import reading, transaction
from central.deliveries.arrival import follow, plates_delivered
from central.deliveries.changes import News, announce
from central.deliveries.dialect import Dialect, check
from central.deliveries.places import Bounds, Kind, PlaceError, check_place
from central.deliveries.queries import was_corrected, was_withdrawn
from central.deliveries.rules import raise_one
from central.deliveries.states import DeliveryEvent, DeliveryState, DeliveryStateError, after
from central.laboratory.known import hold_site
from central.people.sites import Sites
from central.seal import Seal, SealError
from central.tables import deliveries, delivery_log, delivery_rules
from central.tables import sites as sites_table


class UnknownError(LookupError):
    """No such rule or delivery among what the caller sees."""


class StaleRuleError(Exception):
    """The rule is at another revision than the one that was seen."""

    def __init__(self, revision: int) -> None:
        """`revision` is what it has now."""
        super().__init__(f"the rule is at revision {revision} by now (expected the one that was seen)")
        self.revision = revision


class NothingToSendError(ValueError):
    """What is to be sent is not approved whole."""


@dataclass(frozen=True, slots=True)
class NewRule:
    """A rule as somebody wants it; `secret` None keeps the one that it has."""

    title: str
    when: Literal["approved", "by_hand"]
    of: Literal["submission", "test", "plate"]
    dialect: Dialect
    target_kind: Kind
    target: Mapping[str, Any]
    secret: str | None = None
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class Desk:
    """What the changes work with: the database, the seal of secrets, what rules may reach."""

    engine: AsyncEngine
    seal: Seal
    bounds: Bounds


async def add_rule(desk: Desk, site_id: str, wanted: NewRule, *, actor: Actor, now: datetime) -> str:
    """A rule; DialectError or PlaceError where it cannot be, UnknownError where the site is none."""
    check(wanted.dialect)
    check_place(wanted.target_kind, wanted.target, wanted.secret, desk.bounds)
    rule_id = str(uuid.uuid4())
    row = _values(desk, rule_id, wanted) | {
        "id": rule_id,
        "site_id": site_id,
        "revision": 1,
        "created_at": now,
        "in_force_since": now,
        "created_by": actor.id,
    }
    async with transaction(desk.engine) as connection:
        if await connection.scalar(select(sites_table.c.id).where(sites_table.c.id == site_id)) is None:
            raise UnknownError(f"no site {site_id!r} here")
        await connection.execute(insert(delivery_rules).values(row))
        change = Change("delivery_rule.add", "delivery_rule", rule_id, site_id, new=_said(wanted))
        await record(connection, actor, [change], now)
    return rule_id


async def change_rule(
    desk: Desk, rule_id: str, wanted: NewRule, *, seen: int, sites: Sites, actor: Actor, now: datetime
) -> int:
    """The rule as it is wanted now; its new revision. Deliveries that were made keep the file that they have.

    One whose place is no longer allowed, or whose secret cannot be opened, can still be paused.
    """
    async with transaction(desk.engine) as connection:
        before = await held_rule(connection, rule_id, sites)
        if before.revision != seen:
            raise StaleRuleError(before.revision)
        check(wanted.dialect)
        if wanted.enabled or wanted.secret is not None or wanted.target != before.target:
            check_place(wanted.target_kind, wanted.target, _secret_of(desk, before, wanted), desk.bounds)
        values = _values(desk, rule_id, wanted) | {"revision": seen + 1}
        if wanted.secret is None:
            del values["secret"]
        old = {name: getattr(before, name) for name in ("title", "when", "of", "target_kind", "target", "enabled")}
        if any(old[name] != values[name] for name in ("when", "of", "enabled")):
            values["in_force_since"] = now
        await connection.execute(update(delivery_rules).where(delivery_rules.c.id == rule_id).values(values))
        changes = [Change("delivery_rule.change", "delivery_rule", rule_id, before.site_id, old, _said(wanted))]
        news: list[News] = []
        if "in_force_since" in values:
            changes, news = await _released(connection, before, changes)
        await record(connection, actor, changes, now)
        await announce(connection, news, now)
    return seen + 1


async def _released(
    connection: AsyncConnection, rule: Row[Any], changes: list[Change]
) -> tuple[list[Change], list[News]]:
    """Plates that waited only for files of this rule, which asks for less now, are delivered."""
    over = (DeliveryState.ACKNOWLEDGED.value, DeliveryState.SUPERSEDED.value)
    of_rule = (deliveries.c.rule_id == rule.id, deliveries.c.state.not_in(over))
    query = select(deliveries.c.subject_kind, deliveries.c.subject_id).where(*of_rule).distinct()
    news: list[News] = []
    for row in (await connection.execute(query.order_by(deliveries.c.subject_id))).all():
        moved, told = await plates_delivered(connection, row.subject_kind, row.subject_id, rule.site_id)
        changes, news = changes + moved, news + told
    return changes, news


async def send(engine: AsyncEngine, rule_id: str, subject_id: str, *, sites: Sites, actor: Actor, now: datetime) -> str:
    """A delivery by hand, also of what was delivered as it is: under a new name. NothingToSendError where it cannot."""
    async with transaction(engine) as connection:
        rule = await held_rule(connection, rule_id, sites)
        made = await raise_one(connection, rule, subject_id, by=actor.id, now=now, again=True)
        if made is None:
            raise NothingToSendError(f"{rule.of} {subject_id} is not approved whole (expected every plate approved)")
        change = Change("delivery.send", "delivery", made, rule.site_id, new={"rule": rule_id, "of": subject_id})
        await record(connection, actor, [change], now)
    return made


async def acknowledge(engine: AsyncEngine, delivery_id: str, *, sites: Sites, actor: Actor, now: datetime) -> None:
    """The other side says that it has the file, once or again. DeliveryStateError before it is placed."""
    async with transaction(engine) as connection:
        mine = deliveries.c.id == delivery_id, sites.having(deliveries.c.site_id)
        site_id = await connection.scalar(select(deliveries.c.site_id).where(*mine))
        if site_id is not None:
            await hold_site(connection, site_id)  # before the delivery, as who voids a plate does
        row = await _delivery(connection, delivery_id, sites)
        if row.state == DeliveryState.ACKNOWLEDGED.value:
            return
        values = {"acknowledged_at": now, "acknowledged_how": f"said by {actor.kind}", "leased_until": None}
        was, new = await _move(connection, row, DeliveryEvent.ACKNOWLEDGE, now, values)
        change = Change("delivery.acknowledge", "delivery", row.id, row.site_id, was, new)
        await follow(connection, row, DeliveryEvent.ACKNOWLEDGE, actor=actor, now=now, entries=[change])


async def retry(engine: AsyncEngine, delivery_id: str, *, sites: Sites, actor: Actor, now: datetime) -> None:
    """Try again what was given up: from where nobody knows what is at the place, or from the start."""
    async with transaction(engine) as connection:
        row = await _delivery(connection, delivery_id, sites)
        if await was_corrected(connection, row):
            raise DeliveryStateError(
                "a newer revision stands for it (expected the newest: an older one comes after none)"
            )
        if await was_withdrawn(connection, row):
            raise DeliveryStateError("something that it says is void since (expected a file that still stands)")
        event = DeliveryEvent.RETRY if row.place is None else DeliveryEvent.RESUME
        values = {"due_at": now, "attempts": 0, "leased_until": None}
        was, new = await _move(connection, row, event, now, values)
        await record(connection, actor, [Change("delivery.retry", "delivery", row.id, row.site_id, was, new)], now)


async def again(engine: AsyncEngine, delivery_id: str, *, sites: Sites, actor: Actor, now: datetime) -> str:
    """Once more: one that failed is tried from where it stopped, any other goes under a new name. Which it is."""
    async with reading(engine) as connection:
        query = select(deliveries).where(deliveries.c.id == delivery_id, sites.having(deliveries.c.site_id))
        row = (await connection.execute(query)).one_or_none()
    if row is None:
        raise UnknownError(f"no delivery {delivery_id!r} here")
    if row.state == DeliveryState.FAILED.value:
        await retry(engine, delivery_id, sites=sites, actor=actor, now=now)
        return delivery_id
    return await send(engine, row.rule_id, row.subject_id, sites=sites, actor=actor, now=now)


async def _move(
    connection: AsyncConnection, row: Row[Any], event: DeliveryEvent, now: datetime, values: dict[str, Any]
) -> tuple[dict[str, str], dict[str, str]]:
    """What the trail says of it: the state before, the state since."""
    state = after(DeliveryState(row.state), event)
    values |= {"state": state.value}
    await connection.execute(update(deliveries).where(deliveries.c.id == row.id).values(values))
    await connection.execute(insert(delivery_log).values(delivery_id=row.id, at=now, event=event.value))
    return {"state": row.state}, {"state": state.value}


async def held_rule(connection: AsyncConnection, rule_id: str, sites: Sites) -> Row[Any]:
    """A rule, held until the transaction ends; UnknownError where the caller sees none."""
    query = select(delivery_rules).where(delivery_rules.c.id == rule_id, sites.having(delivery_rules.c.site_id))
    row = (await connection.execute(query.with_for_update())).one_or_none()
    if row is None:
        raise UnknownError(f"no delivery rule {rule_id!r} here")
    return row


async def _delivery(connection: AsyncConnection, delivery_id: str, sites: Sites) -> Row[Any]:
    query = select(deliveries).where(deliveries.c.id == delivery_id, sites.having(deliveries.c.site_id))
    row = (await connection.execute(query.with_for_update())).one_or_none()
    if row is None:
        raise UnknownError(f"no delivery {delivery_id!r} here")
    return row


def _secret_of(desk: Desk, before: Row[Any], wanted: NewRule) -> str | None:
    """The secret that the rule has from now on; PlaceError where the one that it had cannot be opened."""
    if wanted.secret is not None or before.secret is None:
        return wanted.secret
    try:
        return desk.seal.open(before.secret, before.id).decode()
    except SealError as error:
        raise PlaceError(f"{error}; write the secret once more") from error


def _values(desk: Desk, rule_id: str, wanted: NewRule) -> dict[str, Any]:
    sealed = None if wanted.secret is None else desk.seal.close(wanted.secret.encode(), rule_id)
    return _said(wanted) | {"secret": sealed}


def _said(wanted: NewRule) -> dict[str, Any]:
    """Everything of a rule but its secret."""
    return {
        "title": wanted.title,
        "when": wanted.when,
        "of": wanted.of,
        "dialect": msgspec.to_builtins(wanted.dialect),
        "target_kind": wanted.target_kind,
        "target": dict(wanted.target),
        "enabled": wanted.enabled,
    }
