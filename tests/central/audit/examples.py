"""One successful call of every operation that changes something: a new operation is added here, or its test fails.

Each example gets a central of its own with what `ground` put there, makes what it needs, and returns the answer of the
call itself; the test counts the entries that this call wrote.
"""

import base64
from dataclasses import replace as replaced
from typing import Any, Final

import httpx
import msgspec
from sqlalchemy import insert, select, update

from central.db import reading, transaction
from central.intake.ingest import ingest
from central.people.oidc import Provider
from central.people.totp import STEP_S, code_at
from central.tables import alarms, deliveries, sites, tests, withdrawals
from tests.central.audit.ground import WHY, Example, Ground
from tests.central.deliveries.test_api import a_placed_delivery
from tests.central.notices.examples import EXAMPLES as OF_NOTICES
from tests.central.web import PASSWORD, bearer
from tests.central.wire import make_delivery
from tests.make import HI, NOON, make_reading_id, replace


async def enrol(ground: Ground) -> httpx.Response:
    claim = await ground.made("/claims", {"name": "Bench 2"})
    body = {"claim_code": claim["claim_code"], "device_id": "bench-2", "agent": "0.1.0"}
    return await ground.anonymous("POST", "/enrolments", json=body)


FIRST: Final = {"if-match": '"1"'}
LIST: Final = b"submission,test,plate,row,serum\nS-7,NDV,1,A,F1\n"
OVERRIDE: Final = {"action": "override", "target": "A6", "call": "button", "reason_code": "misread"}
SERUM: Final = {
    "name": "NDV-positive", "lot": "7", "kind": "positive", "profile": "hi-96", "expected_log2": 6, "tolerance_log2": 1,
}  # fmt: skip


async def plan(ground: Ground) -> tuple[str, str, str]:
    """A submission `S-7` with a test and a plate: its path, the test's id, the plate's id."""
    await ground.made("/submissions", {"submission": "S-7"})
    test = await ground.made("/submissions/S-7/tests", {"test": "NDV"})
    plate = await ground.made(f"/tests/{test['id']}/plates", {"plate_number": "1", "rows": {"A": {"serum": "F1"}}})
    return "/submissions/S-7", str(test["id"]), str(plate["id"])


async def change_plan(ground: Ground, method: str, path: str, body: Any) -> httpx.Response:
    """A change of something that `plan` made."""
    _, test_id, plate_id = await plan(ground)
    address = path.format(submission="S-7", test_id=test_id, plate_id=plate_id)
    return await ground.call(method, address, json=body, headers=FIRST)


def planned(method: str, path: str, body: Any) -> Example:
    return lambda ground: change_plan(ground, method, path, body)


async def worklist(ground: Ground) -> httpx.Response:
    seen = await ground.call("POST", "/worklists/preview", content=LIST)
    return await ground.call("POST", "/worklists", content=LIST, params={"digest": seen.json()["digest"]})


async def run_to_plate(ground: Ground) -> httpx.Response:
    """The run of no known code is of a plate, says somebody."""
    async with transaction(ground.engine) as connection:
        await connection.execute(update(sites).values(unregistered="wait"))
    await ingest(ground.engine, [make_delivery(7, code=None)], now=NOON)
    _, _, plate_id = await plan(ground)
    body = {"plate_id": plate_id, "reason": "label torn"}
    return await ground.call("PUT", f"/runs/{make_reading_id(7)}/plate", json=body)


async def run_from_plate(ground: Ground) -> httpx.Response:
    assert (await run_to_plate(ground)).status_code == 204
    return await ground.call("DELETE", f"/runs/{make_reading_id(7)}/plate", params={"reason": "other plate"})


async def alarm(ground: Ground) -> int:
    """A run that does not fit its plate has raised it."""
    row = {"site_id": "main", "kind": "other_sera", "object_kind": "run", "object_id": "r", "detail": "d"}
    async with transaction(ground.engine) as connection:
        made = await connection.execute(insert(alarms).values(row | {"raised_at": NOON}))
        assert made.inserted_primary_key is not None
        return int(made.inserted_primary_key[0])


async def acknowledge(ground: Ground) -> httpx.Response:
    return await ground.call("POST", f"/alarms/{await alarm(ground)}/acknowledge")


async def resolve(ground: Ground) -> httpx.Response:
    return await ground.call("POST", f"/alarms/{await alarm(ground)}/resolve", json=WHY)


async def comment(ground: Ground) -> httpx.Response:
    _, test_id, _ = await plan(ground)
    return await ground.call("POST", f"/comments/test/{test_id}", json={"text": "looks pale"})


