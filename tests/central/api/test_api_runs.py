"""Runs, submissions and dead letters over HTTP: pages of a list, one run with its ETag, summaries, the CSV."""

from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from central.intake.ingest import ingest
from central.intake.plan import Delivery
from central.settings import Settings
from tests.central.web import bearer, central, people, runs
from tests.make import NOON, make_code, make_reading_id, make_well, make_wells

pytestmark = pytest.mark.anyio


async def test_following_the_links_visits_every_run_exactly_once(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine)
    await runs(engine, *range(1, 24))
    seen: list[str] = []
    async with central(settings) as client:
        headers = await bearer(client)
        address: str | None = "/api/v1/runs?limit=5"
        while address:
            answer = await client.get(address, headers=headers)
            seen += [run["id"] for run in answer.json()["items"]]
            assert answer.links.get("next", {}).get("url") == answer.json()["next"]
            address = answer.json()["next"]
    assert seen == [make_reading_id(number) for number in range(23, 0, -1)]


async def test_runs_that_arrive_while_paging_neither_hide_nor_repeat_others(
    engine: AsyncEngine, settings: Settings
) -> None:
    await people(engine)
    await runs(engine, 1, 2, 3, 4)
    async with central(settings) as client:
        headers = await bearer(client)
        first = (await client.get("/api/v1/runs?limit=2", headers=headers)).json()
        await runs(engine, 5, 6)
        second = (await client.get(first["next"], headers=headers)).json()
    assert [run["number"] for run in first["items"] + second["items"]] == [4, 3, 2, 1]


@pytest.mark.parametrize(
    ("query", "numbers"),
    [("submission=S-2", [3, 2]), ("submission=S-2&test=IBV", [3]), ("device=bench-2", [4]), ("submission=S-9", [])],
)
async def test_filters_narrow_the_list(engine: AsyncEngine, settings: Settings, query: str, numbers: list[int]) -> None:
    await people(engine)
    await runs(engine, 1)
    await runs(engine, 2, code=make_code("S-2"))
    await runs(engine, 3, code=make_code("S-2", "IBV"))
    await runs(engine, 4, device_id="bench-2")
    async with central(settings) as client:
        found = (await client.get(f"/api/v1/runs?{query}", headers=await bearer(client))).json()["items"]
    assert [run["number"] for run in found] == numbers


@pytest.mark.parametrize(
    "query", ["submission=a%00b", "device=%27%20OR%201", "after=-1", "after=x", "limit=0", "test="]
)
async def test_a_filter_that_cannot_be_is_refused(engine: AsyncEngine, settings: Settings, query: str) -> None:
    await people(engine)
    async with central(settings) as client:
        answer = await client.get(f"/api/v1/runs?{query}", headers=await bearer(client))
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["pointer"].startswith("#/query/")


async def test_one_run_has_every_well_and_both_endpoints(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine)
    wells = make_wells({"A": 4, "B": 0}) | {"C3": make_well("not_read")}
    await runs(engine, 7, wells=wells)
    async with central(settings) as client:
        run = (await client.get(f"/api/v1/runs/{make_reading_id(7)}", headers=await bearer(client))).json()
    assert len(run["wells"]) == 96
    assert run["wells"]["C3"]["call"] == "not_read"
    assert (run["endpoints"]["A"]["titre"], run["endpoints"]["B"]["titre"]) == ("1:16", "<1:2")
    assert run["endpoints"]["A"] | {"margin_ln": 0} == {
        "last_flowing": 4, "step_fit": 4, "margin_ln": 0, "grade": "high", "flags": [], "reported": 4, "titre": "1:16",
    }  # fmt: skip
    assert run["image_url"] is None
    assert run["model_used"]["name"] == "hi-wells"


async def test_a_row_that_nobody_could_read_has_no_titre(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine)
    await runs(engine, 1, wells=make_wells() | {f"A{column}": make_well("obscured") for column in range(1, 13)})
    async with central(settings) as client:
        run = (await client.get("/api/v1/runs", headers=await bearer(client))).json()["items"][0]
    assert (run["endpoints"]["A"]["reported"], run["endpoints"]["A"]["titre"]) == (None, None)


