"""The trail on the page and in the API: who sees what of it, exports that can be checked, and nothing hostile runs."""

import csv
import io
import json
from datetime import datetime, timedelta

import pytest
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from central.audit.chain import BEFORE_THE_FIRST, COLUMNS, Actor, Change, Entry, entry_hash, record
from central.audit.verify import Head
from central.db import transaction
from central.people.permissions import ROLES
from central.settings import Settings
from central.tables import sites
from tests.central.web import Client, bearer, central, people, sign_in
from tests.make import NOON

pytestmark = pytest.mark.anyio

HOSTILE = "<script>alert(1)</script>"


async def write(engine: AsyncEngine) -> None:
    """Everybody, and four changes: at two sites, and at none."""
    await people(engine, *ROLES)
    async with transaction(engine) as connection:
        north = {"id": "north", "title": "North", "created_at": NOON, "unregistered": "wait"}
        await connection.execute(insert(sites).values(north | {"four_eyes": False, "revision": 1}))
        changes = [
            Change("run.void", "run", "r1", "main", {"voided": False}, {"voided": True, "note": HOSTILE}, HOSTILE),
            Change("run.void", "run", "r2", "north", None, {"n": -0.5}, "=1+2"),
            Change("run.accept", "run", "r1", "main", None, "seen"),
        ]
        await record(connection, Actor("person", "p-gone", "10.0.0.7"), changes, NOON + timedelta(hours=1))


async def found(client: Client, query: str, name: str) -> list[str]:
    answer = await client.get(f"/api/v1/audit{query}", headers=await bearer(client, name))
    assert answer.status_code == 200, answer.text
    return [f"{entry['action']} {entry['object_id']}" for entry in answer.json()["items"]]


async def test_a_reviewer_sees_his_own_site_and_an_administrator_everything(
    engine: AsyncEngine, settings: Settings
) -> None:
    await write(engine)
    async with central(settings) as client:
        assert await found(client, "?action=run", "reviewer") == ["run.accept r1", "run.void r1"]
        assert await found(client, "?action=run", "admin") == ["run.accept r1", "run.void r2", "run.void r1"]
        assert await found(client, "?site=north", "reviewer") == []
        assert await found(client, "?action=run&text=SCRIPT", "admin") == ["run.void r1"]
        for role in ("viewer", "operator"):
            assert (await client.get("/api/v1/audit", headers=await bearer(client, role))).status_code == 403


async def test_the_list_goes_on_where_it_ended_and_meets_every_entry_once(
    engine: AsyncEngine, settings: Settings
) -> None:
    await write(engine)
    async with central(settings) as client:
        headers, address, numbers = await bearer(client, "admin"), "/api/v1/audit?limit=2", []
        last = (await client.get("/api/v1/audit?limit=1", headers=headers)).json()["items"][0]["number"]
        while address:
            answer = await client.get(address, headers=headers)
            numbers += [entry["number"] for entry in answer.json()["items"]]
            address = answer.json()["next"]
    assert numbers == list(range(last, 0, -1))


async def test_an_export_is_a_chain_that_its_head_signs_and_names_who_took_it(
    engine: AsyncEngine, settings: Settings
) -> None:
    await write(engine)
    async with central(settings) as client:
        answer = await client.get("/api/v1/audit/export", headers=await bearer(client, "admin"))
    *lines, last = [json.loads(line) for line in answer.text.splitlines()]
    entries = [Entry(**(line | {"at": _time(line["at"])})) for line in lines]
    head = Head(**(last["head"] | {"signed_at": _time(last["head"]["signed_at"])}))
    assert [entry.previous for entry in entries] == [BEFORE_THE_FIRST, *(entry.hash for entry in entries[:-1])]
    assert all(entry_hash(entry) == entry.hash for entry in entries)
    assert (head.number, head.hash, head.holds()) == (entries[-1].number, entries[-1].hash, True)
    assert (entries[-1].action, entries[-1].actor_kind) == ("audit.export", "person")
    assert answer.headers["wellread-audit-head"].split()[:2] == [str(head.number), head.hash]


def _time(text: str) -> object:
    return datetime.fromisoformat(text)


async def test_a_spreadsheet_takes_no_cell_of_an_export_for_a_formula(engine: AsyncEngine, settings: Settings) -> None:
    await write(engine)
    async with central(settings) as client:
        headers = await bearer(client, "admin")
        answer = await client.get("/api/v1/audit/export?format=csv&action=run.void", headers=headers)
    first, *rows = csv.reader(io.StringIO(answer.text, newline=""))
    assert tuple(first) == COLUMNS
    assert [row[COLUMNS.index("reason")] for row in rows] == [HOSTILE, "'=1+2"]
    assert [row[COLUMNS.index("new")] for row in rows][1] == '{"n":-0.5}'


async def test_the_page_shows_old_beside_new_and_runs_nothing(engine: AsyncEngine, settings: Settings) -> None:
    await write(engine)
    async with central(settings) as client:
        await sign_in(client, "admin")
        page = await client.get("/audit", params={"action": "run.void", "site": "main", "since": "", "text": ""})
        wrong = await client.get("/audit", params={"since": "yesterday"})
        hostile = await client.get("/audit", params={"text": HOSTILE})
    assert "<del>false</del></td><td><ins>true</ins>" in page.text
    assert HOSTILE not in page.text + hostile.text
    assert "&lt;script&gt;" in page.text
    assert wrong.status_code == 400
    assert "2026-11-20T12:00:00Z" in wrong.text


async def test_a_name_is_shown_for_an_id_as_long_as_it_is_known(engine: AsyncEngine, settings: Settings) -> None:
    await write(engine)
    async with central(settings) as client:
        headers = await bearer(client, "admin")
        await client.post("/api/v1/claims", json={"name": "Bench 2"}, headers=headers)
        items = (await client.get("/api/v1/audit?action=claim", headers=headers)).json()["items"]
        unknown = (await client.get("/api/v1/audit?actor=p-gone", headers=headers)).json()["items"]
    assert [item["actor_name"] for item in items] == ["admin"]
    assert {item["actor_name"] for item in unknown} == {None}
