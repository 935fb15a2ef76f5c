"""Rules and deliveries by API and page, with the people and keys that may, and the errors that they get."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from central.audit.chain import COMMAND
from central.db import reading, transaction
from central.people.keys import create_key
from central.settings import Settings
from central.tables import audit_entries, deliveries, delivery_rules
from tests.central.deliveries.test_outbox import make_delivery
from tests.central.review.reviews import accept, dossier, read_plate, say, sign
from tests.central.review.reviews import people as reviewers
from tests.central.web import bearer, central, csrf_token, people, sign_in
from tests.make import NOON, make_wells

pytestmark = pytest.mark.anyio
RULE: dict[str, Any] = {"title": "LIMS", "dialect": "titres", "target_kind": "folder"}


def rule(settings: Settings, **fields: Any) -> dict[str, Any]:
    """A rule into a folder that is allowed."""
    return RULE | {"target": {"path": str(settings.data_dir.resolve() / "deliveries" / "lims")}} | fields


async def test_a_rule_is_made_shown_without_its_secret_and_changed_by_revision(
    engine: AsyncEngine, settings: Settings
) -> None:
    await people(engine)
    wanted = rule(
        settings, target_kind="webhook", target={"url": "https://lims.example/in"}, secret="whsec_" + "A" * 44
    )
    async with central(settings) as client:
        headers = await bearer(client, "admin")
        made = await client.post("/api/v1/delivery-rules", json=wanted, headers=headers)
        assert made.status_code == 201, made.text
        url = made.json()["url"]
        shown = await client.get(url, headers=headers)
        assert (shown.json()["has_secret"], shown.headers["etag"][:3]) == (True, '"1-')
        assert "whsec_" not in shown.text
        changed = {name: value for name, value in wanted.items() if name != "secret"} | {"title": "Other"}
        assert (await client.put(url, json=changed, headers=headers)).status_code == 428
        assert (await client.put(url, json=changed, headers=headers | {"if-match": '"7"'})).status_code == 412
        assert (await client.put(url, json=changed, headers=headers | {"if-match": '"1"'})).status_code == 204
        listed = (await client.get("/api/v1/delivery-rules", headers=headers)).json()["items"]
        assert [(each["title"], each["revision"], each["has_secret"]) for each in listed] == [("Other", 2, True)]
    async with reading(engine) as connection:
        actions = list(await connection.scalars(select(audit_entries.c.action).order_by(audit_entries.c.number)))
        trail = "".join(map(str, (await connection.execute(select(audit_entries))).all()))
    assert [action for action in actions if action.startswith("delivery_rule")] == [
        "delivery_rule.add",
        "delivery_rule.change",
    ]
    assert "whsec_" not in trail


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"target": {"path": "/etc"}}, "expected one below"),
        ({"target": {"path": "../../etc"}}, "expected one below"),
        ({"target": {}}, "missing required field"),
        ({"dialect": "rubble"}, "no dialect 'rubble'"),
        ({"dialect_toml": "x"}, "expected one of the two"),
        ({"dialect": None, "dialect_toml": "name = 3"}, "not a dialect"),
        ({"target_kind": "webhook", "target": {"url": "https://lims.example"}}, "without a secret"),
        ({"target_kind": "webhook", "target": {"url": "https://lims.example"}, "secret": "short"}, "webhook secret"),
        ({"target_kind": "s3", "target": {"bucket": "b", "region": "eu", "access_key_id": "i", "endpoint": "http://x"},
          "secret": "s"}, "expected an https address"),
        ({"site_id": "elsewhere"}, "no site 'elsewhere'"),
    ],
)  # fmt: skip
async def test_a_rule_that_cannot_be_is_refused_with_what_is_wrong(
    engine: AsyncEngine, settings: Settings, fields: dict[str, Any], said: str
) -> None:
    await people(engine)
    async with central(settings) as client:
        headers = await bearer(client, "admin")
        answer = await client.post("/api/v1/delivery-rules", json=rule(settings, **fields), headers=headers)
    assert answer.status_code in (404, 422), answer.text
    assert said in answer.json()["detail"]


async def test_a_link_out_of_the_allowed_folders_is_not_followed(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine)
    root = settings.data_dir / "deliveries"
    root.mkdir()
    (root / "out").symlink_to("/etc")
    async with central(settings) as client:
        wanted = rule(settings, target={"path": str(root.resolve() / "out")})
        answer = await client.post("/api/v1/delivery-rules", json=wanted, headers=await bearer(client, "admin"))
    assert answer.status_code == 422
    assert "expected one below" in answer.json()["detail"]


async def test_what_is_approved_is_sent_by_hand_as_often_as_somebody_asks(
    engine: AsyncEngine, settings: Settings
) -> None:
    await people(engine, "admin", "viewer", "operator")
    rita = (await reviewers(engine))["rita"]
    await read_plate(engine, wells=make_wells(6))
    async with central(settings) as client:
        made = await client.post(
            "/api/v1/delivery-rules", json=rule(settings, when="by_hand"), headers=await bearer(client, "admin")
        )
        url, operator = f"{made.json()['url']}/deliveries", await bearer(client, "operator")
        subject = {"subject_id": (await dossier(engine)).test_id}
        assert (await client.post(url, json=subject, headers=operator)).status_code == 409  # nobody approved it
        await say(engine, rita, accept())
        await sign(engine, rita)
        assert (await client.post(url, json=subject, headers=await bearer(client, "viewer"))).status_code == 403
        for _ in range(2):
            assert (await client.post(url, json=subject, headers=operator)).status_code == 201
        listed = (await client.get("/api/v1/deliveries?limit=1", headers=operator)).json()
        rest = (await client.get(listed["next"], headers=operator)).json()
    assert [each["revision"] for each in (*listed["items"], *rest["items"])] in ([2, 1], [1, 2])


async def a_placed_delivery(engine: AsyncEngine) -> str:
    """One that waits for somebody's word."""
    await make_delivery(engine, "d0000001-0000-4000-8000-000000000000")
    values = {
        "state": "placed", "name": "a.csv", "media_type": "text/csv", "content": b"1,2\n", "content_sha256": "ab" * 32,
        "place": {}, "placed_at": NOON,
    }  # fmt: skip
    async with transaction(engine) as connection:
        await connection.execute(update(deliveries).values(values))
    return "/api/v1/deliveries/d0000001-0000-4000-8000-000000000000"


