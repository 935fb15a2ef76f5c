"""The whole app: who may call what, how a refusal looks, what every answer carries, health and metrics."""

import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from central.app import create_app
from central.audit.chain import COMMAND
from central.db import transaction
from central.people.access import operations
from central.people.keys import create_key
from central.people.permissions import NOBODY, ROLES, SCOPES, Access
from central.settings import Settings
from tests.central.web import ENDLESS, PASSWORD, Client, bearer, central, people, runs
from tests.make import NOON, make_reading_id

pytestmark = pytest.mark.anyio


@pytest.fixture
def database_url(tmp_path: Path, migrated_file: Path) -> str:
    """One database is enough here: what differs between them is below the web."""
    return f"sqlite+aiosqlite:///{shutil.copy(migrated_file, tmp_path / 'central.db')}"


# What stands for each parameter; nothing here exists, so that an allowed call ends in 404 and not in a change.
VALUES = {
    "run_id": make_reading_id(999),
    "submission": "S-none",
    "device_id": "bench-none",
    "sha256": "0" * 64,
    "file_path": "style.css",
    "path": "nothing",
    "number": "999",
    "key_id": "0" * 12,
    "site_id": "nowhere",
    "profile": "hi-none",
    "version": "999",
}
REFUSED = {401, 403}


class Values(dict[str, str]):
    """Most ids are UUIDs."""

    def __missing__(self, name: str) -> str:
        """One that nothing has."""
        return make_reading_id(999)


# They would end this test's own sign-ins.
SIGNING_OUT = {"POST /sign-out", "DELETE /api/v1/tokens", "DELETE /api/v1/sessions", "POST /account/sessions/end"}


def test_every_route_says_who_may_call_it(tmp_path: Any) -> None:
    app = create_app(Settings(data_dir=tmp_path), with_ingest=False)
    assert [name for name, access in operations(app).items() if access == NOBODY] == []


async def _headers_of(client: Client, engine: AsyncEngine) -> dict[str, dict[str, str]]:
    device = await runs(engine)
    signed_in = {role: await bearer(client, role) for role in ROLES}
    _, key = await create_key(
        engine, title="LIMS", site_id="main", scopes=SCOPES, expires_at=None, actor=COMMAND, now=NOON
    )
    signed_in["key"] = {"authorization": f"Bearer {key}"}
    return {"nobody": {}, "device": {"authorization": f"Bearer {device.upload_token}"}} | signed_in


def may(caller: str, access: Access) -> bool:
    """What the operation says of this caller."""
    if access.anyone or caller == "nobody":
        return access.anyone
    if caller == "key":
        return access.scope is not None
    return access.device if caller == "device" else access.allows(caller)  # type: ignore[arg-type]


async def test_every_operation_is_open_to_exactly_whom_the_table_says(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine, *ROLES)
    wrong: list[str] = []
    async with central(settings) as client:
        callers = await _headers_of(client, engine)
        for key, access in operations(client.app).items():
            method, template = key.split(" ")
            if template in ENDLESS or key in SIGNING_OUT:
                continue  # a stream has no end, and signing out would end this test's sign-ins: tests of their own
            for caller, headers in callers.items():
                status = await _status(client, method, template.format_map(Values(VALUES)), headers)
                if may(caller, access) != (status not in REFUSED) and key not in ("PUT /api/v1/images/{sha256}",):
                    wrong.append(f"{caller} {key}: {status}")
    assert wrong == []


async def _status(client: Client, method: str, path: str, headers: dict[str, str]) -> int:
    body = {"json": {"name": "x"}} if path.startswith("/api/v1/") and method == "POST" else {}
    answer = await client.request(method, path, headers=headers, follow_redirects=False, **body)
    if answer.status_code in (302, 303) and answer.headers["location"].startswith("/sign-in"):
        return 401
    if path in ("/api/v1/tokens", "/api/v1/tokens/refresh", "/sign-in") and answer.status_code in (400, 401):
        return 400  # open to anyone; it is the name and password that are missing
    return answer.status_code


async def test_a_picture_that_nobody_asked_for_is_refused_to_devices_and_people(
    engine: AsyncEngine, settings: Settings
) -> None:
    await people(engine, *ROLES)
    async with central(settings) as client:
        said = {}
        for caller, headers in (await _headers_of(client, engine)).items():
            answer = await client.put(f"/api/v1/images/{'0' * 64}", content=b"x", headers=headers)
            assert answer.status_code in REFUSED
            said[caller] = answer.json()["detail"]
        assert "nothing asked for it" in said["device"]


async def test_a_viewer_cannot_listen_to_nothing_without_signing_in(engine: AsyncEngine, settings: Settings) -> None:
    async with central(settings) as client:
        assert (await client.get("/api/v1/events")).status_code == 401


