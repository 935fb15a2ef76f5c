"""Review by API and by page: who may, which revision, what changed meanwhile, a signature that asks again."""

import re
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from central.settings import Settings
from protocol.assay import Call
from protocol.messages import Well
from tests.central.review.reviews import RUN, doubtful, plate_state, read_plate
from tests.central.web import PASSWORD, Client, bearer, central, csrf_token, people, sign_in
from tests.make import make_reading_id, make_wells

pytestmark = pytest.mark.anyio

OVERRIDE = {"corrections": [{"action": "override", "target": "A6", "call": "button", "reason_code": "misread"}]}
ACCEPT = {"corrections": [{"action": "accept", "reason_code": "reviewed"}]}


async def say(client: Client, headers: dict[str, str], body: Any, revision: int = 1) -> Any:
    """Corrections of the run as it was at a revision; the answer."""
    match = headers | {"if-match": f'"{revision}"'}
    return await client.post(f"/api/v1/runs/{RUN}/corrections", json=body, headers=match)


async def test_a_correction_needs_a_reviewer_and_the_revision_that_was_seen(
    engine: AsyncEngine, settings: Settings
) -> None:
    await people(engine, "operator", "reviewer")
    await read_plate(engine)
    async with central(settings) as client:
        headers = await bearer(client, "reviewer")
        assert (await say(client, await bearer(client, "operator"), OVERRIDE)).status_code == 403
        without = await client.post(f"/api/v1/runs/{RUN}/corrections", json=OVERRIDE, headers=headers)
        assert without.status_code == 428
        found = await say(client, headers, OVERRIDE)
        assert (found.status_code, found.headers["etag"], found.json()["overridden"]) == (200, '"2"', {"A6": "button"})
        run = (await client.get(f"/api/v1/runs/{RUN}", headers=headers)).json()
    assert (run["endpoints"]["A"]["last_flowing"], run["wells"]["A6"]["call"], run["revision"]) == (5, "flowing", 2)


async def test_who_is_late_is_told_what_was_said(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine, "reviewer")
    await read_plate(engine)
    async with central(settings) as client:
        headers = await bearer(client, "reviewer")
        await say(client, headers, OVERRIDE)
        late = await say(client, headers, ACCEPT)
    assert (late.status_code, late.headers["etag"]) == (412, '"2"')
    assert late.json()["errors"][0]["detail"] == "override A6: flowing → button (misread), by reviewer"


@pytest.mark.parametrize("target", ["Z9", "", None])
async def test_what_cannot_be_said_is_refused(engine: AsyncEngine, settings: Settings, target: str | None) -> None:
    await people(engine, "reviewer")
    await read_plate(engine)
    body = {"corrections": [{"action": "override", "target": target, "call": "button", "reason_code": "misread"}]}
    async with central(settings) as client:
        assert (await say(client, await bearer(client, "reviewer"), body)).status_code == 409


async def test_a_signature_asks_for_the_password_again(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine, "reviewer")
    await read_plate(engine)
    async with central(settings) as client:
        headers = await bearer(client, "reviewer") | {"if-match": '"1"'}
        address = f"/api/v1/runs/{RUN}/signatures"
        wrong = await client.post(address, json={"meaning": "approved", "password": "no such thing"}, headers=headers)
        assert (wrong.status_code, await plate_state(engine)) == (403, "read")
        right = await client.post(address, json={"meaning": "approved", "password": PASSWORD}, headers=headers)
        assert (right.status_code, await plate_state(engine)) == (201, "approved")
        (signature,) = right.json()["signatures"]
        assert (signature["holds"], signature["record_sha256"]) == (True, right.json()["record_sha256"])
        changed = await say(client, headers, OVERRIDE)
    assert (changed.json()["signatures"][0]["holds"], changed.json()["plate_state"]) == (False, "amended")


async def test_the_queue_is_walked_run_by_run(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine, "viewer")
    for number in (1, 2, 3):
        code = {"code": None} if number == 2 else {}
        await read_plate(engine, number, enrolled=number > 1, wells=doubtful(), **code)
    async with central(settings) as client:
        items = (await client.get("/api/v1/review/queue", headers=await bearer(client))).json()["items"]
    assert [run["id"] for run in items] == [make_reading_id(3)]  # 1 was read again, 2 has no plate


