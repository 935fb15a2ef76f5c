"""The SELECTs about devices and what was refused of them, one function each; rows leave here as frozen structs."""

from datetime import datetime

import msgspec
from sqlalchemy import false, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from central.intake.gaps import OutboxAccount, device_accounts
from central.people.sites import EVERY_SITE, Sites
from central.tables import boots, dead_letters, devices
from protocol.messages import DeviceStatus


class DeviceRow(msgspec.Struct, frozen=True):
    """A device as central knows it.

    `letters` counts what central could not accept of it, by reason. `clock_offset_s` is the device's clock minus
    central's, as its last status showed; None where that is unknown.
    """

    id: str
    name: str
    enrolled_at: datetime
    revoked_at: datetime | None
    status: DeviceStatus | None
    status_at: datetime | None
    site_id: str
    runs: int
    outboxes: tuple[OutboxAccount, ...] = ()
    letters: dict[str, int] = {}
    clock_offset_s: float | None = None


class DeadLetter(msgspec.Struct, frozen=True):
    """A message that could not be accepted. Its bytes are in the database while `kept`."""

    number: int
    received_at: datetime
    topic: str
    device_id: str | None
    code: str
    detail: str
    digest: str
    times: int
    bytes: int
    kept: bool
    epoch: str | None
    seq: int | None
    reading_id: str | None


async def list_devices(
    connection: AsyncConnection, device_id: str | None = None, *, sites: Sites = EVERY_SITE
) -> tuple[DeviceRow, ...]:
    """Every device of these sites, by name; or this one."""
    names = ("id", "name", "enrolled_at", "revoked_at", "status", "status_at", "site_id")
    query = select(*(devices.c[name] for name in names)).order_by(devices.c.name, devices.c.id)
    query = query.where(sites.having(devices.c.site_id))
    if device_id is not None:
        query = query.where(devices.c.id == device_id)
    outboxes = await device_accounts(connection, device_id)
    letters = await _letters_by_reason(connection, device_id)
    offsets = await clock_offsets(connection, device_id)
    found = []
    for row in await connection.execute(query):
        mine = outboxes.get(row.id, ())
        values = dict(row._mapping) | {"status": msgspec.convert(row.status, DeviceStatus | None)}
        found.append(
            DeviceRow(
                **values,
                runs=sum(one.runs for one in mine),
                outboxes=mine,
                letters=letters.get(row.id, {}),
                clock_offset_s=offsets.get(row.id),
            )
        )
    return tuple(found)


async def _letters_by_reason(connection: AsyncConnection, device_id: str | None) -> dict[str, dict[str, int]]:
    columns = dead_letters.c.device_id, dead_letters.c.code
    query = select(*columns, func.sum(dead_letters.c.times).label("times")).group_by(*columns).order_by(*columns)
    query = query.where(columns[0].is_not(None) if device_id is None else columns[0] == device_id)
    found: dict[str, dict[str, int]] = {}
    for row in await connection.execute(query):
        found.setdefault(row.device_id, {})[row.code] = int(row.times)
    return found


async def clock_offsets(connection: AsyncConnection, device_id: str | None) -> dict[str, float]:
    """By central's own measure: when the boot began by the device's clock, minus when it did by ours."""
    query = select(devices.c.id, devices.c.status).where(devices.c.status.is_not(None))
    if device_id is not None:
        query = query.where(devices.c.id == device_id)
    told = {row.id: msgspec.convert(row.status, DeviceStatus | None) for row in await connection.execute(query)}
    clocks = {
        (device, status.clock.boot_id): (status.at, status.clock)
        for device, status in told.items()
        if status is not None and status.clock is not None and status.at is not None
    }
    keys = tuple_(boots.c.device_id, boots.c.boot_id)
    rows = await connection.execute(select(boots).where(keys.in_(clocks) if clocks else false()))
    found = {}
    for row in rows:
        at, clock = clocks[row.device_id, row.boot_id]
        found[row.device_id] = at.timestamp() - clock.monotonic_ns / 1e9 - row.began_at.timestamp()
    return found


async def list_dead_letters(
    connection: AsyncConnection, *, after: int | None = None, limit: int = 50, device: str | None = None
) -> tuple[DeadLetter, ...]:
    """Dead letters, newest first; `after` is the number of the last one seen."""
    columns = [dead_letters.c[name] for name in DeadLetter.__struct_fields__]
    query = select(*columns).order_by(dead_letters.c.number.desc()).limit(limit)
    if after is not None:
        query = query.where(dead_letters.c.number < after)
    if device is not None:
        query = query.where(dead_letters.c.device_id == device)
    return tuple(DeadLetter(**row._mapping) for row in await connection.execute(query))


async def dead_letter_payload(connection: AsyncConnection, number: int) -> tuple[str, bytes] | None:
    """(SHA-256, bytes) of a dead letter; the bytes are empty where they had to make room; None where there is none."""
    query = select(dead_letters.c.digest, dead_letters.c.payload).where(dead_letters.c.number == number)
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else (row.digest, row.payload)


async def device_names(connection: AsyncConnection, sites: Sites) -> dict[str, str]:
    """Id → name of every device of these sites, by name."""
    query = select(devices.c.id, devices.c.name).where(sites.having(devices.c.site_id))
    return {row.id: row.name for row in await connection.execute(query.order_by(devices.c.name, devices.c.id))}
