"""Ingest as it runs: batches from the brokers' queue, planned, committed, answered. Nothing is answered before.

Planning takes the processor and committing waits for the database, so the next batch is planned in a thread while this
one is committed. What devices say of their outboxes goes to `accounts`, off this path.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from typing import Final

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from central.fleet.broker import Broker
from central.fleet.broker_child import cancelled
from central.intake.accounts import Accounts
from central.intake.ingest import DatabaseUnavailableError, NewRun, commit, record_states
from central.intake.link import RECEIVE_MAXIMUM, Link, Message
from central.intake.plan import Planned, Refused, plan_message
from protocol.messages import Ack
from protocol.topics import CENTRAL_STATE, PREFIX

# A batch is what arrives within this time, up to so many messages or bytes: one synced commit for all of them. The
# bytes are those of some hundred plates of 96 wells: more, and a live reading waits behind a backlog.
_BATCH_S: Final = 0.015
_BATCH: Final = RECEIVE_MAXIMUM // 2
_BATCH_BYTES: Final = 384 * 1024
_READINGS: Final = ("reading", "readings")

_FIRST_RETRY_S: Final = 0.2
_LONGEST_RETRY_S: Final = 5.0

_log: Final = structlog.get_logger(__name__)

_Plans = list[Planned | Refused]


class Ingest:
    """The running ingest, with its counts for readiness and metrics."""

    def __init__(
        self,
        links: Sequence[Link],
        messages: asyncio.Queue[Message],
        engine: AsyncEngine,
        now: Callable[[], datetime],
        on_runs: Callable[[Sequence[NewRun]], None],
    ) -> None:
        """Counts start at 0."""
        self.accepted = 0
        self.repeated = 0
        self.rejected = 0
        self.database_failures = 0
        self.links = tuple(links)
        self.accounts = Accounts(engine, now, self._ask)
        self._messages = messages
        self._planned: asyncio.Queue[tuple[list[Message], _Plans | None]] = asyncio.Queue(maxsize=1)
        self._engine = engine
        self._now = now
        self._on_runs = on_runs

    @property
    def connected(self) -> bool:
        """Whether readings can arrive: connected to a broker and subscribed."""
        return any(link.connected for link in self.links)

    async def run(self) -> None:
        """Batch after batch, for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._plan_batches())
            tasks.create_task(self._commit_batches())
            tasks.create_task(_kept_up(self.accounts.answer_ledgers))
            tasks.create_task(_kept_up(self.accounts.watch))

    async def _plan_batches(self) -> None:
        while True:
            batch = await self._next_batch()
            readings = [message for message in batch if message.channel in _READINGS]
            try:
                plans = await asyncio.to_thread(_planned, readings, self._now()) if readings else []
            except Exception:  # noqa: BLE001  a main loop: which message it is will be seen when each is taken alone
                await self._planned.put((batch, None))
            else:
                await self._planned.put((batch, plans))

    async def _commit_batches(self) -> None:
        while True:
            await self._take(*await self._planned.get())

    async def _next_batch(self) -> list[Message]:
        batch = [await self._messages.get()]
        size = len(batch[0].delivery.payload)
        try:
            async with asyncio.timeout(_BATCH_S):
                while len(batch) < _BATCH and size < _BATCH_BYTES:
                    batch.append(await self._messages.get())
                    size += len(batch[-1].delivery.payload)
        except TimeoutError:
            pass
        return batch

    async def _take(self, batch: Sequence[Message], plans: _Plans | None) -> None:
        """Commit and answer a batch; wait for the database as long as it takes."""
        delay_s = _FIRST_RETRY_S
        while True:
            try:
                await self._commit(batch, plans)
                break
            except DatabaseUnavailableError as error:
                self.database_failures += 1
                _log.warning("database_unavailable", error=str(error), messages=len(batch), again_in_s=delay_s)
                await asyncio.sleep(delay_s)
                delay_s = min(2 * delay_s, _LONGEST_RETRY_S)
            except Exception:  # noqa: BLE001  the main loop: a bug met by one message must not stop the others
                if len(batch) > 1:
                    for message in batch:
                        await self._take([message], None)
                    return
                # Unanswered, the device keeps its reading and sends it again, to a central that has been mended.
                _log.exception("ingest_failed", topic=batch[0].delivery.topic)
                break
        for message in batch:
            message.acknowledge()

    async def _commit(self, batch: Sequence[Message], plans: _Plans | None) -> None:
        states = [message.delivery for message in batch if message.channel == "state" and _says_something(message)]
        readings = [message for message in batch if message.channel in _READINGS]
        ledgers = [message for message in batch if message.channel == "ledger"]
        if states:
            await record_states(self._engine, states, now=self._now())
        if ledgers:
            await self.accounts.take(ledgers)
        if not readings:
            return
        outcome = await commit(self._engine, _planned(readings, self._now()) if plans is None else plans, self._now())
        came_by = {message.delivery.topic.rpartition("/")[0]: message for message in readings}
        for device_id, ack in outcome.acks:
            came_by[f"{PREFIX}/{device_id}"].answer(device_id, ack)
        self.accepted += len(outcome.new)
        self.repeated += outcome.repeated
        self.rejected += outcome.rejected
        if outcome.new:
            self._on_runs(outcome.new)

    def _ask(self, device_id: str, ack: Ack) -> None:
        """Send an ack that answers nothing, wherever its device may be."""
        for link in self.links:
            if link.connected:
                link.answer(device_id, ack)


async def _kept_up(work: Callable[[], Awaitable[None]]) -> None:
    """Work that never ends by itself, begun again after a bug: what it is beside must not stop with it."""
    while True:
        try:
            await work()
        except Exception:  # noqa: BLE001  the main loop
            _log.exception("accounts_failed")
            await asyncio.sleep(_LONGEST_RETRY_S)


def _planned(readings: Sequence[Message], now: datetime) -> _Plans:
    return [each for message in readings for each in plan_message(message.delivery, now)]


def _says_something(message: Message) -> bool:
    """Not our own state, nor a retained one that was taken back."""
    return bool(message.delivery.payload) and message.delivery.topic != CENTRAL_STATE


@asynccontextmanager
async def run_ingest(
    engine: AsyncEngine,
    broker: Broker,
    *,
    now: Callable[[], datetime],
    on_runs: Callable[[Sequence[NewRun]], None],
) -> AsyncIterator[Ingest]:
    """Ingest from every broker for as long as this context is open; `on_runs` hears of new runs after their commit."""
    messages: asyncio.Queue[Message] = asyncio.Queue()
    instance = uuid.uuid4().hex
    links = [Link(address, broker.password, messages, instance, now) for address in (broker.address, *broker.others)]
    working = Ingest(links, messages, engine, now, on_runs)
    async with AsyncExitStack() as stack:
        for link in links:
            link.open()
            stack.push_async_callback(asyncio.to_thread, link.close)
        task = asyncio.create_task(working.run())
        stack.push_async_callback(cancelled, task)
        yield working
