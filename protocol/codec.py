"""Message ↔ bytes: JSON, zstd-compressed on the wire. Size limits stand here; old versions are upgraded here only.

The reading inside an envelope stays as the bytes that were hashed at capture: it is decoded from them and never
re-encoded, so a digest holds from the camera to the export.
"""

import hashlib
import re
from collections.abc import Sequence
from typing import Any, Final, TypeVar

import msgspec
import zstandard

from protocol.errors import LocalProtocolError, RemoteProtocolError
from protocol.messages import VERSION, PlateReading, ReadingBatch, ReadingEnvelope
from protocol.plate import FORMATS

# A 1536-well reading is about 250 kB of JSON and 40 kB compressed; both limits leave room, neither leaves a bomb.
MAX_WIRE_BYTES: Final = 512 * 1024
MAX_MESSAGE_BYTES: Final = 4 * 1024 * 1024

READABLE_VERSIONS: Final = (VERSION,)

_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_encoder: Final = msgspec.json.Encoder(order="deterministic")
_Message = TypeVar("_Message", bound=msgspec.Struct)


class _Versioned(msgspec.Struct):
    v: int


def encode(message: msgspec.Struct) -> bytes:
    """Wire bytes of any message."""
    return compress(_encoder.encode(message))


def decode(wire: bytes, kind: type[_Message]) -> _Message:
    """The message of this kind in these wire bytes; RemoteProtocolError names what is wrong with them."""
    return decode_document(decompress(wire), kind)


def decode_document(document: bytes | msgspec.Raw, kind: type[_Message]) -> _Message:
    """The same from the JSON in wire bytes."""
    try:
        message = _decode_json(document, kind)
    except RemoteProtocolError:
        # Of a version that we do not read it need not fit either.
        _check_version(_decode_json(document, _Versioned))
        raise
    _check_version(message)
    return message


def encode_reading(reading: PlateReading) -> bytes:
    """The canonical JSON of a reading: what is stored, hashed and sent."""
    return _encoder.encode(reading)


def decode_reading(document: bytes) -> PlateReading:
    """The reading in its canonical JSON, with its version and well names checked."""
    reading = decode_document(document, PlateReading)
    _check_wells(reading)
    return reading


def digest(document: bytes) -> str:
    """SHA-256 of a reading's canonical JSON, in hexadecimal."""
    return hashlib.sha256(document).hexdigest()


def envelope(
    reading: bytes, *, device_id: str, epoch: str, seq: int, historical: bool, known_digest: str | None = None
) -> ReadingEnvelope:
    """The envelope for a reading's canonical JSON. `known_digest` is one that was just proven of these bytes."""
    proven = known_digest or digest(reading)
    return ReadingEnvelope(VERSION, device_id, epoch, seq, historical, proven, msgspec.Raw(reading))


def encode_batch(envelopes: Sequence[ReadingEnvelope]) -> bytes:
    """Wire bytes of several readings of one device."""
    enclosed = tuple(msgspec.Raw(_encoder.encode(one)) for one in envelopes)
    return encode(ReadingBatch(VERSION, envelopes[0].device_id, enclosed))


def open_envelope(message: ReadingEnvelope) -> tuple[PlateReading, bytes]:
    """The reading in an envelope and the bytes it was hashed as; RemoteProtocolError if they do not belong together."""
    document = bytes(message.reading)
    found = digest(document)
    if found != message.digest:
        raise RemoteProtocolError("digest_mismatch", f"the reading's digest is {found} (expected {message.digest})")
    reading = decode_reading(document)
    if reading.device_id != message.device_id:
        raise RemoteProtocolError(
            "wrong_device", f"the reading is of device {reading.device_id!r} (expected {message.device_id!r})"
        )
    return reading, document


def compress(document: bytes) -> bytes:
    """zstd level 1, with a checksum, which whoever unpacks it verifies.

    Of a measured plate of 96 wells 1 leaves 4.2 of 25.8 kB in 63 µs, 3 takes 84 µs and leaves no less (2026-11-21).

    A reading proves itself by its digest, but nothing else does so for where it belongs: of all single bits of a
    message 0.7 % turned one place into another (measured 2026-11-21).
    """
    if len(document) > MAX_MESSAGE_BYTES:
        raise LocalProtocolError(f"message of {len(document)} bytes (expected at most {MAX_MESSAGE_BYTES})")
    return zstandard.ZstdCompressor(level=1, write_checksum=True).compress(document)


def decompress(wire: bytes) -> bytes:
    """The JSON in wire bytes, never more than `MAX_MESSAGE_BYTES` of it, whatever the frame claims."""
    if len(wire) > MAX_WIRE_BYTES:
        raise RemoteProtocolError("too_large", f"{len(wire)} bytes on the wire (expected at most {MAX_WIRE_BYTES})")
    if not wire.startswith(_ZSTD_MAGIC):
        raise RemoteProtocolError("undecodable", f"starts with {wire[:4]!r} (expected a zstd frame)")
    try:
        unpacker, size = zstandard.ZstdDecompressor(max_window_size=8 * 1024 * 1024), zstandard.frame_content_size(wire)
        if 0 < size <= MAX_MESSAGE_BYTES:
            return unpacker.decompress(wire, max_output_size=size)
        # Without a size, or with one that is not to be believed.
        document = unpacker.stream_reader(wire).read(MAX_MESSAGE_BYTES + 1)
    except (zstandard.ZstdError, MemoryError) as error:
        raise RemoteProtocolError("undecodable", f"not a whole zstd frame: {error}") from error
    if len(document) > MAX_MESSAGE_BYTES:
        raise RemoteProtocolError("too_large", f"unpacks to more than {MAX_MESSAGE_BYTES} bytes")
    return document


def _decode_json(document: bytes | msgspec.Raw, kind: type[_Message]) -> _Message:
    try:
        return msgspec.json.decode(document, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RemoteProtocolError("undecodable", f"not a {kind.__name__}: {error}") from error


def _check_version(message: msgspec.Struct) -> None:
    version = getattr(message, "v", None)
    if version not in READABLE_VERSIONS:
        expected = " or ".join(map(str, READABLE_VERSIONS))
        raise RemoteProtocolError("unsupported_version", f"version {version} (expected {expected})")


_NOT_WELL: Final = re.compile(r"[^A-Z0-9]")


def _check_wells(reading: PlateReading) -> None:
    """Every well of the plate has a state, and no other well has one."""

    form = FORMATS.get(reading.plate.format)
    if form is None:
        raise RemoteProtocolError("undecodable", f"a plate of {reading.plate.format} wells (expected {list(FORMATS)})")
    expected = set(form.names())
    extra, missing = sorted(set(reading.wells) - expected), sorted(expected - set(reading.wells))
    if extra or missing:
        raise RemoteProtocolError(
            "undecodable",
            f"wells of a {form.wells}-well plate: {len(missing)} missing {missing[:3]}, {len(extra)} unknown "
            f"{[_NOT_WELL.sub('?', name[:8]) for name in extra[:3]]} (expected each well once)",
        )


def as_json(message: Any) -> bytes:
    """Readable JSON of any struct or builtin, for people and logs; not the wire format."""
    return _encoder.encode(message)
