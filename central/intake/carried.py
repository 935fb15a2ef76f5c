"""Readings that were carried here by hand: an archive goes through the same ingest as everything else.

The whole file is verified before anything of it is believed: that it is whole, and that the key which signed it is the
one that its device gave when it was enrolled. An archive of another key is taken only if an administrator answers for
it by name, and that is written down. Doing it twice changes nothing.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import anyio.to_thread
import msgspec
from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncEngine

from central.audit.chain import COMMAND, Change
from central.audit.chain import record as write_entries
from central.db import reading, transaction
from central.intake.ingest import Outcome, ingest
from central.intake.plan import Delivery
from central.results import images
from central.results.queries import get_image, picture_of_device
from central.tables import devices, imports, users
from protocol.archive import ArchivedPicture, End, Header, Reading, read, verify
from protocol.topics import topic

_PIECE: Final = 1024 * 1024
_BATCH: Final = 200


class Imported(msgspec.Struct, frozen=True):
    """What became of an archive. `signed`: by the key that its device was enrolled with."""

    device_id: str
    signed: bool
    new: int
    repeated: int
    conflicts: int
    refused: int
    pictures_new: int
    pictures_here: int
    pictures_refused: int


@dataclass(frozen=True, slots=True)
class Trust:
    """Who imports; `accept_unsigned`: they answer for an archive that its device's own key did not sign."""

    by: str
    accept_unsigned: bool = False


class CarriedError(ValueError):
    """An archive that is not taken; nothing of it was."""


async def import_archive(
    engine: AsyncEngine,
    images_dir: Path,
    path: Path,
    trust: Trust,
    *,
    passphrase: str | None,
    now: datetime,
) -> Imported:
    """Take the readings and pictures of an archive; ArchiveError or CarriedError where it is not to be believed."""
    header, _ = await anyio.to_thread.run_sync(verify, _pieces(path), passphrase)
    signed = await _check_signer(engine, header, trust)
    counts: Counter[str] = Counter()
    batch: list[Delivery] = []
    for record in read(_pieces(path), passphrase, header.public_key):
        if isinstance(record, Reading):
            # Whatever the envelope says: a device's archive speaks for that device only.
            batch.append(Delivery(topic(header.device_id, "reading"), record.wire))
        if batch and (len(batch) >= _BATCH or isinstance(record, ArchivedPicture | End)):
            counts += _counted(await ingest(engine, batch, now=now))
            batch = []
        if isinstance(record, ArchivedPicture):
            counts[await _put_picture(engine, images_dir, record, header.device_id, now)] += 1
    names = [name for name in Imported.__struct_fields__ if name not in ("device_id", "signed")]
    imported = Imported(header.device_id, signed, **{name: counts[name] for name in names})
    await _write_down(engine, path, header, imported, by=trust.by, now=now)
    return imported


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            yield piece


async def _check_signer(engine: AsyncEngine, header: Header, trust: Trust) -> bool:
    """Whether the device's own key signed it; CarriedError where nobody may answer for it."""
    async with reading(engine) as connection:
        device = (await connection.execute(select(devices).where(devices.c.id == header.device_id))).one_or_none()
        role = await connection.scalar(select(users.c.role).where(users.c.name == trust.by))
    if device is None or device.revoked_at is not None:
        state = "not enrolled here" if device is None else "revoked"
        raise CarriedError(
            f"the archive is of device {header.device_id!r}, which is {state} (expected a device of ours)"
        )
    if device.public_key == header.public_key:
        return True
    if not trust.accept_unsigned:
        known = f"of {device.public_key}" if device.public_key else "that it gave one when it was enrolled"
        raise CarriedError(
            f"the archive is signed with the key {header.public_key}, not with device {header.device_id!r}'s own "
            f"(expected the signature {known}); an administrator may answer for it: --accept-unsigned --by NAME"
        )
    if role != "admin":
        raise CarriedError(
            f"{trust.by!r} is no administrator here (expected the name of one, to answer for the archive)"
        )
    return False


def _counted(outcome: Outcome) -> Counter[str]:
    codes = Counter(no.code for _, ack in outcome.acks for no in ack.rejected)
    conflicts = codes["conflict"]
    refused = outcome.rejected - conflicts
    return Counter(new=len(outcome.new), repeated=outcome.repeated, conflicts=conflicts, refused=refused)


async def _put_picture(
    engine: AsyncEngine, images_dir: Path, picture: ArchivedPicture, device_id: str, now: datetime
) -> str:
    """Store a picture that an accepted reading of the device names; what became of it."""
    async with reading(engine) as connection:
        here = await get_image(connection, picture.sha256)
        wanted = await picture_of_device(connection, picture.sha256, device_id)
    if here is not None and (here.removed_at is not None or images.path(images_dir, picture.sha256) is not None):
        return "pictures_here"
    if wanted is None:
        return "pictures_refused"
    try:
        stored = await anyio.to_thread.run_sync(images.store, images_dir, picture.sha256, picture.content)
    except images.ImageError:
        return "pictures_refused"
    async with transaction(engine) as connection:
        await images.record(connection, stored, device_id=device_id, now=now)
    return "pictures_new"


async def _write_down(
    engine: AsyncEngine, path: Path, header: Header, imported: Imported, *, by: str, now: datetime
) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    row = {
        "imported_at": now,
        "archive_sha256": found,
        "name": path.name,
        "device_id": header.device_id,
        "signed_by": header.public_key if imported.signed else None,
        "counts": msgspec.to_builtins(imported),
    }
    async with transaction(engine) as connection:
        answers = await connection.scalar(select(users.c.id).where(users.c.name == by))
        site_id = await connection.scalar(select(devices.c.site_id).where(devices.c.id == header.device_id))
        await connection.execute(insert(imports).values(row | {"imported_by": answers or by[:64]}))
        new = {"signed": imported.signed, "counts": row["counts"], "answered_for_by": answers}
        await write_entries(connection, COMMAND, [Change("archive.import", "archive", found, site_id, new=new)], now)
