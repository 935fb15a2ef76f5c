"""Claims, enrolments and revocation over HTTP."""

from datetime import timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from central.db import transaction
from central.fleet import record_status
from central.settings import Settings
from protocol.messages import DeviceStatus, OutboxDepth, Refusal
from tests.central.web import Accounts, Client, Clock, bearer, central, people, runs
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
