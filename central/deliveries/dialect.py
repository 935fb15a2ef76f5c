"""The shape of a file that some system reads, as data: written in TOML, checked here, versioned by its name.

What is for people (a spreadsheet's byte-order mark, `;`, a decimal comma, the guard against formulas) is refused in a
dialect for a laboratory system: it would be taken for part of a number or a name.
"""

import re
import string
import tomllib
from collections.abc import Iterator, Sequence
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
# What a file that withdraws may say: nothing that could be taken for a result.
WITHDRAWAL_FIELDS: Final = (
    "submission", "test", "plate", "row", "serum_id", "run_id", "status", "withdrawn_at", "file",
)  # fmt: skip
_NAME_FIELDS: Final = frozenset({"submission", "test", "at", "revision", "plate_number", "run_id"})
# Where a parser says that it stopped: `(at line 3, column 5)`, `at `$.columns[0].places``, `unknown field `x``.
_AT_LINE: Final = re.compile(r"\(at line (\d+), column \d+\)")
_AT_FIELD: Final = re.compile(r"at `\$([^`]*)`")
_NAMED: Final = re.compile(r"(?:unknown|required) field `(\w+)`")
_PLAIN: Final = re.compile(r"[A-Za-z0-9._{}-]+")


class Finding(msgspec.Struct, frozen=True):
    """One thing that is wrong with a dialect: where, as a JSON pointer and as a line of its TOML, and what."""

    pointer: str
    detail: str
    line: int | None = None


class DialectError(ValueError):
    """A dialect that is not sound: which fields, what they are, and what is expected."""

    def __init__(self, detail: str, findings: Sequence[Finding] = ()) -> None:
        """`detail` says the first of the findings, or what they have in common."""
        super().__init__(detail)
        self.findings = tuple(findings)


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
    withdrawal: tuple[Column, ...] = ()


def load(text: str) -> Dialect:
    """A dialect from TOML; DialectError says what is wrong with it, line by line."""
    try:
        dialect = msgspec.convert(tomllib.loads(text), Dialect)
    except tomllib.TOMLDecodeError as error:
        found = _AT_LINE.search(str(error))
        line = int(found[1]) if found else text.count("\n") + 1
        raise DialectError(f"not a dialect: {error}", [Finding("", f"not TOML: {error}", line)]) from error
    except msgspec.ValidationError as error:
        found = _AT_FIELD.search(str(error))
        named = _NAMED.search(str(error))
        pointer = "".join(f"/{part}" for part in re.findall(r"\w+", found[1])) if found else ""
        pointer += f"/{named[1]}" if named else ""
        raise DialectError(f"not a dialect: {error}", [Finding(pointer, str(error), line_of(text, pointer))]) from error
    try:
        check(dialect)
    except DialectError as error:
        lines = [Finding(each.pointer, each.detail, line_of(text, each.pointer)) for each in error.findings]
        raise DialectError(str(error), lines) from error
    return dialect


def line_of(text: str, pointer: str) -> int | None:
    """The line of a dialect's TOML on which a field is written; None where it is not written at all."""
    _, *parts = pointer.split("/")
    if not parts:
        return None
    at = next((each for each in re.finditer(rf"(?m)^[ \t]*(?:\[+\s*)?{re.escape(parts[0])}\b", text)), None)
    if at is None:
        return None
    place = at.start()
    if parts[0] == "columns" and len(parts) > 1:
        columns = [each.start() for each in re.finditer(r"\bfield\s*=", text[place:])]
        place += columns[int(parts[1])] if int(parts[1]) < len(columns) else 0
    return text.count("\n", 0, place) + 1


def check(dialect: Dialect) -> None:
    """Refuse a dialect that would write something ambiguous or dangerous; all that is wrong with it at once."""
    sources = _of_signs, _of_reader, _of_shape, _of_columns, _of_file_name, _of_withdrawal
    findings = [Finding(pointer, detail) for each in sources for pointer, detail in each(dialect)]
    if findings:
        said = "; ".join(each.detail for each in findings)
        raise DialectError(f"dialect {dialect.name!r}: {said}", findings)


