"""The database: migrations end at the tables, transactions are whole, SQLite is durable and has one writer."""

import asyncio
import sqlite3
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, func, insert, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from central.db import (
    PING_AFTER_S,
    insert_ignore,
    keep_a_log,
    make_engine,
    migrate,
    migration_config,
    one_moment,
    reading,
    transaction,
)
from central.intake.ingest import ingest
from central.people.users import add_user
from central.settings import Settings
from central.tables import (
    claims,
    dead_letters,
    devices,
    images,
    memberships,
    metadata,
    plates,
    run_records,
    runs,
    stretches,
    submissions,
    tests,
    users,
)
from protocol.codec import compress
from protocol.messages import Clock
from tests.central.conftest import DATABASES
from tests.central.wire import enrol, make_delivery
from tests.make import NOON, make_document

pytestmark = pytest.mark.anyio

IMAGE = {"sha256": "a" * 64, "bytes": 3, "media_type": "image/png", "stored_at": NOON, "device_id": "bench-1"}


def differences(connection: Connection) -> list[object]:
    """What Alembic would still change."""
    context = MigrationContext.configure(connection, opts={"compare_type": True, "target_metadata": metadata})
    return list(compare_metadata(context, metadata))


async def test_migrations_end_at_the_tables(engine: AsyncEngine) -> None:
    async with reading(engine) as connection:
        assert await connection.run_sync(differences) == []


async def test_migrating_twice_changes_nothing(engine: AsyncEngine, settings: Settings) -> None:
    async with transaction(engine) as connection:
        await connection.execute(insert(images).values(IMAGE))
    await migrate(settings)
    async with reading(engine) as connection:
        assert await connection.scalar(select(func.count()).select_from(images)) == 1


@pytest.mark.parametrize("database", DATABASES)
def test_two_centrals_may_migrate_together(database: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'new' / 'central.db'}"
    if database == "postgresql":
        url = request.getfixturevalue("postgres").new_database(migrated=False)
    settings = Settings(database_url=url)

    async def both() -> None:
        await asyncio.gather(migrate(settings), migrate(settings))

    asyncio.run(both())


class BusyCursor:
    """Refuses as SQLite does while another connection turns the log on in the same new file."""

    def __init__(self, refusals: int, code: int = sqlite3.SQLITE_BUSY) -> None:
        self.left, self.code, self.done = refusals, code, list[str]()

    def execute(self, statement: str) -> None:
        if self.left:
            self.left -= 1
            error = sqlite3.OperationalError("refused")
            error.sqlite_errorcode = self.code
            raise error
        self.done.append(statement)


def test_a_log_that_another_program_is_turning_on_is_asked_for_again() -> None:
    cursor = BusyCursor(refusals=3)
    keep_a_log(cursor)
    assert cursor.done == ["PRAGMA journal_mode = WAL"]


def test_a_database_that_cannot_be_opened_is_not_waited_for() -> None:
    cursor = BusyCursor(refusals=1, code=sqlite3.SQLITE_CANTOPEN)
    with pytest.raises(sqlite3.OperationalError):
        keep_a_log(cursor)
    assert not cursor.done


async def test_migrations_go_back_to_an_empty_database(engine: AsyncEngine) -> None:
    async with transaction(engine) as connection:
        await connection.run_sync(lambda sync: command.downgrade(migration_config(sync), "base"))
        tables = await connection.run_sync(lambda sync: sync.dialect.get_table_names(sync))
    assert tables == ["alembic_version"]


async def test_an_exception_undoes_the_transaction(engine: AsyncEngine) -> None:
    async def fail_half_way() -> None:
        async with transaction(engine) as connection:
            await connection.execute(insert(images).values(IMAGE))
            await connection.execute(insert(images).values(IMAGE))

    with pytest.raises(IntegrityError):
        await fail_half_way()
    async with reading(engine) as connection:
        assert await connection.scalar(select(func.count()).select_from(images)) == 0


