"""A device that floods central takes its own share, and the others are answered as if it were not there."""

import asyncio

import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from central.db import reading
from central.intake.shedding import AT_ONCE, MAX_DEVICES, PER_SECOND, Shares
from central.settings import Settings
from central.tables import dead_letters
from protocol.topics import topic
from tests.central.device import connected
from tests.central.intake.test_mqtt import central_running
from tests.central.waiting import until
from tests.central.wire import enrol

FLOOD = AT_ONCE + 3000


def test_a_share_is_so_much_at_once_and_so_much_a_second() -> None:
    shares = Shares()
    assert sum(shares.take("rogue", 0.0) for _ in range(FLOOD)) == AT_ONCE
    assert sum(shares.take("rogue", 1.0) for _ in range(FLOOD)) == PER_SECOND
    assert sum(shares.take("rogue", 3600.0) for _ in range(FLOOD)) == AT_ONCE


def test_what_one_sends_is_not_taken_from_another() -> None:
    shares = Shares()
    assert not all(shares.take("rogue", 0.0) for _ in range(FLOOD))
    assert all(shares.take("honest", 0.0) for _ in range(AT_ONCE))


def test_ten_thousand_a_second_are_cut_to_the_share() -> None:
    shares = Shares()
    let_in = sum(shares.take("rogue", second + part / 10_000) for second in range(10) for part in range(10_000))
    assert let_in <= AT_ONCE + 10 * PER_SECOND


def test_names_without_end_do_not_fill_the_memory() -> None:
    shares = Shares()
    for number in range(MAX_DEVICES + 100):
        shares.take(str(number), 0.0)
    assert len(shares._left) == MAX_DEVICES


@pytest.mark.anyio
async def test_others_are_answered_while_one_floods(settings: Settings, engine: AsyncEngine) -> None:
    async with central_running(settings, engine) as central:
        rogue_access = (await enrol(engine, "rogue", central.broker.address)).broker
        await central.broker.refresh()
        async with connected(rogue_access) as rogue:
            for _ in range(FLOOD):
                rogue.publish(topic("rogue", "reading"), b"no reading")
            for number in range(1, 6):
                await central.answered(number)
                await asyncio.sleep(0)
            (link,) = central.ingest.links
            await until(lambda: link.shed > 0, "something beyond the share", within_s=120)
            await central.answered(6)
    async with reading(engine) as connection:
        kept = await connection.scalar(select(func.count()).select_from(dead_letters))
    assert kept is not None
    assert kept <= AT_ONCE + 120 * PER_SECOND
