"""Devices: claim codes, enrolment, credentials, presence. Each change is one transaction.

A secret is shown once and kept only as a hash. A claim code is used up by a single conditional UPDATE, so however many
readers try it at the same time, one becomes a device.
"""

from datetime import datetime, timedelta
from typing import Final, Literal

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from protocol.messages import DeviceStatus, Enrolment, EnrolmentRequest

CLAIM_TTL: Final = timedelta(minutes=15)


class ClaimError(ValueError):
    """A claim code that enrols nobody; `reason` says why."""

    reason: Literal["unknown", "used", "expired"]


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


async def create_claim(engine: AsyncEngine, name: str, *, by: str, now: datetime, ttl: timedelta = CLAIM_TTL) -> Claim:
    """A code that makes one reader the device called `name`."""
    raise NotImplementedError


async def redeem(engine: AsyncEngine, request: EnrolmentRequest, broker: BrokerAddress, *, now: datetime) -> Enrolment:
    """Turn a claim code into a device with new credentials; ClaimError where the code is not good.

    A known device id with a new code gets new credentials and is no longer revoked; the old ones stop working once
    the broker has the new ones (`Broker.refresh`).
    """
    raise NotImplementedError


async def authenticate_device(connection: AsyncConnection, token: str) -> str | None:
    """The device id of an upload token; None where it is unknown or its device is revoked."""
    raise NotImplementedError


async def revoke(engine: AsyncEngine, device_id: str, *, now: datetime) -> bool:
    """Shut a device out; False where no device has this id. Its runs stay. Call `Broker.refresh` afterwards."""
    raise NotImplementedError


async def record_status(connection: AsyncConnection, status: DeviceStatus, *, now: datetime) -> bool:
    """Keep a device's presence; False (and nothing changed) for a will of a session that is over or no device."""
    raise NotImplementedError


async def broker_credentials(connection: AsyncConnection) -> dict[str, str]:
    """Device id → password hash in Mosquitto's form, of every device that may connect."""
    raise NotImplementedError
