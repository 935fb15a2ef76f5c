"""Small secrets that the database may hold: sealed with AES-256-GCM, and bound to whose they are.

The key is the file `sealing-key` of `data_dir`, never in the database and in no backup: whoever has a copy of the
database has no secret of it.
"""

import secrets
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from central.files import write_once

_NONCE_BYTES: Final = 12


class SealError(Exception):
    """What is sealed cannot be opened: it was changed, or sealed by another central's key."""


class Seal:
    """Seals small secrets for the database; `Seal.load(data_dir)` makes the key the first time."""

    def __init__(self, key: bytes) -> None:
        """`key` has 32 bytes."""
        self._cipher = AESGCM(key)

    @classmethod
    def load(cls, data_dir: Path) -> "Seal":
        """The key kept in `data_dir`."""
        path = data_dir / "sealing-key"
        if not path.exists():
            write_once(path, secrets.token_hex(32))
        return cls(bytes.fromhex(path.read_text()))

    def close(self, secret: bytes, owner_id: str) -> bytes:
        """The secret, sealed for this owner."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, secret, owner_id.encode())

    def open(self, sealed: bytes, owner_id: str) -> bytes:
        """What was sealed for this owner; SealError where that cannot be."""
        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], owner_id.encode())
        except (InvalidTag, ValueError) as error:
            raise SealError("a sealed secret cannot be opened (expected the `sealing-key` that sealed it)") from error
