"""Rules for every kind of place by page: what is wrong is said at its field, and a secret is never shown again."""

import re
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from central.db import reading
from central.settings import Settings
from central.tables import audit_entries, delivery_rules
from tests.central.deliveries.test_api import rule
from tests.central.deliveries.test_rules import rule as _stored
from tests.central.web import Client, central, csrf_token, people, sign_in

pytestmark = pytest.mark.anyio
HOST_KEY = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode().strip()
SECRET = "whsec_" + "A" * 44
PLACES: dict[str, dict[str, str]] = {
    "sftp": {"host": "lims.example", "port": "2222", "username": "lims", "folder": "/in", "host_key": HOST_KEY,
             "secret": "swordfish"},
    "webhook": {"url": "https://lims.example/in", "secret": SECRET},
    "s3": {"bucket": "results", "region": "eu-west-1", "access_key_id": "AKIA", "secret": "swordfish"},
}  # fmt: skip


async def form(client: Client, kind: str, **fields: str) -> dict[str, str]:
    """What a browser sends: every field of the page, empty where nobody wrote anything."""
    page = await client.get(f"/deliveries/rules/new?kind={kind}")
    assert page.status_code == 200
    names = re.findall(r'<(?:input|textarea)[^>]* name="(\w+)"', page.text)
    empty = dict.fromkeys(names, "") | {"site_id": "main", "kind": kind, "when": "approved", "of": "test"}
    return empty | {"title": "LIMS", "dialect": "titres", "csrf_token": await csrf_token(client)} | fields


async def stored_rule(engine: AsyncEngine, **fields: Any) -> Any:
    """A rule that was made when more was allowed, or with another key for secrets."""
    return await _stored(engine, id="00000000-0000-4000-8000-000000000000", **fields)


async def kept(engine: AsyncEngine) -> Any:
    """The one rule."""
    async with reading(engine) as connection:
        return (await connection.execute(select(delivery_rules))).one()


@pytest.mark.parametrize("kind", PLACES)
async def test_a_rule_for_each_kind_of_place_is_made_changed_and_paused_by_page(
    engine: AsyncEngine, settings: Settings, kind: str
) -> None:
    await people(engine)
    async with central(settings) as client:
        await sign_in(client, "admin")
        wanted = await form(client, kind, **PLACES[kind])
        made = await client.post("/deliveries/rules", data=wanted, follow_redirects=False)
        assert made.status_code == 303, made.text
        url, first = made.headers["location"], await kept(engine)
        page = (await client.get(url)).text
        assert PLACES[kind]["secret"] not in page
        assert first.target_kind == kind
        assert {name: str(value) for name, value in first.target.items()} == {
            name: value for name, value in PLACES[kind].items() if name != "secret"
        }
        changed = wanted | {"title": "Other", "secret": "", "revision": "1"}
        assert (await client.post(url, data=changed, follow_redirects=False)).status_code == 303
        stale = await client.post(url, data=changed, follow_redirects=False)
        assert (stale.status_code, "somebody changed it meanwhile" in stale.text) == (409, True)
        pause = {"csrf_token": wanted["csrf_token"], "revision": "2"}
        assert (await client.post(f"{url}/pause", data=pause, follow_redirects=False)).status_code == 303
        assert "paused" in (await client.get("/deliveries")).text
    last = await kept(engine)
    assert (last.title, last.enabled, last.revision, last.secret) == ("Other", False, 3, first.secret)
    async with reading(engine) as connection:
        trail = "".join(map(str, (await connection.execute(select(audit_entries))).all()))
    assert PLACES[kind]["secret"] not in trail


@pytest.mark.parametrize(
    ("kind", "wrong", "field", "said"),
    [
        ("folder", {"path": "/etc"}, "path", "expected one below"),
        ("folder", {"path": ""}, "path", "missing required field"),
        ("sftp", {"port": "a"}, "port", "Expected `int`"),
        ("sftp", {"port": "70000"}, "port", "65535"),
        ("sftp", {"host_key": "short"}, "host_key", "length"),
        ("sftp", {"secret": ""}, "secret", "without a secret"),
        ("webhook", {"secret": "short"}, "secret", "webhook secret"),
        ("s3", {"endpoint": "http://x"}, "endpoint", "expected an https address"),
        ("s3", {"bucket": "a b"}, "bucket", "matching regex"),
        ("email", {"to": "anna@elsewhere.example"}, "to", "WELLREAD_DELIVERY_MAIL_DOMAINS"),
        ("webhook", {"title": ""}, "title", "length"),
        ("webhook", {"dialect": "rubble"}, "dialect", "no dialect"),
        ("webhook", {"dialect_toml": "name = 3"}, "dialect_toml", "not a dialect"),
    ],
)  # fmt: skip
async def test_what_is_wrong_is_said_at_its_field_and_the_rest_stays(
    engine: AsyncEngine, settings: Settings, kind: str, *, wrong: dict[str, str], field: str, said: str
) -> None:
    await people(engine)
    async with central(settings) as client:
        await sign_in(client, "admin")
        wanted = await form(client, kind, **PLACES.get(kind, {}) | {"title": "A title to keep"} | wrong)
        answer = await client.post("/deliveries/rules", data=wanted, follow_redirects=False)
    assert answer.status_code == 422, answer.text
    (at,) = re.findall(r'id="wrong-(\w+)" role="alert">([^<]*)<', answer.text)
    assert (at[0], said in at[1]) == (field, True), at
    assert "title" in wrong or "A title to keep" in answer.text
    assert "swordfish" not in answer.text
    assert SECRET not in answer.text


