"""Accounts, keys and sites over HTTP: joining by a link, changes and what they end, one-time codes, being forgotten."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from central.audit.chain import BEFORE_THE_FIRST, Entry, entry_hash
from central.db import reading
from central.people.auth import reauthenticate
from central.people.callers import CodeNeededError, NotSignedInError, Person
from central.people.sites import Sites
from central.people.totp import STEP_S, code_at
from central.settings import Settings
from central.tables import audit_entries, devices, users
from tests.central.web import PASSWORD, Client, Clock, bearer, central, people, runs
from tests.make import NOON

pytestmark = pytest.mark.anyio

OTHER = "another horse that reads"


@pytest.fixture
def database_url(tmp_path: Path, migrated_file: Path) -> str:
    """One database is enough here: what differs between them is below the web."""
    return f"sqlite+aiosqlite:///{shutil.copy(migrated_file, tmp_path / 'central.db')}"


@pytest.fixture
def clock() -> Clock:
    """Noon, until a test moves it."""
    return Clock()


@pytest.fixture
async def client(engine: AsyncEngine, settings: Settings, clock: Clock) -> AsyncIterator[Client]:
    """Central with an administrator and a viewer."""
    await people(engine)
    async with central(settings, clock) as client:
        yield client


async def id_of(client: Client, name: str, admin: dict[str, str]) -> str:
    """A user's id."""
    found = (await client.get("/api/v1/users", headers=admin)).json()["items"]
    return str(next(user["id"] for user in found if user["name"] == name))


async def invited(client: Client, admin: dict[str, str], **fields: Any) -> dict[str, Any]:
    """Anna, invited."""
    body = {"name": "anna", "role": "reviewer", "site_ids": ["main"], "email": "anna@lab.example"} | fields
    answer = await client.post("/api/v1/users", json=body, headers=admin)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def test_a_link_lets_somebody_in_once(client: Client) -> None:
    link = (await invited(client, await bearer(client, "admin")))["link"]
    body = {"code": link.rsplit("/", 1)[1], "new_password": OTHER}
    assert (await client.post("/api/v1/password-links", json=body | {"new_password": "short"})).status_code == 422
    answers: list[int] = []

    async def use() -> None:
        answers.append((await client.post("/api/v1/password-links", json=body)).status_code)

    async with anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(use)
    assert sorted(answers) == [204] + [422] * 9
    answer = await client.post("/api/v1/tokens", json={"name": "anna", "password": OTHER})
    assert answer.status_code == 201


async def test_a_link_ends_after_its_days(client: Client, clock: Clock) -> None:
    code = (await invited(client, await bearer(client, "admin")))["link"].rsplit("/", 1)[1]
    clock.tick(7 * 86400 + 1)
    body = {"code": code, "new_password": OTHER}
    assert (await client.post("/api/v1/password-links", json=body)).status_code == 422


async def test_a_new_password_by_a_link_ends_every_session(client: Client) -> None:
    admin, viewer = await bearer(client, "admin"), await bearer(client)
    user_id = await id_of(client, "viewer", admin)
    link = (await client.post(f"/api/v1/users/{user_id}/link", headers=admin)).json()["link"]
    body = {"code": link.rsplit("/", 1)[1], "new_password": OTHER}
    assert (await client.get("/api/v1/runs", headers=viewer)).status_code == 200
    assert (await client.post("/api/v1/password-links", json=body)).status_code == 204
    assert (await client.get("/api/v1/runs", headers=viewer)).status_code == 401


async def test_a_password_is_changed_by_who_knows_it(client: Client) -> None:
    viewer = await bearer(client)
    wrong = {"password": "not this one", "new_password": OTHER}
    assert (await client.post("/api/v1/users/me/password", json=wrong, headers=viewer)).status_code == 403
    right = {"password": PASSWORD, "new_password": OTHER}
    assert (await client.post("/api/v1/users/me/password", json=right, headers=viewer)).status_code == 204
    assert (await client.get("/api/v1/users/me", headers=viewer)).status_code == 401


@pytest.mark.parametrize("change", [{"disabled": True}, {"role": "viewer"}])
async def test_there_is_always_an_administrator_left(client: Client, change: dict[str, Any]) -> None:
    admin = await bearer(client, "admin")
    user_id = await id_of(client, "admin", admin)
    assert (await client.patch(f"/api/v1/users/{user_id}", json=change, headers=admin)).status_code == 409
    erase = await client.post(f"/api/v1/users/{user_id}/erase", json={"reason": "gone"}, headers=admin)
    assert erase.status_code == 409


