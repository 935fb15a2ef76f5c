"""Notices over the API and on the pages: whose they are, who may do what, and that it is written down."""

import re
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from central.audit.chain import COMMAND
from central.audit.queries import Wanted, search
from central.db import reading, transaction
from central.intake.ingest import ingest
from central.notices.looking import EVERY, look
from central.people.laboratories import add_site
from central.people.sites import EVERY_SITE
from central.people.users import add_user
from central.results.figures import follow
from central.settings import Settings
from central.tables import notice_letters, notice_rules, notices, users
from tests.central.web import PASSWORD, Client, Clock, bearer, central, csrf_token, people, runs, sign_in
from tests.central.wire import make_delivery
from tests.make import NOON

pytestmark = pytest.mark.anyio
URL = "https://central.example"
SECRET = "whsec_" + "a" * 32
HOOK = {"webhook_url": "https://lab.example/hook", "secret": SECRET}


@pytest.fixture
def database_url(tmp_path: Path, migrated_file: Path) -> str:
    """One database is enough here: what differs between them is below the web."""
    return f"sqlite+aiosqlite:///{shutil.copy(migrated_file, tmp_path / 'central.db')}"


async def silent_device(engine: AsyncEngine, clock: Clock) -> str:
    """A notice of `bench-1`, which was never heard of; its id."""
    await runs(engine, 1)
    clock.tick(3600)
    for _ in range(4):
        await look(engine, "central-1", clock(), url=URL)
        clock.tick(EVERY.total_seconds())
    async with reading(engine) as connection:
        found = await connection.scalar(select(notices.c.id).where(notices.c.kind == "device_offline"))
    assert found
    return str(found)


async def rule_of(client: Client, kind: str = "device_offline", name: str = "admin") -> dict[str, Any]:
    """The site's rule of this kind, as it is answered."""
    answer = await client.get("/api/v1/notice-rules", headers=await bearer(client, name))
    return next(each for each in answer.json()["items"] if each["kind"] == kind)


