"""A reading's bytes as the outbox's file holds them: zstd, with an example reading as what is known beforehand.

Nine tenths of a reading are the names of its wells and fields, the same in every reading; 100,000 plates of 384 wells
fit into a gigabyte only because those are not stored again (docs/decisions/0018-the-outbox-survives.md has the
figures). The example ships with the agent and is never changed: a damaged one is refused and installed anew, where one
that lay in the file would take every reading with it.
"""

from hashlib import sha256
from pathlib import Path
from typing import Final

import zstandard

from protocol.codec import MAX_MESSAGE_BYTES

DICTIONARY_FILE: Final = Path(__file__).with_name("packing_dictionary.json")
DICTIONARY_SHA256: Final = "9fdebb95884c9b3dc8c805e9ed03fe139c8d528c7e7a1e967a4bcdf25b364976"

# Of 384 wells 15 leaves 8.2 kB in 18 ms of an x86 core, 12 leaves 9.1, and 19 takes twice the time for 3 % less. Of 96
# wells 9 leaves 3.0 kB in 0.6 ms; 15 would leave 2.6 in 5 (2026-11-21).
_LEVEL: Final = 9
_LEVEL_OF_LARGE: Final = 15
_LARGE_BYTES: Final = 48_000


class PackingError(ValueError):
    """These bytes cannot be unpacked: they are damaged."""


class Packer:
    """Packs and unpacks; used by one thread at a time."""

    def __init__(self) -> None:
        """Read the example; OSError or PackingError if it is not the one that readings are packed with."""
        content = DICTIONARY_FILE.read_bytes()
        found = sha256(content).hexdigest()
        if found != DICTIONARY_SHA256:
            raise PackingError(
                f"{DICTIONARY_FILE} has the SHA-256 {found} (expected {DICTIONARY_SHA256}: install anew)"
            )
        dictionary = zstandard.ZstdCompressionDict(content, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
        self._small = zstandard.ZstdCompressor(level=_LEVEL, dict_data=dictionary)
        self._large = zstandard.ZstdCompressor(level=_LEVEL_OF_LARGE, dict_data=dictionary)
        self._decompressor = zstandard.ZstdDecompressor(dict_data=dictionary, max_window_size=8 * 1024 * 1024)

    def pack(self, document: bytes) -> bytes:
        """The bytes to keep."""
        return (self._large if len(document) >= _LARGE_BYTES else self._small).compress(document)

    def unpack(self, packed: object) -> bytes:
        """The document; PackingError where there is none in these bytes."""
        if not isinstance(packed, bytes):
            raise PackingError(f"the reading's bytes are {type(packed).__name__} (expected a packed document)")
        try:
            size = zstandard.frame_content_size(packed)
            if not 0 < size <= MAX_MESSAGE_BYTES:
                raise PackingError(f"the reading claims {size} bytes (expected 1 to {MAX_MESSAGE_BYTES})")
            return self._decompressor.decompress(packed, max_output_size=size)
        except (zstandard.ZstdError, MemoryError) as error:
            raise PackingError(f"the reading's bytes cannot be unpacked: {error}") from error