async def test_who_is_disabled_is_out_at_once_and_stays_out(client: Client) -> None:
    admin, viewer = await bearer(client, "admin"), await bearer(client)
    user_id = await id_of(client, "viewer", admin)
    answer = await client.patch(f"/api/v1/users/{user_id}", json={"disabled": True}, headers=admin)
    assert answer.status_code == 200
    assert (await client.get("/api/v1/runs", headers=viewer)).status_code == 401
    again = await client.post("/api/v1/tokens", json={"name": "viewer", "password": PASSWORD})
    assert (again.status_code, again.json()["detail"]) == (401, "name or password is wrong")


async def test_a_person_is_forgotten_and_the_trail_still_holds(client: Client, engine: AsyncEngine) -> None:
    admin = await bearer(client, "admin")
    user_id = (await invited(client, admin))["user_id"]
    held = (await client.get(f"/api/v1/users/{user_id}/export", headers=admin)).json()
    assert held["account"]["email"] == "anna@lab.example"
    answer = await client.post(f"/api/v1/users/{user_id}/erase", json={"reason": "asked for it"}, headers=admin)
    assert answer.status_code == 200
    async with reading(engine) as connection:
        everybody = str((await connection.execute(select(users))).all())
        rows = (await connection.execute(select(audit_entries).order_by(audit_entries.c.number))).all()
    entries = [Entry(**row._mapping) for row in rows]
    assert "anna" not in everybody + str(entries)
    assert answer.json()["pseudonym"] in everybody
    assert [entry_hash(entry) for entry in entries] == [entry.hash for entry in entries]
    assert [entry.previous for entry in entries] == [BEFORE_THE_FIRST, *(entry.hash for entry in entries[:-1])]
    assert [entry.reason for entry in entries if entry.action == "user.erase"] == ["asked for it"]