async def test_a_system_says_with_its_key_that_a_file_arrived(engine: AsyncEngine, settings: Settings) -> None:
    url = await a_placed_delivery(engine)
    _, key = await create_key(
        engine, title="LIMS", site_id="main", scopes=["deliveries:read", "deliveries:write"],
        expires_at=NOON + timedelta(days=1), actor=COMMAND, now=NOON,
    )  # fmt: skip
    headers = {"authorization": f"Bearer {key}"}
    async with central(settings) as client:
        file = await client.get(f"{url}/file", headers=headers)
        assert (file.content, file.headers["etag"]) == (b"1,2\n", f'"{"ab" * 32}"')
        for _ in range(2):
            assert (await client.post(f"{url}/acknowledge", headers=headers)).status_code == 204
        assert (await client.post(f"{url}/retry", headers=headers)).status_code == 409
        shown = (await client.get(url, headers=headers)).json()
        assert (shown["delivery"]["state"], shown["delivery"]["acknowledged_how"]) == ("acknowledged", "said by key")
        assert (await client.get("/api/v1/runs", headers=headers)).status_code == 403  # not among its scopes


async def test_the_pages_show_deliveries_and_take_a_rule(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine)
    await a_placed_delivery(engine)
    async with central(settings) as client:
        await sign_in(client, "admin")
        token = {"csrf_token": await csrf_token(client)}
        bad = await client.post("/deliveries/rules", data=token | {"title": "X", "dialect": "titres", "path": "/etc"})
        assert (bad.status_code, "expected one below" in bad.text) == (422, True)
        good = {"title": "Sweep", "dialect": "labware", "of": "test", "path": rule(settings)["target"]["path"]}
        assert (await client.post("/deliveries/rules", data=token | good, follow_redirects=False)).status_code == 303
        page = (await client.get("/deliveries")).text
        assert "a.csv" in page
        assert "Sweep" in page
        one = (await client.get("/deliveries/d0000001-0000-4000-8000-000000000000")).text
        assert "It has arrived" in one
        done = await client.post(
            "/deliveries/d0000001-0000-4000-8000-000000000000/acknowledge", data=token, follow_redirects=False
        )
        assert done.status_code == 303
        assert "said by person" in (await client.get("/deliveries/d0000001-0000-4000-8000-000000000000")).text


async def test_where_files_go_is_for_administrators_an_address_may_be_a_secret(
    engine: AsyncEngine, settings: Settings
) -> None:
    await people(engine)
    await make_delivery(engine)
    async with transaction(engine) as connection:
        address = {"target_kind": "email", "target": {"to": "lims@lab.example"}}
        await connection.execute(update(delivery_rules).values(address))
    async with central(settings) as client:
        for name, shown in (("admin", True), ("viewer", False)):
            await sign_in(client, name)
            page = (await client.get("/deliveries")).text
            assert ("email" in page, "lims@lab.example" in page) == (True, shown)


async def test_a_page_before_the_beginning_of_time_is_empty_or_refused(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine)
    async with central(settings) as client:
        headers = await bearer(client)
        for at in ("0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"):
            query = {"before": f"{at}_d0000001-0000-4000-8000-000000000000"}
            answer = await client.get("/api/v1/deliveries", params=query, headers=headers)
            assert answer.status_code in (200, 400), answer.text