async def test_an_unchanged_run_is_not_sent_again(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine)
    await runs(engine, 1)
    path = f"/api/v1/runs/{make_reading_id(1)}"
    async with central(settings) as client:
        headers = await bearer(client)
        etag = (await client.get(path, headers=headers)).headers["etag"]
        again = await client.get(path, headers=headers | {"if-none-match": etag})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
        await runs(engine, 2)  # the plate is read again: the first run does not count any more
        later = await client.get(path, headers=headers | {"if-none-match": etag})
    assert (later.status_code, later.json()["current"]) == (200, False)


@pytest.mark.parametrize("run_id", [make_reading_id(99), "nonsense", "..%2F..%2Fetc%2Fpasswd", "%00"])
async def test_a_run_that_is_not_here_is_404_or_refused(engine: AsyncEngine, settings: Settings, run_id: str) -> None:
    await people(engine)
    async with central(settings) as client:
        answer = await client.get(f"/api/v1/runs/{run_id}", headers=await bearer(client))
    assert answer.status_code in (400, 404)
    assert answer.headers["content-type"].startswith("application/problem+json")


async def test_a_summary_counts_the_latest_reading_of_each_plate(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine)
    await runs(engine, 1, wells=make_wells(3))
    await runs(engine, 2, wells=make_wells(8))
    await runs(engine, 3, wells=make_wells(6), code=make_code(test="IBV"))
    async with central(settings) as client:
        found = (await client.get("/api/v1/submissions/S-1001", headers=await bearer(client))).json()
    assert (found["summary"]["plates"], found["summary"]["superseded"], found["summary"]["sera"]) == (2, 1, 16)
    assert {k: n for k, n in found["summary"]["distribution"].items() if n} == {"6": 8, "8": 8}
    assert [(each["test"], each["statistics"]["mean_log2"]) for each in found["tests"]] == [("IBV", 6), ("NDV", 8)]
    assert [run["current"] for run in found["runs"]] == [True, True, False]


async def test_the_labware_file_has_fourteen_rows_and_nothing_else(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine)
    await runs(engine, 1, wells=make_wells({"A": 0, "B": 12}))
    async with central(settings) as client:
        path = "/api/v1/submissions/S-1001/labware.csv?test=NDV"
        answer = await client.get(path, headers=await bearer(client))
    counts = {0: 1, 6: 6, 12: 1}
    rows = ["No.,8", *(f"{k},{counts.get(k, 0)}" for k in range(13))]
    expected = "SAMPLE_NUMBER,TEST_NUMBER,REPORTED_NAME,ENTRY\n" + "".join(f"S-1001,NDV,{row}\n" for row in rows)
    assert answer.content == expected.encode()
    assert 'filename="interface_S-1001_20261120_120000.csv"' in answer.headers["content-disposition"]


async def test_a_submission_with_a_slash_has_an_address(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine)
    await runs(engine, 1, code=make_code("2026/117:a"))
    async with central(settings) as client:
        headers = await bearer(client)
        (line,) = (await client.get("/api/v1/submissions", headers=headers)).json()["items"]
        found = (await client.get(line["url"], headers=headers)).json()
        csv = await client.get(found["summary"]["labware_url"], headers=headers)
    assert found["submission"] == "2026/117:a"
    assert csv.text.splitlines()[1].startswith("2026/117:a,")
    assert "/" not in csv.headers["content-disposition"].split("filename=")[1]


@pytest.mark.parametrize("path", ["S-9", "S-9/labware.csv", "S-1001/labware.csv?test=XYZ"])
async def test_a_submission_that_is_not_here_is_404(engine: AsyncEngine, settings: Settings, path: str) -> None:
    await people(engine)
    await runs(engine, 1)
    async with central(settings) as client:
        answer = await client.get(f"/api/v1/submissions/{path}", headers=await bearer(client))
    assert answer.status_code == 404
    assert "no submission 'S-" in answer.json()["detail"]


async def test_dead_letters_are_listed_with_their_reason(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine)
    poison: Any = [Delivery("wellread/v1/bench-1/reading", bytes([number])) for number in range(3)]
    await ingest(engine, poison, now=NOON)
    async with central(settings) as client:
        headers = await bearer(client, "admin")
        first = (await client.get("/api/v1/dead-letters?limit=2", headers=headers)).json()
        second = (await client.get(first["next"], headers=headers)).json()
    assert [letter["code"] for letter in first["items"] + second["items"]] == ["undecodable"] * 3
