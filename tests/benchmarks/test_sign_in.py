"""What a sign-in costs beside its password hash alone, and asking who somebody is beside no question; processor time.

In process, on SQLite: the web server, the network and another process's load are left out of both sides.
"""

import shutil
import statistics
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio.to_thread
import msgspec
import pytest
from litestar import Litestar, get
from sqlalchemy.ext.asyncio import AsyncEngine

from central.app import create_app
from central.people.passwords import hash_password, verify_password
from central.people.permissions import ANYONE, VIEWERS
from central.settings import Settings
from tests.central.conftest import anyio_backend, engine, migrated_file, settings
from tests.central.web import PASSWORD, Clock, people
from tests.security.asgi import send
from tests.security.hostile import Request

__all__ = ["anyio_backend", "engine", "migrated_file", "settings"]

pytestmark = [pytest.mark.benchmark, pytest.mark.anyio]
ROUNDS, SIGN_INS, REQUESTS = 7, 10, 100
Way = Callable[[], Awaitable[object]]


@pytest.fixture
def database_url(tmp_path: Path, migrated_file: Path) -> str:
    """One database is enough here."""
    return f"sqlite+aiosqlite:///{shutil.copy(migrated_file, tmp_path / 'central.db')}"


@get("/open", access=ANYONE, include_in_schema=False)
async def get_open() -> str:
    """Says nothing, to anybody."""
    return "yes"


@get("/checked", access=VIEWERS, include_in_schema=False)
async def get_checked() -> str:
    """The same, to who is signed in."""
    return "yes"


async def in_turn(title: str, times: int, ways: dict[str, Way]) -> None:
    """Each way so often, in turn; processor milliseconds for one, and their ratio to the last way."""
    costs: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            started = time.process_time()
            for _ in range(times):
                await way()
            costs[name].append((time.process_time() - started) / times * 1000)
    medians = {name: statistics.median(values) for name, values in costs.items()}
    print(f"\n{title}")
    for name, cost in medians.items():
        low, high = min(costs[name]), max(costs[name])
        print(f"  {name:<44} {cost:8.2f} ms  ({low:.2f} … {high:.2f})   {cost / list(medians.values())[-1]:5.2f} ×")


def asking(app: Litestar, request: Request, expected: int, *credentials: tuple[str, str]) -> Way:
    """One request that must be answered so."""

    async def ask() -> object:
        answer = await send(app, request, credentials)
        assert answer.status == expected, answer.body
        return answer

    return ask


async def test_what_signing_in_and_being_asked_who_one_is_cost(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine)
    app = create_app(msgspec.structs.replace(settings, requests_per_minute=1_000_000), with_ingest=False, now=Clock())
    app.register(get_open)
    app.register(get_checked)
    kept = hash_password(PASSWORD)

    async def hashing() -> object:
        return await anyio.to_thread.run_sync(verify_password, kept, PASSWORD)

    body = msgspec.json.encode({"name": "viewer", "password": PASSWORD})
    tokens = Request("POST", "/api/v1/tokens", "", (("content-type", "application/json"),), body)
    async with app.lifespan():
        token = msgspec.json.decode((await send(app, tokens)).body)["access_token"]
        signing_in = {"sign in": asking(app, tokens, 201), "compare the password alone (argon2id)": hashing}
        await in_turn("signing in", SIGN_INS, signing_in)
        authorised = ("authorization", f"Bearer {token}")
        checked = asking(app, Request("GET", "/checked", "", (), b""), 200, authorised)
        open_ = asking(app, Request("GET", "/open", "", (), b""), 200)
        await in_turn("a request", REQUESTS, {"token, session, role and sites": checked, "open to anyone": open_})
