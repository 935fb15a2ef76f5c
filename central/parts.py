"""The running parts of one central, as `create_app` wired them; a route asks for them as `parts: Wired`."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias

from litestar import Request
from litestar.datastructures import State
from litestar.di import NamedDependency
from sqlalchemy.ext.asyncio import AsyncEngine

from central.audit.chain import Actor
from central.deliveries.editing import Desk
from central.deliveries.places import Bounds, parse_domains, parse_networks
from central.fleet.broker import Broker
from central.intake.mqtt import Ingest
from central.mail import Mailer
from central.notices.standing import OpenCounts
from central.people.auth import People
from central.people.callers import DeviceCaller, KeyCaller, Origin, Person
from central.people.oidc import Provider
from central.people.sites import Sites
from central.results.followers import Followers
from central.results.live import Live
from central.seal import Seal
from central.settings import Settings
from central.web.headers import request_id_of
from central.web.limits import Rates
from central.web.refusals import Refusals


@dataclass(frozen=True, slots=True)
class Parts:
    """What routes work with. `broker` and `ingest` are None where an app was made without them."""

    settings: Settings
    engine: AsyncEngine
    people: People
    live: Live
    now: Callable[[], datetime]
    broker: Broker | None
    ingest: Ingest | None
    mailer: Mailer | None = None
    provider: Provider | None = None
    rates: Rates = field(default_factory=Rates)
    notices: OpenCounts = field(default_factory=OpenCounts)
    followers: Followers = field(default_factory=Followers)
    refusals: Refusals = field(default_factory=Refusals)

    @property
    def public_url(self) -> str:
        """Where people and devices reach this central."""
        settings = self.settings
        return settings.public_url.rstrip("/") or f"http://{settings.host}:{settings.port}"

    @property
    def desk(self) -> Desk:
        """What rules and deliveries are changed with."""
        return desk_of(self.settings, self.engine, self.people.seal, self.public_url, self.now, mailer=self.mailer)


def desk_of(
    settings: Settings,
    engine: AsyncEngine,
    seal: Seal,
    url: str,
    now: Callable[[], datetime],
    *,
    mailer: Mailer | None = None,
) -> Desk:
    """The desk of a central, with the bounds that its settings give."""
    bounds = Bounds(
        roots=settings.delivery_roots,
        networks=parse_networks(settings.delivery_networks),
        file_url=lambda delivery_id: f"{url}/api/v1/deliveries/{delivery_id}/file",
        now=now,
        mail_domains=parse_domains(settings.delivery_mail_domains),
        mailer=mailer,
    )
    return Desk(engine, seal, bounds)


Wired: TypeAlias = NamedDependency[Parts]

CentralRequest: TypeAlias = Request[Person | KeyCaller | DeviceCaller | None, None, State]


async def provide_parts(state: State) -> Parts:
    """The parts that the lifespan put into the app's state."""
    parts = state.parts
    assert isinstance(parts, Parts)
    return parts


def person_of(request: CentralRequest) -> Person:
    """The signed-in person; the access table let nobody else through."""
    caller = request.user
    assert isinstance(caller, Person), f"a route for people was reached by {caller!r}"
    return caller


def caller_sites(request: CentralRequest) -> Sites:
    """Whose things the calling person or key sees."""
    caller = request.user
    assert isinstance(caller, Person | KeyCaller), f"a route for people and keys was reached by {caller!r}"
    return caller.sites


def actor_of(request: CentralRequest) -> Actor:
    """Who the audit trail says it was."""
    address = request.client.host if request.client else None
    caller = request.user
    match caller:
        case KeyCaller():
            return Actor("key", caller.id, address, request_id_of(request.scope))
        case Person():
            return Actor("person", caller.id, address, request_id_of(request.scope))
        case DeviceCaller():
            return Actor("device", caller.id, address, request_id_of(request.scope))
        case _:
            return Actor("system", "nobody", address, request_id_of(request.scope))


def origin_of(request: CentralRequest) -> Origin:
    """From where it came. The address is the socket's, or what a proxy that is trusted said it was."""
    address = request.client.host if request.client else "unknown"
    return Origin(address, request.headers.get("user-agent", ""), request_id_of(request.scope))


def device_of(request: CentralRequest) -> DeviceCaller:
    """The calling device; the access table let nobody else through."""
    caller = request.user
    assert isinstance(caller, DeviceCaller), f"a route for devices was reached by {caller!r}"
    return caller
