"""Profiles, control sera and statistics by API: who may, what is refused, what comes out."""

from typing import Any

import msgspec
import pytest
from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncEngine

from central.db import transaction
from central.settings import Settings
from central.tables import placements, plates
from protocol.assay import Call
from tests.central.review.reviews import RUN, accept, dossier, override, read_plate, say, withhold
from tests.central.review.reviews import people as reviewers
from tests.central.web import bearer, central, csrf_token, people, sign_in
from tests.make import HI, make_code, make_wells, replace

pytestmark = pytest.mark.anyio

OWN = replace(HI, version=1001, title="Ours", inhibited=(Call.FLOWING, Call.PARTIAL))
POSITIVE: dict[str, Any] = {
    "name": "NDV-positive", "lot": "7", "kind": "positive", "profile": "hi-96", "expected_log2": 6, "tolerance_log2": 1,
}  # fmt: skip


async def place(engine: AsyncEngine, control_id: str, row: str = "A") -> None:
    """This control serum in a row of every plate."""
    async with transaction(engine) as connection:
        for plate_id in (await connection.scalars(select(plates.c.id))).all():
            values = {"plate_id": plate_id, "row": row, "control_serum_id": control_id}
            await connection.execute(insert(placements).values(values))


async def test_a_profile_is_added_tried_and_activated(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine, "admin", "reviewer")
    await read_plate(engine)
    file = {"format": "json", "text": msgspec.json.encode(OWN).decode()}
    async with central(settings) as client:
        admin, reviewer = await bearer(client, "admin"), await bearer(client, "reviewer")
        assert (await client.post("/api/v1/profiles", json=file, headers=reviewer)).status_code == 403
        added = await client.post("/api/v1/profiles", json=file, headers=admin)
        assert (added.status_code, added.json()["active"]) == (201, False)
        assert (await client.post("/api/v1/profiles", json=file, headers=admin)).status_code == 409
        version = "/api/v1/profiles/hi-96/versions/1001"
        assert (await client.get(version, headers=reviewer)).json()["title"] == "Ours"
        trial = (await client.get(f"{version}/trial", headers=reviewer)).json()
        assert (trial["runs"], trial["titres"]) == (1, 0)
        assert (await client.post(f"{version}/activation", json={"reason": " "}, headers=admin)).status_code == 400
        active = await client.post(f"{version}/activation", json={"reason": "as we read"}, headers=admin)
        assert (active.status_code, active.json()["active"]) == (200, True)
        listed = (await client.get("/api/v1/profiles", headers=reviewer)).json()["items"]
        assert {each["version"] for each in listed if each["name"] == "hi-96" and each["active"]} == {1001}
        nothing = "/api/v1/profiles/hi-96/versions/7/trial"
        assert (await client.get(nothing, headers=reviewer)).status_code == 404


async def test_a_control_serum_judges_plates_and_is_in_no_figure(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine, "operator", "reviewer")
    await read_plate(engine, wells=make_wells({"A": 9}))
    async with central(settings) as client:
        operator, reviewer = await bearer(client, "operator"), await bearer(client, "reviewer")
        added = await client.post("/api/v1/control-sera", json=POSITIVE, headers=operator)
        assert added.status_code == 201, added.text
        assert (await client.post("/api/v1/control-sera", json=POSITIVE, headers=operator)).status_code == 409
        serum = f"/api/v1/control-sera/{added.json()['id']}"
        await place(engine, added.json()["id"])
        found = (await client.get(f"/api/v1/runs/{RUN}/review", headers=reviewer)).json()
        assert (found["valid"], found["checks"][0]["found"]) == (False, "log₂ 9")
        chart = (await client.get(f"{serum}/chart", headers=reviewer)).json()
        assert ([point["log2"] for point in chart["points"]], chart["provisional"]) == ([9], True)
        target = {"mean": 6.0, "sd": 1.0, "reason": "twenty plates"}
        assert (await client.patch(serum, json=target, headers=reviewer)).status_code == 428
        match = reviewer | {"if-match": '"1"'}
        assert (await client.patch(serum, json=target, headers=operator | {"if-match": '"1"'})).status_code == 403
        assert (await client.patch(serum, json=target, headers=match)).json()["revision"] == 2
        assert (await client.patch(serum, json=target, headers=match)).status_code == 412
        chart = (await client.get(f"{serum}/chart", headers=reviewer)).json()
        assert chart["points"][0]["rules"] == ["1-2s"]
    assert len((await dossier(engine)).run.sera) == 7


