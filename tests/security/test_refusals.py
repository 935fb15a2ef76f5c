"""What was refused is in the log: who, what, from where; never what was sent, and no flood of it."""

import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from structlog.testing import capture_logs

from central.settings import Settings
from central.web.refusals import PER_MINUTE, Refusals
from tests.central.web import bearer, central, csrf_token, people, sign_in
from tests.make import NOON

pytestmark = pytest.mark.anyio

SECRET = "S-CANARY-99999"


async def test_a_refusal_is_logged_with_who_and_what_and_nothing_that_was_sent(
    engine: AsyncEngine, settings: Settings
) -> None:
    await people(engine)
    async with central(settings) as client:
        viewer = await bearer(client)
        me = (await client.get("/api/v1/users/me", headers=viewer)).json()["id"]
        with capture_logs() as logged:
            for answer, status in (
                (await client.get("/api/v1/users", headers=viewer), 403),
                (await client.get(f"/api/v1/runs?text={SECRET}"), 401),
                (await client.post("/api/v1/tokens", json={"name": "viewer", "password": SECRET}), 401),
                (await client.post("/api/v1/tokens", json={"name": "viewer", SECRET: SECRET}), 400),
                (await client.post("/api/v1/password-links", json={"code": SECRET, "new_password": SECRET}), 422),
                (await client.get(f"/join/{SECRET}"), None),
            ):
                assert status is None or answer.status_code == status, answer.text
    refused = [each for each in logged if each["event"] == "refused"]
    assert {"status": 403, "operation": "GET /api/v1/users", "caller": f"person:{me}"}.items() <= refused[0].items()
    assert [each["status"] for each in refused[:5]] == [403, 401, 401, 400, 422]
    assert all(each["request_id"] and each["address"] for each in refused)
    assert SECRET not in repr(logged)


async def test_a_forged_form_is_logged(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine)
    async with central(settings) as client:
        await sign_in(client)
        assert await csrf_token(client)
        with capture_logs() as logged:
            await client.post("/sign-out", data={"csrf_token": "0" * 64}, follow_redirects=False)
    assert [(each["status"], each["operation"]) for each in logged if each["event"] == "refused"] == [
        (403, "POST /sign-out")
    ]


def test_a_flood_of_refusals_is_counted_and_not_written() -> None:
    refusals, scope = Refusals(), dict[str, Any](method="GET", path_template="/x", client=("10.0.0.1", 1), state={})
    with capture_logs() as logged:
        for _ in range(1000):
            refusals.note(scope, 401, NOON)  # type: ignore[arg-type]
        refusals.note(scope, 404, NOON)  # type: ignore[arg-type]
        assert len(logged) == PER_MINUTE
        refusals.note(scope, 403, NOON + timedelta(minutes=1))  # type: ignore[arg-type]
    assert logged[-2]["event"] == "refused_more"
    assert logged[-2]["times"] == 1000 - PER_MINUTE
    assert logged[-1]["status"] == 403


def test_after_the_clock_was_set_back_refusals_are_told_as_before() -> None:
    refusals, scope = Refusals(), dict[str, Any](method="GET", path_template="/x", client=None, state={})
    with capture_logs() as logged:
        for _ in range(PER_MINUTE + 7):
            refusals.note(scope, 401, NOON)  # type: ignore[arg-type]
        refusals.note(scope, 403, NOON - timedelta(hours=1))  # type: ignore[arg-type]
    assert [each.get("times") or each["status"] for each in logged[-2:]] == [7, 403]


@pytest.fixture
def database_url(tmp_path: Path, migrated_file: Path) -> str:
    """One kind of database is enough: nothing here is about it."""
    return f"sqlite+aiosqlite:///{shutil.copy(migrated_file, tmp_path / 'central.db')}"
