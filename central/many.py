"""Many rows, or many keys, in one statement whose text does not depend on how many there are.

PostgreSQL takes a column of values as one array, so a batch of any size is the statement that the connection has
prepared already; with a parameter for each value every size is another one, which has to be written, read and planned.
SQLite has no arrays and reads a statement in no time: there the same calls are plain SQL.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import Column, ColumnElement, Row, Table, any_, bindparam, func, insert, literal, select, text, tuple_
from sqlalchemy.dialects.postgresql import ARRAY, dialect
from sqlalchemy.ext.asyncio import AsyncConnection

from central.db import insert_ignore

_QUOTED: Final = dialect().identifier_preparer  # type: ignore[no-untyped-call]


def one_of(connection: AsyncConnection, column: Column[Any], values: Iterable[Any]) -> ColumnElement[bool]:
    """Whether the column has one of these values."""
    if connection.dialect.name == "postgresql":
        return column == any_(literal(list(values), ARRAY(column.type)))
    return column.in_(list(values))


def all_of(
    connection: AsyncConnection, columns: Sequence[Column[Any]], keys: Collection[tuple[Any, ...]]
) -> ColumnElement[bool]:
    """Whether these columns together have one of these keys."""
    if connection.dialect.name != "postgresql" or not keys:
        return tuple_(*columns).in_(keys)
    each = zip(columns, zip(*keys, strict=True), strict=True)
    arrays = [literal(list(values), ARRAY(column.type)) for column, values in each]
    names = [f"key_{at}" for at in range(len(columns))]
    source = func.unnest(*arrays).table_valued(*names, name="keys").render_derived()
    return tuple_(*columns).in_(select(*(source.c[name] for name in names)))


async def put_many(
    connection: AsyncConnection,
    table: Table,
    rows: Sequence[Mapping[str, Any]],
    *,
    returning: Sequence[str] = (),
    leave_taken: bool = True,
) -> Sequence[Row[Any]]:
    """Insert these rows, at least one and all of the same columns, in this order.

    Rows whose keys are taken are left as they are; IntegrityError for them without `leave_taken`. Answers the named
    columns of those that were put, in no order.
    """
    names = tuple(rows[0])
    if connection.dialect.name == "postgresql":
        put = _put_arrays(table, names, tuple(returning), leave_taken)
        result = await connection.execute(
            put, {f"column_{at}": [row[name] for row in rows] for at, name in enumerate(names)}
        )
    else:
        plain = insert_ignore(connection.dialect.name, table) if leave_taken else insert(table)
        wanted = [table.c[name] for name in returning]
        result = await connection.execute(plain.returning(*wanted) if wanted else plain, list(rows))
    return result.all() if returning else ()


@lru_cache(maxsize=64)
def _put_arrays(table: Table, names: tuple[str, ...], returning: tuple[str, ...], leave_taken: bool) -> Any:
    """The statement, written once: SQLAlchemy writes every INSERT that leaves taken keys alone anew."""
    into = ", ".join(_QUOTED.quote(name) for name in names)
    places = [f"column_{at}" for at in range(len(names))]
    arrays = [bindparam(place, type_=ARRAY(table.c[name].type)) for place, name in zip(places, names, strict=True)]
    put = (
        f"INSERT INTO {_QUOTED.format_table(table)} ({into}) "
        f"SELECT {', '.join(places)} FROM unnest({', '.join(f':{place}' for place in places)}) "
        f"WITH ORDINALITY AS batch({', '.join(places)}, place) ORDER BY place"
    )
    if leave_taken:
        put += " ON CONFLICT DO NOTHING"
    if not returning:
        return text(put).bindparams(*arrays)
    put += f" RETURNING {', '.join(_QUOTED.quote(name) for name in returning)}"
    return text(put).bindparams(*arrays).columns(*(table.c[name] for name in returning))
