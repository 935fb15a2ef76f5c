"""Two laboratories on one central: whoever belongs to one finds nothing of the other, by any address there is."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncEngine

from central.audit.chain import COMMAND
from central.db import reading, transaction
from central.people.access import operations
from central.people.keys import create_key
from central.people.permissions import SCOPES
from central.people.sites import Sites
from central.people.users import add_user
from central.results.images import StoredImage, record
from central.results.queries import picture_of_sites
from central.settings import Settings
from central.tables import plates, run_records, sites, submissions, tests
from tests.central.web import ENDLESS, PASSWORD, Client, bearer, central, runs
from tests.make import NOON, make_code, make_reading, make_reading_id

pytestmark = pytest.mark.anyio

SIGNING_OUT = ("POST /sign-out", "DELETE /api/v1/tokens", "DELETE /api/v1/sessions", "POST /account/sessions/end")
NAMES = ("APART-77", "apart-bench", make_reading_id(1))


@pytest.fixture
def database_url(tmp_path: Path, migrated_file: Path) -> str:
    """One database is enough here: what differs between them is below the web."""
    return f"sqlite+aiosqlite:///{shutil.copy(migrated_file, tmp_path / 'central.db')}"


async def two_sites(engine: AsyncEngine) -> dict[str, str]:
    """A run of the main site, and people and a key of another; the main site's ids by the names of path parameters."""
    other = {"id": "other", "title": "Other", "created_at": NOON, "revision": 1}
    async with transaction(engine) as connection:
        await connection.execute(insert(sites).values(other | {"unregistered": "register", "four_eyes": False}))
    for name, role, site in (("ours", "reviewer", "main"), ("theirs", "reviewer", "other")):
        await add_user(engine, name=name, password=PASSWORD, role=role, now=NOON, site_ids=(site,))  # type: ignore[arg-type]
    await runs(engine, 1, device_id="apart-bench", code=make_code("APART-77"))
    picture = make_reading(1).picture.sha256
    async with transaction(engine) as connection:
        await record(connection, StoredImage(picture, 10, "image/jpeg"), device_id="apart-bench", now=NOON)
    async with reading(engine) as connection:
        found = {
            "submission_id": await connection.scalar(select(submissions.c.id)),
            "test_id": await connection.scalar(select(tests.c.id)),
            "plate_id": await connection.scalar(select(run_records.c.plate_id)),
            "plate": await connection.scalar(select(plates.c.id)),
        }
    assert all(found.values())
    ids = {name: str(value) for name, value in found.items()}
    return ids | {
        "run_id": NAMES[2],
        "submission": NAMES[0],
        "device_id": NAMES[1],
        "sha256": picture,
        "site_id": "main",
    }


@pytest.fixture
async def apart(engine: AsyncEngine, settings: Settings) -> AsyncIterator[tuple[Client, dict[str, str]]]:
    """Central with both."""
    ids = await two_sites(engine)
    async with central(settings) as client:
        yield client, ids


async def leaks(client: Client, ids: dict[str, str], headers: dict[str, str]) -> list[str]:
    """What is answered to this caller of the main site's: by every operation that takes no id, or one of these."""
    found = []
    for name in operations(client.app):
        method, template = name.split(" ")
        if "{" in template and not any(f"{{{key}}}" in template for key in ids):
            continue
        if template in (*ENDLESS, "/readyz") or name in SIGNING_OUT:
            continue
        path = template
        for key, value in ids.items():
            path = path.replace(f"{{{key}}}", value)
        body = {"json": {}} if path.startswith("/api") and method != "GET" else {}
        sent = headers | {"if-match": '"1"'}
        answer = await client.request(method, path.split("{")[0], headers=sent, follow_redirects=False, **body)
        about = "{" in template and answer.status_code < 300
        said = [
            marker
            for marker in NAMES
            if marker in answer.text.replace(path, "").replace(f"'{path.split('/')[-1]}'", "")
        ]
        if answer.status_code >= 500 or about or (answer.status_code < 300 and said):
            found.append(f"{name}: {answer.status_code} {said}")
    return found


async def test_the_other_sites_people_find_nothing_of_ours(apart: tuple[Client, dict[str, str]]) -> None:
    client, ids = apart
    assert await leaks(client, ids, await bearer(client, "theirs")) == []


async def test_our_own_people_find_it(apart: tuple[Client, dict[str, str]]) -> None:
    client, ids = apart
    found = {line.split(":")[0] for line in await leaks(client, ids, await bearer(client, "ours"))}
    assert {
        "GET /api/v1/runs",
        "GET /api/v1/runs/{run_id}",
        "GET /api/v1/devices/{device_id}",
        "GET /",
        "GET /devices",
    } <= found


async def test_the_other_sites_key_finds_nothing_of_ours_and_ours_does(
    engine: AsyncEngine, apart: tuple[Client, dict[str, str]]
) -> None:
    client, ids = apart
    found = {}
    for site in ("other", "main"):
        _, key = await create_key(
            engine, title="LIMS", site_id=site, scopes=SCOPES, expires_at=None, actor=COMMAND, now=NOON
        )
        found[site] = await leaks(client, ids, {"authorization": f"Bearer {key}"})
    assert found["other"] == []
    assert "GET /api/v1/runs/{run_id}: 200" in " ".join(found["main"])


async def test_a_picture_is_seen_by_who_sees_a_run_that_names_it(engine: AsyncEngine) -> None:
    ids = await two_sites(engine)
    async with reading(engine) as connection:
        assert await picture_of_sites(connection, ids["sha256"], sites=Sites.of(["other"])) is None
        assert await picture_of_sites(connection, ids["sha256"], sites=Sites.of(["main"])) is not None
