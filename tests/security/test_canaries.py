"""Secrets of every kind go through central in many requests: none comes out in a log, a refusal or the trail."""

import base64
import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import structlog
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from central.audit.chain import COMMAND
from central.db import reading
from central.logs import configure_logs
from central.people.links import make_link
from central.people.totp import STEP_S, code_at
from central.settings import Settings
from central.tables import audit_entries, users
from tests.central.web import PASSWORD, Client, Clock, central, people, runs

pytestmark = pytest.mark.anyio
# Half as long as any secret is: a part of one is a leak, too.
PART = 12
NEW = "an okapi that counts wells 7351"
WRONG = "a tapir that forgets 4426"
HOOK = "whsec_" + base64.b64encode(b"canary of a webhook, 32 bytes ok").decode()


class Leaks:
    """The secrets that are known, and whether a text holds one."""

    def __init__(self) -> None:
        """None is known yet."""
        self.secrets: list[str] = []

    def know(self, *secrets: str) -> None:
        """These must come out nowhere, nor their first and last signs."""
        for secret in secrets:
            assert len(secret) >= 6, secret
            self.secrets += [secret] if len(secret) <= PART else [secret[:PART], secret[-PART:]]

    def of(self, text: str) -> list[str]:
        """Those that are in a text."""
        return [secret for secret in self.secrets if secret in text]


def test_a_leak_would_be_found() -> None:
    leaks = Leaks()
    leaks.know(PASSWORD)
    assert leaks.of(f"ValueError: {PASSWORD[:14]}…")
    assert not leaks.of("a horse")


async def everything(client: Client, engine: AsyncEngine, clock: Clock, leaks: Leaks) -> None:
    """Make one secret of every kind."""
    device = await runs(engine, 1)
    leaks.know(PASSWORD, NEW, WRONG, HOOK, device.upload_token, device.broker.password)
    signed_in = (await client.post("/api/v1/tokens", json={"name": "admin", "password": PASSWORD})).json()
    leaks.know(signed_in["refresh_token"], signed_in["access_token"].rpartition(".")[2])
    admin = {"authorization": f"Bearer {signed_in['access_token']}"}
    claim = (await client.post("/api/v1/claims", json={"name": "Bench 2"}, headers=admin)).json()["claim_code"]
    key = {"title": "LIMS", "site_id": "main", "scopes": ["results:read"]}
    made = (await client.post("/api/v1/keys", json=key, headers=admin)).json()["key"]
    leaks.know(claim, made.rpartition("_")[2])
    rule = {"title": "LIMS", "when": "by_hand", "dialect": "titres", "target_kind": "webhook"}
    rule |= {"target": {"url": "https://lims.example/in"}, "secret": HOOK}  # type: ignore[dict-item]
    assert (await client.post("/api/v1/delivery-rules", json=rule, headers=admin)).status_code == 201
    async with reading(engine) as connection:
        viewer = await connection.scalar(select(users.c.id).where(users.c.name == "viewer"))
    leaks.know((await make_link(engine, str(viewer), actor=COMMAND, now=clock())).code)
    mine = {"password": PASSWORD}
    shown = (await client.post("/api/v1/users/me/second-factor", json=mine, headers=admin)).json()["secret"]
    code = code_at(base64.b32decode(shown.replace(" ", "")), int(clock().timestamp()) // STEP_S)
    leaks.know(shown, shown.replace(" ", ""))
    answer = await client.post("/api/v1/users/me/second-factor/confirm", json={"code": code}, headers=admin)
    assert answer.status_code == 204


def askings(secret: str, part: str) -> list[tuple[str, str, dict[str, Any]]]:
    """One secret in every place where somebody may put it, most of them wrong."""
    bearer_ = {"authorization": f"Bearer {secret}"}
    return [
        ("POST", "/api/v1/tokens", {"json": {"name": "viewer", "password": secret}}),
        ("POST", "/api/v1/tokens", {"json": {"name": secret, "password": part}}),
        ("POST", "/api/v1/tokens", {"json": {"name": "admin", "password": PASSWORD, "code": secret[:16]}}),
        ("POST", "/api/v1/tokens", {"json": {"password": secret}}),
        ("POST", "/api/v1/tokens", {"content": f'{{"password": "{secret}'.encode()}),
        ("POST", "/api/v1/tokens/refresh", {"json": {"refresh_token": secret}}),
        ("POST", "/api/v1/password-links", {"json": {"code": secret, "new_password": part}}),
        ("POST", "/api/v1/password-links", {"json": {"code": part, "new_password": secret, "more": 1}}),
        ("POST", "/api/v1/password-links/forgotten", {"json": {"name": secret[:64]}}),
        ("POST", "/api/v1/enrolments", {"json": {"claim_code": secret, "device_id": "b-2", "agent": "0.1.0"}}),
        ("GET", "/api/v1/runs", {"headers": bearer_}),
        ("GET", "/api/v1/runs", {"headers": {"authorization": secret}}),
        ("GET", "/api/v1/runs", {"headers": {"cookie": f"wellread_session={secret}"}}),
        ("POST", "/sign-in", {"data": {"name": "viewer", "password": secret}}),
        ("POST", "/sign-in", {"data": {"ticket": secret, "code": secret[:16]}}),
        ("POST", "/forgotten", {"data": {"name": secret[:64]}}),
        ("GET", "/sign-in/elsewhere/answer", {"params": {"code": secret, "state": secret}}),
    ]


@pytest.fixture
def database_url(tmp_path: Path, migrated_file: Path) -> str:
    """One database is enough here: what differs between them is below the web."""
    return f"sqlite+aiosqlite:///{shutil.copy(migrated_file, tmp_path / 'central.db')}"


async def test_no_secret_of_any_kind_comes_out_of_many_requests(
    engine: AsyncEngine, settings: Settings, capfd: pytest.CaptureFixture[str]
) -> None:
    await people(engine)
    clock, leaks, said = Clock(), Leaks(), []
    handlers = logging.getLogger().handlers[:]
    try:
        configure_logs()
        async with central(settings, clock) as client:
            await everything(client, engine, clock, leaks)
            for round_, secret in enumerate(list(leaks.secrets)):
                for method, path, sent in askings(secret, leaks.secrets[round_ % len(leaks.secrets)]):
                    clock.tick(61)
                    answer = await client.request(method, path, follow_redirects=False, **sent)
                    assert answer.status_code < 500, (path, answer.text)
                    if answer.status_code >= 400:
                        said.append(f"{method} {path}: {answer.text}")
            client.app.state.parts = None  # what nobody foresaw: the trace is in the log
            for method, path, sent in askings(NEW, WRONG):
                said.append((await client.request(method, path, follow_redirects=False, **sent)).text)
    finally:
        logging.getLogger().handlers[:] = handlers
        structlog.reset_defaults()
    async with reading(engine) as connection:
        trail = json.dumps([list(map(str, row)) for row in await connection.execute(select(audit_entries))])
    log = "".join(capfd.readouterr())
    assert "request_failed" in log
    assert len(said) > 300
    assert sorted({each.split(":")[0] for each in said if leaks.of(each)}) == []
    assert leaks.of(log) == []
    assert leaks.of(trail) == []
