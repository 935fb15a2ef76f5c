"""What others do meanwhile is taken as it is, and is no error of anybody; what a crash may take away is on the disk."""

import os
import stat
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncEngine
from structlog.testing import capture_logs

from central.db import transaction
from central.deliveries.outbox import work
from central.deliveries.targets import folder
from central.deliveries.targets.folder import Folder
from central.deliveries.targets.target import Outgoing, Place
from central.tables import deliveries
from tests.central.deliveries.test_outbox import FILE, make_delivery, states, worker
from tests.central.web import Clock

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("meanwhile", ["acknowledged", "superseded"])
async def test_a_file_that_was_settled_while_it_was_looked_for_stays_so(
    engine: AsyncEngine, tmp_path: Path, meanwhile: str
) -> None:
    clock, drop = Clock(), tmp_path / "drop"
    drop.mkdir()
    await make_delivery(engine)
    await work(engine, worker(clock, Folder(drop)))

    class Quick(Folder):
        async def taken(self, file: Outgoing, place: Place) -> bool:
            async with transaction(engine) as connection:
                await connection.execute(update(deliveries).values(state=meanwhile))
            return True

    clock.tick(60)
    with capture_logs() as said:
        await work(engine, worker(clock, Quick(drop)))
    assert await states(engine) == [(meanwhile, None)]
    assert said == []


async def test_a_file_is_on_the_disk_before_it_has_its_name_and_the_name_before_that_is_written_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []

    def noted(call: str) -> None:
        sound = getattr(os, call)

        def note(*arguments: Any, **named: Any) -> Any:
            of = "folder" if call == "fsync" and stat.S_ISDIR(os.fstat(arguments[0]).st_mode) else "file"
            order.append(f"{call} {of}")
            return sound(*arguments, **named)

        monkeypatch.setattr(folder.os, call, note)

    noted("fsync")
    noted("rename")
    drop = Folder(tmp_path)
    place = await drop.prepare(FILE)
    assert order == ["fsync file", "fsync folder"]
    await drop.finish(FILE, place)
    assert order[2:] == ["rename file", "fsync folder"]
