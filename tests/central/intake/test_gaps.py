"""What central has of each outbox: up to where, what is missing, what the device says it never had."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from central.db import reading, transaction
from central.fleet.devices import record_status
from central.intake.gaps import OutboxAccount, account, device_accounts, join_stretches, joined
from central.intake.ingest import ingest
from central.tables import stretches
from protocol.messages import VERSION, DeviceStatus, OutboxDepth
from tests.central.wire import EPOCH, enrol, make_delivery
from tests.make import NOON

SETS = st.sets(st.integers(1, 40))


def singly(seqs: Iterable[int]) -> list[tuple[int, int]]:
    """Each place as a stretch of its own."""
    return [(seq, seq) for seq in seqs]


@given(SETS, SETS, st.none() | st.integers(0, 45))
def test_an_account_says_what_is_neither_here_nor_refused(here: set[int], refused: set[int], told: int | None) -> None:
    found = account(EPOCH, singly(here), refused, told, None)
    last = max(max(here, default=0), told or 0)
    missing = set(range(1, last + 1)) - here - refused
    assert (found.last, found.runs, found.missing) == (last, len(here), len(missing))
    assert found.refused == len({seq for seq in refused if seq <= last} - here)
    assert found.complete_to == min(missing, default=last + 1) - 1
    assert {seq for first, end in found.holes for seq in range(first, end + 1)} <= missing


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(0, 5))))
def test_joining_changes_no_place(some: list[tuple[int, int]]) -> None:
    stretches_before = [(first, first + more) for first, more in some]
    after = joined(stretches_before)
    places = {seq for first, last in stretches_before for seq in range(first, last + 1)}
    assert [seq for first, last in after for seq in range(first, last + 1)] == sorted(places)


async def accounts(engine: AsyncEngine) -> tuple[OutboxAccount, ...]:
    """Those of `bench-1`."""
    async with reading(engine) as connection:
        return (await device_accounts(connection, "bench-1"))["bench-1"]


async def say(engine: AsyncEngine, last_seq: int, epoch: str = EPOCH, minutes: float = 1) -> None:
    """The device's status, some minutes after noon."""
    status = DeviceStatus(VERSION, "bench-1", True, f"at-{minutes}", outbox=OutboxDepth(epoch, last_seq, 0, 0, 0))
    async with transaction(engine) as connection:
        assert await record_status(connection, status, now=NOON + timedelta(minutes=minutes))


async def send(engine: AsyncEngine, *numbers: int, **fields: Any) -> None:
    """Readings, at noon, whatever becomes of them."""
    await ingest(engine, [make_delivery(number, **fields) for number in numbers], now=NOON)


@pytest.mark.anyio
async def test_a_hole_is_known_and_closes(engine: AsyncEngine) -> None:
    await enrol(engine)
    await send(engine, 1, 2, 4, 7)
    await say(engine, 9)
    (found,) = await accounts(engine)
    assert (found.complete_to, found.missing, found.holes) == (2, 5, ((3, 3), (5, 6), (8, 9)))
    await send(engine, 3, 5, 6, 8, 9)
    (found,) = await accounts(engine)
    assert (found.complete_to, found.missing, found.runs, found.since) == (9, 0, 9, NOON)


@pytest.mark.anyio
async def test_a_refused_reading_leaves_no_hole(engine: AsyncEngine) -> None:
    await enrol(engine)
    await send(engine, 1, 3)
    await send(engine, 2, profile_version=9)
    (found,) = await accounts(engine)
    assert (found.complete_to, found.missing, found.refused) == (3, 0, 1)


@pytest.mark.anyio
async def test_a_reading_that_came_from_another_place_too_leaves_no_hole_there(engine: AsyncEngine) -> None:
    await enrol(engine)
    await send(engine, 1)
    await ingest(engine, [make_delivery(1, seq=1, epoch="epoch-2"), make_delivery(2, seq=2, epoch="epoch-2")], now=NOON)
    found = {one.epoch: (one.complete_to, one.missing) for one in await accounts(engine)}
    assert found == {EPOCH: (1, 0), "epoch-2": (2, 0)}


@pytest.mark.anyio
async def test_a_new_memory_card_is_another_outbox_and_the_old_one_stays_listed(engine: AsyncEngine) -> None:
    await enrol(engine)
    await send(engine, 1, 2)
    await say(engine, 0, epoch="epoch-2")
    assert [(one.epoch, one.current, one.runs, one.missing) for one in await accounts(engine)] == [
        ("epoch-2", True, 0, 0),
        (EPOCH, False, 2, 0),
    ]


@pytest.mark.anyio
async def test_runs_that_the_device_never_had_are_counted(engine: AsyncEngine) -> None:
    await enrol(engine)
    await send(engine, 1, 2, 3, 4)
    await say(engine, 2)
    (found,) = await accounts(engine)
    assert (found.beyond, found.last) == (2, 4)


@pytest.mark.anyio
async def test_a_reading_that_overtook_the_status_contradicts_nobody(engine: AsyncEngine) -> None:
    await enrol(engine)
    await say(engine, 2, minutes=0)
    await send(engine, 1, 2, 3)
    (found,) = await accounts(engine)
    assert found.beyond == 0


@pytest.mark.anyio
async def test_many_small_stretches_become_one(engine: AsyncEngine) -> None:
    await enrol(engine)
    for number in (2, 1, 3, 5, 4):
        await send(engine, number)
    before = await accounts(engine)
    async with transaction(engine) as connection:
        await join_stretches(connection, "bench-1", EPOCH)
    async with reading(engine) as connection:
        assert await connection.scalar(select(func.count()).select_from(stretches)) == 1
    assert await accounts(engine) == before
