"""Devices: claim codes, enrolment, credentials, presence. Each change is one transaction.

A secret is shown once and kept only as a hash. A claim code is used up by a single conditional UPDATE, so however many
readers try it at the same time, one becomes a device.
"""

import hashlib
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, Literal

import msgspec
from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from central.audit.chain import COMMAND, Actor, Change, record
from central.db import transaction, upsert
from central.fleet.mosquitto import new_password, password_hash
from central.people.sites import MAIN_SITE
from central.tables import boots, claims, devices
from protocol.errors import LocalProtocolError
from protocol.messages import BrokerAccess, Clock, DeviceStatus, Enrolment, EnrolmentRequest
from protocol.topics import topic

CLAIM_TTL: Final = timedelta(minutes=15)

# 28 of 32 signs are 140 bits. No I, L, O or U: people read these aloud and type them.
_SIGNS: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_CODE_SIGNS: Final = 28
_GROUP: Final = 4
_TYPED: Final = str.maketrans({"O": "0", "I": "1", "L": "1", "-": None, " ": None})


class ClaimError(ValueError):
    """A claim that enrols nobody; `reason` says why."""

    def __init__(self, reason: Literal["unknown", "used", "expired", "device_id"], detail: str) -> None:
        """`detail` is for the person at the reader; it does not repeat the code."""
        super().__init__(detail)
        self.reason = reason


class Claim(msgspec.Struct, frozen=True):
    """A new one-time code, in groups that a person can type; shown once."""

    code: str
    name: str
    expires_at: datetime


class BrokerAddress(msgspec.Struct, frozen=True):
    """Where devices reach the broker."""

    host: str
    port: int
    tls: bool = False


async def create_claim(
    engine: AsyncEngine,
    name: str,
    *,
    by: str,
    now: datetime,
    ttl: timedelta = CLAIM_TTL,
    site_id: str = MAIN_SITE,
    actor: Actor = COMMAND,
) -> Claim:
    """A code that makes one reader the device called `name`, of this site."""
    name = name.strip()
    if not 1 <= len(name) <= 64 or not name.isprintable():
        raise ValueError(f"not a name for a device: {name[:80]!r} (expected 1 to 64 printable characters)")
    signs = "".join(secrets.choice(_SIGNS) for _ in range(_CODE_SIGNS))
    claim = Claim("-".join(signs[at : at + _GROUP] for at in range(0, _CODE_SIGNS, _GROUP)), name, now + ttl)
    code = _code_hash(claim.code)
    row = {"code_sha256": code, "name": name, "created_at": now, "created_by": by}
    made = Change("claim.make", "claim", code[:16], site_id, new={"name": name, "expires_at": claim.expires_at})
    async with transaction(engine) as connection:
        await connection.execute(insert(claims).values(row | {"expires_at": claim.expires_at, "site_id": site_id}))
        await record(connection, actor, [made], now)
    return claim


async def redeem(
    engine: AsyncEngine,
    request: EnrolmentRequest,
    broker: BrokerAddress,
    *,
    now: datetime,
    others: Sequence[BrokerAddress] = (),
    address: str | None = None,
    request_id: str | None = None,
) -> Enrolment:
    """Turn a claim code into a device with new credentials; ClaimError where the code is not good.

    `others` are brokers that the device may use while it cannot reach `broker`; they have the same accounts.

    A known device id with a new code gets new credentials and is no longer revoked; the old ones stop working once
    the broker has the new ones (`Broker.refresh`).
    """
    _check_device_id(request.device_id)
    code = _code_hash(request.claim_code)
    password, upload_token = new_password(), secrets.token_urlsafe(32)
    async with transaction(engine) as connection:
        name, site_id = await _use_claim(connection, code, now)
        before = await _audited(connection, request.device_id)
        row = {
            "id": request.device_id,
            "name": name,
            "enrolled_at": now,
            "broker_password_hash": password_hash(password),
            "upload_token_sha256": _sha256(upload_token),
            "revoked_at": None,
            "public_key": request.public_key,
            "site_id": site_id,
        }
        put = upsert(engine.dialect.name, devices).values(row).on_conflict_do_update(index_elements=["id"], set_=row)
        await connection.execute(put)
        used_by = update(claims).where(claims.c.code_sha256 == code).values(device_id=request.device_id)
        await connection.execute(used_by)
        new = await _audited(connection, request.device_id)
        assert new is not None
        enrolled = Change("device.enrol", "device", request.device_id, site_id, before, new | {"claim": code[:16]})
        await record(connection, Actor("device", request.device_id, address, request_id), [enrolled], now)
    access, *more = (BrokerAccess(at.host, at.port, request.device_id, password, at.tls) for at in (broker, *others))
    return Enrolment(request.device_id, name, access, upload_token, tuple(more))


async def authenticate_device(connection: AsyncConnection, token: str) -> str | None:
    """The device id of an upload token; None where it is unknown or its device is revoked."""
    query = select(devices.c.id).where(devices.c.upload_token_sha256 == _sha256(token), devices.c.revoked_at.is_(None))
    found: str | None = await connection.scalar(query)
    return found


