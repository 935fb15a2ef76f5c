"""Two laboratories on one central: whoever belongs to one finds nothing of the other, by any address there is."""

import re
import shutil
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Column, Table, insert, select
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
from central.tables import (
    Json,
    alarms,
    api_keys,
    control_sera,
    deliveries,
    delivery_rules,
    notice_rules,
    notice_silences,
    notices,
    plates,
    run_records,
    sessions,
    sites,
    submissions,
    tests,
    withdrawals,
)
from central.web.docs import complete
from tests.central.web import ENDLESS, PASSWORD, Client, bearer, central, runs
from tests.make import NOON, make_code, make_reading, make_reading_id

pytestmark = pytest.mark.anyio

SIGNING_OUT = ("POST /sign-out", "DELETE /api/v1/tokens", "DELETE /api/v1/sessions", "POST /account/sessions/end")
NAMES = ("APART-77", "apart-bench", make_reading_id(1))
# Of things that belong to no laboratory: profiles, files of pages, links that are their own proof.
NOBODYS = {"profile", "version", "file_path", "path", "code"}
OURS = "01981f5e-6f00-7abc-8def-00000000f00d"
PLAIN: dict[type, Any] = {str: "x", int: 1, float: 1.0, bool: False, bytes: b"x", datetime: NOON, dict: {}}


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
    return (
        ids
        | await everything_else(engine, ids)
        | {
            "run_id": NAMES[2],
            "submission": NAMES[0],
            "device_id": NAMES[1],
            "sha256": picture,
            "site_id": "main",
        }
    )


async def everything_else(engine: AsyncEngine, ids: dict[str, str]) -> dict[str, str]:
    """Ids of one thing of the main site of every other kind."""
    third = (await add_user(engine, name="third", password=PASSWORD, role="viewer", now=NOON, site_ids=("main",))).id
    async with transaction(engine) as connection:
        for table in (delivery_rules, notice_rules):
            await connection.execute(insert(table).values(plain(table) | {"id": OURS}))
        file = {"state": "placed", "subject_kind": "plate", "content": b"1,2", "name": f"{NAMES[0]}.csv"}
        more = {"rule_id": OURS, "subject_id": ids["plate_id"]}
        for table, values in (
            (deliveries, file),
            (withdrawals, {"delivery_id": OURS, "run_id": NAMES[2], "plate": NAMES[0]}),
            (control_sera, {"kind": "positive"}),
            (notices, {}),
            (notice_silences, {}),
        ):
            await connection.execute(insert(table).values(plain(table) | {"id": OURS} | named(table, more) | values))
        await connection.execute(insert(alarms).values(plain(alarms) | {"number": 77, "detail": NAMES[0]}))
        await connection.execute(insert(sessions).values(plain(sessions) | {"id": OURS, "user_id": third}))
        await connection.execute(insert(api_keys).values(plain(api_keys) | {"id": "0123456789ab", "scopes": []}))
    kinds = "rule_id", "delivery_id", "withdrawal_id", "control_id", "notice_id", "silence_id", "session_id"
    of_rules = dict.fromkeys(kinds, OURS)
    comment = {"kind": "submission", "object_id": ids["submission_id"]}
    return of_rules | comment | {"number": "77", "user_id": third, "key_id": "0123456789ab"}


def plain(table: Table) -> dict[str, Any]:
    """A row of the main site: something in each column that must have a value."""
    needed = [column for column in table.columns if not column.nullable and column.autoincrement is not True]
    values = {column.name: [] if column.type is Json else _plain(column) for column in needed}
    return values | ({"site_id": "main"} if "site_id" in table.c else {})


def _plain(column: Column[Any]) -> Any:
    try:
        return PLAIN[column.type.python_type]
    except NotImplementedError:
        return {} if isinstance(column.type, type(Json)) else NOON


def named(table: Table, values: dict[str, Any]) -> dict[str, Any]:
    """Those of the values that a table has a column for."""
    return {name: value for name, value in values.items() if name in table.c}


@pytest.fixture
async def apart(engine: AsyncEngine, settings: Settings) -> AsyncIterator[tuple[Client, dict[str, str]]]:
    """Central with both."""
    ids = await two_sites(engine)
    async with central(settings) as client:
        yield client, ids


async def leaks(client: Client, ids: dict[str, str], headers: dict[str, str]) -> list[str]:
    """What is answered to this caller of the main site's: by every operation, with the ids that the main site has."""
    found = []
    bodies = complete(client.app.openapi_schema.to_schema())["paths"]
    for name in operations(client.app):
        method, template = name.split(" ")
        if template in (*ENDLESS, "/readyz") or name in SIGNING_OUT or NOBODYS & set(re.findall(r"{(\w+)}", template)):
            continue
        path = template.format_map(ids)  # a KeyError: say in `everything_else` what there is of that kind
        described = bodies.get(template, {}).get(method.lower(), {}).get("requestBody", {}).get("content", {})
        body = {"json": said["example"]} if (said := described.get("application/json")) else {}
        sent = headers | {"if-match": '"1"'}
        answer = await client.request(method, path, headers=sent, follow_redirects=False, **body)
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
        "GET /api/v1/runs/{run_id}/titres",
        "GET /api/v1/submissions/{submission}/plates",
        "GET /api/v1/devices/{device_id}",
        "GET /api/v1/deliveries/{delivery_id}/file",
        "POST /api/v1/deliveries/{delivery_id}/acknowledge",
        "GET /api/v1/control-sera/{control_id}",
        "POST /api/v1/alarms/{number}/resolve",
        "GET /api/v1/comments/{kind}/{object_id}",
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
