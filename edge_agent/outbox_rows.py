"""The outbox's rows as values: what it hands out, and what is checked of a row before it leaves."""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec

from edge_agent.retention import Kept
from protocol import codec
from protocol.delivery import State


class PictureState(StrEnum):
    """Where a reading's picture stands: here only, asked for by central, at central, or no longer here."""

    WAITING = "waiting"
    WANTED = "wanted"
    UPLOADED = "uploaded"
    NONE = "none"


@dataclass(frozen=True)
class Outgoing:
    """A reading as it is sent: its bytes are those that were hashed at capture."""

    id: str
    seq: int
    attempt: int
    document: bytes


@dataclass(frozen=True)
class WantedPicture:
    """A picture that central asked for."""

    sha256: str
    path: Path
    media_type: str


@dataclass(frozen=True)
class Reconciled:
    """What comparing accounts with central changed: readings that it has, and settled ones that it lacks."""

    settled: int
    missed: int


class _Identity(msgspec.Struct):
    id: str


class _Day(msgspec.Struct):
    captured_at: datetime


def day_of(document: bytes) -> str:
    """The UTC date of a reading's `captured_at`, as in its ledger."""
    captured_at = msgspec.json.decode(document, type=_Day).captured_at
    return captured_at.astimezone(UTC).date().isoformat()


def damage(row: dict[str, Any]) -> str:
    """What is wrong with a row's bytes; empty if nothing is."""
    found = codec.digest(row["document"])
    if found != row["digest"]:
        return f"the reading's digest is {found} (expected {row['digest']})"
    identity = msgspec.json.decode(row["document"], type=_Identity).id
    return "" if identity == row["id"] else f"the reading's id is {identity} (expected {row['id']})"


def kept(row: dict[str, Any]) -> Kept:
    """What the pruning plan must know of a row."""
    state = PictureState(row["picture_state"])
    return Kept(
        seq=row["seq"],
        state=State(row["state"]),
        settled_at=datetime.fromisoformat(row["settled_at"]) if row["settled_at"] else None,
        picture_sha256=row["picture_sha256"],
        picture_bytes=0 if state is PictureState.NONE else row["picture_bytes"],
        picture_wanted=state is PictureState.WANTED,
    )