def _of_signs(dialect: Dialect) -> Iterator[tuple[str, str]]:
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,63}", dialect.name) or dialect.version < 1:
        yield "/name", f"name or version {dialect.version} (expected a-z, 0-9 and -, and 1 or more)"
    if len(dialect.delimiter) != 1 or dialect.delimiter in '\r\n"':
        yield "/delimiter", f"delimiter {dialect.delimiter!r} (expected one sign that ends no line)"
    if dialect.delimiter == dialect.decimal:
        yield "/delimiter", f"delimiter and decimal are both {dialect.decimal!r} (expected two signs)"
    if dialect.encoding not in ENCODINGS:
        yield "/encoding", f"encoding {dialect.encoding!r} (expected one of {', '.join(ENCODINGS)})"
    if dialect.bom and not dialect.encoding.startswith("utf"):
        yield "/bom", f"a byte-order mark in {dialect.encoding} (expected none)"


def _of_reader(dialect: Dialect) -> Iterator[tuple[str, str]]:
    if dialect.reader == "people":
        return
    if dialect.bom or dialect.formula_guard or dialect.decimal == "," or dialect.delimiter == ";":
        said = "bom, formula_guard, decimal ',' and delimiter ';' are for people (expected reader = \"people\")"
        yield "/reader", said
    if dialect.missing == "say" and dialect.shape != "asm":
        said = 'missing = "say" is for people: importers take a blank for a negative (expected omit or refuse)'
        yield "/missing", said


def _of_shape(dialect: Dialect) -> Iterator[tuple[str, str]]:
    if dialect.shape == "table" and not dialect.columns:
        yield "/columns", "a table without columns (expected at least one)"
    if dialect.shape == "grid" and not dialect.layers:
        yield "/layers", "a grid without layers (expected at least one)"
    if dialect.shape == "senaite_2d" and not re.fullmatch(r"[A-Za-z0-9_+.-]+", dialect.keyword):
        yield "/keyword", f"keyword {dialect.keyword!r} (expected letters, digits and _ + . -)"
    if dialect.shape == "counts_legacy" and not dialect.test_number:
        yield "/test_number", "no test_number (expected the one that the site loads)"


def _of_columns(dialect: Dialect) -> Iterator[tuple[str, str]]:
    known = FIELDS[dialect.source]
    columns = [column.field for column in dialect.columns] if dialect.shape == "table" else []
    wanted = [(f"/columns/{at}/field", field) for at, field in enumerate(columns)]
    wanted += [(f"/layers/{at}", field) for at, field in enumerate(dialect.layers)]
    for pointer, field in wanted:
        if field not in known:
            yield pointer, f"no field {field!r} (expected one of {', '.join(sorted(known))})"


def _of_withdrawal(dialect: Dialect) -> Iterator[tuple[str, str]]:
    """It says of what it is that a result is withdrawn, and that it is."""
    fields = [column.field for column in dialect.withdrawal]
    if not fields:
        return
    for at, field in enumerate(fields):
        if field not in WITHDRAWAL_FIELDS:
            yield f"/withdrawal/{at}/field", f"no field {field!r} (expected one of {', '.join(WITHDRAWAL_FIELDS)})"
    if dialect.shape in {"asm", "xlsx"}:
        yield "/withdrawal", f"a withdrawal in shape {dialect.shape!r} (expected one of lines and columns)"
    if not {"status", "run_id"} <= set(fields):
        yield "/withdrawal", "a withdrawal without status or run_id (expected both: it is taken for results otherwise)"


def _of_file_name(dialect: Dialect) -> Iterator[tuple[str, str]]:
    """A name that cannot leave its folder, hide in it, or be one that an importer keeps for itself."""
    name = dialect.file_name
    try:
        fields = {field for _, field, _, _ in string.Formatter().parse(name) if field is not None}
    except ValueError as error:
        yield "/file_name", f"file_name {name!r}: {error}"
        return
    suffixes = _SUFFIXES.get(dialect.shape, (".csv", ".txt", ".tsv"))
    sound = _PLAIN.fullmatch(name) and not name.startswith(".") and name.endswith(suffixes)
    if not sound or not fields <= _NAME_FIELDS or name in _TAKEN_NAMES:
        listed = ", ".join("{" + field + "}" for field in sorted(_NAME_FIELDS))
        yield (
            "/file_name",
            f"file_name {name!r} (expected letters, digits, ._- and {listed}, ending in {' or '.join(suffixes)})",
        )


@cache
def shipped() -> dict[str, Dialect]:
    """The dialects that come with Wellread, by name."""
    folder = files("central.deliveries") / "dialects"
    found = [load(file.read_text("utf-8")) for file in sorted(folder.iterdir(), key=lambda file: file.name)
             if file.name.endswith(".toml")]  # fmt: skip
    return {dialect.name: dialect for dialect in found}
