"""Everything of central in one file, and back: the same on SQLite and PostgreSQL, and from one to the other.

The file is a tar archive of compressed JSON lines, a table after the other, all read at one moment; pictures follow
where they are wanted. It is checked whole before anything is restored, and restored whole or not at all. What central
accepted after the backup its devices still hold: a restored central is another instance, and they account to it by
themselves.
"""

import base64
import hashlib
import io
import os
import tarfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec
import zstandard
from alembic.migration import MigrationContext
from sqlalchemy import LargeBinary, Table, delete, func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from central.audit.chain import COMMAND, Change, record
from central.db import make_engine, one_moment, transaction
from central.files import sync_folder, write_durably
from central.results import images
from central.settings import Settings
from central.tables import (
    UtcDateTime,
    audit_tip,
    changes_tip,
    figures_tip,
    metadata,
    notice_rules,
    notice_turn,
    sites,
)
from central.tables import images as images_table
from central.tables.frozen import freeze, thaw

_FORMAT: Final = 1
# Rows in memory at a time; one member of the file.
_ROWS: Final = 2000
_PICTURE: Final = "pictures/"
_FIRST, _LAST = "backup.json", "end.json"
# The child broker's port: devices remember it.
_KEPT_FILES: Final = ("broker/port",)
# A central that was only just migrated has these: its first site, and where its audit trail begins.
_ALWAYS_THERE: Final = (sites, audit_tip, changes_tip, notice_rules, notice_turn, figures_tip)
_MOST_MEMBER_BYTES: Final = 4 * 1024 * 1024 * 1024


class BackupError(ValueError):
    """A file that cannot be written or restored; the message names what is wrong and what is expected."""


class About(msgspec.Struct, frozen=True):
    """The first member: what the file is of."""

    format: int
    made_at: datetime
    revision: str
    files: dict[str, str]


class Contents(msgspec.Struct, frozen=True):
    """The last member: rows by table, pictures, and the SHA-256 of every member before it."""

    rows: dict[str, int]
    pictures: int
    digests: dict[str, str]


class Restored(msgspec.Struct, frozen=True):
    """What is here now. `pictures_missing` were neither in the file nor on disk: their devices are asked for them."""

    made_at: datetime
    rows: dict[str, int]
    pictures: int
    pictures_missing: int


