"""Devices: a claim code makes exactly one, secrets are kept as hashes only, an old will says nothing."""

import asyncio
from datetime import timedelta

import msgspec
import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from central.db import reading, transaction
from central.fleet.devices import (
    CLAIM_TTL,
    ClaimError,
    authenticate_device,
    broker_credentials,
    create_claim,
    record_status,
    redeem,
    revoke,
)
from central.fleet.queries import DeviceRow, list_devices
from central.tables import claims, devices
from protocol.messages import VERSION, DeviceStatus, Enrolment, EnrolmentRequest
from tests.central.wire import ADDRESS, enrol
from tests.make import NOON

pytestmark = pytest.mark.anyio


async def use(engine: AsyncEngine, code: str, device_id: str = "bench-1", minutes: float = 1) -> Enrolment:
    """Redeem a code some minutes after noon."""
    request = EnrolmentRequest(code, device_id, "0.1.0")
    return await redeem(engine, request, ADDRESS, now=NOON + timedelta(minutes=minutes))


async def only_device(engine: AsyncEngine) -> DeviceRow:
    """The one device."""
    async with reading(engine) as connection:
        (device,) = await list_devices(connection)
    return device


async def device_of(engine: AsyncEngine, token: str) -> str | None:
    """Whose upload token it is."""
    async with reading(engine) as connection:
        return await authenticate_device(connection, token)


async def record(engine: AsyncEngine, status: DeviceStatus, minutes: int = 0) -> bool:
    """A status that arrives some minutes after noon."""
    async with transaction(engine) as connection:
        return await record_status(connection, status, now=NOON + timedelta(minutes=minutes))


async def test_a_claim_code_makes_a_device(engine: AsyncEngine) -> None:
    claim = await create_claim(engine, "  North bench ", by="anna", now=NOON)
    enrolment = await use(engine, claim.code)
    assert (enrolment.device_id, enrolment.name) == ("bench-1", "North bench")
    assert (enrolment.broker.host, enrolment.broker.port, enrolment.broker.username) == ("127.0.0.1", 1883, "bench-1")
    assert await device_of(engine, enrolment.upload_token) == "bench-1"


async def test_a_code_may_be_typed_as_people_type(engine: AsyncEngine) -> None:
    claim = await create_claim(engine, "Bench", by="anna", now=NOON)
    typed = claim.code.lower().replace("-", " ").replace("0", "o").replace("1", "l")
    assert (await use(engine, typed)).device_id == "bench-1"


async def test_a_code_has_140_random_bits_in_groups(engine: AsyncEngine) -> None:
    codes = {(await create_claim(engine, "Bench", by="anna", now=NOON)).code for _ in range(5)}
    assert len(codes) == 5
    assert {tuple(len(group) for group in code.split("-")) for code in codes} == {(4,) * 7}


async def test_fifty_readers_with_one_code_make_one_device(engine: AsyncEngine) -> None:
    claim = await create_claim(engine, "Bench", by="anna", now=NOON)
    tries = await asyncio.gather(
        *(use(engine, claim.code, f"bench-{number}") for number in range(50)), return_exceptions=True
    )
    winners = [each for each in tries if isinstance(each, Enrolment)]
    losers = [each for each in tries if isinstance(each, ClaimError)]
    assert (len(winners), len(losers)) == (1, 49)
    assert {loser.reason for loser in losers} == {"used"}
    assert (await only_device(engine)).id == winners[0].device_id


async def test_a_used_code_says_when_it_was_used(engine: AsyncEngine) -> None:
    claim = await create_claim(engine, "Bench", by="anna", now=NOON)
    await use(engine, claim.code)
    with pytest.raises(ClaimError, match=r"used at 2026-11-20 12:01 UTC") as refused:
        await use(engine, claim.code, "bench-2")
    assert refused.value.reason == "used"


async def test_an_expired_code_says_when_it_expired(engine: AsyncEngine) -> None:
    claim = await create_claim(engine, "Bench", by="anna", now=NOON)
    assert claim.expires_at == NOON + CLAIM_TTL
    with pytest.raises(ClaimError, match=r"expired at 2026-11-20 12:15 UTC") as refused:
        await use(engine, claim.code, minutes=15)
    assert refused.value.reason == "expired"


