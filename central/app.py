"""Central, wired: the one place where settings become a running server.

The lifespan owns the engine, the broker, the ingest loop and the live streams, and closes them in the opposite order.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import Final

from litestar import Litestar
from litestar.config.compression import CompressionConfig
from litestar.di import Provide
from litestar.exceptions import HTTPException
from sqlalchemy.ext.asyncio import AsyncEngine

from central import api, dashboard
from central.db import make_engine
from central.deliveries.running import deliveries_running
from central.fleet import broker
from central.fleet.broker import Broker
from central.fleet.broker_child import cancelled
from central.intake.ingest import NewRun
from central.intake.mqtt import run_ingest
from central.mail import mailer_of
from central.notices.running import Watch, notices_running
from central.parts import Parts, provide_parts
from central.people import sweeping
from central.people.access import authorise
from central.people.auth import People
from central.people.oidc import provider_of
from central.people.tokens import TokenKey
from central.results import images, keeping
from central.results.live import Live
from central.seal import Seal
from central.settings import Settings
from central.web import docs, idempotency, limits
from central.web.headers import safety_headers
from central.web.problems import to_response

# What people and programs send is small; pictures have a limit of their own.
MAX_BODY_BYTES: Final = 64 * 1024


def create_app(
    settings: Settings,
    *,
    with_ingest: bool = True,
    accounts: Broker | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Litestar:
    """Central on a migrated database. Without ingest it serves what is there, and enrols at `accounts`."""

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            engine = make_engine(settings.database)
            stack.push_async_callback(engine.dispose)
            live = Live()
            app.state.parts = await _start(
                stack, settings, engine, live, with_ingest=with_ingest, accounts=accounts, now=now
            )
            stack.callback(live.close)
            yield

    return Litestar(
        [*api.ROUTERS, dashboard.ROUTER, dashboard.static_files(), docs.swagger_ui()],
        lifespan=[lifespan],
        guards=[authorise],
        dependencies={"parts": Provide(provide_parts)},
        exception_handlers={
            HTTPException: to_response,
            Exception: to_response,
            idempotency.ReplayError: idempotency.replayed,
        },
        before_send=[safety_headers(over_https=settings.secure_cookies), limits.rate_headers, idempotency.keep_answer],
        # Streams must not wait for a full block, and pictures are compressed already.
        compression_config=CompressionConfig(backend="gzip", exclude=["^/api/v1/(changes/)?events", "^/api/v1/images"]),
        request_max_body_size=MAX_BODY_BYTES,
        template_config=dashboard.template_config(),
        openapi_config=docs.openapi_config(),
        logging_config=None,
    )


async def _start(
    stack: AsyncExitStack,
    settings: Settings,
    engine: AsyncEngine,
    live: Live,
    *,
    with_ingest: bool,
    accounts: Broker | None,
    now: Callable[[], datetime],
) -> Parts:
    """Everything that runs beside the web server, until the stack is closed."""
    people = People(engine, TokenKey.load(settings.data_dir), now, Seal.load(settings.data_dir))
    for work in (
        images.kept_swept(settings.images_dir),
        keeping.kept_to(engine, settings.images_dir, now),
        sweeping.kept_swept(engine, now),
    ):
        stack.push_async_callback(cancelled, asyncio.create_task(work))
    mailer = mailer_of(settings.smtp_url, settings.mail_from)
    provider = provider_of(settings, now)
    if not with_ingest:
        return Parts(settings, engine, people, live, now, accounts, None, mailer, provider)
    mosquitto = await stack.enter_async_context(broker.running(settings, engine))
    ingest = await stack.enter_async_context(
        run_ingest(engine, mosquitto, now=now, on_runs=lambda new: _announce(live, new))
    )
    parts = Parts(settings, engine, people, live, now, mosquitto, ingest, mailer, provider)
    await stack.enter_async_context(deliveries_running(parts.desk, now))
    watch = Watch(
        desk=parts.desk,
        mailer=mailer,
        counts=parts.notices,
        url=parts.public_url,
        now=now,
        hears=lambda: any(link.connected for link in ingest.links),
    )
    await stack.enter_async_context(notices_running(watch))
    return parts


def _announce(live: Live, new: Sequence[NewRun]) -> None:
    """Readings that waited at their device wake nobody: who listens finds them with the next that did not."""
    if not all(run.historical for run in new):
        live.announce()
