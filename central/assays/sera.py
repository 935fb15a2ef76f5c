"""Control sera: lots of known titre that the laboratory runs along, and their observations for a control chart."""

import uuid
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from central.assays.charts import Observation
from central.assays.controls import SerumKind
from central.audit.chain import Actor, Change, record
from central.db import transaction
from central.people.sites import Sites
from central.results.queries import speakers
from central.tables import control_sera, placements, sites
from protocol.profiles import PROFILES

# A chart shows the newest so many observations.
MOST_OBSERVATIONS: Final = 500


class SerumError(ValueError):
    """A control serum that cannot be; the message holds the value and the expectation."""


class StaleSerumError(Exception):
    """It is at another revision than the one that was seen."""

    def __init__(self, here: "SerumRow") -> None:
        """`here` is the serum as it is now."""
        super().__init__(f"the control serum is at revision {here.revision} (expected the one that was seen)")
        self.here = here


class NewSerum(msgspec.Struct, frozen=True, kw_only=True):
    """What is said of a lot when it is first used; of a positive one its titre is expected."""

    site_id: str
    name: str
    lot: str
    kind: SerumKind
    profile: str
    antigen: str | None = None
    expected_log2: int | None = None
    tolerance_log2: int = 1


class SerumRow(NewSerum, frozen=True, kw_only=True):
    """A lot as it is kept; `target_…` are those of its chart, once a reviewer has set them."""

    id: str
    revision: int
    target_mean: float | None
    target_sd: float | None
    retired_at: datetime | None


def check_serum(new: NewSerum) -> None:
    """SerumError where its fields contradict each other."""
    if new.profile not in PROFILES or PROFILES[new.profile].reports == "calls":
        raise SerumError(f"profile {new.profile!r} (expected one that reports an endpoint)")
    if (new.kind == "positive") != (new.expected_log2 is not None):
        raise SerumError(f"expected_log2 {new.expected_log2} of a {new.kind} serum (expected one of a positive alone)")


async def add_serum(engine: AsyncEngine, new: NewSerum, *, sites_seen: Sites, actor: Actor, now: datetime) -> SerumRow:
    """A new lot; SerumError where it is known already or of a site that is not there."""
    check_serum(new)
    row = msgspec.structs.asdict(new) | {"id": str(uuid.uuid4()), "revision": 1}
    try:
        async with transaction(engine) as connection:
            here = await connection.scalar(select(sites.c.id).where(sites.c.id == new.site_id))
            if here is None or new.site_id not in sites_seen:
                raise SerumError(f"no site {new.site_id!r} (expected one of yours)")
            await connection.execute(insert(control_sera).values(row))
            change = Change("control_serum.add", "control_serum", row["id"], new.site_id, new=msgspec.to_builtins(new))
            await record(connection, actor, [change], now)
    except IntegrityError as error:
        raise SerumError(f"lot {new.lot!r} of {new.name!r} is known already (expected a new one)") from error
    return SerumRow(**row, target_mean=None, target_sd=None, retired_at=None)


async def change_serum(
    engine: AsyncEngine,
    serum_id: str,
    values: dict[str, Any],
    *,
    seen: int,
    sites_seen: Sites,
    actor: Actor,
    now: datetime,
    reason: str | None = None,
) -> SerumRow | None:
    """Set target, tolerance or retirement of a lot; None where there is no such lot, StaleSerumError."""
    async with transaction(engine) as connection:
        before = await get_serum(connection, serum_id, sites_seen)
        if before is None:
            return None
        changed = await connection.execute(
            update(control_sera)
            .where(control_sera.c.id == serum_id, control_sera.c.revision == seen)
            .values(**values, revision=seen + 1)
        )
        after = await get_serum(connection, serum_id, sites_seen)
        assert after is not None
        if changed.rowcount != 1:
            raise StaleSerumError(after)
        check_serum(after)
        old = {name: getattr(before, name) for name in values}
        change = Change("control_serum.set", "control_serum", serum_id, before.site_id, old, values, reason)
        await record(connection, actor, [change], now)
    return after


async def get_serum(connection: AsyncConnection, serum_id: str, sites_seen: Sites) -> SerumRow | None:
    """One lot."""
    query = select(control_sera).where(control_sera.c.id == serum_id, sites_seen.having(control_sera.c.site_id))
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else SerumRow(**row._mapping)


async def list_sera(connection: AsyncConnection, sites_seen: Sites) -> tuple[SerumRow, ...]:
    """Every lot, those in use first."""
    query = select(control_sera).where(sites_seen.having(control_sera.c.site_id))
    query = query.order_by(control_sera.c.retired_at.is_not(None), control_sera.c.name, control_sera.c.lot)
    return tuple(SerumRow(**row._mapping) for row in await connection.execute(query))


async def observations(connection: AsyncConnection, serum_id: str) -> tuple[Observation, ...]:
    """The endpoints of a lot in the runs that speak for their plates, oldest first. A row without a result is none."""
    query = (
        select(placements.c.plate_id, placements.c.row)
        .where(placements.c.control_serum_id == serum_id)
        .order_by(placements.c.plate_id)
    )
    rows: dict[str, list[str]] = {}
    for row in await connection.execute(query):
        rows.setdefault(row.plate_id, []).append(row.row)
    if not rows:
        return ()
    seen = [
        Observation(run.id, row, run.captured_at_corrected or run.received_at, k)
        for run in await speakers(connection, rows)
        if run.plate_id is not None
        for row in rows[run.plate_id]
        if row in run.endpoints and (k := run.endpoints[row].reported(run.assay)) is not None
    ]
    return tuple(sorted(seen, key=lambda each: (each.at, each.run_id, each.row))[-MOST_OBSERVATIONS:])
