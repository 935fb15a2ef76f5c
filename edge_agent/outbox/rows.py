"""The outbox's rows as values: what it hands out, and what is checked of a row before it leaves."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import msgspec

from edge_agent.outbox.packing import Packer, PackingError
from edge_agent.outbox.retention import Kept
from edge_agent.outbox.tables import captured, row_seal
from protocol import codec
from protocol.delivery import State

# What a row is proven by.
SEALED: Final = "seq, id, digest, day, seal, picture_sha256, picture_media_type"

SUFFIXES: Final = {"image/jpeg": ".jpg", "image/png": ".png"}


class PictureState(StrEnum):
    """Where a reading's picture stands: here only, asked for by central, at central, or no longer here."""

    WAITING = "waiting"
    WANTED = "wanted"
    UPLOADED = "uploaded"
    NONE = "none"


class DamagedError(ValueError):
    """A row that is not what was captured; the message says what is wrong with it."""


@dataclass(frozen=True)
class Outgoing:
    """A reading as it is sent: its bytes are those that were hashed at capture."""

    id: str
    seq: int
    attempt: int
    digest: str
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


def state_of(row: dict[str, Any]) -> State:
    """Where a reading stands. A state that is none is a damaged byte: it waits, and central takes nothing twice."""
    return State(row["state"]) if row["state"] in set(State) else State.PENDING


def check_seal(row: dict[str, Any]) -> None:
    """DamagedError unless the columns that never change are as they were written."""
    expected = row_seal(row)
    if row["seal"] != expected:
        raise DamagedError(f"the seal of its row is {row['seal']!r} (expected {expected!r})")


def proven_document(row: dict[str, Any], kept: dict[str, Any] | None, packer: Packer) -> bytes:
    """A reading's canonical JSON as it was captured; DamagedError where that cannot be had any more.

    `row` is its row of `readings`, `kept` that of `documents`.
    """
    check_seal(row)
    if kept is None:
        raise DamagedError("the reading's bytes cannot be found in the outbox's file")
    try:
        document = packer.unpack(kept["packed"])
        found = codec.digest(document)
        if found != row["digest"]:
            raise DamagedError(f"the reading's digest is {found} (expected {row['digest']})")
        identity = captured(document).id
    except (PackingError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DamagedError(str(error)) from error
    if identity != row["id"]:
        raise DamagedError(f"the reading's id is {identity} (expected {row['id']})")
    return document


def picture_file(row: dict[str, Any]) -> str:
    """The name of a picture's file: its digest, and an ending that says what it is."""
    return f"{row['picture_sha256']}{SUFFIXES.get(row['picture_media_type'], '.bin')}"


def kept(row: dict[str, Any]) -> Kept:
    """What the pruning plan must know of a row."""
    return Kept(
        seq=row["seq"],
        state=state_of(row),
        settled_at=_moment(row["settled_at"]),
        picture_sha256=row["picture_sha256"],
        picture_bytes=0 if row["picture_state"] == PictureState.NONE else row["picture_bytes"],
        picture_needed=bool(row["picture_needed"]),
        packed_bytes=row["packed_bytes"],
    )


def _moment(text: str | None) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
    return moment if moment and moment.tzinfo else None
