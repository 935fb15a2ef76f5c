"""Ingest: once per reading whatever is repeated or reordered; conflicts and poison are kept and answered."""

import asyncio
import hashlib
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from sqlalchemy import event, func, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from central.db import make_engine, reading, transaction
from central.fleet.devices import revoke
from central.intake.ingest import DatabaseUnavailableError, Outcome, ingest, record_states
from central.intake.plan import Delivery
from central.results.images import StoredImage, record
from central.settings import Settings
from central.tables import dead_letters, devices, runs
from protocol.codec import decode_reading, decompress, digest, encode
from protocol.messages import VERSION, Ack, DeviceStatus, ReadingBatch
from protocol.topics import topic
from tests.central.tables import make_tables
from tests.central.wire import EPOCH, enrol, make_delivery
from tests.make import NOON, make_code, make_document, make_reading_id

pytestmark = pytest.mark.anyio


async def ingest_now(engine: AsyncEngine, *deliveries: Delivery) -> Outcome:
    """Ingest at noon."""
    return await ingest(engine, deliveries, now=NOON)


def only_ack(outcome: Outcome) -> Ack:
    """The one answer."""
    ((device_id, ack),) = outcome.acks
    assert device_id == "bench-1"
    return ack


async def rows(engine: AsyncEngine, *columns: Any) -> list[tuple[Any, ...]]:
    """These columns of every row."""
    async with reading(engine) as connection:
        return [tuple(row) for row in await connection.execute(select(*columns).order_by(columns[0]))]


async def test_a_reading_becomes_a_run(engine: AsyncEngine) -> None:
    await enrol(engine)
    outcome = await ingest_now(engine, make_delivery(1))
    ack = only_ack(outcome)
    assert (ack.accepted, ack.rejected, ack.epoch, ack.now) == ((make_reading_id(1),), (), EPOCH, NOON)
    assert [(run.id, run.submission, run.test) for run in outcome.new] == [(make_reading_id(1), "S-1001", "NDV")]


async def test_a_run_keeps_the_bytes_that_were_hashed(engine: AsyncEngine) -> None:
    await enrol(engine)
    await ingest_now(engine, make_delivery(1))
    ((document, found),) = await rows(engine, runs.c.document, runs.c.digest)
    assert decompress(document) == make_document(1)
    assert digest(decompress(document)) == found


async def test_the_same_reading_again_is_accepted_and_changes_nothing(engine: AsyncEngine) -> None:
    await enrol(engine)
    await ingest_now(engine, make_delivery(1))
    before = await rows(engine, *runs.c)
    outcome = await ingest(engine, [make_delivery(1), make_delivery(1)], now=NOON + timedelta(hours=1))
    assert only_ack(outcome).accepted == (make_reading_id(1),)
    assert (outcome.new, outcome.repeated) == ((), 2)
    assert await rows(engine, *runs.c) == before


async def test_the_same_reading_from_another_place_in_the_outbox_is_accepted(engine: AsyncEngine) -> None:
    await enrol(engine)
    outcome = await ingest_now(engine, make_delivery(1, seq=1), make_delivery(1, seq=2))
    assert only_ack(outcome).accepted == (make_reading_id(1),)
    assert len(outcome.new) == 1


async def test_same_id_with_other_content_is_a_conflict(engine: AsyncEngine) -> None:
    await enrol(engine)
    await ingest_now(engine, make_delivery(1))
    ack = only_ack(await ingest_now(engine, make_delivery(1, agent="0.2.0"), make_delivery(2)))
    assert ack.accepted == (make_reading_id(2),)
    assert [(no.id, no.seq, no.code) for no in ack.rejected] == [(make_reading_id(1), 1, "conflict")]
    assert await rows(engine, dead_letters.c.code, dead_letters.c.times) == [("conflict", 1)]
    (_, document), _ = await rows(engine, runs.c.seq, runs.c.document)
    assert decode_reading(decompress(document)).agent == "0.1.0"


