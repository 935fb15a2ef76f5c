"""Photographs go when their laboratory says so and nobody needs them; all else stays, and says that they are gone."""

import hashlib
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from central.__main__ import main
from central.copies.backup import back_up, restore
from central.db import reading, transaction
from central.results import images, keeping
from central.results.queries import get_run
from central.review.verify import verify
from central.settings import Settings
from central.tables import audit_entries, sites, users
from central.tables import images as images_table
from protocol.messages import Picture
from tests.central.review.reviews import RUN, accept, override, people, plate_state, read_plate, say, sign
from tests.central.web import bearer, central
from tests.central.web import people as accounts
from tests.make import NOON

pytestmark = pytest.mark.anyio

JPEG = b"\xff\xd8\xff\xe0 a plate"
NAME = hashlib.sha256(JPEG).hexdigest()
PICTURE = Picture(NAME, len(JPEG), 8, 8, "image/jpeg", "p.jpg")
LATER = NOON + timedelta(days=91)


async def photographed(
    engine: AsyncEngine, folder: Path, number: int = 1, *, stored_at: datetime = NOON, **fields: Any
) -> str:
    """A run with its picture on disk."""
    run_id = await read_plate(engine, number, picture=PICTURE, **fields)
    async with transaction(engine) as connection:
        stored = images.store(folder, NAME, JPEG)
        await images.record(connection, stored, device_id="bench-1", now=stored_at)
    return run_id


async def keep_for(engine: AsyncEngine, days: int | None, site: str = "main") -> None:
    """What a laboratory says of its photographs."""
    async with transaction(engine) as connection:
        await connection.execute(update(sites).where(sites.c.id == site).values(picture_days=days))


async def approve(engine: AsyncEngine, *runs: str) -> None:
    """Somebody signs for them."""
    async with reading(engine) as connection:
        rita = await connection.scalar(select(users.c.id).where(users.c.name == "rita"))
    rita = rita or (await people(engine, "rita"))["rita"]
    await sign(engine, rita, *(runs or (RUN,)))


async def test_a_photograph_stays_for_ever_where_nothing_is_said(engine: AsyncEngine, tmp_path: Path) -> None:
    await photographed(engine, tmp_path)
    await approve(engine)
    assert await keeping.due(engine, NOON + timedelta(days=99_999)) == ()
    assert await keeping.remove(engine, tmp_path, NOON + timedelta(days=99_999)) == 0
    assert images.path(tmp_path, NAME) is not None


