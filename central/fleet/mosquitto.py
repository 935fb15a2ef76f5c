"""Pure: what Mosquitto reads: its configuration and its password file. Least authority: loopback, nobody anonymous."""

import base64
import hashlib
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from protocol.codec import MAX_WIRE_BYTES

# Mosquitto's own number of rounds. Every password here is 256 random bits, which no number of rounds would help.
_ROUNDS: Final = 101
_SALT_BYTES: Final = 12


def new_password() -> str:
    """A password of 256 random bits."""
    return secrets.token_urlsafe(32)


def password_hash(password: str, salt: bytes | None = None) -> str:
    """Mosquitto's `$7$` form: PBKDF2 with SHA-512."""
    salt = secrets.token_bytes(_SALT_BYTES) if salt is None else salt
    derived = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _ROUNDS)
    return f"$7${_ROUNDS}${base64.b64encode(salt).decode()}${base64.b64encode(derived).decode()}"


def password_file(hashes: Mapping[str, str]) -> str:
    """Text of the password file: user → hash."""
    return "".join(f"{user}:{hashed}\n" for user, hashed in sorted(hashes.items()))


def configuration(folder: Path, port: int, *, user: str | None) -> str:
    """Configuration of the child broker whose files are in `folder`; `user` keeps it from changing to another."""
    lines = [
        "# Written by wellread-central at each start; do not edit.",
        f"listener {port} 127.0.0.1",
        "allow_anonymous false",
        f"password_file {folder / 'passwords'}",
        f"acl_file {folder / 'acl'}",
        # Otherwise one device could take another's client id and throw it off.
        "use_username_as_clientid true",
        # Without it a client that waits for acknowledgements is twenty times slower (Nagle and delayed ACK).
        "set_tcp_nodelay true",
        # The default of 1000 silently drops what was acknowledged; devices have 32 messages in flight each, or fewer.
        "max_queued_messages 100000",
        # Twice what the protocol allows: a message that is too large still reaches central, which answers it.
        f"max_packet_size {2 * MAX_WIRE_BYTES}",
        # The durable copies are the devices' outboxes and central's database.
        "persistence false",
        "connection_messages false",
        "log_dest stderr",
        *(f"log_type {kind}" for kind in ("error", "warning", "notice", "information")),
    ]
    if user is not None:
        lines.append(f"user {user}")
    return "\n".join(lines) + "\n"