async def test_same_place_with_another_reading_is_a_conflict(engine: AsyncEngine) -> None:
    await enrol(engine)
    ack = only_ack(await ingest_now(engine, make_delivery(1, seq=1), make_delivery(2, seq=1)))
    assert ack.accepted == (make_reading_id(1),)
    assert [(no.id, no.code) for no in ack.rejected] == [(make_reading_id(2), "conflict")]


async def test_the_same_sequence_number_in_another_epoch_is_another_reading(engine: AsyncEngine) -> None:
    await enrol(engine)
    outcome = await ingest_now(engine, make_delivery(1, seq=1), make_delivery(2, seq=1, epoch="epoch-2"))
    assert [(ack.epoch, ack.accepted) for _, ack in outcome.acks] == [
        ("epoch-1", (make_reading_id(1),)),
        ("epoch-2", (make_reading_id(2),)),
    ]


async def test_a_device_that_is_not_enrolled_is_refused_and_its_message_kept(engine: AsyncEngine) -> None:
    ack = only_ack(await ingest_now(engine, make_delivery(1)))
    assert [(no.id, no.seq, no.code) for no in ack.rejected] == [(make_reading_id(1), 1, "wrong_device")]
    assert "'bench-1' is not enrolled" in ack.rejected[0].detail
    assert await rows(engine, dead_letters.c.payload) == [(make_delivery(1).payload,)]


async def test_a_revoked_device_is_refused(engine: AsyncEngine) -> None:
    await enrol(engine)
    await revoke(engine, "bench-1", now=NOON)
    assert only_ack(await ingest_now(engine, make_delivery(1))).rejected[0].code == "wrong_device"


async def test_poison_is_kept_once_and_the_good_message_behind_it_is_accepted(engine: AsyncEngine) -> None:
    await enrol(engine)
    poison = Delivery(make_delivery(1).topic, b"\x00poison")
    await ingest_now(engine, poison, poison)
    outcome = await ingest_now(engine, poison, make_delivery(1))
    assert [run.id for run in outcome.new] == [make_reading_id(1)]
    assert [no.code for _, ack in outcome.acks for no in ack.rejected] == ["undecodable"]
    assert await rows(engine, dead_letters.c.code, dead_letters.c.times) == [("undecodable", 3)]


async def test_accepted_answers_ask_for_the_pictures_that_are_missing(engine: AsyncEngine) -> None:
    await enrol(engine)
    first, second = (hashlib.sha256(str(number).encode()).hexdigest() for number in (1, 2))
    async with transaction(engine) as connection:
        await record(connection, StoredImage(first, 1000, "image/jpeg"), device_id="bench-1", now=NOON)
    assert only_ack(await ingest_now(engine, make_delivery(1), make_delivery(2))).wanted == (second,)


async def test_one_row_that_the_database_refuses_does_not_hold_up_the_others(engine: AsyncEngine) -> None:
    await enrol(engine)
    async with transaction(engine) as connection:  # a rule of the database that the plan does not know
        if engine.dialect.name == "sqlite":
            rule = "CREATE TRIGGER no_7 BEFORE INSERT ON runs WHEN new.seq = 7 BEGIN SELECT RAISE(ABORT, 'seven'); END"
        else:
            rule = "ALTER TABLE runs ADD CONSTRAINT no_7 CHECK (seq <> 7)"
        await connection.execute(text(rule))
    outcome = await ingest_now(engine, *(make_delivery(number) for number in range(5, 10)))
    accepted = [run_id for _, ack in outcome.acks for run_id in ack.accepted]
    assert accepted == [make_reading_id(number) for number in (5, 6, 8, 9)]
    assert [no.seq for _, ack in outcome.acks for no in ack.rejected] == [7]


async def test_a_database_that_is_away_answers_nothing_and_keeps_nothing(
    settings: Settings, engine: AsyncEngine
) -> None:
    await enrol(engine)
    async with transaction(engine) as connection:
        await connection.execute(text("ALTER TABLE runs RENAME TO away"))
    with pytest.raises(DatabaseUnavailableError):
        await ingest_now(engine, make_delivery(1), Delivery("wellread/v1/bench-1/reading", b"poison"))
    assert await rows(engine, func.count(dead_letters.c.number)) == [(0,)]


