"""Keeps devices' accounts and central's the same, beside ingest and never in its way.

A device's `Ledger` is compared day by day with what is here, and answered with what differs. And central watches for
itself: a hole in a device's sequence that stays open while the device is online makes it ask for a ledger. One ledger
per device waits at a time, the newest, and they are worked on one after the other: a thousand of them cost no more
memory than the devices that sent them.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

import msgspec
import structlog
from sqlalchemy import Select, select, union_all
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from central.db import DATABASE_ERRORS, reading, transaction
from central.intake.gaps import device_accounts, join_stretches, scattered
from central.intake.ingest import keep_refused
from central.intake.link import Message
from central.intake.plan import Refused, plan_ledger
from central.tables import devices, images, other_places, runs
from protocol.ledger import Entry, compare
from protocol.messages import VERSION, Ack, DeviceStatus, Held, Ledger, LedgerDay

# Rows of a day that are fetched at a time: a few milliseconds of the event loop.
_PAGE: Final = 1000
# Ranges in one answer: 100 kB on the wire at the very most.
_MOST_RANGES: Final = 5000
# The next ledger asks for more.
_MOST_WANTED: Final = 500
# A ledger that comes sooner after the last one of its device waits until then.
LEDGER_AT_MOST_EVERY_S: Final = 5.0

WATCH_EVERY_S: Final = 60.0
# Longer than a device waits between two sendings of a reading, with its window full of others.
HOLE_OPEN: Final = timedelta(minutes=10)
ASK_AT_MOST_EVERY: Final = timedelta(hours=1)
# Rows of stretches of one outbox, before they are joined.
_SCATTERED: Final = 64

_log: Final = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Hole:
    """The lowest place that central lacks of an outbox whose device is online, since when, and when it asked."""

    epoch: str
    place: int
    since: datetime
    asked_at: datetime | None = None


def asks(
    known: Mapping[str, Hole], lowest: Mapping[str, tuple[str, int]], now: datetime
) -> tuple[dict[str, str], dict[str, Hole]]:
    """(device → epoch) to ask for a ledger now, and what to know the next time.

    `lowest` is (epoch, place) of the lowest missing place, of every device that is online and lacks one. While a
    backlog drains the lowest place moves, and nobody is asked.
    """
    watched: dict[str, Hole] = {}
    asked: dict[str, str] = {}
    for device_id, (epoch, place) in lowest.items():
        before = known.get(device_id)
        same = before is not None and (before.epoch, before.place) == (epoch, place)
        hole = before if before is not None and same else Hole(epoch, place, now)
        lately = hole.asked_at is not None and now - hole.asked_at < ASK_AT_MOST_EVERY
        if now - hole.since >= HOLE_OPEN and not lately:
            asked[device_id] = epoch
            hole = Hole(epoch, place, hole.since, now)
        watched[device_id] = hole
    return asked, watched


class Accounts:
    """The ledgers that wait for an answer, and the holes that are watched."""

    def __init__(self, engine: AsyncEngine, now: Callable[[], datetime], ask: Callable[[str, Ack], None]) -> None:
        """`ask` sends an ack that answers nothing."""
        self.compared = 0
        self._engine, self._now, self._ask = engine, now, ask
        self._waiting: dict[str, tuple[Message, Ledger]] = {}
        self._arrived = asyncio.Event()
        self._answered_s: dict[str, float] = {}
        self._holes: dict[str, Hole] = {}

    async def take(self, messages: Sequence[Message]) -> None:
        """Let ledgers wait; what is none is a dead letter. The broker may forget them: their devices send new ones."""
        refused: list[Refused] = []
        for message in messages:
            ledger = plan_ledger(message.delivery)
            if isinstance(ledger, Refused):
                refused.append(ledger)
            else:
                self._waiting.pop(ledger.device_id, None)
                self._waiting[ledger.device_id] = message, ledger
                self._arrived.set()
        if refused:
            await keep_refused(self._engine, refused, now=self._now())

    async def answer_ledgers(self) -> None:
        """Compare ledger after ledger, for ever."""
        while True:
            device_id = await self._next_due()
            await self.answer_one(*self._waiting.pop(device_id))
            self._answered_s[device_id] = asyncio.get_running_loop().time()

    async def answer_one(self, message: Message, ledger: Ledger) -> None:
        """Compare one ledger; where the database does not answer it waits on, behind the others."""
        try:
            async for ack in answers_to(self._engine, ledger):
                message.answer(ledger.device_id, ack)
        except DATABASE_ERRORS as error:
            _log.warning("ledger_not_compared", device=ledger.device_id, error=str(error)[:200])
            self._waiting.setdefault(ledger.device_id, (message, ledger))
        else:
            self.compared += 1

    async def watch(self) -> None:
        """Ask devices with open holes, and tidy up, for ever."""
        while True:
            await asyncio.sleep(WATCH_EVERY_S)
            try:
                await self.look()
            except DATABASE_ERRORS as error:
                _log.warning("accounts_not_watched", error=str(error)[:200])

    async def look(self) -> None:
        """One round of the watch."""
        async with reading(self._engine) as connection:
            online = await _online(connection)
            lowest = {
                device_id: (accounts[0].epoch, accounts[0].holes[0][0])
                for device_id, accounts in (await device_accounts(connection)).items()
                if device_id in online and accounts[0].current and accounts[0].holes
            }
            untidy = await scattered(connection, _SCATTERED)
        asked, self._holes = asks(self._holes, lowest, self._now())
        for device_id, epoch in asked.items():
            _log.warning("readings_missing", device=device_id, epoch=epoch, first=lowest[device_id][1])
            self._ask(device_id, Ack(VERSION, epoch, ledger_wanted=True))
        for device_id, epoch in untidy:
            async with transaction(self._engine) as connection:
                await join_stretches(connection, device_id, epoch)

    async def _next_due(self) -> str:
        """The device whose ledger waits longest and had no answer just now; waits until there is one."""
        while True:
            now_s = asyncio.get_running_loop().time()
            lately = {
                device: at_s for device, at_s in self._answered_s.items() if now_s - at_s < LEDGER_AT_MOST_EVERY_S
            }
            self._answered_s = lately
            for device_id in self._waiting:
                if device_id not in lately:
                    return device_id
            self._arrived.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._arrived.wait(), LEDGER_AT_MOST_EVERY_S if self._waiting else None)


async def answers_to(engine: AsyncEngine, ledger: Ledger) -> AsyncIterator[Ack]:
    """The answers to a ledger, at least one of them; none at all for a device that may not deliver.

    Each day is read in pages, on a connection that is given back between days, so that nothing else waits for long. The
    last answer asks for pictures that are not here, as after a restore without them.
    """
    if not await _may_deliver(engine, ledger.device_id):
        return
    held: list[Held] = []
    for day in ledger.days:
        entries = await _entries(engine, ledger, day)
        differs = await asyncio.to_thread(compare, day, entries)
        if differs is not None:
            held.append(differs)
        if sum(len(each.ranges) for each in held) >= _MOST_RANGES:
            yield Ack(VERSION, ledger.epoch, held=tuple(held))
            held = []
    yield Ack(VERSION, ledger.epoch, held=tuple(held), wanted=await _wanted(engine, ledger))


async def _may_deliver(engine: AsyncEngine, device_id: str) -> bool:
    query = select(devices.c.id).where(devices.c.id == device_id, devices.c.revoked_at.is_(None))
    async with reading(engine) as connection:
        return await connection.scalar(query) is not None


async def _wanted(engine: AsyncEngine, ledger: Ledger) -> tuple[str, ...]:
    """Pictures of the readings that the device still holds and that are not here, the newest of them."""
    first = min((day.ranges[0][0] for day in ledger.days), default=None)
    if first is None:
        return ()
    query = (
        select(runs.c.image_sha256)
        .outerjoin(images, images.c.sha256 == runs.c.image_sha256)
        .where(runs.c.device_id == ledger.device_id, runs.c.epoch == ledger.epoch, runs.c.seq >= first)
        .where(images.c.sha256.is_(None))
        .order_by(runs.c.seq.desc())
        .limit(_MOST_WANTED)
    )
    async with reading(engine) as connection:
        return tuple(dict.fromkeys(await connection.scalars(query)))


async def _online(connection: AsyncConnection) -> set[str]:
    rows = await connection.execute(select(devices.c.id, devices.c.status).where(devices.c.revoked_at.is_(None)))
    told = {row.id: msgspec.convert(row.status, DeviceStatus | None) for row in rows}
    return {device_id for device_id, status in told.items() if status is not None and status.online}


async def _entries(engine: AsyncEngine, ledger: Ledger, day: LedgerDay) -> list[Entry]:
    """What is here of one day, within the places that the device names."""
    after, last = day.ranges[0][0] - 1, day.ranges[-1][1]
    entries: list[Entry] = []
    async with reading(engine) as connection:
        while True:
            rows = (await connection.execute(_page(ledger, day.day, after, last))).all()
            entries += [Entry(row.seq, row.digest) for row in rows]
            if len(rows) < _PAGE:
                return entries
            after = rows[-1].seq


def _page(ledger: Ledger, day: str, after: int, last: int) -> Select[tuple[int, str]]:
    """(seq, digest) of that day's runs at their places and at other places, in order, some."""
    begin = datetime.combine(date.fromisoformat(day), datetime.min.time(), UTC)
    end = datetime.max.replace(tzinfo=UTC) if begin.date() == date.max else begin + timedelta(days=1)
    on_that_day = (runs.c.captured_at >= begin, runs.c.captured_at < end)
    places = []
    for table, query in (
        (runs, select(runs.c.seq, runs.c.digest)),
        (other_places, select(other_places.c.seq, runs.c.digest).join(runs, runs.c.id == other_places.c.run_id)),
    ):
        mine = (table.c.device_id == ledger.device_id, table.c.epoch == ledger.epoch)
        places.append(query.where(*mine, table.c.seq > after, table.c.seq <= last, *on_that_day))
    both = union_all(*places).subquery()
    return select(both.c.seq, both.c.digest).order_by(both.c.seq).limit(_PAGE)
