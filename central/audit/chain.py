"""An entry for every change by anyone: who, what, old, new, why, when, from where; each carries the last one's hash.

The hash is SHA-256 over the entry as a JSON array, the previous hash among it. Entries are numbered without a gap by
the one row of `audit_tip`, which a writer holds until his transaction ends: two entries never have one number, and an
entry is there if and only if its change is.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

import msgspec
from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from central.tables import audit_entries, audit_tip

ActorKind = Literal["person", "key", "device", "command", "system"]

BEFORE_THE_FIRST: Final = "0" * 64


@dataclass(frozen=True, slots=True)
class Actor:
    """Who changes something: a person, key or device by its id, never by its name; and from where."""

    kind: ActorKind
    id: str
    address: str | None = None
    request_id: str | None = None


SYSTEM: Final = Actor("system", "central")
COMMAND: Final = Actor("command", "wellread-central")


@dataclass(frozen=True, slots=True)
class Change:
    """One change: `action` is noun and verb, `run.void`. `old` and `new` hold what differs, as plain values."""

    action: str
    object_kind: str
    object_id: str
    site_id: str | None = None
    old: Any = None
    new: Any = None
    reason: str | None = None


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A change as it is kept."""

    number: int
    at: datetime
    actor_kind: str
    actor_id: str
    address: str | None
    site_id: str | None
    action: str
    object_kind: str
    object_id: str
    old: str | None
    new: str | None
    reason: str | None
    request_id: str | None
    previous: str
    hash: str = ""


# An entry as a row: `hash` is the last, and over all the others.
COLUMNS: Final = Entry.__struct_fields__

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_encode: Final = msgspec.json.Encoder().encode


def entry_hash(entry: Entry) -> str:
    """What `hash` must be: over every other field, in the order of `Entry`; the time in microseconds since 1970."""
    return hash_of([getattr(entry, name) for name in COLUMNS])


def hash_of(values: Sequence[Any]) -> str:
    """The same over an entry as a row, its values in the order of `COLUMNS`."""
    moment = values[1] - _EPOCH
    microseconds = (moment.days * 86400 + moment.seconds) * 1_000_000 + moment.microseconds
    return hashlib.sha256(_encode([microseconds, values[0], *values[2:14]])).hexdigest()


async def record(connection: AsyncConnection, actor: Actor, changes: Sequence[Change], now: datetime) -> None:
    """Write the entries of this transaction's changes; call it once, last."""
    if not changes:
        return
    tip = (await connection.execute(select(audit_tip).with_for_update())).one()
    number, previous = tip.number, tip.hash
    rows = []
    for change in changes:
        number += 1
        entry = Entry(
            number=number,
            at=now,
            actor_kind=actor.kind,
            actor_id=actor.id,
            address=actor.address,
            site_id=change.site_id,
            action=change.action,
            object_kind=change.object_kind,
            object_id=change.object_id,
            old=_text(change.old),
            new=_text(change.new),
            reason=change.reason,
            request_id=actor.request_id,
            previous=previous,
        )
        previous = entry_hash(entry)
        rows.append(msgspec.structs.asdict(entry) | {"hash": previous})
    await connection.execute(insert(audit_entries), rows)
    await connection.execute(update(audit_tip).values(number=number, hash=previous))


def _text(value: Any) -> str | None:
    """Canonical JSON: keys in order. A NUL, which PostgreSQL's text cannot hold, stays escaped in it."""
    return None if value is None else msgspec.json.encode(value, order="sorted").decode()
