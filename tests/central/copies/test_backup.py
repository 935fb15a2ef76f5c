"""A backup is everything at one moment; it comes back whole or not at all, on either database."""

import asyncio
import hashlib
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from central.copies.backup import BackupError, back_up, check, restore
from central.db import make_engine, migrate, reading, transaction
from central.intake.ingest import ingest
from central.intake.plan import Delivery
from central.results import images
from central.results.images import StoredImage, record
from central.settings import Settings
from central.tables import metadata, runs
from protocol.messages import Picture
from tests.central.postgres import PostgresServer
from tests.central.web import people
from tests.central.wire import enrol, make_delivery
from tests.make import NOON

pytestmark = pytest.mark.anyio

PHOTO = b"\xff\xd8\xff\xe0" + bytes(2000)
PHOTO_ID = hashlib.sha256(PHOTO).hexdigest()


async def fill(engine: AsyncEngine, settings: Settings) -> None:
    """People, a device, three runs of which one has its picture, a dead letter."""
    await people(engine)
    await enrol(engine)
    picture = Picture(PHOTO_ID, len(PHOTO), 1600, 1200, "image/jpeg", "p.jpg")
    batch = [make_delivery(1, picture=picture), make_delivery(2), make_delivery(3)]
    await ingest(engine, [*batch, Delivery(batch[0].topic, b"rubble\x00\xff")], now=NOON)
    stored = images.store(settings.images_dir, PHOTO_ID, PHOTO)
    async with transaction(engine) as connection:
        await record(connection, stored, device_id="bench-1", now=NOON)


async def everything(url: str) -> dict[str, list[tuple[object, ...]]]:
    """Every row of every table."""
    engine = make_engine(url)
    async with reading(engine) as connection:
        found = {
            table.name: sorted((tuple(row) for row in await connection.execute(select(table))), key=repr)
            for table in metadata.sorted_tables
        }
    await engine.dispose()
    return found


async def without_the_trail(url: str) -> dict[str, list[tuple[object, ...]]]:
    """The same, but for the audit trail: that says of itself that there was a backup, and a restore."""
    return {name: rows for name, rows in (await everything(url)).items() if not name.startswith("audit_")}


async def write(settings: Settings, target: Path, *, with_pictures: bool = True) -> Path:
    """A backup at noon."""
    await back_up(settings, target, with_pictures=with_pictures, now=NOON)
    return target


@pytest.fixture(params=["sqlite", "postgresql"])
def elsewhere(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Another central, migrated and empty."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    url = ""
    if request.param == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres")
        url = server.new_database()
    settings = Settings(data_dir=folder, database_url=url)
    asyncio.run(migrate(settings))
    return settings


async def test_everything_comes_back_on_either_database(
    engine: AsyncEngine, settings: Settings, elsewhere: Settings, tmp_path: Path
) -> None:
    await fill(engine, settings)
    found = await restore(elsewhere, await write(settings, tmp_path / "backup.tar"), replace=False, now=NOON)
    assert (found.rows["runs"], found.pictures, found.pictures_missing) == (3, 1, 0)
    assert await without_the_trail(elsewhere.database) == await without_the_trail(settings.database)
    path = images.path(elsewhere.images_dir, PHOTO_ID)
    assert path is not None
    assert path.read_bytes() == PHOTO
    fresh = make_engine(elsewhere.database)
    await ingest(fresh, [make_delivery(4)], now=NOON)  # the database goes on counting where it was
    async with reading(fresh) as connection:
        assert len(list(await connection.scalars(select(runs.c.number)))) == 4
    await fresh.dispose()


async def test_pictures_that_are_nowhere_are_asked_for_again(
    engine: AsyncEngine, settings: Settings, tmp_path: Path
) -> None:
    await fill(engine, settings)
    backup = await write(settings, tmp_path / "backup.tar", with_pictures=False)
    found = await restore(msgspec.structs.replace(settings, data_dir=tmp_path / "new"), backup, replace=True, now=NOON)
    assert (found.pictures, found.pictures_missing) == (0, 1)


async def test_a_central_that_holds_something_is_not_overwritten_by_accident(
    engine: AsyncEngine, settings: Settings, tmp_path: Path
) -> None:
    await fill(engine, settings)
    backup = await write(settings, tmp_path / "backup.tar")
    await ingest(engine, [make_delivery(9)], now=NOON)
    after = await everything(settings.database)
    with pytest.raises(BackupError, match="expected an empty central, or --replace"):
        await restore(settings, backup, replace=False, now=NOON)
    assert await everything(settings.database) == after
    await restore(settings, backup, replace=True, now=NOON)
    assert len((await everything(settings.database))["runs"]) == 3


async def test_a_damaged_backup_changes_nothing(engine: AsyncEngine, settings: Settings, tmp_path: Path) -> None:
    await fill(engine, settings)
    backup = await write(settings, tmp_path / "backup.tar")
    before = await everything(settings.database)
    whole = backup.read_bytes()
    middle = whole.index(PHOTO) + 100
    for spoilt in (whole[: len(whole) // 2], whole[:middle] + b"x" + whole[middle + 1 :], b"rubble" * 200, b""):
        backup.write_bytes(spoilt)
        with pytest.raises(BackupError):
            await restore(settings, backup, replace=True, now=NOON)
    assert await everything(settings.database) == before


async def test_a_file_that_exists_is_not_overwritten(settings: Settings, tmp_path: Path) -> None:
    target = tmp_path / "backup.tar"
    target.write_text("precious")
    with pytest.raises(BackupError, match="expected the name of a new file"):
        await write(settings, target)
    assert target.read_text() == "precious"


async def test_a_backup_while_readings_arrive_is_of_one_moment(
    engine: AsyncEngine, settings: Settings, tmp_path: Path
) -> None:
    await enrol(engine)

    async def arrive() -> None:
        for number in range(1, 31):
            await ingest(engine, [make_delivery(number)], now=NOON)

    arriving = asyncio.create_task(arrive())
    await asyncio.sleep(0)
    found = [check(await write(settings, tmp_path / f"{number}.tar"))[1].rows for number in range(3)]
    await arriving
    for rows in found:  # a run and its place are of one transaction
        assert rows["runs"] == rows["stretches"]


async def test_the_picture_of_an_unfinished_upload_is_gone_on_with(tmp_path: Path) -> None:
    images.append(tmp_path, PHOTO_ID, 0, len(PHOTO), PHOTO[:500])
    assert images.store(tmp_path, PHOTO_ID, PHOTO) == StoredImage(PHOTO_ID, len(PHOTO), "image/jpeg")


async def test_the_picture_of_a_damaged_upload_is_begun_again(tmp_path: Path) -> None:
    images.append(tmp_path, PHOTO_ID, 0, len(PHOTO), b"x" * 500)
    assert images.store(tmp_path, PHOTO_ID, PHOTO).bytes == len(PHOTO)