async def test_two_centrals_with_the_same_batch_make_each_run_once(engine: AsyncEngine, settings: Settings) -> None:
    await enrol(engine)
    batch = [make_delivery(number) for number in range(1, 31)]
    other = make_engine(settings.database)
    first, second = await asyncio.gather(ingest_now(engine, *batch), ingest_now(other, *batch))
    await other.dispose()
    assert len(first.new) + len(second.new) == 30
    assert len(only_ack(first).accepted) == len(only_ack(second).accepted) == 30


async def test_a_status_that_cannot_be_read_is_a_dead_letter_and_the_next_is_kept(engine: AsyncEngine) -> None:
    await enrol(engine)
    good = DeviceStatus(VERSION, "bench-1", True, "session-1")
    name = topic("bench-1", "state")
    await record_states(engine, [Delivery(name, b"rubble"), Delivery(name, encode(good))], now=NOON)
    assert await rows(engine, dead_letters.c.topic, dead_letters.c.code) == [(name, "undecodable")]
    assert await rows(engine, devices.c.status_at) == [(NOON,)]


@examples(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.integers(1, 8), min_size=1, max_size=12), min_size=1, max_size=5))
def test_any_repetition_and_order_give_the_same_runs(batches: list[list[int]]) -> None:
    async def deliver() -> tuple[set[str], set[str]]:
        engine = make_engine("sqlite+aiosqlite:///:memory:")
        await make_tables(engine)
        await enrol(engine)
        accepted: set[str] = set()
        for batch in batches:
            outcome = await ingest_now(engine, *(make_delivery(number) for number in batch))
            accepted.update(only_ack(outcome).accepted)
            assert outcome.rejected == 0
        found = await rows(engine, runs.c.id)
        await engine.dispose()
        assert len(found) == len(set(found))
        return {run_id for (run_id,) in found}, accepted

    stored, accepted = asyncio.run(deliver())
    assert stored == accepted == {make_reading_id(number) for batch in batches for number in batch}


async def test_a_bad_reading_in_a_batch_is_kept_by_itself_and_the_others_are_accepted(engine: AsyncEngine) -> None:
    await enrol(engine)
    good, bad = make_delivery(1), make_delivery(2, epoch="e" * 40)
    enclosed = tuple(msgspec.Raw(decompress(one.payload)) for one in (bad, good))
    message = Delivery(topic("bench-1", "readings"), encode(ReadingBatch(VERSION, "bench-1", enclosed)))
    outcome = await ingest_now(engine, message)
    assert [run.id for run in outcome.new] == [make_reading_id(1)]
    assert [no.id for _, ack in outcome.acks for no in ack.rejected] == [make_reading_id(2)]
    assert await rows(engine, dead_letters.c.topic, dead_letters.c.payload) == [(bad.topic, bad.payload)]
    again = await ingest_now(engine, message)
    assert (again.new, again.repeated) == ((), 1)


async def test_a_reading_that_is_twice_in_one_message_is_one_run(engine: AsyncEngine) -> None:
    await enrol(engine)
    enclosed = (msgspec.Raw(decompress(make_delivery(1).payload)),) * 2
    outcome = await ingest_now(
        engine, Delivery(topic("bench-1", "readings"), encode(ReadingBatch(VERSION, "bench-1", enclosed)))
    )
    assert (len(outcome.new), outcome.repeated, only_ack(outcome).accepted) == (1, 1, (make_reading_id(1),))


async def test_a_batch_of_many_new_plates_takes_as_many_statements_as_one_of_two(engine: AsyncEngine) -> None:
    statements: list[str] = []

    @event.listens_for(engine.sync_engine, "before_cursor_execute")
    def _note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    await enrol(engine)
    taken = []
    for first, last in ((1, 3), (3, 43)):
        statements.clear()
        codes = {number: make_code(f"S-{number // 4}", plate_number=str(number)) for number in range(first, last)}
        outcome = await ingest_now(engine, *(make_delivery(number, code=code) for number, code in codes.items()))
        assert len(outcome.new) == last - first
        taken.append(len(statements))
    assert taken[1] == taken[0]
