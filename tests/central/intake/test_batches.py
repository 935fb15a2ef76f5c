"""A batch of readings leaves the same rows as the same readings one after the other, on either database."""

import random
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Select, insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from central.db import make_engine, reading, transaction
from central.intake.ingest import ingest
from central.intake.plan import Delivery
from central.many import all_of, one_of, put_many
from central.tables import alarms, changes, images, plates, run_records, runs, stretches, submissions, tests
from protocol.assay import Call
from protocol.codec import encode, encode_batch, envelope
from protocol.profiles import PROFILES
from protocol.topics import topic
from tests.central.wire import EPOCH, enrol
from tests.make import NOON, make_code, make_document, make_well, make_wells

pytestmark = pytest.mark.anyio

MANY = 36


@pytest.fixture
async def another(migrated_file: Path, tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    """A second database, of SQLite."""
    shutil.copy(migrated_file, tmp_path / "another.db")
    engine = make_engine(f"sqlite+aiosqlite:///{tmp_path / 'another.db'}")
    yield engine
    await engine.dispose()


def documents() -> list[bytes]:
    """Plates with and without a code, some read twice, of two profiles, clean and doubtful."""
    chance = random.Random(5)
    found = []
    for number in range(1, MANY + 1):
        profile = PROFILES["hi-96-serum-control" if number % 12 == 0 else "hi-96"]
        wells = make_wells(chance.randrange(13), profile)
        for name in chance.sample(sorted(wells), 9):
            wells[name] = make_well(chance.choice(list(Call)), round(chance.uniform(0.4, 1), 2))
        plate = number // 2
        code = None if number % 7 == 0 else make_code(f"S-{plate // 5}", "NDV", str(plate))
        found.append(make_document(number, profile=profile.name, wells=wells, code=code))
    return found


def rows_of() -> dict[str, Select[Any]]:
    """Everything that an accepted reading leaves, without the ids that each central makes for itself."""
    of_plate = (submissions.c.name, tests.c.name.label("test"), plates.c.number, plates.c.state, plates.c.revision)
    named = select(*of_plate).join(tests, tests.c.id == plates.c.test_id).join(submissions)
    own = ("plate_id", "site_id")
    record = [column for column in run_records.c if column.name not in own]
    return {
        "runs": select(runs).order_by(runs.c.number),
        "plates": named.order_by(submissions.c.name, plates.c.number),
        "submissions": select(submissions.c[("name", "created_at", "created_by", "origin", "revision")]).order_by(
            "name"
        ),
        "records": select(*record, plates.c.number)
        .outerjoin(plates, plates.c.id == run_records.c.plate_id)
        .order_by(run_records.c.run_id),
        "changes": select(changes.c[("number", "at", "kind", "run_id", "revision")]).order_by(changes.c.number),
        "alarms": select(alarms.c[("kind", "object_id", "detail")]).order_by(*alarms.c[("kind", "object_id")]),
    }


async def stored(engine: AsyncEngine) -> dict[str, Any]:
    """What is here, and which places are filled."""
    async with reading(engine) as connection:
        found: dict[str, Any] = {
            name: [tuple(row) for row in await connection.execute(query)] for name, query in rows_of().items()
        }
        places = await connection.execute(select(stretches.c[("device_id", "epoch", "first", "last")]))
        found["places"] = sorted((*row[:2], seq) for row in places for seq in range(row.first, row.last + 1))
    return found


async def test_a_batch_leaves_the_same_rows_as_its_readings_one_by_one(
    engine: AsyncEngine, another: AsyncEngine
) -> None:
    sent = [
        envelope(document, device_id="bench-1", epoch=EPOCH, seq=seq, historical=True)
        for seq, document in enumerate(documents(), 1)
    ]
    for each in (engine, another):
        await enrol(each)
    for some in (sent[:30], sent[20:]):
        await ingest(engine, [Delivery(topic("bench-1", "readings"), encode_batch(some))], now=NOON)
    for one in sent:
        await ingest(another, [Delivery(topic("bench-1", "reading"), encode(one))], now=NOON)
    found, expected = await stored(engine), await stored(another)
    assert len(expected["runs"]) == MANY
    for name, rows in expected.items():
        assert found[name] == rows, name


async def test_what_is_put_anew_leaves_what_is_there_unless_it_may_not_be_there(engine: AsyncEngine) -> None:
    def row(sha256: str, size: int) -> dict[str, Any]:
        return {"sha256": sha256, "bytes": size, "media_type": "image/png", "stored_at": NOON, "device_id": "bench-1"}

    async with transaction(engine) as connection:
        await connection.execute(insert(images), [row("a", 1)])
        put = await put_many(connection, images, [row("b", 2), row("a", 3)], returning=("sha256",))
        assert [each.sha256 for each in put] == ["b"]
        kept = await connection.execute(select(images.c.sha256, images.c.bytes).order_by(images.c.sha256))
        assert [tuple(each) for each in kept] == [("a", 1), ("b", 2)]
    with pytest.raises(IntegrityError):
        async with transaction(engine) as connection:
            await put_many(connection, images, [row("c", 2), row("a", 3)], leave_taken=False)


async def test_keys_are_found_by_one_column_and_by_several(engine: AsyncEngine) -> None:
    async with transaction(engine) as connection:
        rows = [{"device_id": "b", "epoch": epoch, "first": at, "last": at} for epoch in ("e", "f") for at in (1, 2)]
        await put_many(connection, stretches, rows)

        async def where(condition: Any) -> list[tuple[str, int]]:
            query = select(stretches.c.epoch, stretches.c.first).where(condition)
            return [tuple(row) for row in await connection.execute(query.order_by(*stretches.c[("epoch", "first")]))]

        both = (stretches.c.epoch, stretches.c.first)
        assert await where(one_of(connection, stretches.c.first, [2, 3])) == [("e", 2), ("f", 2)]
        assert await where(one_of(connection, stretches.c.first, [])) == []
        assert await where(all_of(connection, both, {("e", 2), ("f", 1), ("g", 1)})) == [("e", 2), ("f", 1)]
        assert await where(all_of(connection, both, set())) == []