async def test_a_page_without_scripts_overrides_accepts_and_signs(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine, "reviewer")
    await read_plate(engine, wells=doubtful())
    async with central(settings) as client:
        await sign_in(client, "reviewer")
        fields = {"csrf_token": await csrf_token(client), "revision": 1, "action": "override", "target": "B7"}
        fields |= {"call": "button", "reason_code": "artefact", "reason": "a <b>hair</b>"}
        assert RUN in (await client.get("/review")).text
        page = (await client.get(f"/review/{RUN}?well=B7")).text
        assert "Override B7" in page
        assert "Accept row B" in page
        answer = await client.post(f"/review/{RUN}", data=fields, follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (303, f"/review/{RUN}?well=B7")
        late = await client.post(f"/review/{RUN}", data=fields | {"call": "diffuse"})
        assert late.status_code == 412
        assert "a &lt;b&gt;hair&lt;/b&gt;" in late.text
        accept = fields | {"action": "accept", "target": "", "call": "", "reason_code": "reviewed", "revision": 2}
        assert (await client.post(f"/review/{RUN}", data=accept, follow_redirects=False)).status_code == 303
        proof = {"csrf_token": fields["csrf_token"], "revision": 3, "password": PASSWORD, "meaning": "approved"}
        wrong = await client.post(f"/review/{RUN}/sign", data=proof | {"password": "no such thing"})
        assert (wrong.status_code, "nothing was signed" in wrong.text) == (403, True)
        signed = await client.post(f"/review/{RUN}/sign", data=proof, follow_redirects=False)
        assert (signed.status_code, await plate_state(engine)) == (303, "approved")
        assert "Approved by" in (await client.get(f"/runs/{RUN}")).text


async def test_a_page_says_how_an_uncertain_row_gets_a_titre_and_that_accepting_gives_none(
    engine: AsyncEngine, settings: Settings
) -> None:
    await people(engine, "reviewer")
    unsure = Well(Call.FLOWING, 0.55, {Call.FLOWING: 0.55, Call.PARTIAL: 0.45})
    await read_plate(engine, wells=make_wells(5) | {"A8": unsure})
    async with central(settings) as client:
        await sign_in(client, "reviewer")
        fields = {"csrf_token": await csrf_token(client), "revision": 1, "action": "accept", "reason_code": "reviewed"}
        page = (await client.get(f"/review/{RUN}")).text
        assert "Accept row A without a titre" in page
        assert "override it with what you see" in page
        assert "Accept row B without" not in page
        submission = (await client.get("/submissions/S-1001")).text
        assert ("1 serum is uncertain" in submission, "not read" in submission) == (True, False)
        assert "<td>uncertain</td>" in submission
        accepted = await client.post(f"/review/{RUN}", data=fields | {"target": "A"}, follow_redirects=True)
        assert ("accepted without a titre" in accepted.text, "1:256" in accepted.text) == (True, False)
        seen = {"revision": 2, "action": "override", "target": "A8", "call": "flowing", "reason_code": "confirmed"}
        judged = await client.post(f"/review/{RUN}", data=fields | seen, follow_redirects=True)
        assert ("without a titre" in judged.text, "1:256" in judged.text) == (False, True)


async def test_a_whole_test_is_approved_on_its_page(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine, "reviewer")
    await read_plate(engine)
    async with central(settings) as client:
        await sign_in(client, "reviewer")
        found = re.search(r'href="(/approval/[0-9a-f-]+)"', (await client.get(f"/review/{RUN}")).text)
        assert found is not None
        page = (await client.get(found[1])).text
        seen = re.search(r'name="seen" value="([^"]+)"', page)
        assert seen is not None
        fields = {"csrf_token": await csrf_token(client), "seen": seen[1], "password": PASSWORD}
        answer = await client.post(found[1], data=fields, follow_redirects=False)
        assert (answer.status_code, await plate_state(engine)) == (303, "approved")
        again = await client.post(found[1], data=fields)
        assert (again.status_code, "cannot approve" in again.text) == (409, True)


async def test_nothing_of_a_run_that_is_not_here(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine, "reviewer")
    unknown = make_reading_id(9)
    async with central(settings) as client:
        headers = await bearer(client, "reviewer") | {"if-match": '"1"'}
        for path, body in (
            ("corrections", ACCEPT),
            ("signatures", {"meaning": "approved", "password": PASSWORD}),
            ("interpretation", {"version": 1001}),
        ):
            answer = await client.post(f"/api/v1/runs/{unknown}/{path}", json=body, headers=headers)
            assert answer.status_code == 404, answer.text
        assert (await client.get(f"/api/v1/runs/{unknown}/review", headers=headers)).status_code == 404
        body = {"revisions": {unknown: 1}, "password": PASSWORD}
        assert (await client.post(f"/api/v1/tests/{unknown}/signatures", json=body, headers=headers)).status_code == 404
