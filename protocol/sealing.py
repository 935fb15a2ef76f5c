"""Bytes closed under a passphrase, in pieces that can be written and read as they come. Pure.

The content is cut into pieces of 64 KiB, each closed with ChaCha20-Poly1305 under a key that scrypt makes of the
passphrase and the salt; the nonce is the piece's number and whether it is the last, so that none can be left out, moved
or cut off. The costs of scrypt are fixed here: a file cannot ask for more.
"""

import hashlib
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

SALT_BYTES: Final = 32
SHORTEST_PASSPHRASE: Final = 8

# What the pieces belong to: they open as nothing else.
_BOUND: Final = b"wellread archive 1\n"
_PIECE_BYTES: Final = 64 * 1024
_TAG_BYTES: Final = 16
# 64 MiB for a second on a small computer: one of 1 GB has room for it, and it is done once per file.
_SCRYPT_N: Final = 2**16
_SCRYPT_MOST_BYTES: Final = 2**27


class ArchiveError(ValueError):
    """This is no archive that may be believed; the message says what is wrong and where."""


@dataclass(frozen=True, slots=True)
class Lock:
    """What seals an archive. The salt is 32 random bytes, never used twice."""

    passphrase: str
    salt: bytes

    def __repr__(self) -> str:
        """Nothing of it."""
        return "Lock(…)"


def _key(lock: Lock) -> ChaCha20Poly1305:
    if len(lock.passphrase) < SHORTEST_PASSPHRASE or len(lock.salt) != SALT_BYTES:
        raise ArchiveError(f"a passphrase of {len(lock.passphrase)} signs (expected at least {SHORTEST_PASSPHRASE})")
    # The same words typed on another keyboard may be other code points.
    passphrase = unicodedata.normalize("NFC", lock.passphrase).encode()
    key = hashlib.scrypt(passphrase, salt=lock.salt, n=_SCRYPT_N, r=8, p=1, maxmem=_SCRYPT_MOST_BYTES, dklen=32)
    return ChaCha20Poly1305(key)


def _nonce(number: int, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([last])


def seal(content: Iterable[bytes], lock: Lock) -> Iterator[bytes]:
    """The content in closed pieces."""
    key, waiting, number = _key(lock), bytearray(), 0
    for piece in content:
        waiting += piece
        # One more than a piece must be here: the last is closed as the last.
        while len(waiting) > _PIECE_BYTES:
            yield key.encrypt(_nonce(number, last=False), bytes(waiting[:_PIECE_BYTES]), _BOUND)
            del waiting[:_PIECE_BYTES]
            number += 1
    yield key.encrypt(_nonce(number, last=True), bytes(waiting), _BOUND)


def unseal(source: "Source", lock: Lock) -> Iterator[bytes]:
    """The content of closed pieces; ArchiveError at the first that cannot be opened."""
    key = _key(lock)
    for number in count():
        piece = source.take_up_to(_PIECE_BYTES + _TAG_BYTES)
        last = source.is_at_end()
        try:
            yield key.decrypt(_nonce(number, last), piece, _BOUND)
        except (InvalidTag, ValueError) as error:
            why = "another passphrase, altered or cut off" if number == 0 else "altered or cut off"
            raise ArchiveError(f"piece {number} of the sealed archive cannot be opened: {why}") from error
        if last:
            return


class Source:
    """Bytes that come in pieces of any size, taken in the sizes that are wanted."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        """The pieces are asked for one by one."""
        self._pieces, self._here = iter(pieces), bytearray()

    def take(self, size: int, what: str) -> bytes:
        """So many bytes; ArchiveError if there are not so many."""
        taken = self.take_up_to(size)
        if len(taken) < size:
            raise ArchiveError(f"the archive is cut off in its {what} (expected {size - len(taken)} bytes more)")
        return taken

    def take_up_to(self, size: int) -> bytes:
        """So many bytes, or what is left of them."""
        while len(self._here) < size:
            piece = next(self._pieces, None)
            if piece is None:
                break
            self._here += piece
        taken = bytes(self._here[:size])
        del self._here[:size]
        return taken

    def is_at_end(self) -> bool:
        """Whether nothing is left."""
        while not self._here:
            piece = next(self._pieces, None)
            if piece is None:
                return True
            self._here += piece
        return False

    def finish(self) -> None:
        """ArchiveError if something is left."""
        if not self.is_at_end():
            raise ArchiveError("something follows the end of the archive (expected nothing)")
