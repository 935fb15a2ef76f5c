"""Alarms: something that a person should look at. Raised once for an object until it is resolved, and then kept.

What a run does not fit its plate in is decided here (`misfits`, pure); nothing is refused or changed because of it.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import insert, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from central.audit.chain import Actor, Change, record
from central.laboratory.states import PlateState
from central.people.sites import Sites
from central.tables import alarms

OTHER_PROFILE: Final = "other_profile"
PLATE_VOID: Final = "plate_void"
PLATE_APPROVED: Final = "plate_approved"
OTHER_SERA: Final = "other_sera"
FOREIGN_CODE: Final = "foreign_code"
_DETAIL_SIGNS: Final = 1000


class Alarm(msgspec.Struct, frozen=True):
    """What to raise."""

    site_id: str
    kind: str
    object_kind: str
    object_id: str
    detail: str


class AlarmRow(msgspec.Struct, frozen=True):
    """An alarm as it stands."""

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


class Fit(msgspec.Struct, frozen=True):
    """What a plate expects of a run: the profile that is planned (None: whatever is read), and where it is."""

    id: str
    state: PlateState
    profile: str | None


def misfits(profile: str, endpoints: Mapping[str, Any], plate: Fit, rows: set[str]) -> list[tuple[str, str]]:
    """(kind, detail) of all that does not fit; `rows` are those that hold something, none where nobody said it."""
    found = []
    if plate.profile is not None and plate.profile != profile:
        found.append((OTHER_PROFILE, f"read as {profile} (expected {plate.profile}, as its test is planned)"))
    if plate.state is PlateState.VOID:
        found.append((PLATE_VOID, "a run of a plate that is void: it counts nowhere"))
    if plate.state in (PlateState.APPROVED, PlateState.DELIVERED, PlateState.AMENDED):
        found.append((PLATE_APPROVED, "a new run of a plate that was approved: it must be approved again"))
    if rows:
        read = {row for row, endpoint in endpoints.items() if _is_read(endpoint)}
        said = [
            f"{what} {', '.join(sorted(some, key=lambda row: (len(row), row)))}"
            for what, some in (("nothing read in", rows - read), ("read without a serum:", read - rows))
            if some
        ]
        if said:
            detail = f"{len(rows)} rows hold a serum, {len(read)} were read with cells: {'; '.join(said)}"
            found.append((OTHER_SERA, detail))
    return found


def _is_read(endpoint: Mapping[str, Any]) -> bool:
    return any(endpoint.get(rule) is not None for rule in ("last_flowing", "step_fit", "by_rule"))


async def raise_alarms(connection: AsyncConnection, some: Sequence[Alarm], now: datetime) -> None:
    """Raise these, but for those that are raised already and not resolved."""
    if not some:
        return
    key = alarms.c.kind, alarms.c.object_kind, alarms.c.object_id
    wanted = {(alarm.kind, alarm.object_kind, alarm.object_id): alarm for alarm in some}
    query = select(*key).where(tuple_(*key).in_(set(wanted)), alarms.c.resolved_at.is_(None))
    held = {(row.kind, row.object_kind, row.object_id) for row in await connection.execute(query)}
    rows = [
        msgspec.structs.asdict(alarm) | {"detail": alarm.detail[:_DETAIL_SIGNS], "raised_at": now}
        for name, alarm in wanted.items()
        if name not in held
    ]
    if rows:
        await connection.execute(insert(alarms), rows)


async def list_alarms(
    connection: AsyncConnection,
    sites: Sites,
    *,
    after: int | None = None,
    limit: int = 50,
    kind: str | None = None,
    object_id: str | None = None,
    resolved: bool = False,
) -> tuple[AlarmRow, ...]:
    """Alarms, newest first; those that are resolved only where asked for."""
    query = select(alarms).where(sites.having(alarms.c.site_id)).order_by(alarms.c.number.desc()).limit(limit)
    if not resolved:
        query = query.where(alarms.c.resolved_at.is_(None))
    if after is not None:
        query = query.where(alarms.c.number < after)
    if kind is not None:
        query = query.where(alarms.c.kind == kind)
    if object_id is not None:
        query = query.where(alarms.c.object_id == object_id)
    return tuple(AlarmRow(**row._mapping) for row in await connection.execute(query))


async def acknowledge(
    connection: AsyncConnection, sites: Sites, number: int, *, actor: Actor, now: datetime
) -> AlarmRow | None:
    """Somebody has seen it; None where there is no such alarm. The first who did stays."""
    found = await _one(connection, sites, number)
    if found is None or found.acknowledged_at is not None:
        return found
    values = {"acknowledged_at": now, "acknowledged_by": actor.id}
    await connection.execute(update(alarms).where(alarms.c.number == number).values(values))
    changed = Change("alarm.acknowledge", "alarm", str(number), found.site_id, new=values)
    await record(connection, actor, [changed], now)
    return await _one(connection, sites, number)


async def resolve(
    connection: AsyncConnection, sites: Sites, number: int, *, reason: str, actor: Actor, now: datetime
) -> AlarmRow | None:
    """It is dealt with; None where there is no such alarm."""
    found = await _one(connection, sites, number)
    if found is None or found.resolved_at is not None:
        return found
    seen = {"acknowledged_at": found.acknowledged_at or now, "acknowledged_by": found.acknowledged_by or actor.id}
    values = seen | {"resolved_at": now}
    await connection.execute(update(alarms).where(alarms.c.number == number).values(values))
    changed = Change("alarm.resolve", "alarm", str(number), found.site_id, new=values, reason=reason)
    await record(connection, actor, [changed], now)
    return await _one(connection, sites, number)


async def _one(connection: AsyncConnection, sites: Sites, number: int) -> AlarmRow | None:
    query = select(alarms).where(alarms.c.number == number, sites.having(alarms.c.site_id)).with_for_update()
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else AlarmRow(**row._mapping)