async def correct(ground: Ground) -> httpx.Response:
    address, body = f"/runs/{ground.run_id}/corrections", {"corrections": [OVERRIDE]}
    return await ground.call("POST", address, "reviewer", json=body, headers=FIRST)


async def sign(ground: Ground) -> httpx.Response:
    body = {"meaning": "approved", "password": PASSWORD}
    return await ground.call("POST", f"/runs/{ground.run_id}/signatures", "reviewer", json=body, headers=FIRST)


async def sign_test(ground: Ground) -> httpx.Response:
    async with reading(ground.engine) as connection:
        test_id = await connection.scalar(select(tests.c.id))
    body = {"revisions": {ground.run_id: 1}, "password": PASSWORD}
    return await ground.call("POST", f"/tests/{test_id}/signatures", "reviewer", json=body)


async def add_profile(ground: Ground) -> httpx.Response:
    own = replace(HI, version=1001, title="Ours")
    return await ground.call("POST", "/profiles", json={"format": "json", "text": msgspec.json.encode(own).decode()})


async def activate(ground: Ground) -> httpx.Response:
    assert (await add_profile(ground)).status_code == 201
    return await ground.call("POST", "/profiles/hi-96/versions/1001/activation", json=WHY)


async def interpret(ground: Ground) -> httpx.Response:
    assert (await activate(ground)).status_code == 200
    address = f"/runs/{ground.run_id}/interpretation"
    return await ground.call("POST", address, "reviewer", json={"version": 1001}, headers=FIRST)


async def change_control(ground: Ground) -> httpx.Response:
    made = await ground.made("/control-sera", SERUM)
    body = WHY | {"mean": 6.0, "sd": 0.5}
    return await ground.call("PATCH", f"/control-sera/{made['id']}", json=body, headers=FIRST)


async def anna(ground: Ground) -> str:
    """Somebody who was invited; the id."""
    made = await ground.made("/users", {"name": "anna", "role": "viewer", "site_ids": ["main"]})
    return str(made["user_id"])


async def on_anna(ground: Ground, method: str, what: str = "", body: Any = None) -> httpx.Response:
    user_id = await anna(ground)
    return await ground.call(method, f"/users/{user_id}{what}", json=body or {})


async def linked(ground: Ground, *, then: str) -> httpx.Response:
    """Somebody whom a provider signs in from now on, or not any more."""
    parts = ground.client.app.state.parts
    ground.client.app.state.parts = replaced(parts, provider=Provider("https://o.example", "c", "", "", now=parts.now))
    user_id = await anna(ground)
    body = {"subject": "a-17", "reason": "seen there"}
    answer = await ground.call("POST", f"/users/{user_id}/identities", json=body)
    if then == "link":
        return answer
    return await ground.call("DELETE", f"/users/{user_id}/identities", params={"reason": "left"})


async def sign_out_somebody(ground: Ground) -> httpx.Response:
    made = await ground.made("/tokens", {"name": "viewer", "password": PASSWORD})
    headers = {"authorization": f"Bearer {made['access_token']}"}
    user_id = (await ground.client.get("/api/v1/users/me", headers=headers)).json()["id"]
    return await ground.call("DELETE", f"/users/{user_id}/sessions")


async def join(ground: Ground) -> httpx.Response:
    made = await ground.made("/users", {"name": "anna", "role": "viewer", "site_ids": ["main"]})
    body = {"code": made["link"].rsplit("/", 1)[1], "new_password": "another horse that reads"}
    return await ground.anonymous("POST", "/password-links", json=body)


async def end_a_session(ground: Ground) -> httpx.Response:
    made = await ground.made("/tokens", {"name": "viewer", "password": PASSWORD})
    return await ground.call("DELETE", f"/sessions/{made['session_id']}", "viewer")


async def codes(ground: Ground, *, then: str) -> httpx.Response:
    """One-time codes of the viewer: set up and confirmed, then removed by who has them or by an administrator."""
    offered = await ground.made("/users/me/second-factor", {"password": PASSWORD}, "viewer")
    secret = base64.b32decode(offered["secret"].replace(" ", ""))
    step = int(ground.client.app.state.parts.now().timestamp()) // STEP_S
    headers = await bearer(ground.client, "viewer")
    ground.before = await ground.count()
    confirm = {"code": code_at(secret, step)}
    answer = await ground.client.post("/api/v1/users/me/second-factor/confirm", json=confirm, headers=headers)
    if then == "confirm":
        return answer
    ground.before = await ground.count()
    if then == "remove":
        body = {"password": PASSWORD, "code": code_at(secret, step + 1)}
        return await ground.client.post("/api/v1/users/me/second-factor/remove", json=body, headers=headers)
    user_id = (await ground.client.get("/api/v1/users/me", headers=headers)).json()["id"]
    return await ground.call("POST", f"/users/{user_id}/second-factor/remove", json={"reason": "telephone lost"})


