"""Readings on a stick: out of this outbox into one signed file, and out of such a file into an outbox.

An export looks at the file beside a running agent, a reading at a time. Every reading is proven by the digest that was
made at capture before it is written; one that is damaged is named and left out. An import reads the whole archive
before it believes anything of it, and takes a reading by its id: again and again changes nothing.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import msgspec

from edge_agent import AGENT_VERSION
from edge_agent.durable import make_folder, write_durably, write_pieces_durably
from edge_agent.link.enrol import DEVICE_ID_FILE, device_id
from edge_agent.link.signing import KEY_FILE, public_key, signing_key
from edge_agent.outbox.look import open_for_looking
from edge_agent.outbox.outbox import Outbox
from edge_agent.outbox.packing import Packer
from edge_agent.outbox.rows import DamagedError, picture_file, proven_document
from edge_agent.outbox.tables import captured, meta
from protocol import codec
from protocol.archive import VERSION, ArchivedPicture, Header, Reading, read, verify, write
from protocol.errors import RemoteProtocolError
from protocol.messages import ReadingEnvelope
from protocol.sealing import SALT_BYTES, ArchiveError, Lock

_PIECE_BYTES: Final = 1024 * 1024
_STRETCH: Final = 50


@dataclass
class Exported:
    """What went into an archive, the key that signed it, and what is damaged here and was left out, by name."""

    signer: str
    readings: int = 0
    pictures: int = 0
    left_out: list[str] = field(default_factory=list)


@dataclass
class Imported:
    """What came of an archive's readings: new here, here already, and refused, by name."""

    new: int = 0
    known: int = 0
    refused: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """One line for the person who asked, and one for each that was refused."""
        return "\n".join([f"{self.new} readings taken up, {self.known} were here already", *self.refused])


def export_archive(
    state_dir: Path, path: Path, now: datetime, *, everything: bool, pictures: bool, passphrase: str | None = None
) -> Exported:
    """Write what central lacks (or `everything`) to `path`, whole or not at all."""
    key = signing_key(state_dir)
    exported = Exported(public_key(key))
    header = Header(VERSION, device_id(state_dir, os.urandom), AGENT_VERSION, now, exported.signer)
    lock = None if passphrase is None else Lock(passphrase, os.urandom(SALT_BYTES))
    with closing(open_for_looking(state_dir / "outbox.db")) as connection:
        records = _records(connection, state_dir / "pictures" if pictures else None, exported, everything=everything)
        write_pieces_durably(path, write(header, records, key.sign, lock), mode=0o600)
    return exported


def import_archive(
    path: Path, outbox: Outbox, state_dir: Path, passphrase: str | None = None, signer: str | None = None
) -> Imported:
    """Take up an archive; ArchiveError, and nothing taken, unless it is whole and signed by this reader or `signer`."""
    header, _ = verify(_pieces(path), passphrase)
    _check_signer(header, state_dir, signer)
    own_id, imported = _own_id(state_dir, header), Imported()
    waiting: Reading | None = None
    media_types: dict[str, str] = {}
    # The signature has been checked; read again, since a month of readings does not fit into memory.
    for record in read(_pieces(path), passphrase, header.public_key):
        if isinstance(record, ArchivedPicture):
            # Before its reading, so that central finds it when it asks for it.
            outbox.take_in_picture(record.sha256, media_types.get(record.sha256, ""), record.content)
            continue
        if waiting is not None:
            _take_in(waiting, outbox, own_id, imported)
        waiting = record if isinstance(record, Reading) else None
        if waiting is not None:
            with suppress(msgspec.DecodeError):
                picture = captured(bytes(waiting.envelope.reading)).picture
                media_types[picture.sha256] = picture.media_type
    return imported


def _records(
    connection: sqlite3.Connection, pictures: Path | None, exported: Exported, *, everything: bool
) -> Iterator[ReadingEnvelope | ArchivedPicture]:
    epoch, packer, written = meta(connection, "epoch") or "unknown", Packer(), set[str]()
    for row in _rows(connection, everything=everything):
        found = connection.execute("SELECT digest, packed FROM documents WHERE seq = ?", [row["seq"]]).fetchone()
        try:
            document = proven_document(row, dict(found) if found else None, packer)
        except DamagedError as damaged:
            exported.left_out.append(f"reading {row['seq']} {row['id']}: {damaged}")
            continue
        yield codec.envelope(
            document, device_id=captured(document).device_id, epoch=epoch, seq=row["seq"], historical=True
        )
        exported.readings += 1
        if pictures is not None and row["picture_sha256"] not in written:
            content = _picture(pictures / picture_file(row), row["picture_sha256"])
            if content is None:
                exported.left_out.append(f"the picture of reading {row['seq']} {row['id']}: gone or damaged")
                continue
            yield ArchivedPicture(row["picture_sha256"], content)
            written.add(row["picture_sha256"])
            exported.pictures += 1


def _rows(connection: sqlite3.Connection, *, everything: bool) -> Iterator[dict[str, Any]]:
    """A stretch at a time, so that the agent beside it can empty its log between them."""
    last = 0
    sql = "SELECT * FROM readings WHERE seq > ? AND (? OR state != 'settled') ORDER BY seq LIMIT ?"
    while rows := connection.execute(sql, [last, everything, _STRETCH]).fetchall():
        last = rows[-1]["seq"]
        yield from map(dict, rows)


def _picture(path: Path, digest: str) -> bytes | None:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    return content if sha256(content).hexdigest() == digest else None


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            yield piece


def _check_signer(header: Header, state_dir: Path, signer: str | None) -> None:
    own = public_key(signing_key(state_dir)) if (state_dir / KEY_FILE).is_file() else None
    if header.public_key not in (own, signer):
        raise ArchiveError(
            f"the archive is signed with the key {header.public_key} of {header.device_id} (expected this "
            f"reader's own, {own}; if you know that key, which `queue export` showed, name it with --signer)"
        )


def _own_id(state_dir: Path, header: Header) -> str:
    """This reader's id; on a card that never had one, the archive's: it goes on as the reader that it was."""
    path = state_dir / DEVICE_ID_FILE
    if not path.is_file():
        make_folder(state_dir)
        write_durably(path, header.device_id.encode() + b"\n")
    return device_id(state_dir, os.urandom)


def _take_in(record: Reading, outbox: Outbox, own_id: str, imported: Imported) -> None:
    envelope = record.envelope
    try:
        reading, document = codec.open_envelope(envelope)
    except RemoteProtocolError as error:
        imported.refused.append(f"refused: reading {envelope.seq} of {envelope.epoch}: {error.detail}")
        return
    why = None
    if reading.device_id != own_id:
        # Central takes a reading from its own device only: this card keeps it, and the next export has it.
        why = f"captured by {reading.device_id} (give an archive of it to central: `wellread-central import`)"
    wrong = outbox.take_in(document, another_device=why)
    if wrong is None:
        imported.new += 1
    elif wrong == "":
        imported.known += 1
    else:
        imported.refused.append(f"refused: reading {reading.id}: {wrong}")