async def revoke(
    engine: AsyncEngine, device_id: str, *, now: datetime, actor: Actor = COMMAND, reason: str | None = None
) -> bool:
    """Shut a device out; False where no device has this id. Its runs stay. Call `Broker.refresh` afterwards."""
    async with transaction(engine) as connection:
        query = select(devices.c.site_id).where(devices.c.id == device_id)
        site_id = await connection.scalar(query)
        shut = update(devices).where(devices.c.id == device_id, devices.c.revoked_at.is_(None)).values(revoked_at=now)
        changed = (await connection.execute(shut)).rowcount == 1
        was, new = {"revoked_at": None}, {"revoked_at": now}
        shut_out = Change("device.revoke", "device", device_id, site_id, was, new, reason)
        await record(connection, actor, [shut_out] if changed else [], now)
    return site_id is not None


async def _audited(connection: AsyncConnection, device_id: str) -> dict[str, object] | None:
    """What the audit trail says of a device: no secret, and no hash of one."""
    columns = (devices.c.name, devices.c.site_id, devices.c.enrolled_at, devices.c.revoked_at, devices.c.public_key)
    row = (await connection.execute(select(*columns).where(devices.c.id == device_id))).one_or_none()
    return None if row is None else dict(row._mapping)


async def record_status(
    connection: AsyncConnection, status: DeviceStatus, *, now: datetime, retained: bool = False
) -> bool:
    """Keep a device's presence; False (and nothing changed) where it is old news or no device of ours.

    A will belongs to the session that it was left by: once the device has begun another one, it says nothing. The
    broker repeats a retained status at each subscription; that is not a sign of life either, and of several brokers
    one may repeat what another has news of.
    """
    query = select(devices.c.id, devices.c.status).where(devices.c.id == status.device_id)
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        return False
    known = None if row.status is None else msgspec.convert(row.status, DeviceStatus)
    if status == known or (known is not None and not status.online and status.session != known.session):
        return False
    if retained and known is not None and _is_older(status.clock, known.clock):
        return False
    if known is not None and not status.online:
        # A goodbye says nothing of what the device still holds: what it said before is the last that is known.
        status = msgspec.structs.replace(known, online=False)
        if status == known:
            return False
    values = {"status": msgspec.to_builtins(status), "status_at": now}
    await connection.execute(update(devices).where(devices.c.id == status.device_id).values(values))
    if status.clock is not None and not retained:
        await _record_boot(connection, status.device_id, status.clock, now)
    return True


def _is_older(clock: Clock | None, known: Clock | None) -> bool:
    """Whether it was read before the other one, in the same boot: only there can that be said."""
    if clock is None or known is None or clock.boot_id != known.boot_id:
        return False
    return clock.monotonic_ns < known.monotonic_ns


async def _record_boot(connection: AsyncConnection, device_id: str, clock: Clock, now: datetime) -> None:
    """When the boot began. A message can only have been slow, so of several the earliest beginning is the nearest."""
    began_at = now - timedelta(microseconds=clock.monotonic_ns // 1000)
    row = {"device_id": device_id, "boot_id": clock.boot_id, "began_at": began_at}
    put = upsert(connection.dialect.name, boots).values(row)
    earlier = put.excluded.began_at < boots.c.began_at
    await connection.execute(
        put.on_conflict_do_update(
            index_elements=["device_id", "boot_id"], set_={"began_at": put.excluded.began_at}, where=earlier
        )
    )


async def broker_credentials(connection: AsyncConnection) -> dict[str, str]:
    """Device id → password hash in Mosquitto's form, of every device that may connect."""
    query = select(devices.c.id, devices.c.broker_password_hash).where(devices.c.revoked_at.is_(None))
    return {row.id: row.broker_password_hash for row in await connection.execute(query)}


async def _use_claim(connection: AsyncConnection, code: str, now: datetime) -> tuple[str, str]:
    """The name and the site that the claim gives; the UPDATE lets exactly one caller through."""
    use = (
        update(claims)
        .where(claims.c.code_sha256 == code, claims.c.used_at.is_(None), claims.c.expires_at > now)
        .values(used_at=now)
        .returning(claims.c.name, claims.c.site_id)
    )
    given = (await connection.execute(use)).one_or_none()
    if given is not None:
        return given.name, given.site_id
    row = (await connection.execute(select(claims).where(claims.c.code_sha256 == code))).one_or_none()
    if row is None:
        raise ClaimError("unknown", "this claim code is not known here (expected one that this central made)")
    if row.used_at is not None:
        raise ClaimError("used", f"this claim code was used at {row.used_at:%Y-%m-%d %H:%M} UTC (expected a new one)")
    raise ClaimError("expired", f"this claim code expired at {row.expires_at:%Y-%m-%d %H:%M} UTC (expected a new one)")


def _check_device_id(device_id: str) -> None:
    try:
        topic(device_id, "state")
    except LocalProtocolError as error:
        raise ClaimError("device_id", str(error)) from error


def _code_hash(code: str) -> str:
    return _sha256(code.upper().translate(_TYPED))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
