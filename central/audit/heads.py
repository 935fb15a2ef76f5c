"""Signed heads: how long the trail was, and its last hash, by a key that is not in the database.

The running central signs one when it starts, every hour, and when it stops; `wellread-central audit head` at any time.
A head goes into the table `audit_heads` and into a file of the folder `audit-heads`: copy those files elsewhere, and
nobody who can write to database and disk rewrites what is older than the copy.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec
import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from central.audit.verify import Head
from central.db import DATABASE_ERRORS, insert_ignore, transaction
from central.files import write_durably, write_once
from central.tables import audit_heads, audit_tip

EVERY_S: Final = 3600.0

log: Final = structlog.get_logger(__name__)


class HeadKey:
    """The key that signs; `HeadKey.load(data_dir)` makes it the first time, readable by its owner alone."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        """`key` is the private half."""
        self._key = key
        self.public_key: Final = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()

    @classmethod
    def load(cls, data_dir: Path) -> "HeadKey":
        """The key kept in `data_dir`; two processes that start together end up with the same one."""
        path = data_dir / "audit-key.pem"
        if not path.exists():
            made = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            write_once(path, made.decode())
        key = load_pem_private_key(path.read_bytes(), None)
        assert isinstance(key, Ed25519PrivateKey), f"{path} holds a {type(key).__name__} (expected an Ed25519 key)"
        return cls(key)

    def sign(self, number: int, last_hash: str, now: datetime) -> Head:
        """A head of this moment."""
        unsigned = Head(number, last_hash, now, self.public_key, "")
        return msgspec.structs.replace(unsigned, signature=self._key.sign(unsigned.signed).hex())


def heads_dir(data_dir: Path) -> Path:
    """Where the files are."""
    return data_dir / "audit-heads"


async def sign_head(engine: AsyncEngine, data_dir: Path, now: datetime) -> Head | None:
    """The head of the trail as it is, in table and file; None while the trail is empty."""
    key = HeadKey.load(data_dir)
    async with transaction(engine) as connection:
        tip = (await connection.execute(select(audit_tip))).one()
        if tip.number == 0:
            return None
        head = key.sign(tip.number, tip.hash, now)
        await connection.execute(insert_ignore(engine.dialect.name, audit_heads).values(msgspec.structs.asdict(head)))
    _keep(heads_dir(data_dir), head)
    return head


def kept_heads(folder: Path) -> list[Head]:
    """The heads in the files of a folder; ValueError where a file is none."""
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            found.append(msgspec.json.decode(path.read_bytes(), type=Head))
        except msgspec.DecodeError as error:
            raise ValueError(f"{path} is no head of an audit trail: {error}") from error
    return found


async def kept_signed(
    engine: AsyncEngine, data_dir: Path, now: Callable[[], datetime], every_s: float = EVERY_S
) -> None:
    """Sign now, every hour, and when this is cancelled."""
    try:
        while True:
            await _try_to_sign(engine, data_dir, now())
            await asyncio.sleep(every_s)
    finally:
        await _try_to_sign(engine, data_dir, now())


async def _try_to_sign(engine: AsyncEngine, data_dir: Path, now: datetime) -> None:
    """Where the database does not answer, the next head covers what this one would have."""
    try:
        await sign_head(engine, data_dir, now)
    except DATABASE_ERRORS as error:
        log.warning("audit_head_not_signed", reason=type(error).__name__)


def _keep(folder: Path, head: Head) -> None:
    """By number and hash: after a restore another trail has the same numbers, and the old heads stay."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{head.number:012d}-{head.hash[:16]}.json"
    if not path.exists():
        write_durably(path, msgspec.json.encode(head))