async def with_codes(client: Client, clock: Clock) -> bytes:
    """The viewer's secret, set up and confirmed."""
    import base64

    viewer = await bearer(client)
    answer = await client.post("/api/v1/users/me/second-factor", json={"password": PASSWORD}, headers=viewer)
    secret = base64.b32decode(answer.json()["secret"].replace(" ", ""))
    body = {"code": code_at(secret, int(clock().timestamp()) // STEP_S)}
    assert (await client.post("/api/v1/users/me/second-factor/confirm", json=body, headers=viewer)).status_code == 204
    return secret


async def test_a_code_is_asked_for_once_it_is_set_up_and_is_good_once(client: Client, clock: Clock) -> None:
    secret = await with_codes(client, clock)
    body = {"name": "viewer", "password": PASSWORD}
    without = await client.post("/api/v1/tokens", json=body)
    assert (without.status_code, "one-time code" in without.json()["detail"]) == (401, True)
    used = body | {"code": code_at(secret, int(clock().timestamp()) // STEP_S)}
    assert (await client.post("/api/v1/tokens", json=used)).status_code == 401
    clock.tick(60)
    good = body | {"code": code_at(secret, int(clock().timestamp()) // STEP_S)}
    answers = [(await client.post("/api/v1/tokens", json=good)).status_code for _ in range(2)]
    assert answers == [201, 401]


async def test_the_sign_in_page_asks_for_the_code_in_a_second_step(client: Client, clock: Clock) -> None:
    secret = await with_codes(client, clock)
    clock.tick(60)
    first = await client.post("/sign-in", data={"name": "viewer", "password": PASSWORD}, follow_redirects=False)
    ticket = first.text.split('name="ticket" value="')[1].split('"')[0]
    assert (first.status_code, PASSWORD in first.text, "set-cookie" in first.headers) == (200, False, False)
    form = {"name": "viewer", "ticket": ticket, "code": code_at(secret, int(clock().timestamp()) // STEP_S)}
    wrong = await client.post("/sign-in", data=form | {"code": "000000"}, follow_redirects=False)
    assert wrong.status_code == 401
    good = await client.post("/sign-in", data=form, follow_redirects=False)
    assert good.status_code == 303
    assert "wellread_session" in good.headers["set-cookie"]


async def test_a_signature_asks_for_password_and_code_again(client: Client, clock: Clock) -> None:
    central_people = client.app.state.parts.people
    me = (await client.get("/api/v1/users/me", headers=await bearer(client))).json()
    person = Person(me["id"], "viewer", "viewer", Sites.of(["main"]))
    proof = await reauthenticate(central_people, person, password=PASSWORD, code=None, address="10.0.0.1")
    assert proof == "password"
    secret = await with_codes(client, clock)
    clock.tick(60)
    code = code_at(secret, int(clock().timestamp()) // STEP_S)
    with pytest.raises(CodeNeededError):
        await reauthenticate(central_people, person, password=PASSWORD, code=None, address="10.0.0.1")
    with pytest.raises(NotSignedInError):
        await reauthenticate(central_people, person, password="not this one", code=code, address="10.0.0.1")
    proof = await reauthenticate(central_people, person, password=PASSWORD, code=code, address="10.0.0.1")
    assert proof == "password+totp"
    with pytest.raises(NotSignedInError):
        await reauthenticate(central_people, person, password=PASSWORD, code=code, address="10.0.0.1")


async def test_a_key_does_what_its_scopes_say_until_it_is_revoked_or_ends(client: Client, clock: Clock) -> None:
    admin = await bearer(client, "admin")
    body = {"title": "LIMS", "site_id": "main", "scopes": ["results:read"], "expires_at": "2030-01-01T00:00:00Z"}
    made = (await client.post("/api/v1/keys", json=body, headers=admin)).json()
    headers = {"authorization": f"Bearer {made['key']}"}
    assert (await client.get("/api/v1/runs", headers=headers)).status_code == 200
    assert (await client.get("/api/v1/devices", headers=headers)).status_code == 403
    assert (await client.get("/api/v1/users/me", headers=headers)).status_code == 403
    listed = (await client.get("/api/v1/keys", headers=admin)).json()["items"]
    assert (listed[0]["last_used_at"], "secret" in str(listed)) == (NOON.isoformat().replace("+00:00", "Z"), False)
    wrong = {"authorization": f"Bearer {made['key'][:-1]}{'A' if made['key'][-1] != 'A' else 'B'}"}
    assert (await client.get("/api/v1/runs", headers=wrong)).status_code == 401
    assert (await client.post(f"/api/v1/keys/{made['id']}/revoke", headers=admin)).status_code == 204
    assert (await client.get("/api/v1/runs", headers=headers)).status_code == 401


async def test_a_key_that_has_ended_opens_nothing(client: Client, clock: Clock) -> None:
    body = {"title": "LIMS", "site_id": "main", "scopes": ["results:read"], "expires_at": "2036-01-01T00:00:00Z"}
    made = (await client.post("/api/v1/keys", json=body, headers=await bearer(client, "admin"))).json()
    clock.tick(20 * 365 * 86400)
    headers = {"authorization": f"Bearer {made['key']}"}
    assert (await client.get("/api/v1/runs", headers=headers)).status_code == 401


async def test_of_two_who_change_a_site_one_hears_that_it_was_changed(client: Client) -> None:
    admin = await bearer(client, "admin")
    seen = admin | {"if-match": '"1"'}
    assert (await client.patch("/api/v1/sites/main", json={"four_eyes": True}, headers=admin)).status_code == 428
    first = await client.patch("/api/v1/sites/main", json={"four_eyes": True}, headers=seen)
    second = await client.patch("/api/v1/sites/main", json={"unregistered": "wait"}, headers=seen)
    assert (first.status_code, first.headers["etag"], second.status_code) == (200, '"2"', 412)


async def test_a_device_is_moved_to_another_site_with_a_reason(client: Client, engine: AsyncEngine) -> None:
    await runs(engine)
    admin = await bearer(client, "admin")
    assert (
        await client.post("/api/v1/sites", json={"id": "north", "title": "North"}, headers=admin)
    ).status_code == 201
    body = {"site_id": "north", "reason": "sold"}
    assert (await client.post("/api/v1/devices/bench-1/move", json=body, headers=admin)).status_code == 204
    async with reading(engine) as connection:
        assert await connection.scalar(select(devices.c.site_id)) == "north"
        moves = select(audit_entries.c.site_id, audit_entries.c.reason).where(audit_entries.c.action == "device.move")
        assert [tuple(row) for row in await connection.execute(moves)] == [("main", "sold"), ("north", "sold")]


async def test_a_device_joins_the_site_that_its_claim_names(client: Client) -> None:
    admin = await bearer(client, "admin")
    nowhere = await client.post("/api/v1/claims", json={"name": "Bench", "site_id": "mars"}, headers=admin)
    assert (nowhere.status_code, "mars" in nowhere.json()["detail"]) == (422, True)
    await client.post("/api/v1/sites", json={"id": "north", "title": "North"}, headers=admin)
    claim = (await client.post("/api/v1/claims", json={"name": "Bench", "site_id": "north"}, headers=admin)).json()
    body = {"claim_code": claim["claim_code"], "device_id": "bench-7", "agent": "0.1.0"}
    assert (await client.post("/api/v1/enrolments", json=body)).status_code == 201
    device = (await client.get("/api/v1/devices/bench-7", headers=admin)).json()
    assert device["site_id"] == "north"
