"""The workers beside the web server: what happens is noticed and told while they run, also when they are killed."""

import asyncio
import random
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from central.db import reading, transaction
from central.intake.ingest import ingest
from central.notices.running import Watch, notices_running
from central.notices.standing import OpenCounts
from central.people.sites import EVERY_SITE, Sites
from central.tables import devices, notice_letters, notice_rules, notices, run_figures
from tests.central.letterbox import Letterbox, served
from tests.central.notices.test_letters import desk, with_address
from tests.central.web import Clock
from tests.central.wire import enrol, make_delivery
from tests.make import NOON

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parents[3]
DEVICES, KILLS = 24, 4


@pytest.fixture
def letterbox() -> Iterator[tuple[int, list[str]]]:
    """A mail server's port, and what it got."""
    server = Letterbox()
    with served(server) as port:
        yield port, server.letters


async def test_what_happens_is_noticed_and_counted_while_the_workers_run(engine: AsyncEngine) -> None:
    await enrol(engine)
    await ingest(engine, [make_delivery(1)], now=NOON)
    async with transaction(engine) as connection:
        await connection.execute(update(notice_rules).values(hold_s=0))
    clock, counts = Clock(), OpenCounts()
    clock.tick(3600)
    watch = Watch(desk(engine), None, counts, "https://central.example", clock, hears=lambda: True)
    async with notices_running(watch):
        with anyio.fail_after(60):
            while not counts.of(EVERY_SITE):
                await asyncio.sleep(0.05)
    async with reading(engine) as connection:
        assert list(await connection.scalars(select(notices.c.kind))) == ["device_offline"]
        assert await connection.scalar(select(run_figures.c.device_id)) == "bench-1"
    assert (counts.of(Sites.of(["main"])), counts.of(Sites.of(["other"]))) == (1, 0)


class Stumbling(OpenCounts):
    """Counts that cannot be made out the first time."""

    stumbled = False

    async def refresh(self, engine: AsyncEngine) -> None:
        """ValueError once."""
        if not self.stumbled:
            self.stumbled = True
            raise ValueError("a row that our own rules stumble over")
        await super().refresh(engine)


async def test_an_error_of_ours_ends_no_worker(engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("central.notices.running.ROUND_S", 0.05)
    await enrol(engine)
    async with transaction(engine) as connection:
        await connection.execute(update(notice_rules).values(hold_s=0))
    clock, counts = Clock(), Stumbling()
    clock.tick(3600)
    watch = Watch(desk(engine), None, counts, "https://central.example", clock, hears=lambda: True)
    async with notices_running(watch):
        with anyio.fail_after(60):
            while not counts.of(EVERY_SITE):
                await asyncio.sleep(0.05)
    assert counts.stumbled


async def test_workers_that_are_killed_at_any_moment_open_each_notice_once_and_tell_each_person_once(
    engine: AsyncEngine, database_url: str, letterbox: tuple[int, list[str]]
) -> None:
    port, got = letterbox
    anna = await with_address(engine, "anna")
    await enrol(engine)
    async with transaction(engine) as connection:
        row = dict((await connection.execute(select(devices))).one()._mapping)
        more = [row | {"id": f"many-{at}", "upload_token_sha256": f"{at:064d}"} for at in range(DEVICES - 1)]
        await connection.execute(insert(devices), more)
        await connection.execute(update(notice_rules).values(enabled=notice_rules.c.kind == "device_offline"))
        await connection.execute(update(notice_rules).values(hold_s=0, recipients=[anna]))
    chance = random.Random(7)
    for run in range(KILLS):
        await _killed(database_url, port, run, chance.uniform(0.01, 0.5))
    assert await _killed(database_url, port, KILLS, 60.0) == "done"
    async with reading(engine) as connection:
        opened = list(await connection.scalars(select(notices.c.object_id).where(notices.c.state == "open")))
        letters = {row.id: row for row in await connection.execute(select(notice_letters))}
    assert len(opened) == len(set(opened)) == DEVICES
    assert len(letters) == DEVICES
    assert {each.state for each in letters.values()} == {"sent"}
    heard = Counter(re.findall(r"Message-ID: <([^@]+)@", "\n".join(got)))
    assert set(heard) == set(letters)
    # What was on its way when its central was killed may come again, under the same id: no more than went at once.
    assert sum(heard.values()) - len(heard) <= 8 * KILLS


async def _killed(url: str, port: int, run: int, after_s: float) -> str:
    """One worker from its start until it is killed, so long after it is ready; "done" where it was quicker."""
    command = (sys.executable, "-m", "tests.central.notices.worker", url, str(port), str(run))
    worker = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    assert worker.stdout is not None
    assert (await worker.stdout.readline()).strip() == b"ready"
    try:
        async with asyncio.timeout(after_s):
            said = await worker.stdout.readline()
    except TimeoutError:
        worker.kill()
        said = b"killed"
    await worker.wait()
    return said.decode().strip()