async def back_up(settings: Settings, target: Path, *, with_pictures: bool, now: datetime) -> Contents:
    """Write the file, whole or not at all; central may go on meanwhile."""
    if target.exists():
        raise BackupError(f"{target} exists (expected the name of a new file)")
    part = target.with_name(f".{target.name}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            with tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT) as tar:
                contents = await _write(_Writer(tar, now), settings, with_pictures=with_pictures)
            file.flush()
            os.fsync(file.fileno())
        part.rename(target)
    finally:
        part.unlink(missing_ok=True)
    sync_folder(target.parent)
    made = Change("central.backup", "central", "database", new={"rows": contents.rows, "pictures": contents.pictures})
    async with _engine(settings) as engine, transaction(engine) as connection:
        await record(connection, COMMAND, [made], now)
    return contents


async def restore(settings: Settings, source: Path, *, replace: bool, now: datetime) -> Restored:
    """Put everything of the file into this (migrated) database and data folder; central must not run.

    The audit trail is the backup's, and says of itself from here on that it is: what it was until now, `old`, is gone.
    """
    about, contents = check(source)
    async with _engine(settings) as engine, transaction(engine) as connection:
        here = await connection.run_sync(lambda sync: MigrationContext.configure(sync).get_current_revision())
        if here != about.revision:
            raise BackupError(f"the backup has the tables of revision {about.revision} (expected {here}, as here)")
        tip = (await connection.execute(select(audit_tip.c.number, audit_tip.c.hash))).one()
        await _empty(connection, replace=replace)
        for name, content in _members(source):
            if name.startswith("tables/"):
                await _put_rows(connection, _table(name), content)
            elif name.startswith(_PICTURE):
                _put_picture(settings.images_dir, name.removeprefix(_PICTURE), content)
        for table, count in contents.rows.items():
            found = await connection.scalar(select(func.count()).select_from(metadata.tables[table]))
            if found != count:
                raise BackupError(f"{found} rows of {table} were restored (expected {count})")
        missing = await _forget_missing(connection, settings.images_dir)
        await _go_on_counting(connection)
        old = dict(tip._mapping) if tip.number else None
        put_back = Change("central.restore", "central", "database", old=old, new={"made_at": about.made_at})
        await record(connection, COMMAND, [put_back], now)
    # Names are ours, never the file's: whoever makes up a backup writes nowhere else.
    for name, content_text in about.files.items():
        if name not in _KEPT_FILES:
            continue
        path = settings.data_dir / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_durably(path, content_text.encode())
    return Restored(about.made_at, contents.rows, contents.pictures, missing)


def check(source: Path) -> tuple[About, Contents]:
    """Read a backup through; BackupError at the first thing that is wrong with it."""
    about: About | None = None
    digests: dict[str, str] = {}
    for name, content in _members(source):
        if name == _LAST:
            contents = _decoded(content, Contents)
            if about is None or digests != contents.digests:
                raise BackupError(f"{source} is damaged: its members are not those that were written")
            return about, contents
        if name == _FIRST:
            about = _decoded(content, About)
            if about.format != _FORMAT:
                raise BackupError(f"{source} is of format {about.format} (expected {_FORMAT})")
        elif about is None:
            raise BackupError(f"{source} begins with {name!r} (expected {_FIRST!r}, as in a backup of central)")
        digests[name] = hashlib.sha256(content).hexdigest()
    raise BackupError(f"{source} is cut short (expected {_LAST!r} at its end)")


def rows_of(source: Path, table: str) -> Iterator[dict[str, Any]]:
    """The rows of one table in a backup, as they were written: times are text."""
    for name, content in _members(source):
        if name.startswith(f"tables/{table}/"):
            yield from map(msgspec.json.decode, _lines(content))


class _Writer:
    """The members of a new file, one after the other."""

    def __init__(self, tar: tarfile.TarFile, now: datetime) -> None:
        self.now = now
        self.digests: dict[str, str] = {}
        self._tar = tar

    def put(self, name: str, content: bytes) -> None:
        member = tarfile.TarInfo(name)
        member.size, member.mode, member.mtime = len(content), 0o600, int(self.now.timestamp())
        self._tar.addfile(member, io.BytesIO(content))
        self.digests[name] = hashlib.sha256(content).hexdigest()


async def _write(writer: _Writer, settings: Settings, *, with_pictures: bool) -> Contents:
    rows: dict[str, int] = {}
    async with _engine(settings) as engine, one_moment(engine) as connection:
        revision = await connection.run_sync(lambda sync: MigrationContext.configure(sync).get_current_revision())
        kept = {name: settings.data_dir / name for name in _KEPT_FILES}
        files = {name: path.read_text() for name, path in kept.items() if path.is_file()}
        writer.put(_FIRST, msgspec.json.encode(About(_FORMAT, writer.now, revision or "none", files)))
        for table in metadata.sorted_tables:
            rows[table.name] = 0
            async for number, chunk in _chunks(connection, table):
                rows[table.name] += len(chunk)
                writer.put(f"tables/{table.name}/{number:06d}.jsonl.zst", _packed(chunk))
        pictures = 0
        if with_pictures:
            for sha256 in await connection.scalars(select(images_table.c.sha256)):
                path = images.path(settings.images_dir, sha256)
                if path is not None:
                    writer.put(f"{_PICTURE}{sha256}", path.read_bytes())
                    pictures += 1
    contents = Contents(rows, pictures, dict(writer.digests))
    writer.put(_LAST, msgspec.json.encode(contents))
    return contents


@asynccontextmanager
async def _engine(settings: Settings) -> AsyncIterator[AsyncEngine]:
    engine = make_engine(settings.database, foreign_keys=False, command_timeout_s=None)
    try:
        yield engine
    finally:
        await engine.dispose()


async def _chunks(connection: AsyncConnection, table: Table) -> AsyncIterator[tuple[int, list[Mapping[str, Any]]]]:
    result = await connection.stream(select(table).order_by(*table.primary_key.columns))
    number = 0
    async for some in result.mappings().partitions(_ROWS):
        yield number, [dict(row) for row in some]
        number += 1


def _packed(rows: list[Mapping[str, Any]]) -> bytes:
    lines = b"".join(msgspec.json.encode(row) + b"\n" for row in rows)  # bytes become base64, times ISO 8601
    return zstandard.ZstdCompressor(level=3).compress(lines)


async def _empty(connection: AsyncConnection, *, replace: bool) -> None:
    await connection.run_sync(thaw)
    for table in reversed(metadata.sorted_tables):
        count = await connection.scalar(select(func.count()).select_from(table))
        if count and not replace and table not in _ALWAYS_THERE:
            raise BackupError(f"there are {count} rows of {table.name} here (expected an empty central, or --replace)")
        await connection.execute(delete(table))
    await connection.run_sync(freeze)


def _table(member: str) -> Table:
    name = member.split("/")[1]
    if name not in metadata.tables:
        raise BackupError(f"the backup has rows of {name[:80]!r} (expected a table of central's)")
    return metadata.tables[name]


def _put_picture(folder: Path, sha256: str, content: bytes) -> None:
    try:
        images.store(folder, sha256, content)
    except images.ImageError as error:
        raise BackupError(f"the backup holds a picture that is none: {error}") from error


async def _put_rows(connection: AsyncConnection, table: Table, content: bytes) -> None:
    rows = [_typed(table, msgspec.json.decode(line)) for line in _lines(content)]
    if rows:
        await connection.execute(insert(table), rows)


def _lines(content: bytes) -> list[bytes]:
    return zstandard.ZstdDecompressor().stream_reader(content).read().splitlines()


def _typed(table: Table, row: dict[str, Any]) -> dict[str, Any]:
    for column in table.columns:
        value = row[column.name]
        if value is not None and isinstance(column.type, UtcDateTime):
            row[column.name] = datetime.fromisoformat(value)
        elif value is not None and isinstance(column.type, LargeBinary):
            row[column.name] = base64.b64decode(value)
    return row


async def _forget_missing(connection: AsyncConnection, folder: Path) -> int:
    """A picture that is not here is not here, whatever the row says: then its device is asked for it again."""
    here = images_table.c.removed_at.is_(None)
    named = list(await connection.scalars(select(images_table.c.sha256).where(here)))
    gone = [sha256 for sha256 in named if images.path(folder, sha256) is None]
    for at in range(0, len(gone), _ROWS):
        await connection.execute(delete(images_table).where(images_table.c.sha256.in_(gone[at : at + _ROWS])))
    return len(gone)


async def _go_on_counting(connection: AsyncConnection) -> None:
    """PostgreSQL counts by itself, and was not told of the numbers that were put in."""
    if connection.dialect.name == "postgresql":
        for table in metadata.sorted_tables:
            if "number" in table.primary_key.columns and table.columns["number"].autoincrement is True:
                sequence = f"pg_get_serial_sequence('{table.name}', 'number')"
                highest = f"SELECT setval({sequence}, coalesce(max(number), 0) + 1, false) FROM {table.name}"
                await connection.execute(text(highest))


def _members(source: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with tarfile.open(source, mode="r:") as tar:
            for member in tar:
                if not member.isfile() or member.size > _MOST_MEMBER_BYTES:
                    raise BackupError(f"{source} holds {member.name!r}, {member.size} bytes (expected a plain member)")
                file = tar.extractfile(member)
                assert file is not None
                yield member.name, file.read()
    except (tarfile.TarError, EOFError) as error:
        raise BackupError(f"{source} is no whole backup of central: {error}") from error


def _decoded(content: bytes, kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.DecodeError as error:
        raise BackupError(f"not the {kind.__name__.lower()} of a backup: {error}") from error
