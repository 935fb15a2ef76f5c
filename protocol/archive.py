"""Readings carried by hand, from a reader's outbox to central or to another card: one file, read as it comes. Pure.

    b"wellread archive 1\\n"  then one byte: "-" open, or "*" sealed and 32 bytes of salt
    records, each one byte of kind, four of length (big-endian) and a body:
      H  the header                 JSON of `Header`; first
      R  a reading                  wire bytes of its `ReadingEnvelope`, as they would go over MQTT
      P  its picture, untouched     anywhere after the reading that names it
      E  the end                    JSON of `End`: counts, SHA-256 of all before it, and its Ed25519 signature; last

`sealing` closes the records of a sealed archive under a passphrase.

Whether an archive is whole and whose it is stands at its end: read it through once with `verify` before anything of it
is believed. A signature says which key made the archive; whose key that is the caller must know.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from typing import Annotated, Final, TypeAlias, TypeVar

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from protocol import codec
from protocol.errors import LocalProtocolError, RemoteProtocolError
from protocol.messages import DeviceId, PublicKey, ReadingEnvelope, Sha256
from protocol.sealing import SALT_BYTES, ArchiveError, Lock, Source, seal, unseal

VERSION: Final = 1
FIRST_LINE: Final = b"wellread archive 1\n"
MOST_PICTURE_BYTES: Final = 64 * 1024 * 1024

_OPEN, _SEALED = b"-", b"*"
_MOST_BYTES: Final = {b"H": 64 * 1024, b"R": codec.MAX_WIRE_BYTES, b"P": MOST_PICTURE_BYTES, b"E": 64 * 1024}

_Struct = TypeVar("_Struct", bound=msgspec.Struct)


class Header(msgspec.Struct, frozen=True):
    """Whose archive it is: the reader that wrote it, and the Ed25519 key that signs it (hexadecimal)."""

    v: int
    device_id: DeviceId
    agent: str
    exported_at: datetime
    public_key: PublicKey


class End(msgspec.Struct, frozen=True):
    """What came before: how much, its SHA-256, and the signature of `FIRST_LINE` and that digest."""

    readings: int
    pictures: int
    digest: Sha256
    signature: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{128}$(?!\n)")]


@dataclass(frozen=True, slots=True)
class Reading:
    """A reading in an archive. `wire` is its envelope as bytes, as they would have come over MQTT."""

    envelope: ReadingEnvelope
    wire: bytes


@dataclass(frozen=True, slots=True)
class ArchivedPicture:
    """The photograph of one reading or several."""

    sha256: str
    content: bytes


Record: TypeAlias = Header | Reading | ArchivedPicture | End


def write(
    header: Header, records: Iterable[ReadingEnvelope | ArchivedPicture], sign: Callable[[bytes], bytes],
    lock: Lock | None = None,
) -> Iterator[bytes]:  # fmt: skip
    """The file, piece by piece. `sign` is the device's Ed25519 signature of some bytes."""
    content = _content(header, records, sign)
    if lock is None:
        yield FIRST_LINE + _OPEN
        yield from content
    else:
        yield FIRST_LINE + _SEALED + lock.salt
        yield from seal(content, lock)


def read(pieces: Iterable[bytes], passphrase: str | None = None, signer: str | None = None) -> Iterator[Record]:
    """What is in an archive, as it comes, header first; ArchiveError at the first thing that is wrong.

    `signer` is the public key that must have signed it. Only once the `End` was given is anything proven.
    """
    source = Source(pieces)
    if source.take(len(FIRST_LINE), "first line") != FIRST_LINE:
        raise ArchiveError(f"not a Wellread archive of version {VERSION} (expected it to begin with {FIRST_LINE!r})")
    how = source.take(1, "byte that says whether it is sealed")
    if how == _SEALED:
        if passphrase is None:
            raise ArchiveError("the archive is sealed (expected a passphrase)")
        source = Source(unseal(source, Lock(passphrase, source.take(SALT_BYTES, "salt"))))
    elif how != _OPEN:
        raise ArchiveError(f"the archive is neither open nor sealed: {how!r} (expected {_OPEN!r} or {_SEALED!r})")
    yield from _records(source, signer)


def verify(pieces: Iterable[bytes], passphrase: str | None = None, signer: str | None = None) -> tuple[Header, End]:
    """Read an archive through; its header and end, once everything in it and its signature are right."""
    header: Header | None = None
    for record in read(pieces, passphrase, signer):
        if isinstance(record, Header):
            header = record
        elif isinstance(record, End) and header is not None:
            return header, record
    raise LocalProtocolError("an archive was read without its end (expected `read` to refuse it)")