async def test_a_test_file_goes_where_results_go_and_its_trouble_is_said(
    engine: AsyncEngine, settings: Settings
) -> None:
    await people(engine)
    drop = Path(rule(settings)["target"]["path"])
    async with central(settings) as client:
        await sign_in(client, "admin")
        wanted = await form(client, "folder", path=str(drop))
        url = (await client.post("/deliveries/rules", data=wanted, follow_redirects=False)).headers["location"]
        token = {"csrf_token": wanted["csrf_token"]}
        failed = await client.post(f"{url}/try", data=token)
        assert "the share is mounted" in failed.text
        drop.mkdir(parents=True)
        assert "It holds no results" not in failed.text
        assert "is there. Take it away" in (await client.post(f"{url}/try", data=token)).text
    (file,) = drop.iterdir()
    assert file.name.startswith("wellread-test-")
    assert "holds no results" in file.read_text()


async def test_a_rule_keeps_a_dialect_of_its_own_when_something_else_is_changed(
    engine: AsyncEngine, settings: Settings
) -> None:
    toml = 'name = "ours"\nversion = 3\ntitle = "X"\nshape = "table"\nsource = "titres"\ncolumns = [{ field = "row" }]'
    await people(engine)
    async with central(settings) as client:
        await sign_in(client, "admin")
        wanted = await form(client, "folder", path=rule(settings)["target"]["path"], dialect_toml=toml)
        url = (await client.post("/deliveries/rules", data=wanted, follow_redirects=False)).headers["location"]
        changed = wanted | {"title": "Other", "dialect": "ours", "dialect_toml": "", "revision": "1"}
        assert (await client.post(url, data=changed, follow_redirects=False)).status_code == 303
    last = await kept(engine)
    assert (last.title, last.dialect["name"], last.dialect["version"]) == ("Other", "ours", 3)


async def test_rules_are_for_administrators(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine, "admin", "reviewer")
    async with central(settings) as client:
        await sign_in(client, "reviewer")
        assert (await client.get("/deliveries/rules/new")).status_code == 403
        assert (await client.get("/deliveries/rules/d0000001-0000-4000-8000-000000000000")).status_code == 403


async def test_a_rule_whose_place_is_allowed_no_more_can_still_be_paused_and_not_go_on(
    engine: AsyncEngine, settings: Settings
) -> None:
    await people(engine)
    made = await stored_rule(engine, target={"path": "/was/allowed"})
    async with central(settings) as client:
        await sign_in(client, "admin")
        form = {"csrf_token": await csrf_token(client), "revision": "1"}
        url = "/deliveries/rules/00000000-0000-4000-8000-000000000000/pause"
        assert (await client.post(url, data=form, follow_redirects=False)).status_code == 303
        assert (await kept(engine)).enabled is False
        refused = await client.post(url, data=form | {"revision": "2"}, follow_redirects=False)
        assert refused.status_code == 422
        assert "/was/allowed" in refused.text
    assert made.enabled is True


async def test_a_secret_that_cannot_be_opened_is_asked_for_again_and_does_not_keep_a_rule_from_being_paused(
    engine: AsyncEngine, settings: Settings
) -> None:
    await people(engine)
    target = {"url": "https://lims.example/in"}
    await stored_rule(engine, target_kind="webhook", target=target, secret=b"sealed by a key that is gone")
    async with central(settings) as client:
        await sign_in(client, "admin")
        token = await csrf_token(client)
        url = "/deliveries/rules/00000000-0000-4000-8000-000000000000"
        changed = {
            "csrf_token": token,
            "revision": "1",
            "title": "Other",
            "kind": "webhook",
            "dialect": "titres",
        } | target
        refused = await client.post(url, data=changed, follow_redirects=False)
        assert refused.status_code == 422
        assert "write the secret once more" in refused.text
        paused = await client.post(f"{url}/pause", data={"csrf_token": token, "revision": "1"}, follow_redirects=False)
        assert paused.status_code == 303
    assert (await kept(engine)).enabled is False
