"""What central has of each device's outbox, place by place: up to where without a hole, where not, how far behind.

A commit only adds the places of its new runs (`record_places`), as rows that nobody waits for; `join_stretches` makes
few of many. So the account of a million runs is a handful of rows, exact at every moment.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any, Final

import msgspec
from sqlalchemy import Column, Label, Select, delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from central.intake.plan import Place
from central.tables import dead_letters, devices, runs, stretches
from protocol.ledger import missing, ranges_of
from protocol.messages import DeviceStatus

# Holes and conflicts that an account names; it counts all of them.
MOST_NAMED: Final = 20
# A reading is on its way while its device's status, which counts it, is too: only what came well before contradicts it.
_ON_THE_WAY: Final = timedelta(seconds=10)

Stretch = tuple[int, int]


class OutboxAccount(msgspec.Struct, frozen=True):
    """What central has of one outbox of a device.

    Up to `complete_to` every place is here or refused. `missing` places up to `last` are neither; `holes` are the first
    of them, as ranges. `last` is the highest place that is known of, by the device's word or by what is here. `beyond`
    are runs here that the device says it never had: its card was cloned, or set back. `current`: the device writes it.
    """

    epoch: str
    current: bool
    since: datetime | None
    runs: int
    refused: int
    last: int
    complete_to: int
    missing: int
    holes: tuple[Stretch, ...]
    beyond: int = 0


def joined(some: Iterable[Stretch]) -> list[Stretch]:
    """The same places in as few stretches as can be, in order."""
    found: list[Stretch] = []
    for first, last in sorted(some):
        if found and first <= found[-1][1] + 1:
            found[-1] = found[-1][0], max(found[-1][1], last)
        else:
            found.append((first, last))
    return found


def account(
    epoch: str, held: Iterable[Stretch], refused: Iterable[int], told_last: int | None, since: datetime | None
) -> OutboxAccount:
    """The account of one outbox. `told_last` is the device's own word of it; None for an outbox of former times."""
    here = joined(held)
    last = max((here[-1][1] if here else 0), told_last or 0)
    without = {seq for seq in refused if seq <= last and not _within(seq, here)}
    holes = missing(joined((*here, *((seq, seq) for seq in without))), 1, last)
    return OutboxAccount(
        epoch=epoch,
        current=told_last is not None,
        since=since,
        runs=sum(b - a + 1 for a, b in here),
        refused=len(without),
        last=last,
        complete_to=holes[0][0] - 1 if holes else last,
        missing=sum(b - a + 1 for a, b in holes),
        holes=tuple(holes[:MOST_NAMED]),
    )


def _within(seq: int, ordered: Sequence[Stretch]) -> bool:
    place = bisect_right(ordered, seq, key=lambda stretch: stretch[0])
    return place > 0 and seq <= ordered[place - 1][1]


async def record_places(connection: AsyncConnection, places: Iterable[Place]) -> None:
    """Places that have runs from now on; part of the transaction that inserts these."""
    rows = [
        {"device_id": device_id, "epoch": epoch, "first": first, "last": last}
        for (device_id, epoch), some in groupby(sorted(places), key=lambda place: place[:2])
        for first, last in ranges_of(seq for _, _, seq in some)
    ]
    if rows:
        await connection.execute(insert(stretches), rows)


async def join_stretches(connection: AsyncConnection, device_id: str, epoch: str) -> None:
    """Write the same places in fewer rows. Two that do it at once leave rows that overlap, and nothing else."""
    mine = (stretches.c.device_id == device_id, stretches.c.epoch == epoch)
    gone = await connection.execute(delete(stretches).where(*mine).returning(stretches.c.first, stretches.c.last))
    rows = [
        {"device_id": device_id, "epoch": epoch, "first": first, "last": last}
        for first, last in joined((row.first, row.last) for row in gone)
    ]
    if rows:
        await connection.execute(insert(stretches), rows)