@pytest.fixture
async def broken(engine: AsyncEngine, settings: Settings) -> AsyncIterator[Client]:
    """Central in which every route that needs a part fails inside, as nobody foresaw."""
    async with central(settings) as client:
        client.app.state.parts = None
        yield client


async def test_an_unforeseen_error_tells_nothing_but_its_request_id(broken: Client) -> None:
    answer = await broken.get("/readyz")
    assert answer.status_code == 500
    body = answer.json()
    assert body["title"] == "Internal Server Error"
    assert body["request_id"] == answer.headers["x-request-id"]
    assert not re.search(r"Traceback|assert|\.py|Error:|parts", answer.text)


async def test_the_log_of_an_error_holds_no_password(broken: Client, capsys: pytest.CaptureFixture[str]) -> None:
    await broken.post("/sign-in", data={"name": "viewer", "password": PASSWORD})
    out, err = capsys.readouterr()
    assert "request_failed" in out + err
    assert PASSWORD not in out + err


async def test_an_unforeseen_error_of_a_page_is_a_page_that_tells_nothing(broken: Client) -> None:
    answer = await broken.post("/sign-in", data={"name": "a", "password": "b"})
    assert answer.status_code == 500
    assert answer.headers["content-type"].startswith("text/html")
    assert not re.search(r"Traceback|assert|\.py|parts", answer.text)


async def test_a_refusal_is_problem_json_with_pointers(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine)
    async with central(settings) as client:
        answer = await client.get("/api/v1/runs?limit=9999", headers=await bearer(client))
    assert answer.status_code == 400
    assert answer.headers["content-type"].startswith("application/problem+json")
    body = answer.json()
    assert (body["title"], body["type"], body["status"]) == ("Bad Request", "about:blank", 400)
    assert body["errors"][0]["pointer"] == "#/query/limit"


async def test_a_body_with_an_unknown_field_is_refused_by_name(engine: AsyncEngine, settings: Settings) -> None:
    async with central(settings) as client:
        answer = await client.post("/api/v1/tokens", json={"name": "a", "password": "b", "admin": True})
    assert answer.status_code == 400
    assert "admin" in answer.text


@pytest.mark.parametrize(
    "path", ["/", "/nothing/here", "/api/v1/nothing", "/static/style.css", "/sign-in", "/api/v1/runs"]
)
async def test_every_answer_carries_the_safety_headers(engine: AsyncEngine, settings: Settings, path: str) -> None:
    async with central(settings) as client:
        headers = (await client.get(path, follow_redirects=False)).headers
    assert "unsafe-inline" not in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert re.fullmatch(r"[0-9a-f]{16}", headers["x-request-id"])


async def test_a_large_body_is_refused(engine: AsyncEngine, settings: Settings) -> None:
    async with central(settings) as client:
        answer = await client.post("/api/v1/tokens", json={"name": "a", "password": "x" * 200_000})
    assert answer.status_code == 413


async def test_ready_says_which_part_is_not(engine: AsyncEngine, settings: Settings) -> None:
    async with central(settings) as client:
        answer = await client.get("/readyz")
        health = await client.get("/healthz")
    assert health.json() == {"status": "ok"}
    assert answer.status_code == 503
    assert answer.json() == {"status": "not ready", "database": "ok", "broker": "not used here"}


async def test_metrics_count_what_is_there(engine: AsyncEngine, settings: Settings) -> None:
    await runs(engine, 1, 2, 3)
    async with central(settings) as client:
        text_ = (await client.get("/metrics")).text
    assert "wellread_central_runs 3.0" in text_
    assert "wellread_central_devices 1.0" in text_


async def test_a_database_that_is_away_is_a_refusal_without_details(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine)
    async with central(settings) as client:
        headers = await bearer(client)
        async with transaction(engine) as connection:
            await connection.execute(text("ALTER TABLE runs RENAME TO away"))
        answer = await client.get("/api/v1/runs", headers=headers)
        ready = await client.get("/readyz")
    assert (ready.status_code, ready.json()["database"]) == (503, "does not answer")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert not re.search(r"SELECT|runs\.|sqlalchemy|asyncpg|sqlite", answer.text, re.IGNORECASE)


async def test_the_openapi_document_describes_every_operation(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine)
    async with central(settings) as client:
        document = (await client.get("/api/openapi.json", headers=await bearer(client))).json()
    assert document["openapi"].startswith("3.1")
    bare = [
        f"{method} {path}"
        for path, item in document["paths"].items()
        for method, found in item.items()
        if not found.get("summary") or not found.get("tags")
    ]
    assert bare == []
    answers = [found["responses"] for item in document["paths"].values() for found in item.values()]
    assert {str(answer["default"]["content"].keys()) for answer in answers} == {
        "dict_keys(['application/problem+json'])"
    }
    assert document["components"]["schemas"]["Problem"]["properties"].keys() >= {"status", "title", "detail"}
    assert {f"{m.upper()} {p}" for p, item in document["paths"].items() for m in item} <= set(operations(client.app))
