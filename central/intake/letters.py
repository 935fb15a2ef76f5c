"""Dead letters: what could not be accepted, kept with its bytes, once each, and counted every time.

They are bounded: the oldest give up their bytes first and keep everything else, digest, reason, place and count; much
later they are folded into one line per topic and reason. So a sender of rubble fills no disk, and what was refused is
counted for ever.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from central.db import upsert
from central.intake.plan import Refused
from central.tables import dead_letters
from protocol.codec import digest

_LARGEST_SEQ: Final = 2**63 - 1
_LARGEST_BYTES: Final = 2**31 - 1
_OLDER: Final = "older:"
_FOLDED: Final = dead_letters.c.digest.startswith(_OLDER)


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much is kept: bytes of all letters together, letters with a row of their own."""

    most_bytes: int = 256 * 1024 * 1024
    most_letters: int = 50_000


BOUNDS: Final = Bounds()


async def keep_letters(
    connection: AsyncConnection, refused: Sequence[Refused], now: datetime, bounds: Bounds = BOUNDS
) -> None:
    """Keep these messages, each once however often it comes, within the bounds."""
    named = {(each.delivery.topic, digest(each.delivery.payload)): each for each in refused}
    times = Counter((each.delivery.topic, digest(each.delivery.payload)) for each in refused)
    for key, each in named.items():
        row = {
            "received_at": now,
            "topic": key[0],
            "device_id": each.device_id,
            "code": each.code,
            "detail": each.detail,
            "digest": key[1],
            "times": times[key],
            "payload": each.delivery.payload,
            "bytes": len(each.delivery.payload),
            "kept": True,
            "epoch": each.epoch if each.epoch.isprintable() else None,
            "seq": each.seq if each.seq is not None and 0 < each.seq <= _LARGEST_SEQ else None,
            "reading_id": each.id if each.id is not None and each.id.isprintable() else None,
        }
        put = upsert(connection.dialect.name, dead_letters).values(row)
        again = {"times": dead_letters.c.times + times[key]}
        await connection.execute(put.on_conflict_do_update(index_elements=["topic", "digest"], set_=again))
    if named:
        await _make_room(connection, bounds)


async def _make_room(connection: AsyncConnection, bounds: Bounds) -> None:
    """Half of the room at once, so that the next letters need not look for it again."""
    kept = func.sum(dead_letters.c.bytes).filter(dead_letters.c.kept)
    query = select(func.count(), func.coalesce(kept, 0)).where(~_FOLDED)
    letters, held_bytes = (await connection.execute(query)).one()
    if held_bytes > bounds.most_bytes:
        newer = func.sum(dead_letters.c.bytes).over(order_by=dead_letters.c.number.desc()).label("newer")
        ranked = select(dead_letters.c.number, newer).where(dead_letters.c.kept).subquery()
        last = select(func.max(ranked.c.number)).where(ranked.c.newer > bounds.most_bytes // 2)
        forget = update(dead_letters).where(dead_letters.c.number <= await connection.scalar(last), dead_letters.c.kept)
        await connection.execute(forget.values(payload=b"", kept=False))
    if letters > bounds.most_letters:
        newest = select(dead_letters.c.number).where(~_FOLDED).order_by(dead_letters.c.number.desc())
        last = newest.offset(bounds.most_letters // 2).limit(1)
        await _fold(connection, await connection.scalar(last) or 0)


async def _fold(connection: AsyncConnection, last: int) -> None:
    """Count the letters up to this one in one line per topic and reason, instead of a row for each."""
    gone = await connection.execute(
        delete(dead_letters)
        .where(dead_letters.c.number <= last, ~_FOLDED)
        .returning(*(dead_letters.c[name] for name in ("topic", "device_id", "code", "times", "received_at", "bytes")))
    )
    lines: dict[tuple[str, str], dict[str, Any]] = {}
    for row in gone:
        line = lines.setdefault((row.topic, row.code), dict(row._mapping) | {"times": 0, "bytes": 0})
        line["times"] += row.times
        line["bytes"] = min(line["bytes"] + row.bytes, _LARGEST_BYTES)
    for (_, code), line in sorted(lines.items()):
        line |= {"digest": f"{_OLDER}{code}", "detail": "older letters, only counted", "payload": b"", "kept": False}
        put = upsert(connection.dialect.name, dead_letters).values(line)
        again = {"times": dead_letters.c.times + line["times"]}
        await connection.execute(put.on_conflict_do_update(index_elements=["topic", "digest"], set_=again))