async def scattered(connection: AsyncConnection, more_than: int) -> Sequence[tuple[str, str]]:
    """(device, epoch) of outboxes whose places are in more rows than this."""
    columns = stretches.c.device_id, stretches.c.epoch
    query = select(*columns).group_by(*columns).having(func.count() > more_than)
    return [(row.device_id, row.epoch) for row in await connection.execute(query)]


async def device_accounts(
    connection: AsyncConnection, device_id: str | None = None
) -> dict[str, tuple[OutboxAccount, ...]]:
    """The accounts of every outbox of every device, or of one: the one it writes now first, then the newest first."""
    told = {row.id: row for row in await connection.execute(_of(devices.c.id, _STATUS, device_id))}
    held = await _pairs(connection, _of(stretches.c.device_id, _PLACES, device_id))
    letters = _of(dead_letters.c.device_id, _REFUSED, device_id).where(dead_letters.c.seq.is_not(None)).distinct()
    refused = await _pairs(connection, letters)
    since = {(row.device_id, row.epoch): row.since for row in await connection.execute(_since(device_id))}
    found: dict[str, list[OutboxAccount]] = {}
    for device, row in told.items():
        status = None if row.status is None else msgspec.convert(row.status, DeviceStatus)
        outbox = status and status.outbox
        epochs = {epoch for owner, epoch in held if owner == device} | ({outbox.epoch} if outbox else set())
        for epoch in epochs:
            key = device, epoch
            told_last = outbox.last_seq if outbox and outbox.epoch == epoch else None
            one = account(epoch, held.get(key, ()), (seq for seq, _ in refused.get(key, ())), told_last, since.get(key))
            if told_last is not None and one.last > told_last:
                beyond = await _beyond(connection, key, told_last, row.status_at - _ON_THE_WAY)
                one = msgspec.structs.replace(one, beyond=beyond)
            found.setdefault(device, []).append(one)
    return {device: tuple(sorted(accounts, key=_newest_first)) for device, accounts in found.items()}


_STATUS: Final = (devices.c.id, devices.c.status, devices.c.status_at)
_PLACES: Final = (stretches.c.device_id, stretches.c.epoch, stretches.c.first, stretches.c.last)
_REFUSED: Final = (dead_letters.c.device_id, dead_letters.c.epoch, dead_letters.c.seq, dead_letters.c.seq.label("too"))


def _of(owner: Column[str], columns: Sequence[Column[Any] | Label[Any]], device_id: str | None) -> Select[Any]:
    query = select(*columns)
    return query if device_id is None else query.where(owner == device_id)


async def _pairs(connection: AsyncConnection, query: Select[Any]) -> dict[tuple[str, str], list[tuple[int, int]]]:
    found: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for device, epoch, first, last in await connection.execute(query):
        found.setdefault((device, epoch), []).append((first, last))
    return found


def _since(device_id: str | None) -> Select[Any]:
    """When the first reading of each outbox was accepted: one look into an index for each."""
    some = _of(stretches.c.device_id, (stretches.c.device_id, stretches.c.epoch), device_id).distinct().subquery()
    first = (
        select(runs.c.received_at)
        .where(runs.c.device_id == some.c.device_id, runs.c.epoch == some.c.epoch)
        .order_by(runs.c.seq)
        .limit(1)
        .scalar_subquery()
    )
    return select(some.c.device_id, some.c.epoch, first.label("since"))


async def _beyond(connection: AsyncConnection, outbox: tuple[str, str], told_last: int, before: datetime) -> int:
    mine = (runs.c.device_id == outbox[0], runs.c.epoch == outbox[1], runs.c.seq > told_last)
    query = select(func.count()).select_from(runs).where(*mine, runs.c.received_at < before)
    return int(await connection.scalar(query) or 0)


def _newest_first(one: OutboxAccount) -> tuple[bool, float]:
    return not one.current, -(one.since.timestamp() if one.since else 0.0)
