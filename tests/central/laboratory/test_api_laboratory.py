"""What is planned, by API: submissions to sera, worklists, runs of no known plate, alarms; and whose is whose."""

from typing import Any

import httpx
import pytest
from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from central.db import reading, transaction
from central.people.users import add_user
from central.settings import Settings
from central.tables import audit_entries, sites
from tests.central.web import PASSWORD, bearer, central, people, runs
from tests.make import NOON, make_code, make_reading_id

pytestmark = pytest.mark.anyio

_OURS = ("submission.", "test.", "plate.", "run.", "alarm.", "comment.")
LIST = b"submission,test,plate,row,serum,farm\nS-1,NDV,1,A,F1,Hof\nS-1,NDV,1,B,F2,Hof\n"


async def site(engine: AsyncEngine, name: str, unregistered: str = "wait") -> None:
    """One more laboratory, with an operator of its own who is called like it."""
    row = {"id": name, "title": name, "created_at": NOON, "revision": 1, "unregistered": unregistered}
    async with transaction(engine) as connection:
        await connection.execute(insert(sites).values(row | {"four_eyes": False}))
    await add_user(engine, name=name, password=PASSWORD, role="operator", now=NOON, site_ids=[name])


async def waits(engine: AsyncEngine) -> None:
    """From now on the main site registers no code by itself."""
    async with transaction(engine) as connection:
        await connection.execute(update(sites).values(unregistered="wait"))


async def audited(engine: AsyncEngine) -> list[str]:
    """What was done to plans and runs, in order."""
    async with reading(engine) as connection:
        query = select(audit_entries.c.action).order_by(audit_entries.c.number)
        return [action for action in await connection.scalars(query) if action.startswith(_OURS)]


async def imported(client: httpx.AsyncClient, headers: dict[str, str], content: bytes = LIST, **query: str) -> Any:
    """The answer to a worklist that was looked at first."""
    seen = await client.post("/api/v1/worklists/preview", content=content, headers=headers, params=query)
    assert seen.status_code == 200, seen.text
    query = {**query, "digest": seen.json()["digest"]}
    return await client.post("/api/v1/worklists", content=content, headers=headers, params=query)


async def test_a_submission_is_planned_by_hand_down_to_its_sera(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine, "operator")
    async with central(settings) as client:
        headers = await bearer(client, "operator")
        body = {"submission": "S/1", "farm": "Hof", "vaccinated_on": "2026-10-01", "age_days": 35}
        made = await client.post("/api/v1/submissions", json=body, headers=headers)
        assert (made.status_code, made.headers["location"]) == (201, "/api/v1/submissions/S~11"), made.text
        path = made.headers["location"]
        test = await client.post(f"{path}/tests", json={"test": "NDV", "profile": "hi-96", "hau": 4}, headers=headers)
        rows = {"A": {"serum": "F1"}, "B": {"serum": "F2"}}
        address = f"/api/v1/tests/{test.json()['id']}/plates"
        plate = await client.post(address, json={"plate_number": "1", "rows": rows, "location": "K2"}, headers=headers)
        assert plate.status_code == 201, plate.text
        found = (await client.get(path, headers=headers)).json()["plan"]
        (listed,) = (await client.get("/api/v1/submissions?farm=hof&state=plated", headers=headers)).json()["items"]
    assert (found["about"]["state"], found["about"]["age_days"], found["sera"]) == ("plated", 35, ["F1", "F2"])
    (shown,) = found["tests"][0]["plates"]
    assert (shown["location"], shown["state"], shown["rows"]["B"]["serum"]) == ("K2", "plated", "F2")
    assert (listed["submission"], listed["plates"], listed["runs"]) == ("S/1", 1, 0)
    assert await audited(engine) == ["submission.create", "test.create", "plate.create"]


async def test_a_number_is_registered_once(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine, "operator")
    async with central(settings) as client:
        headers = await bearer(client, "operator")
        first = await client.post("/api/v1/submissions", json={"submission": "S-1"}, headers=headers)
        again = await client.post("/api/v1/submissions", json={"submission": "S-1"}, headers=headers)
    assert (first.status_code, again.status_code) == (201, 409)