async def test_an_ignored_insert_leaves_the_row_that_is_there(engine: AsyncEngine) -> None:
    async with transaction(engine) as connection:
        await connection.execute(insert(images).values(IMAGE))
        await connection.execute(insert_ignore(engine.dialect.name, images).values(IMAGE | {"bytes": 4}))
        assert await connection.scalar(select(images.c.bytes)) == 3


async def test_an_unknown_database_is_refused() -> None:
    with pytest.raises(ValueError, match="'mysql'"):
        insert_ignore("mysql", images)


async def test_times_come_back_in_utc(engine: AsyncEngine) -> None:
    async with transaction(engine) as connection:
        await connection.execute(insert(images).values(IMAGE))
        stored_at = await connection.scalar(select(images.c.stored_at))
    assert stored_at == NOON
    assert stored_at.utcoffset() == timedelta(0)


async def test_reading_begins_no_transaction_on_postgresql(engine: AsyncEngine) -> None:
    if engine.dialect.name != "postgresql":
        pytest.skip("on SQLite what is read is of one moment")
    async with reading(engine) as connection:
        first, second = [await connection.scalar(text("SELECT now()")) for _ in range(2)]  # when a transaction began
    async with transaction(engine) as connection:
        third, fourth = [await connection.scalar(text("SELECT now()")) for _ in range(2)]
    assert (first < second, third == fourth) == (True, True)


async def test_what_is_read_at_one_moment_does_not_change_in_between(engine: AsyncEngine) -> None:
    count = select(func.count()).select_from(users)
    async with one_moment(engine) as connection:
        before = await connection.scalar(count)
        await add_user(engine, name="rita", password="a horse that reads plates", role="viewer", now=NOON)
        assert await connection.scalar(count) == before
    async with one_moment(engine) as connection:
        assert await connection.scalar(count) == before + 1


@pytest.mark.parametrize("idle_s", [0.0, PING_AFTER_S + 0.1])
async def test_a_connection_that_the_server_ended_is_not_used_again(engine: AsyncEngine, idle_s: float) -> None:
    if engine.dialect.name != "postgresql":
        pytest.skip("SQLite has no server")
    async with reading(engine) as connection:
        await connection.execute(text("SELECT 1"))
    other = make_engine(engine.url.render_as_string(hide_password=False))
    async with reading(other) as connection:
        ending = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
        assert await connection.scalar(text(f"SELECT count(*) FROM ({ending} AND pid <> pg_backend_pid()) ended")) > 0
    await other.dispose()
    await asyncio.sleep(idle_s + 0.2)  # the end of a connection takes a moment to arrive
    for way in (reading, transaction):
        async with way(engine) as connection:
            assert await connection.scalar(text("SELECT 1")) == 1


async def test_foreign_keys_hold(engine: AsyncEngine) -> None:
    claim = {"code_sha256": "c" * 64, "name": "Bench", "created_at": NOON, "created_by": "anna", "expires_at": NOON}
    with pytest.raises(IntegrityError):
        async with transaction(engine) as connection:
            await connection.execute(insert(claims).values(claim | {"device_id": "nobody"}))


async def test_twenty_writers_take_turns(engine: AsyncEngine) -> None:
    async def write(number: int) -> None:
        async with transaction(engine) as connection:
            await connection.scalar(select(func.count()).select_from(images))
            await connection.execute(insert(images).values(IMAGE | {"sha256": f"{number:064x}"}))

    await asyncio.gather(*(write(number) for number in range(20)))
    async with reading(engine) as connection:
        assert await connection.scalar(select(func.count()).select_from(images)) == 20


async def test_sqlite_syncs_every_commit(tmp_path: Path) -> None:
    engine = make_engine(f"sqlite+aiosqlite:///{tmp_path / 'central.db'}")
    async with reading(engine) as connection:
        found = [await connection.scalar(text(f"PRAGMA {name}")) for name in ("journal_mode", "synchronous")]
    await engine.dispose()
    assert found == ["wal", 2]  # 2 is FULL


