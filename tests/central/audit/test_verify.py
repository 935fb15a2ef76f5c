"""Whatever is done to the trail behind the triggers is found and named; what central does itself is in order."""

import random
import sqlite3
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from central.audit.chain import COMMAND, Change, record
from central.audit.check import check_database
from central.audit.heads import HeadKey, heads_dir, kept_heads, sign_head
from central.audit.verify import Report, verify
from central.db import make_engine, reading, transaction
from central.settings import Settings
from tests.central.audit.saboteur import OLD, WAYS, made_anew, put
from tests.central.audit.trails import ENTRIES, SIGNED, put_back, write
from tests.central.meanwhile import meanwhile
from tests.make import NOON

pytestmark = pytest.mark.anyio


def found(report: Report, first: int) -> bool:
    """Something is wrong, and it begins where it was done."""
    return not report.intact and report.findings[0].number == first


async def test_a_trail_that_nobody_touched_is_intact(engine: AsyncEngine, settings: Settings) -> None:
    trail = await write(engine, settings.data_dir)
    report = await check_database(engine, heads_dir(settings.data_dir))
    assert report == Report(ENTRIES, trail.tip, (), (), len(SIGNED), trail.files[-1])
    assert trail.heads == trail.files


async def test_ten_thousand_ways_to_change_it_are_all_found_and_named(engine: AsyncEngine, settings: Settings) -> None:
    """A thousand of them on PostgreSQL's own values; what happens in the database itself is the next test."""
    trail = await write(engine, settings.data_dir)
    missed = []
    for seed in range(10_000 if engine.dialect.name == "sqlite" else 1_000):
        way = WAYS[seed % len(WAYS)]
        changed, first = way(trail, random.Random(seed))
        assert changed != trail, (seed, way.__name__)
        report = verify(changed.rows, changed.tip, list(dict.fromkeys((*changed.heads, *changed.files))))
        if not found(report, first):
            missed.append((seed, way.__name__, first, report.findings[:3]))
    assert missed == []


async def test_what_is_done_in_the_database_is_found_there(engine: AsyncEngine, settings: Settings) -> None:
    trail = await write(engine, settings.data_dir)
    missed, done = [], 0
    for seed in range(200):
        way = WAYS[seed % len(WAYS)]
        changed, first = way(trail, random.Random(seed))
        try:
            await put_back(engine, changed)
        except DBAPIError:
            continue  # two entries of one number, which the table itself refuses
        done += 1
        report = await check_database(engine, heads_dir(settings.data_dir))
        if not found(report, first):
            missed.append((seed, way.__name__, first, report.findings[:3]))
    assert missed == []
    assert done > 150
    await put_back(engine, trail)
    assert (await check_database(engine, heads_dir(settings.data_dir))).intact


HOSTILE = (
    "UPDATE audit_entries SET at = 'yesterday' WHERE number = 9",
    "UPDATE audit_entries SET at = NULL WHERE number = 9",
    "UPDATE audit_entries SET number = 'nine' WHERE number = 9",
    "UPDATE audit_entries SET number = NULL WHERE number = 9",
    "UPDATE audit_entries SET number = 9.5 WHERE number = 9",
    "UPDATE audit_entries SET reason = CAST(X'FFFE' AS TEXT) WHERE number = 9",
    "UPDATE audit_entries SET reason = CAST(reason AS BLOB) WHERE number = 9",
    "UPDATE audit_entries SET hash = X'00' WHERE number = 9",
    "DELETE FROM audit_tip",
    "UPDATE audit_tip SET number = 'forty'",
    "UPDATE audit_heads SET signed_at = 'never' WHERE number = 17",
    "UPDATE audit_heads SET public_key = NULL WHERE number = 17",
)