async def revoke_key(ground: Ground) -> httpx.Response:
    made = await ground.made("/keys", KEY)
    return await ground.call("POST", f"/keys/{made['id']}/revoke")


async def move(ground: Ground) -> httpx.Response:
    await ground.made("/sites", {"id": "north", "title": "North"})
    return await ground.call("POST", "/devices/bench-1/move", json={"site_id": "north", "reason": "sold"})


KEY: Final = {"title": "LIMS", "site_id": "main", "scopes": ["results:read"]}
NEW_PASSWORD: Final = {"password": PASSWORD, "new_password": "another horse that reads"}

RULE: Final[dict[str, Any]] = {
    "title": "LIMS",
    "when": "by_hand",
    "dialect": "titres",
    "target_kind": "webhook",
    "target": {"url": "https://lims.example/in"},
    "secret": "whsec_" + "A" * 44,
}


async def change_rule(ground: Ground) -> httpx.Response:
    made = await ground.made("/delivery-rules", RULE)
    changed = {name: value for name, value in RULE.items() if name != "secret"} | {"title": "Other"}
    return await ground.call("PUT", made["url"].removeprefix("/api/v1"), json=changed, headers=FIRST)


async def deliver_by_hand(ground: Ground) -> httpx.Response:
    assert (await sign(ground)).status_code == 201
    made = await ground.made("/delivery-rules", RULE)
    async with reading(ground.engine) as connection:
        test_id = await connection.scalar(select(tests.c.id))
    path = made["url"].removeprefix("/api/v1")
    return await ground.call("POST", f"{path}/deliveries", json={"subject_id": test_id})


async def acknowledge_delivery(ground: Ground) -> httpx.Response:
    url = await a_placed_delivery(ground.engine)
    return await ground.call("POST", f"{url.removeprefix('/api/v1')}/acknowledge")


async def retry_delivery(ground: Ground) -> httpx.Response:
    url = await a_placed_delivery(ground.engine)
    async with transaction(ground.engine) as connection:
        await connection.execute(update(deliveries).values(state="failed", place=None))
    return await ground.call("POST", f"{url.removeprefix('/api/v1')}/retry")


async def settle_withdrawal(ground: Ground) -> httpx.Response:
    url = await a_placed_delivery(ground.engine)
    entry = {
        "id": "e0000001-0000-4000-8000-000000000000", "site_id": "main", "delivery_id": url.rpartition("/")[2],
        "run_id": ground.run_id, "plate": "NDV, plate 1", "opened_at": NOON, "opened_by": "system",
    }  # fmt: skip
    async with transaction(ground.engine) as connection:
        await connection.execute(insert(withdrawals).values(entry))
    return await ground.call("POST", f"/withdrawals/{entry['id']}/settle")