async def test_runs_of_the_first_tables_get_what_their_documents_say(engine: AsyncEngine) -> None:
    clock = Clock("boot-7", 5_000_000_000, "synchronised", 0.25)
    documents = {seq: compress(make_document(seq, clock=clock)) for seq in (1, 2, 4)}
    async with transaction(engine) as connection:
        await connection.run_sync(lambda sync: command.downgrade(migration_config(sync), "0001"))
        for seq, document in documents.items():
            row = {
                "id": f"{seq:036d}", "device_id": "bench-1", "epoch": "e", "seq": seq, "digest": "d",
                "document": document, "historical": False, "captured_at": NOON, "received_at": NOON,
                "profile": "hi-96", "profile_version": 1,
                "plate_format": 96, "wells": "{}", "endpoints": "{}", "model": "m", "image_sha256": "i",
            }  # fmt: skip
            names = ", ".join(row)
            await connection.execute(text(f"INSERT INTO runs ({names}) VALUES (:{', :'.join(row)})"), row)
        await connection.execute(
            text(
                "INSERT INTO dead_letters (received_at, topic, code, detail, digest, times, payload)"
                " VALUES (:at, 't', 'undecodable', 'd', 'x', 2, :payload)"
            ),
            {"at": NOON, "payload": b"rubble"},
        )
        await connection.run_sync(lambda sync: command.upgrade(migration_config(sync), "head"))
    async with reading(engine) as connection:
        columns = (runs.c.boot_id, runs.c.monotonic_ns, runs.c.clock_quality, runs.c.clock_offset_s)
        assert {tuple(row) for row in await connection.execute(select(*columns))} == {msgspec.structs.astuple(clock)}
        places = select(stretches.c.first, stretches.c.last).order_by(stretches.c.first)
        assert [tuple(row) for row in await connection.execute(places)] == [(1, 2), (4, 4)]
        letter = select(dead_letters.c.bytes, dead_letters.c.kept, dead_letters.c.times)
        assert [tuple(row) for row in await connection.execute(letter)] == [(6, True, 2)]


async def test_what_was_read_before_there_were_submissions_is_registered_as_its_codes_say(
    engine: AsyncEngine, settings: Settings
) -> None:
    await enrol(engine)
    await ingest(engine, [make_delivery(1), make_delivery(2), make_delivery(3, code=None)], now=NOON)
    await add_user(engine, name="anna", password="a horse that reads plates", role="admin", now=NOON)
    without_keys = make_engine(settings.database, foreign_keys=False)  # as `migrate` does it
    async with transaction(without_keys) as connection:
        await connection.run_sync(lambda sync: command.downgrade(migration_config(sync), "0002"))
        await connection.run_sync(lambda sync: command.upgrade(migration_config(sync), "head"))
    await without_keys.dispose()
    async with reading(engine) as connection:
        named = select(submissions.c.site_id, submissions.c.name, tests.c.name, plates.c.number, plates.c.state)
        found = await connection.execute(named.select_from(submissions.join(tests).join(plates)))
        assert [tuple(row) for row in found] == [("main", "S-1001", "NDV", "1", "read")]
        records = select(run_records.c.plate_id, run_records.c.matched_by).join(runs).order_by(runs.c.number)
        matched = [(row.plate_id is not None, row.matched_by) for row in await connection.execute(records)]
        assert matched == [(True, "code"), (True, "code"), (False, None)]
        assert await connection.scalar(select(memberships.c.site_id)) == "main"
        assert await connection.scalar(select(devices.c.site_id)) == "main"
        if engine.dialect.name == "sqlite":  # times are the texts that every other row has: they are compared as such
            for table in ("submissions", "sites", "notice_rules"):
                written = list(await connection.scalars(text(f"SELECT DISTINCT created_at FROM {table}")))
                assert written
                assert not [at for at in written if "+" in at]


@pytest.mark.parametrize("statement", ["UPDATE runs SET model = 'other'", "DELETE FROM runs"])
async def test_a_run_can_be_neither_changed_nor_deleted(engine: AsyncEngine, statement: str) -> None:
    await enrol(engine)
    await ingest(engine, [make_delivery(1)], now=NOON)
    with pytest.raises(DBAPIError, match="never changed or deleted"):
        async with transaction(engine) as connection:
            await connection.execute(text(statement))