@pytest.mark.parametrize("statement", HOSTILE)
async def test_values_that_no_column_should_hold_are_findings_and_stop_nothing(
    tmp_path: Path, migrated_file: Path, statement: str
) -> None:
    """SQLite keeps anything in any column, if somebody takes the constraints off."""
    (tmp_path / "central.db").write_bytes(migrated_file.read_bytes())
    engine = make_engine(f"sqlite+aiosqlite:///{tmp_path / 'central.db'}")
    await write(engine, tmp_path)
    await engine.dispose()
    with sqlite3.connect(tmp_path / "central.db") as file:
        loose = [
            f"CREATE TABLE loose_{name} AS SELECT * FROM {name}"
            for name in ("audit_entries", "audit_tip", "audit_heads")
        ]
        for made in loose:
            file.execute(made)
            name = made.split("loose_")[1].split(" ")[0]
            file.execute(f"DROP TABLE {name}")
            file.execute(f"ALTER TABLE loose_{name} RENAME TO {name}")
        assert file.execute(statement).rowcount == 1
    file.close()
    report = await check_database(engine, heads_dir(tmp_path))
    await engine.dispose()
    assert not report.intact
    assert report.entries == ENTRIES


async def test_a_trail_that_was_made_anew_is_intact_only_for_who_has_no_head(
    engine: AsyncEngine, settings: Settings
) -> None:
    """The other side of the promise: without a head of that time nobody can tell."""
    trail = await write(engine, settings.data_dir)
    changed = made_anew(trail.with_rows([*trail.rows[:19], put(trail.rows[19], OLD, "{}"), *trail.rows[20:]]), 19)
    assert verify(changed.rows, changed.tip, trail.heads[:2]).intact
    report = verify(changed.rows, changed.tip, trail.heads)
    assert [finding.number for finding in report.findings] == [40]
    assert "made anew" in report.findings[0].what


async def test_heads_of_a_key_that_was_not_asked_for_prove_nothing(engine: AsyncEngine, settings: Settings) -> None:
    trail = await write(engine, settings.data_dir)
    other = HeadKey.load(settings.data_dir / "other")
    forged = [other.sign(head.number, head.hash, head.signed_at) for head in trail.heads]
    ours = trail.heads[0].public_key
    assert [f.what for f in verify(trail.rows, trail.tip, forged, ours).findings] == [
        f"no head is signed with the key {ours}"
    ]
    report = verify(trail.rows, trail.tip, [*trail.heads, *forged], ours)
    assert (report.intact, report.heads) == (True, 3)
    assert report.notes == ("3 heads are signed with other keys: they prove nothing",)


async def test_the_key_is_readable_by_its_owner_alone_and_made_once(tmp_path: Path) -> None:
    first, second = HeadKey.load(tmp_path / "new"), HeadKey.load(tmp_path / "new")
    assert first.public_key == second.public_key
    (path,) = (tmp_path / "new").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600


async def test_the_heads_of_a_trail_that_did_not_grow_are_one(engine: AsyncEngine, settings: Settings) -> None:
    assert await sign_head(engine, settings.data_dir, NOON) is None
    async with transaction(engine) as connection:
        await record(connection, COMMAND, [Change("site.change", "site", "main")], NOON)
    for minutes in range(3):
        await sign_head(engine, settings.data_dir, NOON + timedelta(minutes=minutes))
    assert len(kept_heads(heads_dir(settings.data_dir))) == 1
    async with reading(engine) as connection:
        assert (await connection.execute(text("SELECT count(*) FROM audit_heads"))).scalar() == 1


@pytest.mark.parametrize("words", ["FROM audit_tip", "FROM audit_entries"])
async def test_what_is_written_during_the_check_is_no_finding(
    engine: AsyncEngine, settings: Settings, words: str
) -> None:
    await write(engine, settings.data_dir)

    async def more() -> None:
        other = make_engine(settings.database)
        async with transaction(other) as connection:
            await record(connection, COMMAND, [Change("site.change", "site", "main")], NOON + timedelta(hours=1))
        await sign_head(other, settings.data_dir, NOON + timedelta(hours=1))
        await other.dispose()

    with meanwhile(engine, words, more) as met:
        report = await check_database(engine, heads_dir(settings.data_dir))
    assert met
    assert (report.findings, report.entries) == ((), ENTRIES)