EXAMPLES: Final[dict[str, Example]] = {
    **OF_NOTICES,
    "POST /api/v1/claims": lambda on: on.call("POST", "/claims", json={"name": "Bench 2"}),
    "POST /api/v1/enrolments": enrol,
    "POST /api/v1/devices/{device_id}/revoke": lambda on: on.call("POST", "/devices/bench-1/revoke"),
    "DELETE /api/v1/tokens": lambda on: on.call("DELETE", "/tokens", "viewer"),
    "DELETE /api/v1/sessions": lambda on: on.call("DELETE", "/sessions", "viewer"),
    "DELETE /api/v1/sessions/{session_id}": end_a_session,
    "POST /api/v1/users/me/password": lambda on: on.call("POST", "/users/me/password", "viewer", json=NEW_PASSWORD),
    "POST /api/v1/users/me/second-factor/confirm": lambda on: codes(on, then="confirm"),
    "POST /api/v1/users/me/second-factor/remove": lambda on: codes(on, then="remove"),
    "POST /api/v1/users/{user_id}/second-factor/remove": lambda on: codes(on, then="admin"),
    "POST /api/v1/password-links": join,
    "POST /api/v1/users": lambda on: on.call(
        "POST", "/users", json={"name": "anna", "role": "viewer", "site_ids": ["main"]}
    ),
    "PATCH /api/v1/users/{user_id}": lambda on: on_anna(on, "PATCH", body={"role": "operator"}),
    "POST /api/v1/users/{user_id}/identities": lambda on: linked(on, then="link"),
    "DELETE /api/v1/users/{user_id}/identities": lambda on: linked(on, then="unlink"),
    "DELETE /api/v1/users/{user_id}/sessions": sign_out_somebody,
    "POST /api/v1/users/{user_id}/link": lambda on: on_anna(on, "POST", "/link"),
    "POST /api/v1/users/{user_id}/erase": lambda on: on_anna(on, "POST", "/erase", {"reason": "asked for it"}),
    "POST /api/v1/keys": lambda on: on.call("POST", "/keys", json=KEY),
    "POST /api/v1/keys/{key_id}/revoke": revoke_key,
    "POST /api/v1/sites": lambda on: on.call("POST", "/sites", json={"id": "north", "title": "North"}),
    "PATCH /api/v1/sites/{site_id}": lambda on: on.call(
        "PATCH", "/sites/main", json={"four_eyes": True}, headers={"if-match": '"1"'}
    ),
    "POST /api/v1/devices/{device_id}/move": move,
    "POST /api/v1/tokens": lambda on: on.anonymous("POST", "/tokens", json={"name": "viewer", "password": PASSWORD}),
    "POST /api/v1/submissions": lambda on: on.call("POST", "/submissions", json={"submission": "S-7"}),
    "PATCH /api/v1/submissions/{submission}": planned("PATCH", "/submissions/{submission}", {"farm": "Hof"}),
    "POST /api/v1/submissions/{submission}/void": planned("POST", "/submissions/{submission}/void", WHY),
    "POST /api/v1/submissions/{submission}/tests": planned("POST", "/submissions/{submission}/tests", {"test": "IBV"}),
    "PATCH /api/v1/tests/{test_id}": planned("PATCH", "/tests/{test_id}", {"antigen": "La Sota"}),
    "POST /api/v1/tests/{test_id}/void": planned("POST", "/tests/{test_id}/void", WHY),
    "POST /api/v1/tests/{test_id}/plates": planned("POST", "/tests/{test_id}/plates", {"plate_number": "2"}),
    "PATCH /api/v1/plates/{plate_id}": planned("PATCH", "/plates/{plate_id}", {"location": "K2"}),
    "PUT /api/v1/plates/{plate_id}/sera": planned("PUT", "/plates/{plate_id}/sera", {"rows": {"B": {"serum": "F2"}}}),
    "POST /api/v1/plates/{plate_id}/void": planned("POST", "/plates/{plate_id}/void", WHY),
    "POST /api/v1/worklists": worklist,
    "PUT /api/v1/runs/{run_id}/plate": run_to_plate,
    "DELETE /api/v1/runs/{run_id}/plate": run_from_plate,
    "POST /api/v1/alarms/{number}/acknowledge": acknowledge,
    "POST /api/v1/alarms/{number}/resolve": resolve,
    "POST /api/v1/comments/{kind}/{object_id}": comment,
    "POST /api/v1/runs/{run_id}/corrections": correct,
    "POST /api/v1/runs/{run_id}/interpretation": interpret,
    "POST /api/v1/runs/{run_id}/signatures": sign,
    "POST /api/v1/tests/{test_id}/signatures": sign_test,
    "POST /api/v1/control-sera": lambda on: on.call("POST", "/control-sera", json=SERUM),
    "PATCH /api/v1/control-sera/{control_id}": change_control,
    "POST /api/v1/profiles": add_profile,
    "POST /api/v1/delivery-rules": lambda on: on.call("POST", "/delivery-rules", json=RULE),
    "PUT /api/v1/delivery-rules/{rule_id}": change_rule,
    "POST /api/v1/delivery-rules/{rule_id}/deliveries": deliver_by_hand,
    "POST /api/v1/deliveries/{delivery_id}/acknowledge": acknowledge_delivery,
    "POST /api/v1/deliveries/{delivery_id}/retry": retry_delivery,
    "POST /api/v1/withdrawals/{withdrawal_id}/settle": settle_withdrawal,
    "POST /api/v1/profiles/{profile}/versions/{version}/activation": activate,
}

# What changes something and is no change of ours to account for, and why.
WITHOUT_ENTRY: Final[dict[str, str]] = {
    "POST /api/v1/delivery-previews": "it asks what a file would be: nothing is kept and nothing is sent",
    "POST /api/v1/tokens/refresh": "a session goes on; that it began has its entry, and so has a token that came twice",
    "POST /api/v1/password-links/forgotten": "nobody is looked for before the answer; the link that goes out has one",
    "POST /api/v1/users/me/second-factor": "nothing is asked for until a code was confirmed, which has its entry",
    "PUT /api/v1/images/{sha256}": "the picture's row says device and time, and nothing ever changes it",
    "POST /api/v1/worklists/preview": "it looks, and writes nothing",
}