async def test_one_of_two_who_change_it_is_told_what_changed(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine, "operator")
    async with central(settings) as client:
        headers = await bearer(client, "operator")
        await client.post("/api/v1/submissions", json={"submission": "S-1"}, headers=headers)
        change = {"farm": "Hof", "assignee_id": None}
        without = await client.patch("/api/v1/submissions/S-1", json=change, headers=headers)
        seen = headers | {"if-match": '"1"'}
        first = await client.patch("/api/v1/submissions/S-1", json=change, headers=seen)
        second = await client.patch("/api/v1/submissions/S-1", json={"farm": "Gut"}, headers=seen)
        after = (await client.get("/api/v1/submissions/S-1", headers=headers)).json()
        history = (await client.get("/api/v1/submissions/S-1/history", headers=headers)).json()["items"]
    assert (without.status_code, first.status_code, second.status_code) == (428, 200, 412)
    assert "Hof" in second.json()["errors"][0]["detail"]
    assert (second.headers["etag"], after["plan"]["about"]["farm"]) == ('"2"', "Hof")
    assert [entry["action"] for entry in history] == ["submission.create", "submission.change"]


async def test_what_is_void_stays_void_and_its_runs_count_nowhere(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine, "operator", "reviewer")
    await runs(engine, 1)
    async with central(settings) as client:
        headers = await bearer(client, "operator") | {"if-match": '"1"'}
        refused = await client.post("/api/v1/submissions/S-1001/void", json={"reason": "lost"}, headers=headers)
        headers = await bearer(client, "reviewer") | {"if-match": '"1"'}
        done = await client.post("/api/v1/submissions/S-1001/void", json={"reason": "lost"}, headers=headers)
        again = headers | {"if-match": '"2"'}
        twice = await client.post("/api/v1/submissions/S-1001/void", json={"reason": "lost"}, headers=again)
        found = (await client.get("/api/v1/submissions/S-1001", headers=headers)).json()
    assert (refused.status_code, done.status_code, twice.status_code) == (403, 200, 422)
    assert (found["state"], found["summary"]["sera"], found["runs"][0]["current"]) == ("void", 0, False)
    assert await audited(engine) == ["submission.void", "plate.void"]


async def test_a_worklist_is_looked_at_then_done_and_done_again_changes_nothing(
    engine: AsyncEngine, settings: Settings
) -> None:
    await people(engine, "operator")
    async with central(settings) as client:
        headers = await bearer(client, "operator")
        done = await imported(client, headers)
        entries = await audited(engine)
        again = await imported(client, headers)
    assert (done.status_code, len(done.json()["create"]), done.json()["sera"]) == (200, 3, 2)
    assert (again.json()["create"], again.json()["change"], again.json()["same"]) == ([], [], 3)
    assert entries == await audited(engine) == ["submission.create", "test.create", "plate.create"]


async def test_what_changed_since_the_preview_is_refused(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine, "operator")
    async with central(settings) as client:
        headers = await bearer(client, "operator")
        seen = await client.post("/api/v1/worklists/preview", content=LIST, headers=headers)
        await client.post("/api/v1/submissions", json={"submission": "S-1"}, headers=headers)
        digest = seen.json()["digest"]
        done = await client.post("/api/v1/worklists", content=LIST, headers=headers, params={"digest": digest})
    assert (done.status_code, await audited(engine)) == (409, ["submission.create"])


async def test_a_row_that_holds_another_serum_is_never_overwritten(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine, "operator")
    async with central(settings) as client:
        headers = await bearer(client, "operator")
        await imported(client, headers)
        refused = await imported(client, headers, LIST.replace(b"F2", b"F9"))
        found = (await client.get("/api/v1/submissions/S-1", headers=headers)).json()["plan"]
    assert refused.status_code == 409
    assert refused.json()["errors"][0]["detail"] == "S-1 · NDV · plate 1: row B holds F2, the file says F9"
    assert found["sera"] == ["F1", "F2"]


async def test_every_error_of_a_file_is_named_by_line_and_nothing_is_written(
    engine: AsyncEngine, settings: Settings
) -> None:
    await people(engine, "operator")
    bad = b"submission,test,plate,row,serum,hau\nS-1,NDV,1,A,F1,4\n-S,NDV,1,B,=F2,4\nS-1,NDV,1,AZ9,F3,many\n"
    async with central(settings) as client:
        answer = await client.post("/api/v1/worklists/preview", content=bad, headers=await bearer(client, "operator"))
    pointers = [error["pointer"] for error in answer.json()["errors"]]
    assert (answer.status_code, pointers) == (422, ["/3/submission", "/3/serum", "/4/row", "/4/hau"])
    assert await audited(engine) == []