async def test_an_unknown_code_is_not_repeated_in_the_message(engine: AsyncEngine) -> None:
    with pytest.raises(ClaimError, match="not known here") as refused:
        await use(engine, "GUESS")
    assert refused.value.reason == "unknown"
    assert "GUESS" not in str(refused.value)


@pytest.mark.parametrize("device_id", ["central", "Bench 1", "a/b", "x\n", "bench-1\n"])
async def test_a_device_id_that_is_no_topic_uses_up_no_code(engine: AsyncEngine, device_id: str) -> None:
    claim = await create_claim(engine, "Bench", by="anna", now=NOON)
    with pytest.raises(ClaimError, match="not a device id") as refused:
        await use(engine, claim.code, device_id)
    assert refused.value.reason == "device_id"
    assert (await use(engine, claim.code)).device_id == "bench-1"


@pytest.mark.parametrize("name", ["", "   ", "n" * 65, "a\nb"])
async def test_a_device_needs_a_readable_name(engine: AsyncEngine, name: str) -> None:
    with pytest.raises(ValueError, match="not a name for a device"):
        await create_claim(engine, name, by="anna", now=NOON)


async def test_enrolling_again_replaces_the_credentials(engine: AsyncEngine) -> None:
    old = await enrol(engine)
    await revoke(engine, "bench-1", now=NOON)
    new = await enrol(engine)
    assert await device_of(engine, old.upload_token) is None
    assert await device_of(engine, new.upload_token) == "bench-1"
    assert (await only_device(engine)).revoked_at is None


async def test_no_secret_is_stored_readably(engine: AsyncEngine) -> None:
    claim = await create_claim(engine, "Bench", by="anna", now=NOON)
    enrolment = await use(engine, claim.code)
    async with reading(engine) as connection:
        rows = [*await connection.execute(select(claims)), *await connection.execute(select(devices))]
    for secret in (claim.code, claim.code.replace("-", ""), enrolment.broker.password, enrolment.upload_token):
        assert secret not in repr(rows)


async def test_a_revoked_device_has_no_way_in(engine: AsyncEngine) -> None:
    enrolment = await enrol(engine)
    assert await revoke(engine, "bench-1", now=NOON)
    assert await device_of(engine, enrolment.upload_token) is None
    async with reading(engine) as connection:
        assert await broker_credentials(connection) == {}


async def test_revoking_twice_keeps_the_first_time(engine: AsyncEngine) -> None:
    await enrol(engine)
    await revoke(engine, "bench-1", now=NOON)
    assert await revoke(engine, "bench-1", now=NOON + timedelta(hours=1))
    assert (await only_device(engine)).revoked_at == NOON


async def test_revoking_nobody_says_so(engine: AsyncEngine) -> None:
    assert not await revoke(engine, "bench-9", now=NOON)


BIRTH = DeviceStatus(VERSION, "bench-1", True, "session-1", agent="0.1.0")
WILL = DeviceStatus(VERSION, "bench-1", False, "session-1")


async def test_a_will_of_the_running_session_takes_the_device_offline(engine: AsyncEngine) -> None:
    await enrol(engine)
    assert await record(engine, BIRTH)
    assert await record(engine, WILL, minutes=1)
    device = await only_device(engine)
    gone = msgspec.structs.replace(BIRTH, online=False)  # what it said of itself stays known
    assert (device.status, device.status_at) == (gone, NOON + timedelta(minutes=1))
    assert not await record(engine, WILL, minutes=2)


async def test_a_will_of_a_session_that_is_over_says_nothing(engine: AsyncEngine) -> None:
    await enrol(engine)
    later = msgspec.structs.replace(BIRTH, session="session-2")
    await record(engine, later)
    assert not await record(engine, WILL)
    assert (await only_device(engine)).status == later


async def test_a_retained_status_that_the_broker_repeats_is_no_sign_of_life(engine: AsyncEngine) -> None:
    await enrol(engine)
    await record(engine, BIRTH)
    assert not await record(engine, BIRTH, minutes=30)
    assert (await only_device(engine)).status_at == NOON


async def test_a_status_of_nobody_is_not_kept(engine: AsyncEngine) -> None:
    assert not await record(engine, BIRTH)
