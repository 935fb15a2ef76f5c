"""This reader's Ed25519 key: by its signature an archive carried by hand is known to be this reader's own.

Made at the first need, kept in the state folder, readable by the agent only. Central learns the public half when the
reader is enrolled.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.durable import make_folder, write_durably

KEY_FILE: Final = "signing.key"
_KEY_BYTES: Final = 32


class SigningKeyError(Exception):
    """The key cannot be used; the message says why."""


def signing_key(state_dir: Path, random_bytes: Callable[[int], bytes] = os.urandom) -> Ed25519PrivateKey:
    """The key in a state folder, made if there is none; SigningKeyError if what is there is no key."""
    path = state_dir / KEY_FILE
    if path.is_file():
        text = path.read_text(encoding="ascii", errors="replace").strip()
    else:
        text = random_bytes(_KEY_BYTES).hex()
        make_folder(state_dir)
        write_durably(path, text.encode() + b"\n", mode=0o600)
    try:
        return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(text))
    except ValueError as error:
        # Never the text itself: it is a secret.
        raise SigningKeyError(f"{path} is no key (expected {2 * _KEY_BYTES} hexadecimal digits)") from error


def public_key(key: Ed25519PrivateKey) -> str:
    """Its public half, in hexadecimal."""
    return key.public_key().public_bytes_raw().hex()
