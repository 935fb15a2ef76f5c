"""Claims, enrolments and revocation over HTTP."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from central.db import reading, transaction
from central.fleet.devices import BrokerAddress, record_status
from central.intake.ingest import ingest
from central.intake.plan import Delivery
from central.settings import Settings
from central.tables import devices
from protocol.messages import Clock as DeviceClock
from protocol.messages import DeviceStatus, OutboxDepth, Refusal, Trouble
from tests.central.web import Accounts, Client, Clock, bearer, central, people, runs
from tests.central.wire import make_delivery
from tests.make import NOON

pytestmark = pytest.mark.anyio


async def claim(client: Client, name: str = "Bench 2") -> str:
    """A claim code made by an administrator."""
    answer = await client.post("/api/v1/claims", json={"name": name}, headers=await bearer(client, "admin"))
    assert answer.status_code == 201, answer.text
    return str(answer.json()["claim_code"])


def enrolment(code: str, device_id: str = "bench-2") -> dict[str, str]:
    """What a reader sends."""
    return {"claim_code": code, "device_id": device_id, "agent": "0.1.0"}


async def test_a_claim_code_makes_a_reader_a_device(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine)
    accounts = Accounts()
    async with central(settings, accounts=accounts) as client:
        answer = await client.post("/api/v1/enrolments", json=enrolment(await claim(client)))
        devices = (await client.get("/api/v1/devices", headers=await bearer(client))).json()["items"]
    body = answer.json()
    assert answer.status_code == 201
    assert (body["device_id"], body["name"], body["broker"]["username"]) == ("bench-2", "Bench 2", "bench-2")
    assert accounts.refreshed == 1  # the broker knew it before the answer left
    assert [(device["id"], device["online"], device["backlog"]) for device in devices] == [("bench-2", False, None)]


async def test_a_used_claim_code_says_so(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine)
    async with central(settings) as client:
        code = await claim(client)
        await client.post("/api/v1/enrolments", json=enrolment(code))
        again = await client.post("/api/v1/enrolments", json=enrolment(code, "bench-3"))
    assert again.status_code == 403
    assert "was used at" in again.json()["detail"]
    assert code not in again.text


async def test_an_expired_claim_code_says_so(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine)
    clock = Clock()
    async with central(settings, clock) as client:
        code = await claim(client)
        clock.tick(timedelta(minutes=16).total_seconds())
        answer = await client.post("/api/v1/enrolments", json=enrolment(code))
    assert answer.status_code == 403
    assert "expired at" in answer.json()["detail"]


async def test_an_unknown_claim_code_says_so(engine: AsyncEngine, settings: Settings) -> None:
    async with central(settings) as client:
        answer = await client.post("/api/v1/enrolments", json=enrolment("0000-0000"))
    assert answer.status_code == 403
    assert "not known here" in answer.json()["detail"]


@pytest.mark.parametrize("device_id", ["central", "../etc", "A", "x" * 64, "a b"])
async def test_a_device_id_that_cannot_be_one_uses_no_code_up(
    engine: AsyncEngine, settings: Settings, device_id: str
) -> None:
    await people(engine)
    async with central(settings) as client:
        code = await claim(client)
        refused = await client.post("/api/v1/enrolments", json=enrolment(code, device_id))
        taken = await client.post("/api/v1/enrolments", json=enrolment(code))
    assert refused.status_code in (400, 422)
    assert taken.status_code == 201


@pytest.mark.parametrize("name", ["", " ", "a\nb", "x" * 65])
async def test_a_name_that_no_device_can_have_is_refused(engine: AsyncEngine, settings: Settings, name: str) -> None:
    await people(engine)
    async with central(settings) as client:
        answer = await client.post("/api/v1/claims", json={"name": name}, headers=await bearer(client, "admin"))
    assert answer.status_code == 422
    assert "not a name for a device" in answer.json()["detail"]


async def test_a_revoked_device_is_shut_out_and_its_runs_stay(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine)
    accounts = Accounts()
    token = (await runs(engine, 1)).upload_token
    async with central(settings, accounts=accounts) as client:
        admin = await bearer(client, "admin")
        assert (await client.post("/api/v1/devices/bench-1/revoke", headers=admin)).status_code == 204
        upload = await client.head(f"/api/v1/images/{'0' * 64}", headers={"authorization": f"Bearer {token}"})
        (device,) = (await client.get("/api/v1/devices", headers=admin)).json()["items"]
    assert upload.status_code == 401
    assert (device["runs"], device["revoked_at"] is not None, accounts.refreshed) == (1, True, 1)


async def test_revoking_a_device_that_is_not_here_is_404(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine)
    async with central(settings) as client:
        answer = await client.post("/api/v1/devices/bench-9/revoke", headers=await bearer(client, "admin"))
    assert answer.status_code == 404


async def test_a_device_shows_its_backlog_and_last_refusal(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine)
    await runs(engine)
    refusal = Refusal(NOON, "IMG_7.jpg", "no_plate", "0 wells seen (expected at least 24)")
    status = DeviceStatus(
        1, "bench-1", True, "s1", NOON, "0.1.0", "hi-wells-v1", OutboxDepth("epoch-1", 9, 4, 1, 2), refusal
    )
    async with transaction(engine) as connection:
        await record_status(connection, status, now=NOON)
    async with central(settings) as client:
        (device,) = (await client.get("/api/v1/devices", headers=await bearer(client))).json()["items"]
    assert (device["online"], device["backlog"], device["last_refusal"]["reason"]) == (True, 4, "no_plate")


STATUS = DeviceStatus(
    1,
    "bench-1",
    True,
    "s1",
    NOON + timedelta(seconds=42),  # 42 s ahead of central
    "0.1.0",
    "hi-wells-v1",
    OutboxDepth("epoch-1", 9, 4, 1, 2, 48_200_000, NOON - timedelta(hours=3), 12.0, full=False),
    clock=DeviceClock("boot-9", 60_000_000_000, "unsynchronised"),
    troubles=(Trouble("camera", "no camera at /dev/video0 (expected one)", NOON),),
)


async def told(engine: AsyncEngine, status: DeviceStatus, seconds: float = 0) -> None:
    """The device says this, some seconds after noon."""
    async with transaction(engine) as connection:
        await record_status(connection, status, now=NOON + timedelta(seconds=seconds))


async def test_a_device_is_shown_with_everything_a_person_should_look_at(
    engine: AsyncEngine, settings: Settings
) -> None:
    await people(engine)
    await runs(engine, 1, 2, 4)
    await ingest(engine, [make_delivery(3, profile_version=9), make_delivery(4, agent="other")], now=NOON)
    await told(engine, STATUS)
    async with central(settings) as client:
        device = (await client.get("/api/v1/devices/bench-1", headers=await bearer(client))).json()
        missing = await client.get("/api/v1/devices/bench-9", headers=await bearer(client))
    assert missing.status_code == 404
    assert device["clock"] == {"quality": "unsynchronised", "offset_s": 42.0, "wrong": True}
    assert device["troubles"][0]["part"] == "camera"
    assert device["outbox"]["hours_left"] == 12.0
    assert device["dead_letters"] == {"conflict": 1, "unknown_profile": 1}
    assert (device["runs"], device["behind"], device["missing"], device["conflict"]) == (3, 5, 5, False)
    (outbox,) = device["outboxes"]
    assert (outbox["complete_to"], outbox["refused"], outbox["holes"]) == (4, 1, [[5, 9]])


async def test_a_card_that_was_cloned_or_set_back_is_a_conflict(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine)
    await runs(engine, 1, 2, 3)
    await told(engine, DeviceStatus(1, "bench-1", True, "s1", outbox=OutboxDepth("epoch-1", 1, 0, 0, 0)), seconds=60)
    async with central(settings) as client:
        device = (await client.get("/api/v1/devices/bench-1", headers=await bearer(client))).json()
    assert (device["conflict"], device["outboxes"][0]["beyond"]) == (True, 2)


async def test_dead_letters_of_a_device_and_their_bytes_are_for_administrators(
    engine: AsyncEngine, settings: Settings
) -> None:
    await people(engine)
    await runs(engine, 1)
    poison = make_delivery(2, profile_version=9)
    await ingest(engine, [poison, Delivery("wellread/v1/bench-2/reading", b"rubble")], now=NOON)
    async with central(settings) as client:
        admin, viewer = await bearer(client, "admin"), await bearer(client, "viewer")
        listed = (await client.get("/api/v1/dead-letters?device=bench-1", headers=admin)).json()["items"]
        payload = await client.get(f"/api/v1/dead-letters/{listed[0]['number']}/payload", headers=admin)
        refused = await client.get(f"/api/v1/dead-letters/{listed[0]['number']}/payload", headers=viewer)
        nowhere = await client.get("/api/v1/dead-letters/999/payload", headers=admin)
    assert [(one["code"], one["seq"], one["kept"]) for one in listed] == [("unknown_profile", 2, True)]
    assert payload.content == poison.payload
    assert (refused.status_code, nowhere.status_code) == (403, 404)


async def test_a_capture_is_corrected_by_what_central_knows_of_the_boot(
    engine: AsyncEngine, settings: Settings
) -> None:
    await people(engine)
    in_1970 = datetime(1970, 1, 1, 0, 1, tzinfo=UTC)
    await runs(engine, 1, captured_at=in_1970, clock=DeviceClock("boot-9", 30_000_000_000))
    await runs(engine, 2, captured_at=in_1970, clock=DeviceClock("another", 30_000_000_000))
    await told(engine, STATUS)  # 60 s after the boot it was noon here
    slow = msgspec.structs.replace(STATUS, clock=DeviceClock("boot-9", 61_000_000_000))
    await told(engine, slow, seconds=5)  # a message that was four seconds under way changes nothing
    async with central(settings) as client:
        items = (await client.get("/api/v1/runs", headers=await bearer(client))).json()["items"]
    found = {item["number"]: (item["captured_at"], item["captured_at_corrected"]) for item in items}
    assert found == {1: ("1970-01-01T00:01:00Z", "2026-11-20T11:59:30Z"), 2: ("1970-01-01T00:01:00Z", None)}


async def test_a_retained_status_says_nothing_of_when_a_boot_began(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine)
    await runs(engine, 1, clock=DeviceClock("boot-9", 30_000_000_000))
    async with transaction(engine) as connection:
        assert await record_status(connection, STATUS, now=NOON + timedelta(hours=9), retained=True)
    async with central(settings) as client:
        (item,) = (await client.get("/api/v1/runs", headers=await bearer(client))).json()["items"]
    assert item["captured_at_corrected"] is None


async def test_a_device_is_given_every_broker_and_its_key_is_kept(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine)
    accounts = Accounts()
    accounts.others = (BrokerAddress("standby.lab", 8883, tls=True),)
    async with central(settings, accounts=accounts) as client:
        request = enrolment(await claim(client)) | {"public_key": "ab" * 32}
        body = (await client.post("/api/v1/enrolments", json=request)).json()
    (other,) = body["other_brokers"]
    assert (other["host"], other["port"], other["tls"]) == ("standby.lab", 8883, True)
    assert other["password"] == body["broker"]["password"]
    async with reading(engine) as connection:
        assert await connection.scalar(select(devices.c.public_key)) == "ab" * 32