def change_of(rule: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """The body that changes a rule so."""
    read_only = ("id", "site_id", "revision", "has_secret", "created_at", "created_by")
    return {name: value for name, value in rule.items() if name not in read_only} | fields


async def test_a_notice_is_listed_acknowledged_once_and_written_down(engine: AsyncEngine, settings: Settings) -> None:
    clock = Clock()
    await people(engine, "operator", "viewer")
    notice_id = await silent_device(engine, clock)
    async with central(settings, clock) as client:
        viewer, operator = await bearer(client, "viewer"), await bearer(client, "operator")
        (listed,) = (await client.get("/api/v1/notices", headers=viewer)).json()["items"]
        assert (listed["id"], listed["state"], listed["object_id"]) == (notice_id, "open", "bench-1")
        address = f"/api/v1/notices/{notice_id}/acknowledge"
        assert (await client.post(address, json={}, headers=viewer)).status_code == 403
        for comment in ("on my way", "so am I"):
            assert (await client.post(address, json={"comment": comment}, headers=operator)).status_code == 204
        one = (await client.get(f"/api/v1/notices/{notice_id}", headers=viewer)).json()
        assert one["notice"]["comment"] == "on my way"
        async with reading(engine) as connection:
            entries = await search(connection, Wanted(action="notice.acknowledge"), EVERY_SITE)
            operator_id = await connection.scalar(select(users.c.id).where(users.c.name == "operator"))
        assert [(each.actor_id, each.object_id, each.reason) for each in entries] == [
            (operator_id, notice_id, "on my way")
        ]


async def test_a_notice_that_is_over_cannot_be_acknowledged(engine: AsyncEngine, settings: Settings) -> None:
    clock = Clock()
    await people(engine, "operator")
    notice_id = await silent_device(engine, clock)
    async with transaction(engine) as connection:
        await connection.execute(update(notices).values(state="closed", closed_at=clock()))
    async with central(settings, clock) as client:
        headers = await bearer(client, "operator")
        answer = await client.post(f"/api/v1/notices/{notice_id}/acknowledge", json={}, headers=headers)
        assert answer.status_code == 409
        assert (await client.get("/api/v1/notices", headers=headers)).json()["items"] == []
        assert len((await client.get("/api/v1/notices?all=true", headers=headers)).json()["items"]) == 1


async def test_a_rule_is_changed_by_revision_and_its_secret_is_never_shown(
    engine: AsyncEngine, settings: Settings
) -> None:
    await people(engine)
    async with central(settings) as client:
        headers = await bearer(client, "admin")
        rule = await rule_of(client)
        address = f"/api/v1/notice-rules/{rule['id']}"
        body = change_of(rule, opens_at=600, **HOOK)
        assert (await client.put(address, json=body, headers=headers)).status_code == 428
        seen = headers | {"if-match": '"1"'}
        assert (await client.put(address, json=body, headers=seen)).status_code == 204
        assert (await client.put(address, json=body, headers=seen)).status_code == 412
        answer = await client.get(address, headers=headers)
        assert answer.headers["etag"].startswith('"2')
        assert answer.json()["has_secret"]
        assert SECRET not in answer.text
        kept = headers | {"if-match": '"2"'}
        without = {name: value for name, value in body.items() if name != "secret"}
        assert (await client.put(address, json=without, headers=kept)).status_code == 204
        assert (await client.get(address, headers=headers)).json()["has_secret"]
        async with reading(engine) as connection:
            entries = await search(connection, Wanted(action="notice_rule.change"), EVERY_SITE)
            sealed = await connection.scalar(select(notice_rules.c.secret).where(notice_rules.c.id == rule["id"]))
        assert len(entries) == 2
        assert sealed is not None
        assert SECRET.encode() not in sealed
        assert not any(SECRET in str(each.new) for each in entries)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"closes_at": 7200}, "closes_at 7200 (expected at most opens_at, 1800)"),
        ({"window_s": 60}, "window_s 60 (expected 0"),
        ({"repeat_s": 30}, "repeat_s 30 (expected 600 or more"),
        ({"webhook_url": "http://127.0.0.1/hook", "secret": SECRET}, "inside"),
        ({"webhook_url": "https://lab.example/hook"}, "without a secret"),
        ({"secret": SECRET}, "a secret without webhook_url"),
        ({"recipients": ["0" * 36]}, "somebody of the site with an e-mail address"),
        ({"kind": "backlog_count"}, "make another rule instead"),
    ],
)
async def test_a_rule_that_cannot_be_is_refused_with_what_is_expected(
    engine: AsyncEngine, settings: Settings, fields: dict[str, Any], said: str
) -> None:
    await people(engine)
    async with central(settings) as client:
        headers = await bearer(client, "admin") | {"if-match": '"1"'}
        rule = await rule_of(client)
        answer = await client.put(f"/api/v1/notice-rules/{rule['id']}", json=change_of(rule, **fields), headers=headers)
        if "127.0.0.1" in str(fields):  # addresses are looked at when they are called
            assert answer.status_code == 204
        else:
            assert answer.status_code == 422
            assert said in answer.json()["detail"]


@pytest.mark.parametrize("kind", ["delivery_failed", "alarm_open", "unmatched_waiting"])
async def test_a_rule_that_would_never_find_anything_at_its_device_is_refused(
    engine: AsyncEngine, settings: Settings, kind: str
) -> None:
    await people(engine)
    await runs(engine, 1)
    wanted = {"title": "Of one bench", "kind": kind, "device_id": "bench-1"}
    async with central(settings) as client:
        answer = await client.post("/api/v1/notice-rules", json=wanted, headers=await bearer(client, "admin"))
    assert answer.status_code == 422, answer.text
    assert answer.json()["detail"] == f"device_id 'bench-1' (expected none: {kind} is of no single device)"


async def test_what_is_left_out_of_a_new_rule_is_as_the_kinds_first_rule_says(
    engine: AsyncEngine, settings: Settings
) -> None:
    await people(engine)
    await runs(engine)
    async with central(settings) as client:
        headers = await bearer(client, "admin")
        body = {"title": "Bench 1 alone", "kind": "low_grades", "device_id": "bench-1"}
        made = await client.post("/api/v1/notice-rules", json=body, headers=headers)
        assert made.status_code == 201, made.text
        found = (await client.get(f"/api/v1/notice-rules/{made.json()['id']}", headers=headers)).json()
        first = await rule_of(client, "low_grades")
        names = ("opens_at", "closes_at", "hold_s", "calm_s", "window_s", "least")
        assert [found[name] for name in names] == [first[name] for name in names]
        body["device_id"] = "bench-9"
        assert (await client.post("/api/v1/notice-rules", json=body, headers=headers)).status_code == 404


