"""The shape of a file that some system reads, as data: written in TOML, checked here, versioned by its name.

What is for people (a spreadsheet's byte-order mark, `;`, a decimal comma, the guard against formulas) is refused in a
dialect for a laboratory system: it would be taken for part of a number or a name.
"""

import re
import string
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Annotated, Final, Literal

import msgspec

from central.deliveries.cells import FIELDS, Source
from protocol.assay import Call

Shape = Literal["counts", "counts_legacy", "table", "grid", "asm", "xlsx", "senaite_2d"]
WellStyle = Literal["A1", "A01", "A:1"]

ENCODINGS: Final = ("utf-8", "utf-16-le", "latin-1", "cp1252", "ascii")
_SUFFIXES: Final[dict[Shape, tuple[str, ...]]] = {"asm": (".json",), "xlsx": (".xlsx",)}
# SENAITE's import keeps its own notes in the folder under these names.
_TAKEN_NAMES: Final = frozenset({"imported.csv", "logs.log"})
_NAME_FIELDS: Final = frozenset({"submission", "test", "at", "revision", "plate_number", "run_id"})
_PLAIN: Final = re.compile(r"[A-Za-z0-9._{}-]+")


class DialectError(ValueError):
    """A dialect that is not sound: which field, what it is, and what is expected."""


class Column(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One column: a field of the dialect's source, its heading, and decimal places of a number.

    A line without a `required` value is left out: a system that is given a result of nobody finds somebody for it.
    """

    field: str
    header: str | None = None
    places: Annotated[int, msgspec.Meta(ge=0, le=8)] | None = None
    required: bool = False


class Dialect(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a file looks. Every field is described in docs/lims.md."""

    name: str
    version: int
    title: str
    shape: Shape
    reader: Literal["lims", "people"] = "lims"
    source: Source = "wells"
    columns: tuple[Column, ...] = ()
    header: bool = True
    delimiter: str = ","
    decimal: Literal[".", ","] = "."
    encoding: str = "utf-8"
    bom: bool = False
    eol: Literal["\n", "\r\n", "\r"] = "\n"
    quoting: Literal["none", "minimal", "all"] = "none"
    well_style: WellStyle = "A1"
    order: Literal["row", "column"] = "row"
    missing: Literal["omit", "refuse", "say"] = "omit"
    calls: dict[Call, str] = {}
    formula_guard: bool = False
    times: str = "rfc3339"
    test_number: str = ""
    keyword: str = ""
    corner: Literal["name", "empty", "angles"] = "name"
    layers: tuple[str, ...] = ()
    file_name: str = "{submission}_{at}.csv"


def load(text: str) -> Dialect:
    """A dialect from TOML; DialectError says what is wrong with it."""
    try:
        dialect = msgspec.convert(tomllib.loads(text), Dialect)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise DialectError(f"not a dialect: {error}") from error
    check(dialect)
    return dialect


def check(dialect: Dialect) -> None:
    """Refuse a dialect that would write something ambiguous or dangerous."""
    for finding in (*_of_signs(dialect), *_of_reader(dialect), *_of_shape(dialect)):
        raise DialectError(f"dialect {dialect.name!r}: {finding}")
    _check_columns(dialect)
    _check_file_name(dialect)


def _of_signs(dialect: Dialect) -> Iterator[str]:
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,63}", dialect.name) or dialect.version < 1:
        yield f"name or version {dialect.version} (expected a-z, 0-9 and -, and 1 or more)"
    if len(dialect.delimiter) != 1 or dialect.delimiter in '\r\n"':
        yield f"delimiter {dialect.delimiter!r} (expected one sign that ends no line)"
    if dialect.delimiter == dialect.decimal:
        yield f"delimiter and decimal are both {dialect.decimal!r} (expected two signs)"
    if dialect.encoding not in ENCODINGS:
        yield f"encoding {dialect.encoding!r} (expected one of {', '.join(ENCODINGS)})"
    if dialect.bom and not dialect.encoding.startswith("utf"):
        yield f"a byte-order mark in {dialect.encoding} (expected none)"


def _of_reader(dialect: Dialect) -> Iterator[str]:
    if dialect.reader == "people":
        return
    if dialect.bom or dialect.formula_guard or dialect.decimal == "," or dialect.delimiter == ";":
        yield "bom, formula_guard, decimal ',' and delimiter ';' are for people (expected reader = \"people\")"
    if dialect.missing == "say" and dialect.shape != "asm":
        yield 'missing = "say" is for people: importers take a blank for a negative (expected omit or refuse)'


def _of_shape(dialect: Dialect) -> Iterator[str]:
    if dialect.shape == "table" and not dialect.columns:
        yield "a table without columns (expected at least one)"
    if dialect.shape == "grid" and not dialect.layers:
        yield "a grid without layers (expected at least one)"
    if dialect.shape == "senaite_2d" and not re.fullmatch(r"[A-Za-z0-9_+.-]+", dialect.keyword):
        yield f"keyword {dialect.keyword!r} (expected letters, digits and _ + . -)"
    if dialect.shape == "counts_legacy" and not dialect.test_number:
        yield "no test_number (expected the one that the site loads)"


def _check_columns(dialect: Dialect) -> None:
    known = FIELDS[dialect.source]
    wanted = [column.field for column in dialect.columns] if dialect.shape == "table" else []
    wanted += list(dialect.layers)
    for field in wanted:
        if field not in known:
            raise DialectError(
                f"dialect {dialect.name!r}: no field {field!r} (expected one of {', '.join(sorted(known))})"
            )


def _check_file_name(dialect: Dialect) -> None:
    """A name that cannot leave its folder, hide in it, or be one that an importer keeps for itself."""
    name = dialect.file_name
    try:
        fields = {field for _, field, _, _ in string.Formatter().parse(name) if field is not None}
    except ValueError as error:
        raise DialectError(f"dialect {dialect.name!r}: file_name {name!r}: {error}") from error
    suffixes = _SUFFIXES.get(dialect.shape, (".csv", ".txt", ".tsv"))
    sound = _PLAIN.fullmatch(name) and not name.startswith(".") and name.endswith(suffixes)
    if not sound or not fields <= _NAME_FIELDS or name in _TAKEN_NAMES:
        raise DialectError(
            f"dialect {dialect.name!r}: file_name {name!r} (expected letters, digits, ._- and "
            f"{', '.join('{' + field + '}' for field in sorted(_NAME_FIELDS))}, ending in {' or '.join(suffixes)})"
        )


@cache
def shipped() -> dict[str, Dialect]:
    """The dialects that come with Wellread, by name."""
    folder = files("central.deliveries") / "dialects"
    found = [load(file.read_text("utf-8")) for file in sorted(folder.iterdir(), key=lambda file: file.name)
             if file.name.endswith(".toml")]  # fmt: skip
    return {dialect.name: dialect for dialect in found}
