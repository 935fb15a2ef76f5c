"""A time that is certainly past, for a reader that wakes up in 1970: what it knew when it was last awake.

It is the latest of three: when this program was installed, the last moment that was saved, the newest reading in the
outbox. The moment is saved every few minutes and at a clean stop, with the jumps of the clock for a person to see.
"""

import sqlite3
from collections.abc import Sequence
from contextlib import closing, suppress
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec

from edge_agent.clock import EARLIEST, Jump
from edge_agent.durable import make_folder, write_durably
from edge_agent.outbox.file import OutboxError
from edge_agent.outbox.look import open_for_looking

CLOCK_FILE: Final = "clock.json"
# More often wears a memory card; seldomer, and a power cut costs more time.
SAVE_EVERY_S: Final = 300.0


class SavedClock(msgspec.Struct, frozen=True):
    """What is saved. `seal` is over the rest: a bit that turned over must not send a reader into the next century."""

    at: datetime
    jumps: tuple[Jump, ...] = ()
    seal: str = ""


def floor(state_dir: Path) -> datetime:
    """A time that is certainly past."""
    saved = saved_clock(state_dir)
    found = (_installed_at(), saved.at if saved else None, _newest_reading_at(state_dir))
    return max(filter(None, found), default=EARLIEST)


def save_clock(state_dir: Path, at: datetime, jumps: Sequence[Jump]) -> None:
    """Remember this moment over a power cut."""
    saved = SavedClock(at, tuple(jumps))
    make_folder(state_dir)
    write_durably(state_dir / CLOCK_FILE, msgspec.json.encode(_sealed(saved)) + b"\n")


def saved_clock(state_dir: Path) -> SavedClock | None:
    """What was saved last; None if there is nothing, or it is damaged."""
    try:
        saved = msgspec.json.decode((state_dir / CLOCK_FILE).read_bytes(), type=SavedClock)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None
    return saved if saved == _sealed(saved) and saved.at.tzinfo else None


def _sealed(saved: SavedClock) -> SavedClock:
    bare = msgspec.structs.replace(saved, seal="")
    return msgspec.structs.replace(saved, seal=sha256(msgspec.json.encode(bare)).hexdigest())


def _installed_at() -> datetime:
    return datetime.fromtimestamp(Path(__file__).stat().st_mtime, UTC)


def _newest_reading_at(state_dir: Path) -> datetime | None:
    with suppress(OutboxError, sqlite3.Error, OSError, ValueError, TypeError):
        with closing(open_for_looking(state_dir / "outbox.db")) as connection:
            row = connection.execute("SELECT put_at FROM readings ORDER BY seq DESC LIMIT 1").fetchone()
        found = datetime.fromisoformat(row["put_at"]) if row else None
        return found if found and found.tzinfo else None
    return None
