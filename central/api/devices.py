"""`/api/v1/devices`, `/claims`, `/enrolments`: who reads plates for us, and how a reader becomes one of them."""

from datetime import datetime
from typing import Annotated, Final

import msgspec
from litestar import get, post
from litestar.params import JSONBody

from central.api.paths import DevicePath, missing
from central.db import reading
from central.fleet.devices import Claim, ClaimError, create_claim, redeem, revoke
from central.fleet.queries import DeviceRow, list_devices
from central.intake.gaps import OutboxAccount
from central.parts import CentralRequest, Parts, Wired, actor_of, caller_sites
from central.people.laboratories import list_sites
from central.people.permissions import ADMINS, ANYONE, VIEWERS
from central.people.sites import MAIN_SITE, Sites
from central.web.problems import ProblemError
from protocol.messages import ClockQuality, Enrolment, EnrolmentRequest, OutboxDepth, Refusal, Trouble

DeviceName = Annotated[str, msgspec.Meta(max_length=200, examples=["Bench 2"])]


# A clock that is further off than this is shown as wrong: by then two benches disagree about what was first.
CLOCK_MAY_DIFFER_S: Final = 5.0


class ClockOut(msgspec.Struct, frozen=True):
    """A device's clock: what its system says of it, how far it is from central's (null: unknown), if too far."""

    quality: ClockQuality
    offset_s: float | None
    wrong: bool


class DeviceOut(msgspec.Struct, frozen=True, kw_only=True):
    """A device and what it last said of itself. `backlog` counts readings that central has not answered yet.

    `missing` counts the places of all its outboxes that central has neither a run nor a refusal for, `behind` those of
    the outbox that it writes now: its backlog, unless something was lost. `conflict`: central has readings
    that the device says it never had, so its memory card was cloned or set back. `dead_letters` counts, by reason, what
    could not be accepted of it.
    """

    id: str
    name: str
    site_id: str
    enrolled_at: datetime
    revoked_at: datetime | None
    online: bool
    last_seen_at: datetime | None
    agent: str | None
    model: str | None
    backlog: int | None
    outbox: OutboxDepth | None
    last_refusal: Refusal | None
    clock: ClockOut | None
    troubles: tuple[Trouble, ...]
    runs: int
    behind: int | None
    missing: int
    conflict: bool
    outboxes: tuple[OutboxAccount, ...]
    dead_letters: dict[str, int]


class DevicesOut(msgspec.Struct, frozen=True):
    """Every device, by name."""

    items: tuple[DeviceOut, ...]


class ClaimIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the device will be called, and the site that its readings will belong to."""

    name: DeviceName
    site_id: Annotated[str, msgspec.Meta(max_length=64, examples=["main"])] = MAIN_SITE


class ClaimOut(msgspec.Struct, frozen=True):
    """A one-time code, shown once."""

    claim_code: str
    name: str
    expires_at: datetime


@get(
    "/devices",
    access=VIEWERS.with_key("devices:read"),
    summary="List devices",
    description="With presence, backlog and the last photograph each refused.",
)
async def get_devices(request: CentralRequest, parts: Wired) -> DevicesOut:
    """Every device."""
    async with reading(parts.engine) as connection:
        rows = await list_devices(connection, sites=caller_sites(request))
    return DevicesOut(tuple(device_out(row) for row in rows))


@get(
    "/devices/{device_id:str}",
    access=VIEWERS.with_key("devices:read"),
    summary="One device",
    description="With an account of each of its outboxes: what is here, what was refused, what is missing.",
)
async def get_device(request: CentralRequest, parts: Wired, device_id: DevicePath) -> DeviceOut:
    """One device."""
    async with reading(parts.engine) as connection:
        rows = await list_devices(connection, device_id, sites=caller_sites(request))
    if not rows:
        raise missing("device", device_id)
    return device_out(rows[0])


@post(
    "/claims",
    access=ADMINS,
    status_code=201,
    summary="Make a claim code",
    description="The reader that enrols with it within 15 minutes becomes a device of this name. Shown once.",
)
async def post_claim(request: CentralRequest, parts: Wired, data: JSONBody[ClaimIn]) -> ClaimOut:
    """A one-time code for one new device."""
    claim = await new_claim(request, parts, data.name, data.site_id)
    return ClaimOut(claim.code, claim.name, claim.expires_at)


async def new_claim(request: CentralRequest, parts: Parts, name: str, site_id: str = MAIN_SITE) -> Claim:
    """A claim code for a device of this name and site; 422 where it is no name, or there is no such site."""
    actor = actor_of(request)
    async with reading(parts.engine) as connection:
        if not await list_sites(connection, Sites.of([site_id])):
            raise ProblemError(422, f"no site {site_id!r} (expected one that is here)")
    try:
        return await create_claim(parts.engine, name, by=actor.id, now=parts.now(), site_id=site_id, actor=actor)
    except ValueError as error:
        raise ProblemError(422, str(error)) from error


@post(
    "/enrolments",
    access=ANYONE,
    status_code=201,
    summary="Enrol a device",
    description="A reader trades a claim code for its broker credentials and upload token. The code is the credential.",
)
async def post_enrolment(request: CentralRequest, parts: Wired, data: JSONBody[EnrolmentRequest]) -> Enrolment:
    """Credentials for a new device; they work once this answers."""
    if parts.broker is None:
        raise ProblemError(503, "this central runs without a broker, so no device can enrol")
    caller = actor_of(request)
    try:
        enrolment = await redeem(
            parts.engine,
            data,
            parts.broker.address,
            now=parts.now(),
            others=parts.broker.others,
            address=caller.address,
            request_id=caller.request_id,
        )
    except ClaimError as error:
        raise ProblemError(422 if error.reason == "device_id" else 403, str(error)) from error
    await parts.broker.refresh()
    return enrolment


@post(
    "/devices/{device_id:str}/revoke",
    access=ADMINS,
    status_code=204,
    summary="Revoke a device",
    description="It can neither send readings nor pictures any more; its runs stay.",
)
async def post_revoke(request: CentralRequest, parts: Wired, device_id: DevicePath) -> None:
    """Shut a device out."""
    await revoke_device(request, parts, device_id)


async def revoke_device(request: CentralRequest, parts: Parts, device_id: str) -> None:
    """Shut a device out here and at the broker; 404 where there is none."""
    if not await revoke(parts.engine, device_id, now=parts.now(), actor=actor_of(request)):
        raise missing("device", device_id)
    if parts.broker is not None:
        await parts.broker.refresh()


def device_out(row: DeviceRow) -> DeviceOut:
    """A device as the API shows it; a revoked one is never online."""
    status = row.status
    outbox = None if status is None else status.outbox
    return DeviceOut(
        id=row.id,
        name=row.name,
        site_id=row.site_id,
        enrolled_at=row.enrolled_at,
        revoked_at=row.revoked_at,
        online=status is not None and status.online and row.revoked_at is None,
        last_seen_at=row.status_at,
        agent=None if status is None else status.agent,
        model=None if status is None else status.model,
        backlog=None if outbox is None else outbox.pending,
        outbox=outbox,
        last_refusal=None if status is None else status.last_refusal,
        clock=_clock_out(row),
        troubles=() if status is None else status.troubles,
        runs=row.runs,
        behind=next((one.missing for one in row.outboxes if one.current), None),
        missing=sum(one.missing for one in row.outboxes),
        conflict=any(one.beyond for one in row.outboxes),
        outboxes=row.outboxes,
        dead_letters=row.letters,
    )


def _clock_out(row: DeviceRow) -> ClockOut | None:
    """Central's own measure of the offset where there is one; else the device's, from the last answer it had."""
    clock = None if row.status is None else row.status.clock
    if clock is None:
        return None
    offset_s = clock.offset_s if row.clock_offset_s is None else row.clock_offset_s
    return ClockOut(clock.quality, offset_s, offset_s is not None and abs(offset_s) > CLOCK_MAY_DIFFER_S)
