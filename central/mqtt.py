"""The only broker client of central: bytes in, acks out. Nothing is acknowledged before its commit."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncEngine

from central.broker import Broker
from central.ingest import NewRun


class Ingest(Protocol):
    """The running ingest, for readiness and metrics."""

    connected: bool
    accepted: int
    repeated: int
    rejected: int
    database_failures: int


@asynccontextmanager
async def run_ingest(
    engine: AsyncEngine,
    broker: Broker,
    *,
    now: Callable[[], datetime],
    on_runs: Callable[[Sequence[NewRun]], None] = lambda runs: None,
) -> AsyncIterator[Ingest]:
    """Ingest from the broker for as long as this context is open; `on_runs` hears of new runs after their commit."""
    raise NotImplementedError
    yield
