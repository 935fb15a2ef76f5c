"""What there is to measure at this moment, by kind: each gives the things of a site with their values.

Details say times of day and not "for so long", so that they stay true while the notice stands. Names of people are in
none of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import msgspec
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from central.deliveries.states import DeliveryState
from central.fleet.queries import clock_offsets
from central.notices.decide import Measured, Rule
from central.notices.kinds import Kind
from central.people.sites import Sites
from central.results.figures import failed_controls, latest, low_shares
from central.results.queries import marked, runs_of, select_runs
from central.tables import alarms, deliveries, delivery_rules, devices, run_records, withdrawals
from protocol.messages import DeviceStatus

# So many of a device's newest readings are looked at for drift.
_NEWEST: Final = 10
_DETAIL_SIGNS: Final = 500
# A device's clock may say anything; what it says is older than this is as old as this.
_OLDEST_S: Final = 100 * 365 * 86_400.0

OF_DEVICES: Final[frozenset[Kind]] = frozenset({
    "device_offline", "backlog_count", "backlog_age", "device_trouble", "disk_soon_full", "clock_wrong",
})  # fmt: skip
_OF_CALIBRATION: Final[frozenset[Kind]] = frozenset({"calibration_drifted", "calibration_expired"})


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """A device that is not shut out, and what it last said of itself. `offset_s`: its clock minus ours."""

    id: str
    name: str
    site_id: str
    enrolled_at: datetime
    status: DeviceStatus | None
    status_at: datetime | None
    offset_s: float | None


@dataclass(frozen=True, slots=True)
class Ground:
    """What one look has in hand for every rule."""

    devices: tuple[DeviceFacts, ...]
    counts: dict[tuple[Kind, str], tuple[Measured, ...]]
    now: datetime

    def of_site(self, site_id: str) -> tuple[DeviceFacts, ...]:
        """The devices of one site."""
        return tuple(device for device in self.devices if device.site_id == site_id)


async def ground_of(connection: AsyncConnection, now: datetime) -> Ground:
    """One look around: a handful of queries, however many rules there are."""
    counts: dict[tuple[Kind, str], list[Measured]] = {}
    for kind, site_id, measured in (
        *await _failed_deliveries(connection),
        *await _withdrawn(connection),
        *await _open_alarms(connection),
        *await _unmatched(connection),
    ):
        counts.setdefault((kind, site_id), []).append(measured)
    return Ground(await _devices(connection), {key: tuple(some) for key, some in counts.items()}, now)


async def measure(
    connection: AsyncConnection, ground: Ground, rule: Rule, standing: Sequence[str]
) -> tuple[Measured, ...]:
    """What this rule is about; `standing` are the ids of things that it has a notice of."""
    if rule.kind in OF_DEVICES:
        found = (of_device(rule.kind, device, ground.now) for device in ground.of_site(rule.site_id))
        return tuple(each for each in found if each is not None)
    if rule.kind in _OF_CALIBRATION:
        return tuple(
            [
                each
                for device in ground.of_site(rule.site_id)
                for each in _calibration(rule.kind, device, await latest(connection, device.id, _NEWEST), ground.now)
            ]
        )
    since = ground.now - timedelta(seconds=rule.window_s)
    if rule.kind == "low_grades":
        return _low_grades(ground, rule, await low_shares(connection, rule.site_id, since))
    if rule.kind == "control_failed":
        return await _controls(connection, rule, since, standing)
    return ground.counts.get((rule.kind, rule.site_id), ())


def of_device(kind: Kind, device: DeviceFacts, now: datetime) -> Measured | None:
    """One device by one kind; None where it says nothing of that. Pure."""
    heard = device.status_at or device.enrolled_at
    if kind == "device_offline":
        said = "never heard of since it was enrolled" if device.status_at is None else "last heard of"
        return _of(device, (now - heard).total_seconds(), f"{said} at {_at(heard)}")
    status = device.status
    if status is None:
        return None
    if kind == "clock_wrong":
        if device.offset_s is None:
            return None
        way = "ahead of" if device.offset_s > 0 else "behind"
        return _of(
            device, abs(device.offset_s), f"its clock was {abs(device.offset_s):.1f} s {way} ours at {_at(heard)}"
        )
    if kind == "device_trouble":
        told = [f"{trouble.part}: {trouble.detail}" for trouble in status.troubles]
        if status.outbox is not None and status.outbox.full:
            told.append("disk: full, nothing is photographed until there is room")
        return _of(device, len(told), "; ".join(told))
    return _of_outbox(kind, device, status, now)


def _of_outbox(kind: Kind, device: DeviceFacts, status: DeviceStatus, now: datetime) -> Measured | None:
    outbox, at = status.outbox, _at(device.status_at or device.enrolled_at)
    if outbox is None:
        return None
    if kind == "backlog_count":
        return _of(device, outbox.pending, f"{outbox.pending} readings waited there at {at}")
    if kind == "disk_soon_full":
        if outbox.hours_left is None:
            return None
        return _of(device, outbox.hours_left, f"at its pace there was room for {outbox.hours_left:.0f} h at {at}")
    if outbox.oldest_at is None or outbox.oldest_at.tzinfo is None or not outbox.pending:
        return None
    # By the device's clock, which may be wrong by what is known of it.
    age_s = min(max((now - outbox.oldest_at).total_seconds() + (device.offset_s or 0.0), 0.0), _OLDEST_S)
    oldest = now - timedelta(seconds=age_s)
    return _of(device, age_s, f"{outbox.pending} readings waited there at {at}, the oldest from {_at(oldest)}")


def _calibration(
    kind: Kind, device: DeviceFacts, newest: Sequence[tuple[int, datetime | None]], now: datetime
) -> list[Measured]:
    if not newest:
        return []
    if kind == "calibration_drifted":
        row = next((at for at, (drifted, _) in enumerate(newest) if not drifted), len(newest))
        return [
            _of(device, row, f"its newest {row} readings lie beyond the limits of its calibration: look at the bench")
        ]
    made_at = newest[0][1]
    if made_at is None:
        return []
    return [_of(device, (now - made_at).total_seconds(), f"calibrated at {_at(made_at)}: calibrate it again")]


def _low_grades(ground: Ground, rule: Rule, shares: dict[str, tuple[int, int]]) -> tuple[Measured, ...]:
    names = {device.id: device.name for device in ground.devices}
    return tuple(
        Measured("device", device_id, low / rows, f"{names.get(device_id, device_id)}: {low} of {rows} rows are low",
                 device_id)
        for device_id, (low, rows) in shares.items()
        if rows >= max(rule.least, 1)
    )  # fmt: skip


async def _controls(
    connection: AsyncConnection, rule: Rule, since: datetime, standing: Sequence[str]
) -> tuple[Measured, ...]:
    """Runs that speak for their plate and have a failed control. What waited at its device raises nothing."""
    failed = await failed_controls(connection, rule.site_id, since, standing)
    if not failed:
        return ()
    ours = select_runs(Sites.of([rule.site_id]))
    some = await runs_of(connection, ours.where(run_records.c.run_id.in_(failed)))
    return tuple(
        Measured("run", run.id, 1, f"plate {run.submission}, {run.test}, {run.plate_number}: {failed[run.id]}",
                 run.device_id)
        for run in await marked(connection, some)
        if run.current and (not run.historical or run.id in standing)
    )  # fmt: skip


async def _devices(connection: AsyncConnection) -> tuple[DeviceFacts, ...]:
    names = ("id", "name", "site_id", "enrolled_at", "status", "status_at")
    query = select(*(devices.c[name] for name in names)).where(devices.c.revoked_at.is_(None)).order_by(devices.c.id)
    rows = (await connection.execute(query)).all()
    offsets = await clock_offsets(connection, None)
    return tuple(
        DeviceFacts(
            row.id, row.name, row.site_id, row.enrolled_at, msgspec.convert(row.status, DeviceStatus | None),
            row.status_at, offsets.get(row.id),
        )
        for row in rows
    )  # fmt: skip


_Counted = tuple[Kind, str, Measured]


async def _failed_deliveries(connection: AsyncConnection) -> list[_Counted]:
    query = (
        select(delivery_rules.c.site_id, delivery_rules.c.id, delivery_rules.c.title, func.count().label("many"))
        .join(deliveries, deliveries.c.rule_id == delivery_rules.c.id)
        .where(deliveries.c.state == DeliveryState.FAILED.value)
        .group_by(delivery_rules.c.site_id, delivery_rules.c.id, delivery_rules.c.title)
    )
    return [
        ("delivery_failed", row.site_id, Measured("delivery_rule", row.id, row.many, _cut(
            f"{row.title}: {row.many} given up; each says what to do")))
        for row in await connection.execute(query)
    ]  # fmt: skip


async def _withdrawn(connection: AsyncConnection) -> list[_Counted]:
    query = (
        select(delivery_rules.c.site_id, delivery_rules.c.id, delivery_rules.c.title, func.count().label("many"))
        .join(deliveries, deliveries.c.rule_id == delivery_rules.c.id)
        .join(withdrawals, withdrawals.c.delivery_id == deliveries.c.id)
        .where(withdrawals.c.settled_at.is_(None))
        .group_by(delivery_rules.c.site_id, delivery_rules.c.id, delivery_rules.c.title)
    )
    return [
        ("result_withdrawn", row.site_id, Measured("delivery_rule", row.id, row.many, _cut(
            f"{row.title}: {row.many} plates are void and still in its files; tell who reads them")))
        for row in await connection.execute(query)
    ]  # fmt: skip


async def _open_alarms(connection: AsyncConnection) -> list[_Counted]:
    query = (
        select(alarms.c.site_id, alarms.c.kind, func.count().label("many"))
        .where(alarms.c.resolved_at.is_(None), alarms.c.acknowledged_at.is_(None))
        .group_by(alarms.c.site_id, alarms.c.kind)
    )
    return [
        (
            "alarm_open",
            row.site_id,
            Measured("alarm", row.kind, row.many, f"{row.kind.replace('_', ' ')}: {row.many}"),
        )
        for row in await connection.execute(query)
    ]


async def _unmatched(connection: AsyncConnection) -> list[_Counted]:
    query = (
        select(run_records.c.site_id, func.count().label("many"))
        .where(run_records.c.plate_id.is_(None), run_records.c.voided_at.is_(None))
        .group_by(run_records.c.site_id)
    )
    return [
        ("unmatched_waiting", row.site_id, Measured("site", row.site_id, row.many, f"{row.many} runs wait"))
        for row in await connection.execute(query)
    ]


def _of(device: DeviceFacts, value: float, detail: str) -> Measured:
    return Measured("device", device.id, value, _cut(f"{device.name}: {detail}"), device.id)


def _cut(text: str) -> str:
    """One line of what people can read: devices say what they like."""
    return "".join(sign if sign.isprintable() else " " for sign in text)[:_DETAIL_SIGNS]


def _at(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