def _content(
    header: Header, records: Iterable[ReadingEnvelope | ArchivedPicture], sign: Callable[[bytes], bytes]
) -> Iterator[bytes]:
    total, counts = hashlib.sha256(), {b"R": 0, b"P": 0}

    def record(kind: bytes, body: bytes) -> bytes:
        if len(body) > _MOST_BYTES[kind]:
            raise LocalProtocolError(f"a record of {len(body)} bytes (expected at most {_MOST_BYTES[kind]})")
        framed = kind + len(body).to_bytes(4, "big") + body
        total.update(framed)
        return framed

    yield record(b"H", codec.as_json(header))
    for one in records:
        kind, body = (b"P", one.content) if isinstance(one, ArchivedPicture) else (b"R", codec.encode(one))
        counts[kind] += 1
        yield record(kind, body)
    signature = sign(FIRST_LINE + total.digest()).hex()
    yield record(b"E", codec.as_json(End(counts[b"R"], counts[b"P"], total.hexdigest(), signature)))


def _records(source: Source, signer: str | None) -> Iterator[Record]:
    total, counts = hashlib.sha256(), {b"R": 0, b"P": 0}
    kind, body = _record(source, 0)
    if kind != b"H":
        raise ArchiveError(f"the archive begins with a record {kind!r} (expected its header)")
    header = _decode(body, Header)
    if header.v != VERSION:
        raise ArchiveError(f"the archive is of version {header.v} (expected {VERSION})")
    if signer is not None and header.public_key != signer:
        raise ArchiveError(f"the archive is signed with the key {header.public_key} (expected {signer})")
    yield header
    named: set[str] = set()
    for number in count(1):
        total.update(kind + len(body).to_bytes(4, "big") + body)
        kind, body = _record(source, number)
        if kind == b"E":
            end = _decode(body, End)
            _check_end(end, header, total.digest(), counts)
            source.finish()
            yield end
            return
        if kind == b"H":
            raise ArchiveError(f"record {number} is a second header (expected one)")
        counts[kind] += 1
        yield _reading(body, number, named) if kind == b"R" else _picture(body, number, named)


def _record(source: Source, number: int) -> tuple[bytes, bytes]:
    kind, size = source.take(1, f"record {number}"), int.from_bytes(source.take(4, f"record {number}"), "big")
    if kind not in _MOST_BYTES:
        raise ArchiveError(f"record {number} is of kind {kind!r} (expected one of H, R, P, E)")
    if size > _MOST_BYTES[kind]:
        raise ArchiveError(f"record {number} claims {size} bytes (expected at most {_MOST_BYTES[kind]})")
    return kind, source.take(size, f"record {number}")


class _Named(msgspec.Struct):
    sha256: str


class _PictureOf(msgspec.Struct):
    picture: _Named


def _reading(body: bytes, number: int, named: set[str]) -> Reading:
    try:
        envelope = codec.decode(body, ReadingEnvelope)
    except RemoteProtocolError as error:
        raise ArchiveError(f"record {number} is not a reading: {error.detail}") from error
    document = bytes(envelope.reading)
    if codec.digest(document) != envelope.digest:
        raise ArchiveError(
            f"record {number}, reading {envelope.seq} of {envelope.epoch}: its digest is {codec.digest(document)} "
            f"(expected {envelope.digest})"
        )
    # Whether these bytes are a reading that central knows is for its ingest to say, and to keep.
    with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        named.add(msgspec.json.decode(document, type=_PictureOf).picture.sha256)
    return Reading(envelope, body)


def _picture(body: bytes, number: int, named: set[str]) -> ArchivedPicture:
    found = hashlib.sha256(body).hexdigest()
    if found not in named:
        raise ArchiveError(f"record {number} is a picture {found} (expected one that a reading before it names)")
    return ArchivedPicture(found, body)


def _check_end(end: End, header: Header, found: bytes, counts: dict[bytes, int]) -> None:
    if end.digest != found.hex():
        raise ArchiveError(f"the archive was altered: its digest is {found.hex()} (expected {end.digest})")
    if (end.readings, end.pictures) != (counts[b"R"], counts[b"P"]):
        raise ArchiveError(f"the archive holds {counts[b'R']} readings (expected {end.readings})")
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(header.public_key))
        key.verify(bytes.fromhex(end.signature), FIRST_LINE + found)
    except (InvalidSignature, ValueError) as error:
        raise ArchiveError(f"the signature is not by the key {header.public_key} that the header names") from error


def _decode(body: bytes, kind: type[_Struct]) -> _Struct:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ArchiveError(f"not a {kind.__name__.strip('_').lower()} of an archive: {error}") from error