async def test_an_old_photograph_of_an_approved_run_goes_and_the_trail_says_so(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    await photographed(engine, tmp_path)
    await approve(engine)
    await keep_for(engine, 90)
    assert await keeping.remove(engine, tmp_path, NOON + timedelta(days=89)) == 0
    assert await keeping.due(engine, LATER) == (keeping.Due("main", 90, 1, len(JPEG)),)
    assert await keeping.remove(engine, tmp_path, LATER) == 1
    assert images.path(tmp_path, NAME) is None
    async with reading(engine) as connection:
        found = await get_run(connection, RUN)
        said = (await connection.execute(select(audit_entries).where(audit_entries.c.action == "picture.remove"))).one()
    assert found is not None
    assert (found.run.image_stored, found.run.image_removed_at) == (False, LATER)
    assert len(found.run.endpoints) == 8
    assert (said.object_id, said.site_id, said.actor_kind) == (NAME, "main", "system")
    assert (await verify(engine)).differences == ()
    assert await keeping.remove(engine, tmp_path, LATER) == 0


async def test_a_photograph_that_somebody_still_has_to_judge_by_stays(engine: AsyncEngine, tmp_path: Path) -> None:
    await photographed(engine, tmp_path)
    await keep_for(engine, 1)
    assert await keeping.remove(engine, tmp_path, LATER) == 0
    assert images.path(tmp_path, NAME) is not None


async def test_a_photograph_stays_while_what_was_approved_is_judged_again(engine: AsyncEngine, tmp_path: Path) -> None:
    await photographed(engine, tmp_path)
    await approve(engine)
    ruth = (await people(engine, "ruth"))["ruth"]
    await say(engine, ruth, override("A7"))
    assert await plate_state(engine) == "amended"
    await keep_for(engine, 1)
    assert await keeping.remove(engine, tmp_path, LATER) == 0
    await say(engine, ruth, accept())
    await approve(engine)
    assert await keeping.remove(engine, tmp_path, LATER) == 1


async def test_a_photograph_of_a_plate_that_was_read_again_after_approval_stays(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    await read_plate(engine)
    await approve(engine)
    again = await photographed(engine, tmp_path, 2, enrolled=True)
    assert await plate_state(engine) == "amended"
    await keep_for(engine, 1)
    assert await keeping.remove(engine, tmp_path, LATER) == 0, f"run {again} waits for a reviewer"


async def test_a_photograph_that_came_long_after_its_reading_is_kept_as_long_as_any(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    await photographed(engine, tmp_path, stored_at=NOON + timedelta(days=80))
    await approve(engine)
    await keep_for(engine, 90)
    assert await keeping.remove(engine, tmp_path, LATER) == 0
    assert await keeping.remove(engine, tmp_path, NOON + timedelta(days=171)) == 1


async def test_a_photograph_of_two_runs_stays_while_one_of_them_waits(engine: AsyncEngine, tmp_path: Path) -> None:
    await photographed(engine, tmp_path)
    other = await photographed(engine, tmp_path, 2, enrolled=True, code=None)
    await approve(engine)
    await keep_for(engine, 1)
    assert await keeping.remove(engine, tmp_path, LATER) == 0, f"{other} is of no known plate"
    assert images.path(tmp_path, NAME) is not None


async def test_a_file_that_outlived_its_row_goes_the_next_time(
    engine: AsyncEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await photographed(engine, tmp_path)
    await approve(engine)
    await keep_for(engine, 90)

    def dies(*_: object) -> None:
        raise OSError("the machine went down here")

    with monkeypatch.context() as patched:
        patched.setattr(keeping, "_discard", lambda folder, names: dies() if names else None)
        with pytest.raises(OSError, match="went down"):
            await keeping.remove(engine, tmp_path, LATER)
    assert images.path(tmp_path, NAME) is not None
    assert await keeping.remove(engine, tmp_path, LATER) == 0
    assert images.path(tmp_path, NAME) is None


async def test_no_device_is_asked_for_it_and_none_may_bring_it_back(engine: AsyncEngine, settings: Settings) -> None:
    await accounts(engine)
    folder = settings.images_dir
    await photographed(engine, folder)
    await approve(engine)
    await keep_for(engine, 90)
    assert await keeping.remove(engine, folder, LATER) == 1
    async with central(settings) as client:
        answer = await client.get(f"/api/v1/images/{NAME}", headers=await bearer(client))
    assert answer.status_code == 410
    assert NAME in answer.json()["detail"]
    async with reading(engine) as connection:
        rows = (await connection.execute(select(images_table))).all()
    assert [row.removed_at for row in rows] == [LATER]
    assert images.offset(folder, NAME) == 0


async def test_a_restored_central_knows_what_was_removed(
    settings: Settings, engine: AsyncEngine, tmp_path: Path
) -> None:
    await photographed(engine, settings.images_dir)
    await approve(engine)
    await keep_for(engine, 90)
    await keeping.remove(engine, settings.images_dir, LATER)
    file = tmp_path / "backup.tar"
    await back_up(settings, file, with_pictures=True, now=LATER)
    await restore(settings, file, replace=True, now=LATER)
    async with reading(engine) as connection:
        rows = (await connection.execute(select(images_table))).all()
    assert [row.removed_at for row in rows] == [LATER]


async def test_an_administrator_says_how_long_and_the_run_says_that_it_is_gone(
    engine: AsyncEngine, settings: Settings
) -> None:
    await accounts(engine, "admin")
    await photographed(engine, settings.images_dir)
    await approve(engine)
    async with central(settings) as client:
        admin = await bearer(client, "admin")
        for days, status in ((0, 400), (36_501, 400), (90, 200)):
            headers = admin | {"if-match": '"1"'}
            answer = await client.patch("/api/v1/sites/main", json={"picture_days": days}, headers=headers)
            assert answer.status_code == status, answer.text
        assert (await client.get("/api/v1/sites", headers=admin)).json()["items"][0]["picture_days"] == 90
        await keeping.remove(engine, settings.images_dir, LATER)
        run = (await client.get(f"/api/v1/runs/{RUN}", headers=admin)).json()
        files = (await client.get(f"/api/v1/runs/{RUN}/files", headers=admin)).json()["items"]
        assert [(each["state"], each["url"]) for each in files] == [("removed", None)]
        assert (run["image_url"], run["image_removed_at"]) == (None, LATER.isoformat().replace("+00:00", "Z"))
        forever = await client.patch(
            "/api/v1/sites/main", json={"picture_days": None}, headers=admin | {"if-match": '"2"'}
        )
    assert forever.json()["picture_days"] is None


def test_the_command_says_what_would_go_and_removes_nothing(tmp_path: Path) -> None:
    run = CliRunner()
    assert run.invoke(main, ["migrate", "--data-dir", str(tmp_path)]).exit_code == 0
    said = run.invoke(main, ["pictures", "due", "--data-dir", str(tmp_path)])
    assert (said.exit_code, said.output) == (0, "no photograph may go\n")
    done = run.invoke(main, ["pictures", "remove", "--data-dir", str(tmp_path)])
    assert (done.exit_code, done.output) == (0, "0 photographs removed\n")