async def test_a_silence_is_made_listed_and_ended(engine: AsyncEngine, settings: Settings) -> None:
    clock = Clock()
    await people(engine, "operator")
    await runs(engine)
    async with central(settings, clock) as client:
        headers = await bearer(client, "operator")

        async def post(**fields: Any) -> Any:
            until = (clock() + timedelta(hours=1)).isoformat()
            body = {"until": until, "reason": "moved"} | fields
            return await client.post("/api/v1/notice-silences", json=body, headers=headers)

        assert (await post()).status_code == 422
        assert (await post(device_id="bench-9")).status_code == 404
        assert (await post(device_id="bench-1", until=NOON.isoformat())).status_code == 422
        assert (await post(device_id="bench-1", until="2026-11-20T13:00:00")).status_code == 400
        made = (await post(device_id="bench-1")).json()["id"]
        (listed,) = (await client.get("/api/v1/notice-silences", headers=headers)).json()["items"]
        assert (listed["id"], listed["device_id"], listed["reason"]) == (made, "bench-1", "moved")
        address = f"/api/v1/notice-silences/{made}/end"
        assert (await client.post(address, headers=headers)).status_code == 204
        assert (await client.post(address, headers=headers)).status_code == 409
        assert (await client.get("/api/v1/notice-silences", headers=headers)).json()["items"] == []


async def test_another_laboratory_sees_and_does_nothing_of_ours(engine: AsyncEngine, settings: Settings) -> None:
    clock = Clock()
    notice_id = await silent_device(engine, clock)
    await add_site(engine, "other", "Other", actor=COMMAND, now=NOON)
    await add_user(engine, name="theirs", password=PASSWORD, role="reviewer", now=NOON, site_ids=("other",))
    async with reading(engine) as connection:
        ours = await connection.scalar(select(notice_rules.c.id).where(notice_rules.c.site_id == "main"))
    async with central(settings, clock) as client:
        headers = await bearer(client, "theirs")
        assert (await client.get("/api/v1/notices?all=true", headers=headers)).json()["items"] == []
        # A webhook's address may be a secret by itself.
        assert (await client.get("/api/v1/notice-rules", headers=headers)).status_code == 403
        silence = {"until": (clock() + timedelta(hours=1)).isoformat(), "reason": "x"}
        for path, body in (
            (f"/api/v1/notices/{notice_id}/acknowledge", {}),
            ("/api/v1/notice-silences", silence | {"device_id": "bench-1", "site_id": "main"}),
            ("/api/v1/notice-silences", silence | {"device_id": "bench-1", "site_id": "other"}),
            ("/api/v1/notice-silences", silence | {"rule_id": ours, "site_id": "other"}),
        ):
            assert (await client.post(path, json=body, headers=headers)).status_code == 404, path
        for path in (
            f"/api/v1/notices/{notice_id}",
            "/api/v1/statistics/quality?device=bench-1",
        ):
            assert (await client.get(path, headers=headers)).status_code == 404, path
        await sign_in(client, "theirs")
        assert "bench-1" not in (await client.get("/notices?all=true")).text
        assert (await client.get(f"/notices/{notice_id}")).status_code == 404
        assert (await client.get("/quality?device=bench-1")).status_code == 404
        assert str(ours) not in (await client.get("/notices/rules")).text
        assert '<td data-label="Laboratory">main' not in (await client.get("/notices/rules")).text


