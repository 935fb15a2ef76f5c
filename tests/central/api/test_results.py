"""What a laboratory system reads of results: only what there is, page by page, and not again while it is the same."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from central.audit.chain import COMMAND
from central.people.keys import create_key
from central.settings import Settings
from tests.central.review.reviews import RUN, VOID, accept, doubtful, override, people, read_plate, say, sign, withhold
from tests.central.web import Client, central
from tests.make import NOON, make_code, make_well, make_wells

pytestmark = pytest.mark.anyio


@pytest.fixture
async def lims(engine: AsyncEngine) -> dict[str, str]:
    """The header of a laboratory system."""
    _, key = await create_key(
        engine, title="LIMS", site_id="main", scopes=["results:read"], expires_at=NOON + timedelta(days=1),
        actor=COMMAND, now=NOON,
    )  # fmt: skip
    return {"authorization": f"Bearer {key}"}


async def read(client: Client, lims: dict[str, str], path: str) -> Any:
    """What is answered."""
    answer = await client.get(path, headers=lims)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def pages(client: Client, lims: dict[str, str], path: str) -> list[Any]:
    """The items of every page, by its Link header."""
    found = []
    while True:
        answer = await client.get(path, headers=lims)
        assert answer.status_code == 200, answer.text
        found += answer.json()["items"]
        if "link" not in answer.headers:
            assert answer.json()["next"] is None
            return found
        path = answer.headers["link"].removeprefix("<").removesuffix('>; rel="next"')
        assert path == answer.json()["next"]


async def test_wells_that_were_not_read_are_no_items(
    engine: AsyncEngine, settings: Settings, lims: dict[str, str]
) -> None:
    await read_plate(engine, wells=doubtful(unread="B7"))
    async with central(settings) as client:
        found = await read(client, lims, f"/api/v1/runs/{RUN}/wells")
    assert (len(found["items"]), found["left_out"]) == (95, ["B7"])
    assert all(well["call"] != "not_read" and well["status"] == "preliminary" for well in found["items"])
    first, last = found["items"][0], found["items"][-1]
    assert [(well["well"], well["row"], well["column"]) for well in (first, last)] == [("A1", "A", 1), ("H12", "H", 12)]


async def test_a_well_says_who_said_it(engine: AsyncEngine, settings: Settings, lims: dict[str, str]) -> None:
    rita = (await people(engine))["rita"]
    await read_plate(engine, wells=make_wells(6))
    await say(engine, rita, override("A6"))
    async with central(settings) as client:
        wells = {well["well"]: well for well in (await read(client, lims, f"/api/v1/runs/{RUN}/wells"))["items"]}
    assert (wells["A6"]["call"], wells["A6"]["call_code"], wells["A6"]["call_source"]) == ("button", 2, "reviewer")
    assert (wells["A6"]["reviewed"]["by"], wells["A5"]["reviewed"], wells["A5"]["call_source"]) == (
        "rita",
        None,
        "model",
    )


async def test_rows_without_a_result_are_no_items_and_a_signature_makes_titres_final(
    engine: AsyncEngine, settings: Settings, lims: dict[str, str]
) -> None:
    rita = (await people(engine))["rita"]
    nothing = {f"C{column}": make_well("not_read") for column in range(1, 13)}
    await read_plate(engine, wells=make_wells(6) | nothing)
    await say(engine, rita, withhold("H"))
    async with central(settings) as client:
        before = await read(client, lims, f"/api/v1/runs/{RUN}/titres")
        await say(engine, rita, accept())
        await sign(engine, rita)
        after = await read(client, lims, f"/api/v1/runs/{RUN}/titres")
        whole = await read(client, lims, "/api/v1/submissions/S-1001/titres")
    assert [titre["row"] for titre in before["items"]] == list("ABDEFG")
    assert before["left_out"] == ["NDV plate 1 row C", "NDV plate 1 row H"]
    assert {(titre["endpoint"], titre["titre"], titre["result"]) for titre in before["items"]} == {(6, "1:64", "1:64")}
    assert [{titre["status"] for titre in found["items"]} for found in (before, after)] == [{"preliminary"}, {"final"}]
    assert after["revision"] > before["revision"]
    assert whole == {"items": after["items"], "left_out": after["left_out"], "next": None}


async def test_a_voided_run_has_no_titres(engine: AsyncEngine, settings: Settings, lims: dict[str, str]) -> None:
    rita = (await people(engine))["rita"]
    await read_plate(engine)
    await say(engine, rita, VOID)
    async with central(settings) as client:
        found = await read(client, lims, f"/api/v1/runs/{RUN}/titres")
        assert (found["voided"], found["current"], found["items"]) == (True, False, [])
        assert (await read(client, lims, "/api/v1/submissions/S-1001/titres"))["items"] == []


async def test_a_run_of_no_known_plate_is_refused_by_what_needs_one(
    engine: AsyncEngine, settings: Settings, lims: dict[str, str]
) -> None:
    await read_plate(engine, code=None)
    async with central(settings) as client:
        answer = await client.get(f"/api/v1/runs/{RUN}/titres", headers=lims)
        assert (answer.status_code, "of no plate yet" in answer.json()["detail"]) == (409, True)
        files = await read(client, lims, f"/api/v1/runs/{RUN}/files")
    assert [(each["kind"], each["state"], each["url"]) for each in files["items"]] == [("picture", "missing", None)]


async def seven_plates(engine: AsyncEngine) -> None:
    """Seven plates of two tests of one submission, each read, one of them twice; and one of another submission."""
    for number in range(1, 8):
        code = make_code("S-7", "NDV" if number < 5 else "IB", str(number))
        await read_plate(engine, number, enrolled=number > 1, code=code)
    await read_plate(engine, 8, enrolled=True, code=make_code("S-7", "NDV", "1"))
    await read_plate(engine, 9, enrolled=True, code=make_code("S-8"))


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
async def test_pages_of_plates_and_titres_hold_everything_once_in_order(
    engine: AsyncEngine, settings: Settings, lims: dict[str, str], limit: int
) -> None:
    await seven_plates(engine)
    async with central(settings) as client:
        plates = await pages(client, lims, f"/api/v1/submissions/S-7/plates?limit={limit}")
        titres = await pages(client, lims, f"/api/v1/submissions/S-7/titres?limit={limit}")
        all_of_them = await pages(client, lims, f"/api/v1/plates?limit={limit}")
    named = [(plate["test"], plate["plate_number"]) for plate in plates]
    assert named == [("IB", "5"), ("IB", "6"), ("IB", "7"), ("NDV", "1"), ("NDV", "2"), ("NDV", "3"), ("NDV", "4")]
    assert list(dict.fromkeys((titre["test"], titre["plate_number"]) for titre in titres)) == named
    assert (len(titres), len({(titre["run_id"], titre["row"]) for titre in titres})) == (56, 56)
    assert {titre["run_id"] for titre in titres} == {plate["run_id"] for plate in plates}
    assert (len(all_of_them), {plate["submission"] for plate in all_of_them}) == (8, {"S-7", "S-8"})


async def test_plates_are_asked_for_by_state_and_laboratory(
    engine: AsyncEngine, settings: Settings, lims: dict[str, str]
) -> None:
    await seven_plates(engine)
    async with central(settings) as client:
        state = (await pages(client, lims, "/api/v1/plates"))[0]["state"]
        found = [await pages(client, lims, f"/api/v1/plates?{query}") for query in
                 (f"state={state}&limit=3", "state=void", "site=main", "site=other")]  # fmt: skip
    assert [len(each) for each in found] == [8, 0, 8, 0]


@pytest.mark.parametrize(
    "path",
    [
        f"/api/v1/runs/{RUN}", f"/api/v1/runs/{RUN}/wells", f"/api/v1/runs/{RUN}/titres", f"/api/v1/runs/{RUN}/files",
        "/api/v1/submissions/S-1001", "/api/v1/submissions/S-1001/titres", "/api/v1/submissions/S-1001/plates",
    ],
)  # fmt: skip
async def test_what_has_not_changed_is_not_sent_again(
    engine: AsyncEngine, settings: Settings, lims: dict[str, str], path: str
) -> None:
    rita = (await people(engine))["rita"]
    await read_plate(engine, wells=make_wells(6))
    async with central(settings) as client:
        first = await client.get(path, headers=lims)
        etag = first.headers["etag"]
        assert etag.startswith('"')
        same = await client.get(path, headers=lims | {"if-none-match": f'"x", {etag}'})
        assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", etag)
        await say(engine, rita, withhold("B"))
        await say(engine, rita, accept())
        await sign(engine, rita)
        changed = await client.get(path, headers=lims | {"if-none-match": etag})
        if path.endswith("/files"):
            assert changed.status_code == 304
        else:
            assert (changed.status_code, changed.headers["etag"] != etag) == (200, True)


async def test_the_tag_of_what_is_shown_names_the_revision_that_was_seen(
    engine: AsyncEngine, settings: Settings
) -> None:
    """A submission's own revision stays while a run comes in: its tag must not, and still says which revision it is."""
    _, key = await create_key(
        engine, title="LIMS", site_id="main", scopes=["results:read", "samples:write"], expires_at=None,
        actor=COMMAND, now=NOON,
    )  # fmt: skip
    own, path = {"authorization": f"Bearer {key}"}, "/api/v1/submissions/S-1001"
    async with central(settings) as client:
        await read_plate(engine)
        before = (await client.get(path, headers=own)).headers["etag"]
        await read_plate(engine, 2, enrolled=True)
        after = await client.get(path, headers=own | {"if-none-match": before})
        assert (after.status_code, before[:3], after.headers["etag"][:3]) == (200, '"1-', '"1-')
        changed = await client.patch(path, json={"farm": "Hillside"}, headers=own | {"if-match": after.headers["etag"]})
        assert (changed.status_code, changed.headers["etag"]) == (200, '"2"')
        late = await client.patch(path, json={"farm": "Elsewhere"}, headers=own | {"if-match": before})
        assert late.status_code == 412