async def test_a_run_that_waited_is_found_by_the_plate_that_is_registered(
    engine: AsyncEngine, settings: Settings
) -> None:
    await people(engine, "operator")
    await waits(engine)
    await runs(engine, 1, 2, code=make_code("S-1"))
    async with central(settings) as client:
        headers = await bearer(client, "operator")
        before = (await client.get("/api/v1/unmatched", headers=headers)).json()["items"]
        await imported(client, headers)
        after = (await client.get("/api/v1/unmatched", headers=headers)).json()["items"]
        found = (await client.get("/api/v1/submissions/S-1", headers=headers)).json()
        alarms = (await client.get("/api/v1/alarms", headers=headers)).json()["items"]
    assert ([run["submission"] for run in before], after) == (["S-1", "S-1"], [])
    assert (found["state"], found["summary"]["plates"], found["summary"]["superseded"]) == ("read", 1, 1)
    assert [alarm["kind"] for alarm in alarms] == ["other_sera", "other_sera"]
    assert (await audited(engine))[-2:] == ["run.match", "run.match"]


async def test_a_person_says_which_plate_a_run_is_of_and_takes_it_back(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine, "operator")
    await waits(engine)
    await runs(engine, 1, code=None)
    run = f"/api/v1/runs/{make_reading_id(1)}/plate"
    async with central(settings) as client:
        headers = await bearer(client, "operator")
        await imported(client, headers)
        plan = (await client.get("/api/v1/submissions/S-1", headers=headers)).json()["plan"]
        body = {"plate_id": plan["tests"][0]["plates"][0]["id"], "reason": "label torn"}
        said = await client.put(run, json=body, headers=headers)
        twice = await client.put(run, json=body, headers=headers)
        read = (await client.get("/api/v1/submissions/S-1", headers=headers)).json()
        back = await client.delete(run, params={"reason": "other plate"}, headers=headers)
        after = (await client.get("/api/v1/submissions/S-1", headers=headers)).json()
    assert (said.status_code, twice.status_code, back.status_code) == (204, 422, 204), said.text
    assert (read["state"], read["summary"]["sera"]) == ("read", 8)
    assert read["plan"]["tests"][0]["plates"][0]["rows"]["A"]["result"]["titre"] == "1:64"
    assert (after["state"], after["runs"]) == ("plated", [])


async def test_a_run_is_of_no_plate_that_is_planned_for_another_assay(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine, "operator")
    await waits(engine)
    await runs(engine, 1, code=None)
    planned = b"submission,test,plate,profile\nS-1,NDV,1,hi-96-rc\n"
    async with central(settings) as client:
        headers = await bearer(client, "operator")
        seen = await client.post("/api/v1/worklists/preview", content=planned, headers=headers)
        names = seen.json()["conflicts"][0]["what"].partition("expected ")[2].rstrip(")").split(", ")
        other = next(name for name in names if name not in ("hi-96", "hi-96-rc"))
        await imported(client, headers, planned.replace(b"hi-96-rc", other.encode()))
        plan = (await client.get("/api/v1/submissions/S-1", headers=headers)).json()["plan"]
        body = {"plate_id": plan["tests"][0]["plates"][0]["id"], "reason": "it is"}
        said = await client.put(f"/api/v1/runs/{make_reading_id(1)}/plate", json=body, headers=headers)
        await runs(engine, 2, code=make_code("S-1"))
        (alarm,) = (await client.get("/api/v1/alarms", headers=headers)).json()["items"]
        seen = await client.post(f"/api/v1/alarms/{alarm['number']}/acknowledge", headers=headers)
        address = f"/api/v1/alarms/{alarm['number']}/resolve"
        done = await client.post(address, json={"reason": "profile was right"}, headers=headers)
        left = (await client.get("/api/v1/alarms", headers=headers)).json()["items"]
    assert said.status_code == 422
    assert (alarm["kind"], alarm["object_id"]) == ("other_profile", make_reading_id(2))
    assert seen.json()["acknowledged_by"] is not None
    assert (done.json()["resolved_at"] is not None, left) == (True, [])


