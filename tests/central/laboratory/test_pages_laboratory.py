"""The pages of plans: forms that work without scripts, what is refused said where the form was, names inert."""

import re

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from central.people.users import add_user
from central.settings import Settings
from tests.central.laboratory.test_api_laboratory import LIST, site, waits
from tests.central.web import PASSWORD, Client, central, csrf_token, people, runs, sign_in
from tests.make import NOON, make_code, make_reading_id

pytestmark = pytest.mark.anyio


async def send(client: Client, path: str, **fields: str) -> tuple[int, str]:
    """(status, text) of the page that a form leads to."""
    token = await csrf_token(client)
    answer = await client.post(path, data=fields | {"csrf_token": token}, follow_redirects=True)
    return answer.status_code, answer.text


async def upload(client: Client, content: bytes) -> tuple[int, str]:
    """(status, text) of the page after a worklist was chosen."""
    fields = {"csrf_token": await csrf_token(client)}
    files = {"file": ("list.csv", content, "text/csv")}
    answer = await client.post("/worklists", data=fields, files=files)
    return answer.status_code, answer.text


def hidden(text: str, name: str) -> str:
    """The value of a hidden field."""
    found = re.search(rf'name="{name}" value="([^"]*)"', text)
    assert found is not None, name
    return found[1]


async def test_a_submission_is_planned_on_its_page(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine, "operator")
    async with central(settings) as client:
        await sign_in(client, "operator")
        status, text = await send(client, "/submissions", submission="S-1", farm="Hof <b>", age_days="35")
        assert (status, "Hof &lt;b&gt;" in text, "<b>" in text) == (200, True, False)
        status, text = await send(client, "/submissions/S-1/tests?site=main", test="NDV", profile="hi-96", hau="4")
        assert (status, "4 HAU" in text) == (200, True)
        found = re.search(r"/tests/([0-9a-f-]{36})/plates", text)
        assert found is not None
        path = f"/tests/{found[1]}/plates"
        status, text = await send(client, path, back="S-1@main", plate_number="1", rows="A F-1\nb F-2")
        assert (status, "F-2" in text) == (200, True)
        status, text = await send(client, "/submissions/S-1/comments?site=main", text="<i>cold</i>")
        assert (status, "&lt;i&gt;cold" in text) == (200, True)
        listed = (await client.get("/submissions?farm=hof&state=plated&name=&received_from=")).text
    assert "S-1" in listed


async def test_what_is_refused_is_said_where_the_form_was(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine, "reviewer")
    async with central(settings) as client:
        await sign_in(client, "reviewer")
        assert (await send(client, "/submissions", submission="=1+1"))[0] == 422
        await send(client, "/submissions", submission="S-1")
        assert (await send(client, "/submissions", submission="S-1"))[0] == 409
        wrong = await send(client, "/submissions/S-1/change?site=main", revision="1", age_days="many")
        assert (wrong[0], "a whole number" in wrong[1]) == (422, True)
        await send(client, "/submissions/S-1/change?site=main", revision="1", farm="Hof")
        late = await send(client, "/submissions/S-1/change?site=main", revision="1", farm="Gut")
        assert (late[0], "changed meanwhile" in late[1], "Hof" in late[1]) == (412, True, True)
        status, text = await send(client, "/submissions/S-1/void?site=main", revision="2", reason="wrong number")
        assert (status, ">void<" in text) == (200, True)


async def test_a_worklist_is_seen_before_it_is_done(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine, "operator")
    async with central(settings) as client:
        await sign_in(client, "operator")
        bad = await upload(client, LIST.replace(b"F2", b"<script>"))
        assert (bad[0], "line 3, serum" in bad[1], "<script>&#39;" in bad[1]) == (422, True, False)
        status, text = await upload(client, LIST)
        assert (status, "Would be registered" in text) == (200, True)
        fields = {name: hidden(text, name) for name in ("content", "digest", "site")}
        assert (await client.get("/submissions/S-1")).status_code == 404
        status, text = await send(client, "/worklists/confirm", **fields)
        assert (status, "3 registered" in text) == (200, True)
        assert (await send(client, "/worklists/confirm", **fields))[0] == 409
        assert "nothing to do" in (await upload(client, LIST))[1]


async def test_a_run_of_no_known_plate_is_told_which_it_is(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine, "operator")
    await waits(engine)
    await runs(engine, 1, code=make_code("S-9"))
    async with central(settings) as client:
        await sign_in(client, "operator")
        assert "S-9, NDV, 1" in (await client.get("/unmatched")).text
        path = f"/unmatched/{make_reading_id(1)}"
        assert (await send(client, path, code="S-1,NDV,1", reason="label"))[0] == 422
        await send(client, "/worklists/confirm", **{
            name: hidden((await upload(client, LIST))[1], name) for name in ("content", "digest", "site")
        })  # fmt: skip
        assert (await send(client, path, code="S-1|NDV|1", reason="label"))[0] == 200
        page = (await client.get("/submissions/S-1?test=NDV")).text
        assert ("1:64" in page, "F2" in page) == (True, True)
        alarms = (await client.get("/alarms")).text
        assert "other sera" in alarms
        number = re.search(r"/alarms/(\d+)/resolve", alarms)
        assert number is not None
        assert (await send(client, f"/alarms/{number[1]}/acknowledge"))[0] == 200
        assert "No alarms" in (await send(client, f"/alarms/{number[1]}/resolve", reason="two sera only"))[1]
        trends = (await client.get("/trends?farm=Hof&test=&antigen=")).text
    assert ("<polyline" in trends, "64.00" in trends) == (True, True)


async def test_who_has_two_laboratories_chooses_between_submissions_of_one_number(
    engine: AsyncEngine, settings: Settings
) -> None:
    await site(engine, "north")
    await add_user(engine, name="both", password=PASSWORD, role="operator", now=NOON, site_ids=["main", "north"])
    async with central(settings) as client:
        await sign_in(client, "both")
        for name in ("main", "north"):
            assert (await send(client, "/submissions", submission="S-1", site=name, farm=f"at {name}"))[0] == 200
        choice = await client.get("/submissions/S-1", follow_redirects=False)
        one = (await client.get("/submissions/S-1?site=north")).text
    assert (choice.status_code, choice.text.count("?site=")) == (300, 2)
    assert ("at north" in one, "at main" in one) == (True, False)
