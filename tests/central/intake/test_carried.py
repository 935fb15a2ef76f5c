"""Archives that are carried here: believed by their device's key only, taken once however often they come."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from central.audit.queries import Wanted, search
from central.db import reading, transaction
from central.fleet.devices import create_claim, redeem, revoke
from central.intake.carried import CarriedError, Imported, Trust, import_archive
from central.people.sites import EVERY_SITE
from central.results import images
from central.tables import dead_letters, devices, imports, runs, users
from protocol.archive import ArchivedPicture, Header, write
from protocol.codec import envelope
from protocol.messages import EnrolmentRequest, Picture, ReadingEnvelope
from protocol.sealing import ArchiveError, Lock
from tests.central.web import people
from tests.central.wire import ADDRESS, EPOCH
from tests.make import NOON, make_document

pytestmark = pytest.mark.anyio

OWN, FOREIGN = Ed25519PrivateKey.from_private_bytes(b"1" * 32), Ed25519PrivateKey.from_private_bytes(b"2" * 32)
PHOTO = b"\xff\xd8\xff\xe0" + bytes(2000)
PHOTO_ID = hashlib.sha256(PHOTO).hexdigest()
PICTURE = Picture(PHOTO_ID, len(PHOTO), 1600, 1200, "image/jpeg", "p.jpg")
ANNA = Trust("anna")


def public(key: Ed25519PrivateKey) -> str:
    """Hexadecimal, as in messages."""
    return key.public_key().public_bytes_raw().hex()


def sent(number: int, device_id: str = "bench-1", **fields: Any) -> ReadingEnvelope:
    """A reading in its envelope."""
    document = make_document(number, device_id=device_id, **fields)
    return envelope(document, device_id=device_id, epoch=EPOCH, seq=number, historical=True)


def archive(
    folder: Path,
    *records: ReadingEnvelope | ArchivedPicture,
    key: Ed25519PrivateKey = OWN,
    passphrase: str | None = None,
) -> Path:
    """A file as a reader writes it."""
    header = Header(1, "bench-1", "0.1.0", NOON, public(key))
    lock = None if passphrase is None else Lock(passphrase, b"s" * 32)
    path = folder / "bench-1.wellread"
    path.write_bytes(b"".join(write(header, records, key.sign, lock)))
    return path


async def enrol(engine: AsyncEngine, device_id: str = "bench-1") -> None:
    """A device with a key of its own."""
    claim = await create_claim(engine, device_id, by="anna", now=NOON)
    await redeem(engine, EnrolmentRequest(claim.code, device_id, "0.1.0", public(OWN)), ADDRESS, now=NOON)


async def take(engine: AsyncEngine, path: Path, trust: Trust = ANNA, passphrase: str | None = None) -> Imported:
    """Import it at noon, pictures beside it."""
    folder = path.parent / "images"
    return await import_archive(engine, folder, path, trust, passphrase=passphrase, now=NOON)


async def column(engine: AsyncEngine, of: Any) -> list[Any]:
    """All values of a column."""
    async with reading(engine) as connection:
        return list(await connection.scalars(select(of).order_by(of)))


async def test_readings_and_pictures_are_taken_once(engine: AsyncEngine, tmp_path: Path) -> None:
    await enrol(engine)
    path = archive(tmp_path, sent(1, picture=PICTURE), ArchivedPicture(PHOTO_ID, PHOTO), sent(2), sent(3))
    assert await take(engine, path) == Imported("bench-1", True, 3, 0, 0, 0, 1, 0, 0)
    assert await take(engine, path) == Imported("bench-1", True, 0, 3, 0, 0, 0, 1, 0)
    assert await column(engine, runs.c.seq) == [1, 2, 3]
    stored = images.path(tmp_path / "images", PHOTO_ID)
    assert stored is not None
    assert stored.read_bytes() == PHOTO
    assert await column(engine, imports.c.signed_by) == [public(OWN)] * 2


async def test_conflicts_and_what_cannot_be_taken_are_dead_letters(engine: AsyncEngine, tmp_path: Path) -> None:
    await enrol(engine)
    await take(engine, archive(tmp_path, sent(1)))
    path = archive(tmp_path, sent(1, agent="0.2.0"), sent(2, profile_version=9), sent(3))
    found = await take(engine, path)
    assert (found.new, found.conflicts, found.refused) == (1, 1, 1)
    assert await column(engine, dead_letters.c.code) == ["conflict", "unknown_profile"]


async def test_an_archive_speaks_for_its_own_device_only(engine: AsyncEngine, tmp_path: Path) -> None:
    await enrol(engine)
    await enrol(engine, "bench-2")
    found = await take(engine, archive(tmp_path, sent(1, device_id="bench-2")))
    assert (found.new, found.refused) == (0, 1)
    assert await column(engine, dead_letters.c.code) == ["wrong_device"]


async def test_another_key_is_refused_unless_an_administrator_answers_for_it(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    await enrol(engine)
    await people(engine)
    path = archive(tmp_path, sent(1), key=FOREIGN)
    with pytest.raises(CarriedError, match=f"signed with the key {public(FOREIGN)}"):
        await take(engine, path)
    for nobody in ("viewer", "command line"):
        with pytest.raises(CarriedError, match="no administrator"):
            await take(engine, path, Trust(nobody, accept_unsigned=True))
    assert await column(engine, runs.c.seq) == []
    found = await take(engine, path, Trust("admin", accept_unsigned=True))
    assert (found.new, found.signed) == (1, False)
    async with reading(engine) as connection:
        (row,) = await connection.execute(select(imports))
        admin = await connection.scalar(select(users.c.id).where(users.c.name == "admin"))
        entry = (await search(connection, Wanted(action="archive.import"), EVERY_SITE))[0]
    assert (row.imported_by, row.signed_by, row.counts["new"]) == (admin, None, 1)
    assert (entry.object_id, entry.site_id) == (row.archive_sha256, "main")
    assert f'"answered_for_by":"{admin}"' in (entry.new or "")


async def test_a_device_that_gave_no_key_needs_an_administrator_too(engine: AsyncEngine, tmp_path: Path) -> None:
    await enrol(engine)
    async with transaction(engine) as connection:
        await connection.execute(devices.update().values(public_key=None))
    with pytest.raises(CarriedError, match="that it gave one when it was enrolled"):
        await take(engine, archive(tmp_path, sent(1)))


async def test_nothing_of_an_altered_archive_is_taken(engine: AsyncEngine, tmp_path: Path) -> None:
    await enrol(engine)
    path = archive(tmp_path, *(sent(number) for number in range(1, 6)))
    whole = path.read_bytes()
    for spoilt in (whole[:-40], whole[: len(whole) // 2] + b"\x00" + whole[len(whole) // 2 + 1 :], b"rubble", b""):
        path.write_bytes(spoilt)
        with pytest.raises(ArchiveError):
            await take(engine, path)
    assert await column(engine, runs.c.seq) == []


async def test_a_sealed_archive_needs_its_passphrase(engine: AsyncEngine, tmp_path: Path) -> None:
    await enrol(engine)
    path = archive(tmp_path, sent(1), passphrase="three hens in a row")
    with pytest.raises(ArchiveError, match="sealed"):
        await take(engine, path)
    with pytest.raises(ArchiveError):
        await take(engine, path, passphrase="two hens")
    assert (await take(engine, path, passphrase="three hens in a row")).new == 1


@pytest.mark.parametrize("state", ["unknown", "revoked"])
async def test_an_archive_of_a_device_that_is_not_ours_is_refused(
    engine: AsyncEngine, tmp_path: Path, state: str
) -> None:
    if state == "revoked":
        await enrol(engine)
        await revoke(engine, "bench-1", now=NOON)
    with pytest.raises(CarriedError, match=r"not enrolled here|revoked"):
        await take(engine, archive(tmp_path, sent(1)))


async def test_the_counts_are_written_down_for_later(engine: AsyncEngine, tmp_path: Path) -> None:
    await enrol(engine)
    path = archive(tmp_path, sent(1))
    await take(engine, path)
    async with reading(engine) as connection:
        (row,) = await connection.execute(select(imports))
    assert row.archive_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert json.loads(json.dumps(row.counts))["device_id"] == "bench-1"