async def test_nothing_of_another_laboratory_is_seen_named_or_touched(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine, "operator")
    await site(engine, "north")
    async with central(settings) as client:
        north = await bearer(client, "north")
        await imported(client, north)
        plan = (await client.get("/api/v1/submissions/S-1", headers=north)).json()["plan"]
        test, plate = plan["tests"][0]["id"], plan["tests"][0]["plates"][0]["id"]
        await waits(engine)
        await runs(engine, 1, code=make_code("S-1"))
        main = await bearer(client, "operator") | {"if-match": '"1"'}
        answers = [
            await client.get("/api/v1/submissions/S-1", headers=main),
            await client.get("/api/v1/submissions/S-1/history", headers=main),
            await client.get("/api/v1/submissions/S-1/labware.csv", headers=main),
            await client.patch("/api/v1/submissions/S-1", json={"farm": "x"}, headers=main),
            await client.post("/api/v1/submissions/S-1/tests", json={"test": "IBD"}, headers=main),
            await client.patch(f"/api/v1/tests/{test}", json={"hau": 8}, headers=main),
            await client.post(f"/api/v1/tests/{test}/plates", json={"plate_number": "2"}, headers=main),
            await client.get(f"/api/v1/plates/{plate}", headers=main),
            await client.patch(f"/api/v1/plates/{plate}", json={"location": "x"}, headers=main),
            await client.put(f"/api/v1/plates/{plate}/sera", json={"rows": {"A": None}}, headers=main),
            await client.get(f"/api/v1/comments/plate/{plate}", headers=main),
            await client.post(f"/api/v1/comments/plate/{plate}", json={"text": "x"}, headers=main),
            await client.post("/api/v1/worklists/preview?site=north", content=LIST, headers=main),
            await client.put(
                f"/api/v1/runs/{make_reading_id(1)}/plate", json={"plate_id": plate, "reason": "x"}, headers=main
            ),
            await client.put(
                f"/api/v1/runs/{make_reading_id(1)}/plate", json={"plate_id": plate, "reason": "x"}, headers=north
            ),
        ]
        assert [answer.status_code for answer in answers] == [404] * len(answers)
        (alarm,) = (await client.get("/api/v1/alarms", headers=main)).json()["items"]
        assert (await client.get("/api/v1/alarms", headers=north)).json()["items"] == []
        assert (await client.get("/api/v1/unmatched", headers=north)).json()["items"] == []
        assert (await client.get("/api/v1/submissions", headers=main)).json()["items"] == []
    assert (alarm["kind"], "north" in alarm["detail"]) == ("foreign_code", False)


async def test_who_belongs_to_two_laboratories_says_whose_submission_he_means(
    engine: AsyncEngine, settings: Settings
) -> None:
    await site(engine, "north")
    await add_user(engine, name="both", password=PASSWORD, role="operator", now=NOON, site_ids=["main", "north"])
    async with central(settings) as client:
        headers = await bearer(client, "both")
        unsaid = await client.post("/api/v1/submissions", json={"submission": "S-1"}, headers=headers)
        for name in ("main", "north"):
            body = {"submission": "S-1", "site": name, "farm": name}
            assert (await client.post("/api/v1/submissions", json=body, headers=headers)).status_code == 201
        either = await client.get("/api/v1/submissions/S-1", headers=headers)
        found = (await client.get("/api/v1/submissions/S-1?site=north", headers=headers)).json()
    assert (unsaid.status_code, either.status_code) == (422, 409)
    assert found["plan"]["about"]["farm"] == "north"


async def test_pages_of_submissions_show_each_once(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine, "operator")
    lines = b"".join(b"S-%d,NDV,1\n" % number for number in range(7))
    seen: list[str] = []
    async with central(settings) as client:
        headers = await bearer(client, "operator")
        await imported(client, headers, b"submission,test,plate\n" + lines)
        address: str | None = "/api/v1/submissions?limit=3&name=S-&state=registered"
        while address:
            page = (await client.get(address, headers=headers)).json()
            seen += [row["submission"] for row in page["items"]]
            address = page["next"]
    assert sorted(seen) == [f"S-{number}" for number in range(7)]