async def test_the_list_is_walked_page_by_page(engine: AsyncEngine, settings: Settings) -> None:
    clock = Clock()
    await people(engine, "viewer")
    notice_id = await silent_device(engine, clock)
    async with transaction(engine) as connection:
        row = dict((await connection.execute(select(notices).where(notices.c.id == notice_id))).one()._mapping)
        for number in range(6):  # three opened in each of two moments
            more = {"id": f"{number:036d}", "object_id": f"bench-{number + 2}"}
            opened = {"opened_at": clock() + timedelta(seconds=number // 3)}
            await connection.execute(notices.insert().values(row | more | opened))
    async with central(settings, clock) as client:
        headers = await bearer(client, "viewer")
        address, seen = "/api/v1/notices?limit=2", []
        while address:
            answer = await client.get(address, headers=headers)
            assert answer.status_code == 200, answer.text
            seen += [each["object_id"] for each in answer.json()["items"]]
            address = answer.json()["next"]
            assert bool(address) == ("link" in answer.headers)
    assert sorted(seen) == [f"bench-{number}" for number in range(1, 8)]


async def test_the_pages_show_what_stands_and_do_what_is_asked_without_scripts(
    engine: AsyncEngine, settings: Settings
) -> None:
    clock = Clock()
    await people(engine, "admin")
    notice_id = await silent_device(engine, clock)
    async with central(settings, clock) as client:
        await sign_in(client, "admin")
        token = {"csrf_token": await csrf_token(client)}
        listed = (await client.get("/notices")).text
        assert f'href="/notices/{notice_id}"' in listed
        assert re.search(r"Notices <span[^>]*>1</span>", (await client.get("/submissions")).text)
        silenced = {"of": "device", "hours": "4", "reason": "the bench is moved"}
        answer = await client.post(f"/notices/{notice_id}/silence", data=token | silenced, follow_redirects=False)
        assert answer.status_code == 303, answer.text
        assert "the bench is moved" in (await client.get("/notices")).text
        answer = await client.post(
            f"/notices/{notice_id}/acknowledge", data=token | {"comment": "<b>mine</b>"}, follow_redirects=False
        )
        assert answer.status_code == 303, answer.text
        shown = (await client.get(f"/notices/{notice_id}")).text
        assert "admin sees to it" in shown
        assert "&lt;b&gt;mine" in shown
        assert not re.search(r"Notices <span", (await client.get("/submissions")).text)


async def test_the_page_of_rules_keeps_what_it_does_not_show(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine, "admin")
    async with transaction(engine) as connection:
        await connection.execute(update(users).values(email="anna@lab.example"))
        anna = await connection.scalar(select(users.c.id))
    async with central(settings) as client:
        rule = await rule_of(client, "low_grades")
        await sign_in(client, "admin")
        token = {"csrf_token": await csrf_token(client)}
        form = {
            "revision": "1", "title": "Low", "opens_at": "0.3", "closes_at": "0.2", "hold_s": "60", "calm_s": "0",
            "repeat_s": "", "enabled": "yes", "people": [anna],
        }  # fmt: skip
        address = f"/notices/rules/{rule['id']}"
        answer = await client.post(address, data=token | form, follow_redirects=False)
        assert answer.status_code == 303, answer.text
        found = await rule_of(client, "low_grades")
        assert (found["opens_at"], found["window_s"], found["least"], found["repeat_s"]) == (0.3, 86400, 40, None)
        assert found["recipients"] == [anna]
        for wrong in ({"opens_at": "much"}, {"closes_at": "0.9"}, {"hold_s": "-1"}, {"opens_at": "nan"}):
            answer = await client.post(address, data=token | form | {"revision": "2"} | wrong, follow_redirects=False)
            assert answer.status_code == 422, (wrong, answer.status_code)
            assert "expected" in answer.text
        assert (await client.post(address, data=token | form, follow_redirects=False)).status_code == 412


async def test_the_figures_of_a_device_are_answered_and_drawn(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine, "viewer")
    await runs(engine, 1, 2)
    await ingest(engine, [make_delivery(3, captured_at=NOON, device_id="bench-9")], now=NOON)  # refused: unknown
    await follow(engine)
    async with central(settings) as client:
        headers = await bearer(client, "viewer")
        answer = (await client.get("/api/v1/statistics/quality?device=bench-1&by=week", headers=headers)).json()
        (week,) = answer["items"]
        assert (week["start"], week["readings"], week["wells"]) == ("2026-11-16", 2, 192)
        assert (week["high"], week["medians"]["residual_pitch"], answer["complete"]) == (16, 0.02, True)
        await sign_in(client)
        page = (await client.get("/quality")).text
        assert "<svg" in page
        assert "16 high, 0 medium, 0 low" in page
        assert (await client.get("/quality?device=")).status_code == 200


async def test_no_letter_is_written_by_a_route(engine: AsyncEngine, settings: Settings) -> None:
    clock = Clock()
    await people(engine, "operator")
    notice_id = await silent_device(engine, clock)
    async with central(settings, clock) as client:
        headers = await bearer(client, "operator")
        await client.post(f"/api/v1/notices/{notice_id}/acknowledge", json={}, headers=headers)
    async with reading(engine) as connection:
        assert (await connection.execute(select(notice_letters))).all() == []
