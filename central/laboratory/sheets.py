"""Bytes of a worklist → lines of cells as text: CSV in the encodings and with the delimiters that people send, or XLSX.

A workbook is unpacked under a limit before anything reads it, and no formula is ever worked out: a cell that holds one
is refused by whoever needs its value.
"""

import csv
import io
import re
import zipfile
import zlib
from collections.abc import Iterator
from datetime import date, datetime, time
from typing import Any, Final

import msgspec
import openpyxl
from openpyxl.utils.exceptions import InvalidFileException

MAX_BYTES: Final = 5_000_000
MAX_LINES: Final = 20_000
MAX_CELLS: Final = 64  # in a line: what is beyond is refused, not cut off
MAX_UNPACKED_BYTES: Final = 50_000_000
FORMULA: Final = "\0formula"  # stands for a cell that has no value of its own

_DELIMITERS: Final = (",", ";", "\t")
_ZIP: Final = b"PK\x03\x04"
_CHUNK: Final = 1 << 16
_DEFINES: Final = re.compile(rb"<!(DOCTYPE|ENTITY)")
# A workbook's own errors, and those of a damaged archive or of XML that is none.
_NO_WORKBOOK: Final = (
    InvalidFileException,
    zipfile.BadZipFile,
    zlib.error,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    IndexError,
    SyntaxError,  # ElementTree's ParseError is one
    NotImplementedError,
    RuntimeError,
    EOFError,
    OSError,
    OverflowError,
)


class SheetError(ValueError):
    """Bytes that are no table of ours; the message says what was found and what is expected."""


class Line(msgspec.Struct, frozen=True):
    """One line of a file, from 1; its cells without blanks around them."""

    number: int
    cells: tuple[str, ...]

    @property
    def filled(self) -> bool:
        """Whether anything is in it."""
        return any(self.cells)


def lines_of(content: bytes) -> tuple[Line, ...]:
    """The lines of a CSV or XLSX file."""
    if len(content) > MAX_BYTES:
        raise SheetError(f"a file of {len(content)} bytes (expected at most {MAX_BYTES})")
    rows = _workbook(content) if content.startswith(_ZIP) else _text(content)
    found: list[Line] = []
    for number, cells in rows:
        if not any(cells):
            continue
        while cells and not cells[-1]:
            cells.pop()
        if len(cells) > MAX_CELLS:
            raise SheetError(f"line {number} has {len(cells)} cells (expected at most {MAX_CELLS})")
        if len(found) == MAX_LINES:
            raise SheetError(f"more than {MAX_LINES} lines (expected a file for each part of them)")
        found.append(Line(number, tuple(cells)))
    if not found:
        raise SheetError("an empty file (expected a head and a line for each plate row)")
    return tuple(found)


def _text(content: bytes) -> Iterator[tuple[int, list[str]]]:
    text = re.sub(r"\r\n?", "\n", decoded(content))
    # Only where a line ends does one begin: a quoted cell may hold one of the other signs that Python splits at.
    lines = [f"{line}\n" for line in text.split("\n")]
    reader = csv.reader(lines, delimiter=_delimiter(lines[:50]), strict=True)
    before = 0
    try:
        for cells in reader:
            yield before + 1, [cell.strip() for cell in cells]
            before = reader.line_num
    except csv.Error as error:
        raise SheetError(f"line {before + 1}: {error} (expected CSV with quotes that are closed)") from error


def decoded(content: bytes) -> str:
    """Text that says by its first bytes, or by its zeros, how it is written; else UTF-8, else what Windows writes."""
    encodings = ["utf-8-sig", "cp1252", "latin-1"]
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        encodings = ["utf-16"]
    elif content[1:2] == b"\0" or content[:1] == b"\0":
        encodings = ["utf-16-le" if content[1:2] == b"\0" else "utf-16-be"]
    for encoding in encodings:
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise SheetError("text in no encoding of ours (expected UTF-8, UTF-16 or Latin-1)")


def _delimiter(lines: list[str]) -> str:
    """The one that cuts the fullest line into most cells."""

    def most(delimiter: str) -> int:
        try:
            return max((len(cells) for cells in csv.reader(lines, delimiter=delimiter)), default=0)
        except csv.Error:
            return 0

    return max(_DELIMITERS, key=most)


def _workbook(content: bytes) -> Iterator[tuple[int, list[str]]]:
    _check_unpacked(content)
    try:
        book = openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=False, keep_links=False)
        try:
            sheets = book.worksheets
            if not sheets:
                raise SheetError("a workbook without a sheet (expected one with the worklist)")
            # What a sheet says of its own size may be anything.
            sheets[0].reset_dimensions()
            for number, row in enumerate(sheets[0].iter_rows(), 1):
                if number > 2 * MAX_LINES:
                    raise SheetError(f"a sheet of more than {2 * MAX_LINES} lines (expected at most {MAX_LINES})")
                yield number, [_cell(cell.value, cell.data_type) for cell in row]
        finally:
            book.close()
    except SheetError:
        raise
    except _NO_WORKBOOK as error:
        raise SheetError(f"a workbook that cannot be read: {str(error)[:100] or type(error).__name__}") from error


def _check_unpacked(content: bytes) -> None:
    """Unpack every part under the limit, whatever its archive says of its size."""
    try:
        unpacked = _unpacked_bytes(content)
    except SheetError:
        raise
    except _NO_WORKBOOK as error:
        raise SheetError(f"a workbook that cannot be unpacked: {str(error)[:100] or type(error).__name__}") from error
    if unpacked > MAX_UNPACKED_BYTES:
        raise SheetError(f"a workbook of more than {MAX_UNPACKED_BYTES} bytes unpacked (expected less)")


def _unpacked_bytes(content: bytes) -> int:
    """How much all parts are together, counted no further than the limit."""
    total = 0
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for entry in archive.infolist():
            before = b""
            with archive.open(entry) as part:
                while total <= MAX_UNPACKED_BYTES and (piece := part.read(_CHUNK)):
                    total += len(piece)
                    # A zero beside each sign: UTF-16. No workbook defines entities of its own, and none may.
                    if _DEFINES.search((before + piece).replace(b"\0", b"")):
                        name = entry.filename[-60:]
                        raise SheetError(f"a workbook that defines XML entities in {name!r} (expected one without)")
                    before = piece[-64:]
    return total


def _cell(value: Any, kind: str) -> str:
    """A cell as text: whole numbers without a point, days as ISO dates."""
    if kind == "f":
        return FORMULA
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, datetime) and value.time() == time():
        return value.date().isoformat()
    if isinstance(value, datetime | date):
        return value.isoformat()
    return "" if value is None else str(value).strip()
