"""A restore takes the trail back to its backup: the trail says so itself, and old heads say what was cut off."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from central.audit.chain import COMMAND, Change, record
from central.audit.check import check_backup, check_database
from central.audit.heads import heads_dir, sign_head
from central.audit.verify import Tip
from central.copies.backup import back_up, restore
from central.db import transaction
from central.settings import Settings
from tests.central.audit.trails import put_back, read
from tests.make import NOON

pytestmark = pytest.mark.anyio


async def change(engine: AsyncEngine, settings: Settings, times: int, minute: int) -> None:
    """Some changes, and a head of them."""
    at = NOON + timedelta(minutes=minute)
    for _ in range(times):
        async with transaction(engine) as connection:
            await record(connection, COMMAND, [Change("site.change", "site", "main")], at)
    await sign_head(engine, settings.data_dir, at)


async def test_old_heads_say_exactly_what_a_restore_cut_off(
    engine: AsyncEngine, settings: Settings, tmp_path: Path
) -> None:
    heads = heads_dir(settings.data_dir)
    await change(engine, settings, 3, minute=1)
    await back_up(settings, tmp_path / "b.tar", with_pictures=False, now=NOON + timedelta(minutes=2))
    await change(engine, settings, 2, minute=3)  # with the entry of the backup itself: 6
    await restore(settings, tmp_path / "b.tar", replace=True, now=NOON + timedelta(minutes=4))
    await change(engine, settings, 5, minute=5)
    report = await check_database(engine, heads)
    assert (report.findings, report.entries, report.heads) == ((), 3 + 1 + 5, 3)
    assert report.notes == ("the restore of 2026-11-20 12:04:00 UTC, entry 4, cut off the entries 4 to 6",)


async def test_a_restore_explains_no_head_that_is_younger_or_that_it_kept(
    engine: AsyncEngine, settings: Settings, tmp_path: Path
) -> None:
    heads = heads_dir(settings.data_dir)
    await change(engine, settings, 3, minute=1)
    await back_up(settings, tmp_path / "b.tar", with_pictures=False, now=NOON + timedelta(minutes=2))
    await restore(settings, tmp_path / "b.tar", replace=True, now=NOON + timedelta(minutes=4))
    await change(engine, settings, 5, minute=5)
    trail = await read(engine, settings.data_dir)
    # Back to the backup once more, behind everybody's back.
    await put_back(engine, replace(trail, rows=trail.rows[:4], tip=Tip(4, trail.rows[3][-1]), heads=trail.heads[:1]))
    report = await check_database(engine, heads)
    assert [finding.number for finding in report.findings] == [5]
    assert "the end is cut off" in report.findings[0].what


async def test_a_backup_is_checked_as_it_lies_there(engine: AsyncEngine, settings: Settings, tmp_path: Path) -> None:
    heads = heads_dir(settings.data_dir)
    await change(engine, settings, 3, minute=1)
    await back_up(settings, tmp_path / "b.tar", with_pictures=False, now=NOON + timedelta(minutes=2))
    await change(engine, settings, 2, minute=3)  # younger heads say nothing of it
    report = check_backup(tmp_path / "b.tar", heads)
    assert (report.findings, report.notes, report.entries, report.heads) == ((), (), 3, 1)
