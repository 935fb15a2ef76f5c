"""Audit entries as files: CSV for a person, JSON lines for a program; both with the hashes that make the chain.

JSON lines end with the signed head; a CSV file has one kind of row, so its head travels beside it. Pure.
"""

import csv
import io
from collections.abc import Iterable
from typing import Final, Literal

import msgspec

from central.audit.chain import COLUMNS, Entry
from central.audit.verify import Head
from central.deliveries.cells import guarded

Format = Literal["csv", "jsonl"]

MEDIA_TYPES: Final[dict[Format, str]] = {"csv": "text/csv; charset=utf-8", "jsonl": "application/jsonl"}


def first_lines(kind: Format) -> bytes:
    """What a file begins with."""
    return _csv([COLUMNS]) if kind == "csv" else b""


def lines(kind: Format, entries: Iterable[Entry]) -> bytes:
    """Some entries."""
    if kind == "csv":
        return _csv([[_cell(name, getattr(entry, name)) for name in COLUMNS] for entry in entries])
    return b"".join(msgspec.json.encode(entry) + b"\n" for entry in entries)


def last_lines(kind: Format, head: Head | None) -> bytes:
    """What a file ends with."""
    return b"" if kind == "csv" or head is None else msgspec.json.encode({"head": head}) + b"\n"


def _csv(rows: Iterable[Iterable[object]]) -> bytes:
    target = io.StringIO()
    csv.writer(target, lineterminator="\r\n").writerows(rows)
    return target.getvalue().encode()


def _cell(name: str, value: object) -> object:
    """RFC 4180 quotes; what a spreadsheet would work out gets an apostrophe before it."""
    if value is None:
        return ""
    if name == "at":
        return value.isoformat(timespec="microseconds")  # type: ignore[attr-defined]
    return guarded(str(value))
