"""`/healthz`, `/readyz`, `/metrics`: for the machines that watch this one. They tell no one's results."""

import asyncio
from collections.abc import Iterable
from typing import Final

import msgspec
from litestar import Response, get
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from sqlalchemy import text

from central.db import DATABASE_ERRORS, reading
from central.parts import Parts, Wired
from central.people.permissions import ANYONE
from central.results.queries import Counts, counts

OK: Final = "ok"
# Whoever watches must know within five seconds.
_PATIENCE_S: Final = 3.0


class HealthOut(msgspec.Struct, frozen=True):
    """The process answers."""

    status: str


class ReadyOut(msgspec.Struct, frozen=True):
    """Each part: `ok`, or what is wrong with it."""

    status: str
    database: str
    broker: str


@get("/healthz", access=ANYONE, uncounted=True, summary="Is the process alive", security=[])
async def get_health() -> HealthOut:
    """Always, if it answers at all."""
    return HealthOut(OK)


@get(
    "/readyz",
    access=ANYONE,
    uncounted=True,
    summary="Can it do its work",
    description="503 names the part that cannot.",
    security=[],
)
async def get_ready(parts: Wired) -> Response[ReadyOut]:
    """Whether the database answers and the broker is connected."""
    database, broker = await _database(parts), _broker(parts)
    ready = database == OK and broker.startswith(OK)
    body = ReadyOut(OK if ready else "not ready", database, broker)
    return Response(body, status_code=200 if ready else 503)


@get(
    "/metrics", access=ANYONE, uncounted=True, media_type=CONTENT_TYPE_LATEST, summary="Prometheus metrics", security=[]
)
async def get_metrics(parts: Wired) -> bytes:
    """Counters of this process and gauges of the database, in Prometheus' text format."""
    async with reading(parts.engine) as connection:
        stored = await counts(connection)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Snapshot(_metrics(parts, stored)))
    return generate_latest(registry)


async def _database(parts: Parts) -> str:
    try:
        async with asyncio.timeout(_PATIENCE_S), reading(parts.engine) as connection:
            await connection.execute(text("SELECT number FROM runs ORDER BY number DESC LIMIT 1"))
    except DATABASE_ERRORS:
        return "does not answer"
    return OK


def _broker(parts: Parts) -> str:
    if parts.ingest is None:
        return "not used here"
    links = parts.ingest.links
    connected = sum(link.connected for link in links)
    if not connected:
        return "not connected"
    return OK if connected == len(links) else f"{OK}, {connected} of {len(links)} connected"


class _Snapshot:
    """The metrics of one moment, as prometheus-client wants them."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = tuple(metrics)

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def _metrics(parts: Parts, stored: Counts) -> Iterable[Metric]:
    prefix = "wellread_central"
    for name in Counts.__struct_fields__:
        yield GaugeMetricFamily(f"{prefix}_{name}", f"Rows in the table {name}.", value=getattr(stored, name))
    yield GaugeMetricFamily(f"{prefix}_live_listeners", "Open streams of new runs.", value=parts.live.listeners)
    ingest = parts.ingest
    if ingest is None:
        return
    yield GaugeMetricFamily(f"{prefix}_broker_connected", "1 while the broker is.", value=float(ingest.connected))
    results = CounterMetricFamily(f"{prefix}_ingest", "Readings by what became of them.", labels=["result"])
    for result in ("accepted", "repeated", "rejected"):
        results.add_metric([result], getattr(ingest, result))
    yield results
    yield CounterMetricFamily(
        f"{prefix}_database_failures", "Batches that the database did not take.", value=ingest.database_failures
    )
