"""Rows of the trail as they lie in a database or a backup, whatever was done to them, handed to `verify`.

Nothing is converted on the way that a wrong value could get lost in, or stop: what is no entry is a finding.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from central.audit.chain import COLUMNS
from central.audit.heads import kept_heads
from central.audit.verify import Head, Report, Tip, Verifier
from central.copies.backup import check as check_file
from central.copies.backup import rows_of
from central.db import one_moment

_ROWS: Final = 5000
_NEVER: Final = datetime(1970, 1, 1, tzinfo=UTC)
_TIME_SIGNS: Final = len("2026-11-20 12:00:00.000000")


async def check_database(engine: AsyncEngine, folder: Path, public_key: str | None = None) -> Report:
    """The trail in this database, against the heads in its table and in the files of `folder`."""
    kept = kept_heads(folder)  # first: none is then of entries that come later than the moment of the database
    async with one_moment(engine) as connection:
        await _take_any_text(connection)
        heads = await _raw(connection, f"SELECT {', '.join(Head.__struct_fields__)} FROM audit_heads ORDER BY number")
        tips = await _raw(connection, "SELECT number, hash FROM audit_tip")
        check = Verifier(_distinct([*map(_head, heads), *kept]), public_key)
        names = ", ".join(COLUMNS)
        rows = await connection.stream(text(f"SELECT {names} FROM audit_entries ORDER BY number"))
        async for some in rows.partitions(_ROWS):
            for row in some:
                check.take((row[0], _time(row[1]), *row[2:]))
        return check.report(_tip(tips))


def check_backup(source: Path, folder: Path, public_key: str | None = None) -> Report:
    """The trail in a backup, against its own heads and the files of `folder` that are no younger than the backup."""
    heads = [_head(_values(row, Head.__struct_fields__)) for row in rows_of(source, "audit_heads")]
    tips = [_values(row, ("number", "hash")) for row in rows_of(source, "audit_tip")]
    # What was signed after the backup was made says nothing of it.
    made_at = check_file(source)[0].made_at
    older = [head for head in kept_heads(folder) if head.signed_at <= made_at]
    check = Verifier(_distinct([*heads, *older]), public_key)
    for row in rows_of(source, "audit_entries"):
        values = _values(row, COLUMNS)
        check.take((values[0], _time(values[1]), *values[2:]))
    return check.report(_tip(tips))


def _values(row: Mapping[str, Any], names: Sequence[str]) -> tuple[Any, ...]:
    return tuple(row.get(name) for name in names)


def _distinct(heads: Iterable[Head]) -> list[Head]:
    return list(dict.fromkeys(heads))


async def _take_any_text(connection: AsyncConnection) -> None:
    """SQLite refuses to read a text that is no UTF-8; here it must come out, so that it is found."""
    if connection.dialect.name == "sqlite":
        raw = await connection.get_raw_connection()
        assert raw.driver_connection is not None
        raw.driver_connection.text_factory = lambda written: written.decode(errors="surrogateescape")


async def _raw(connection: AsyncConnection, query: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in await connection.execute(text(query))]


def _time(value: Any) -> Any:
    """The time that a database or a backup wrote; anything else as it is."""
    if not isinstance(value, str):
        return value
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        return value
    # SQLite's own form has no zone.
    return at.replace(tzinfo=UTC) if at.tzinfo is None and len(value) == _TIME_SIGNS else at


def _head(row: Sequence[Any]) -> Head:
    """A row of the table; one that is none gets a signature that does not hold."""
    number, last_hash, signed_at, public_key, signature = row
    at = _time(signed_at)
    known = isinstance(at, datetime) and at.tzinfo is not None
    number = number if type(number) is int else 0
    return Head(number, str(last_hash), at if known else _NEVER, str(public_key), str(signature))


def _tip(rows: Sequence[Sequence[Any]]) -> Tip | None:
    if len(rows) != 1 or type(rows[0][0]) is not int:
        return None
    return Tip(rows[0][0], str(rows[0][1]))
