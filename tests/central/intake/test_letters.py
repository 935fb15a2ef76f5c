"""Dead letters: every one is counted for ever; the oldest give up first their bytes, then their rows."""

from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from central.db import reading, transaction
from central.intake.letters import Bounds, keep_letters
from central.intake.plan import Delivery, Refused, plan
from central.tables import dead_letters
from protocol.codec import digest
from tests.central.wire import make_delivery
from tests.make import NOON, make_reading_id

pytestmark = pytest.mark.anyio

TOPIC = "wellread/v1/bench-1/reading"


def rubble(*numbers: int) -> list[Refused]:
    """Refusals of ten bytes each."""
    found = [plan(Delivery(TOPIC, b"rubble%04d" % number), NOON) for number in numbers]
    return [each for each in found if isinstance(each, Refused)]


async def keep(engine: AsyncEngine, refused: list[Refused], **bounds: int) -> None:
    """Keep them within these bounds."""
    async with transaction(engine) as connection:
        await keep_letters(connection, refused, NOON, Bounds(**bounds))


async def letters(engine: AsyncEngine, *names: str) -> list[tuple[Any, ...]]:
    """These columns of every letter, oldest first."""
    async with reading(engine) as connection:
        query = select(*(dead_letters.c[name] for name in names)).order_by(dead_letters.c.number)
        return [tuple(row) for row in await connection.execute(query)]


async def test_beyond_the_bound_the_oldest_give_up_their_bytes_and_nothing_else(engine: AsyncEngine) -> None:
    await keep(engine, rubble(*range(10)), most_bytes=60)
    found = await letters(engine, "kept", "payload", "bytes", "digest", "times")
    assert [row[0] for row in found] == [False] * 7 + [True] * 3
    assert [row[1] for row in found] == [b""] * 7 + [b"rubble0007", b"rubble0008", b"rubble0009"]
    assert {row[2] for row in found} == {10}
    assert found[0][3] == digest(b"rubble0000")


async def test_the_same_rubble_again_is_counted_after_it_gave_up_its_bytes(engine: AsyncEngine) -> None:
    await keep(engine, rubble(0, 1, 2), most_bytes=20)
    await keep(engine, rubble(0, 0), most_bytes=20)
    assert await letters(engine, "kept", "times") == [(False, 3), (False, 1), (True, 1)]


async def test_beyond_the_bound_on_letters_the_oldest_are_one_line_that_counts_them(engine: AsyncEngine) -> None:
    await keep(engine, rubble(*range(10)), most_letters=9)
    await keep(engine, rubble(*range(10, 16)), most_letters=9)
    found = await letters(engine, "digest", "times", "kept")
    assert found[-1][0].startswith("older:") or found[0][0].startswith("older:")
    assert sum(row[1] for row in found) == 16
    assert len(found) <= 10


async def test_a_letter_says_which_place_it_is_about(engine: AsyncEngine) -> None:
    refused = plan(make_delivery(7, profile_version=9), NOON)
    assert isinstance(refused, Refused)
    await keep(engine, [refused])
    assert await letters(engine, "epoch", "seq", "reading_id") == [("epoch-1", 7, make_reading_id(7))]