@pytest.mark.parametrize("fields", [{"expected_log2": None}, {"kind": "negative"}, {"profile": "nothing"}])
async def test_a_control_serum_that_contradicts_itself_is_refused(
    engine: AsyncEngine, settings: Settings, fields: dict[str, Any]
) -> None:
    await people(engine, "operator")
    async with central(settings) as client:
        answer = await client.post(
            "/api/v1/control-sera", json=POSITIVE | fields, headers=await bearer(client, "operator")
        )
    assert answer.status_code == 409


async def test_agreement_is_over_rows_that_somebody_looked_at(engine: AsyncEngine, settings: Settings) -> None:
    rita = (await reviewers(engine))["rita"]
    await people(engine, "viewer")
    await read_plate(engine, 1)
    await read_plate(engine, 2, enrolled=True, code=make_code(plate_number="2"))
    await say(engine, rita, override("A6"), withhold("B"), accept("C"))
    await say(engine, rita, override("D6"), override("D5"), override("D4"))
    async with central(settings) as client:
        (found,) = (await client.get("/api/v1/statistics/agreement", headers=await bearer(client))).json()["items"]
    assert (found["device_id"], found["runs"], found["rows"], found["withheld"]) == ("bench-1", 1, 3, 1)
    assert (found["exact"], found["within_one"], found["overridden"]) == (1, 2, 4)
    assert found["calls"] == {"flowing": 48, "button": 8, "diffuse": 40}


async def test_the_pages_show_profiles_charts_and_agreement(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine, "admin")
    await read_plate(engine)
    async with central(settings) as client:
        await sign_in(client, "admin")
        token = {"csrf_token": await csrf_token(client)}
        fields = token | {"format": "json", "text": msgspec.json.encode(OWN).decode()}
        assert (await client.post("/profiles", data=fields, follow_redirects=False)).status_code == 303
        assert "here already" in (await client.post("/profiles", data=fields)).text
        assert "would change" in (await client.get("/profiles/hi-96/1001")).text
        reason = token | {"reason": "as we read"}
        answer = await client.post("/profiles/hi-96/1001/activation", data=reason, follow_redirects=False)
        assert answer.status_code == 303
        assert "Interpret by version 1001" in (await client.get(f"/review/{RUN}")).text
        again = token | {"revision": "1", "version": "1001"}
        answer = await client.post(f"/review/{RUN}/interpretation", data=again, follow_redirects=False)
        assert answer.status_code == 303
        assert (await client.post(f"/review/{RUN}/interpretation", data=again)).status_code == 412
        serum = token | {name: str(value) for name, value in POSITIVE.items()}
        made = await client.post("/controls", data=serum, follow_redirects=False)
        assert made.status_code == 303
        await place(engine, made.headers["location"].rpartition("/")[2])
        target = token | {"revision": "1", "mean": "6", "sd": "1", "reason": "x"}
        assert (await client.post(made.headers["location"], data=target, follow_redirects=False)).status_code == 303
        assert (await client.post(made.headers["location"], data=target)).status_code == 412
        assert '<svg class="chart jennings"' in (await client.get(made.headers["location"])).text
        assert "control serum NDV-positive" in (await client.get(f"/review/{RUN}")).text
        assert "nobody has reviewed" in (await client.get("/statistics")).text
