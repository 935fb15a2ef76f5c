"""Central as a web server without a broker, people to sign in, devices, runs: for tests of pages and API."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import httpx
import uvicorn
from litestar import Litestar
from litestar.testing import AsyncTestClient
from sqlalchemy.ext.asyncio import AsyncEngine
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from central.app import create_app
from central.fleet.devices import BrokerAddress
from central.intake.ingest import ingest
from central.people.permissions import Role
from central.people.users import add_user
from central.settings import Settings
from protocol.messages import Enrolment
from tests.central.wire import ADDRESS, enrol, make_delivery
from tests.make import NOON

PASSWORD = "a horse that reads plates"
# Streams: what tries every operation leaves them to tests of their own.
ENDLESS = ("/api/v1/events", "/api/v1/changes/events", "/api/v1/changes/socket")
Client = AsyncTestClient[Litestar]


class Clock:
    """A clock that stands still until a test moves it."""

    def __init__(self) -> None:
        """Starts at noon."""
        self.at: datetime = NOON

    def __call__(self) -> datetime:
        """The time that it is."""
        return self.at

    def tick(self, seconds: float) -> None:
        """Let time pass."""
        self.at += timedelta(seconds=seconds)


class Accounts:
    """Stands where the broker does: enrolment takes its address and tells it of changes."""

    password = ""

    def __init__(self) -> None:
        """Nothing was told yet."""
        self.address: BrokerAddress = ADDRESS
        self.others: tuple[BrokerAddress, ...] = ()
        self.refreshed = 0

    async def refresh(self) -> None:
        """Count."""
        self.refreshed += 1


@asynccontextmanager
async def central(settings: Settings, clock: Clock | None = None, **options: Any) -> AsyncIterator[Client]:
    """A client of central on this (migrated) database."""
    app = create_app(settings, with_ingest=False, accounts=options.pop("accounts", Accounts()), now=clock or Clock())
    async with AsyncTestClient(app, raise_server_exceptions=False, **options) as client:
        yield client


@asynccontextmanager
async def called_from(settings: Settings, peer: str, trusted: str = "") -> AsyncIterator[httpx.AsyncClient]:
    """A client of central whose requests come from this address, past the proxies that central trusts.

    Central runs in the test's own event loop: its connections to PostgreSQL cannot be used from another.
    """
    app = create_app(settings, with_ingest=False, accounts=Accounts(), now=Clock())
    seen: Any = ProxyHeadersMiddleware(app, trusted) if trusted else app  # as uvicorn does, with what `serve` gives it
    async with app.lifespan():
        transport = httpx.ASGITransport(seen, client=(peer, 1234))
        async with httpx.AsyncClient(transport=transport, base_url="http://central") as client:
            yield client


@asynccontextmanager
async def serving(settings: Settings, clock: Clock | None = None) -> AsyncIterator[tuple[str, Litestar]]:
    """Central on a real port, in this event loop: for streams and browsers. Its address and the app."""
    app = create_app(settings, with_ingest=False, now=clock or Clock())
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", timeout_graceful_shutdown=5))
    running = asyncio.create_task(server.serve())
    while not server.started:
        assert not running.done(), running
        await asyncio.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", app
    finally:
        app.state.parts.live.close()
        server.should_exit = True
        await running


async def people(engine: AsyncEngine, *roles: Role) -> None:
    """One person per role, of that name."""
    for role in roles or ("admin", "viewer"):
        await add_user(engine, name=role, password=PASSWORD, role=role, now=NOON)


async def bearer(client: httpx.AsyncClient, name: str = "viewer") -> dict[str, str]:
    """The header of a signed-in program."""
    answer = await client.post("/api/v1/tokens", json={"name": name, "password": PASSWORD})
    assert answer.status_code == 201, answer.text
    return {"authorization": f"Bearer {answer.json()['access_token']}"}


async def sign_in(client: Client, name: str = "viewer", password: str = PASSWORD) -> None:
    """A session in this client's cookies."""
    answer = await client.post("/sign-in", data={"name": name, "password": password}, follow_redirects=False)
    assert answer.status_code == 303, answer.text


async def sign_in_elsewhere(url: str, name: str = "viewer") -> str:
    """The `Cookie` header of a session at a central that listens on a port."""
    async with httpx.AsyncClient(base_url=url) as client:
        answer = await client.post("/sign-in", data={"name": name, "password": PASSWORD})
    assert answer.status_code == 303, answer.text
    return "; ".join(f"{key}={value}" for key, value in answer.cookies.items())


async def csrf_token(client: Client) -> str:
    """What this session's forms carry."""
    found = re.search(r'name="csrf_token" value="([0-9a-f]+)"', (await client.get("/submissions")).text)
    assert found is not None
    return found[1]


async def runs(engine: AsyncEngine, *numbers: int, **fields: Any) -> Enrolment:
    """Readings of one device, accepted in this order; the device's credentials."""
    device_id = fields.get("device_id", "bench-1")
    enrolment = await enrol(engine, device_id)
    for number in numbers:
        outcome = await ingest(engine, [make_delivery(number, **fields)], now=NOON + timedelta(seconds=number))
        assert not outcome.rejected, outcome
    return enrolment
