"""Rows and columns as text: the `table` that most systems read, and SENAITE's two-dimensional one."""

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, Final

from central.deliveries.cells import (
    FIELDS,
    FORMULA_SIGNS,
    OF_PLATE,
    Value,
    guarded,
    judged,
    number_text,
    time_text,
    well_text,
)
from central.deliveries.dialect import Column, Dialect
from central.deliveries.results import PlateResult, Results
from protocol.plate import parse_well

# What people wrote: no system finds anything by it, so it has the guard against formulas in every dialect.
_PROSE: Final = frozenset({"review_reason", "reviewed_by", "reviewer", "operator"})
# A field of its own where systems expect a well's name in their own spelling.
_WELL_FIELDS: Final = frozenset({"well"})


class RenderError(ValueError):
    """Results that a dialect cannot say: which value, and what is expected."""


def table(dialect: Dialect, results: Results) -> bytes:
    """A line for each well, serum or plate that has a result."""
    head = [[column.header or column.field for column in dialect.columns]] if dialect.header else []
    return encoded(dialect, chain(head, chain.from_iterable(_lines(dialect, plate) for plate in results.plates)))


def _lines(dialect: Dialect, plate: PlateResult) -> Iterator[list[str]]:
    """The lines of a plate, as `rows` and `cell` say them; what all its wells share is written once."""
    fields = [FIELDS[dialect.source][column.field] for column in dialect.columns]
    required = [field for column, field in zip(dialect.columns, fields, strict=True) if column.required]
    of_each: list[tuple[int, Callable[[PlateResult, Any], Value], Callable[[Value], str]]] = []
    for at, (column, field) in enumerate(zip(dialect.columns, fields, strict=True)):
        if dialect.source != "wells" or column.field not in OF_PLATE:
            of_each.append((at, field, _remembering(dialect, column)))
    line: list[str] | None = None
    for each in _things(dialect, plate):
        if any(field(plate, each) is None for field in required):
            continue
        if line is None:
            line = [
                cell(dialect, column, {column.field: field(plate, each)})
                for column, field in zip(dialect.columns, fields, strict=True)
            ]
        else:
            line = line.copy()
            for at, field, written in of_each:
                line[at] = written(field(plate, each))
        yield line


def _remembering(dialect: Dialect, column: Column) -> Callable[[Value], str]:
    """`cell` of a column, for the wells of one plate: most of what they say they say again."""
    known: dict[str, str] = {}

    def written(value: Value) -> str:
        if value is None:
            return ""
        if not isinstance(value, str):  # 1 and 1.0 are the same to a dict
            return cell(dialect, column, {column.field: value})
        text = known.get(value)
        if text is None:
            text = known[value] = cell(dialect, column, {column.field: value})
        return text

    return written


def rows(dialect: Dialect, results: Results, wanted: Iterable[str]) -> Iterator[dict[str, Value]]:
    """The values of each line, by field."""
    fields = {name: FIELDS[dialect.source][name] for name in wanted}
    required = [column.field for column in dialect.columns if column.required and column.field in fields]
    for plate in results.plates:
        for each in _things(dialect, plate):
            values = {name: field(plate, each) for name, field in fields.items()}
            if all(values[name] is not None for name in required):
                yield values


def without_required(dialect: Dialect, plate: PlateResult) -> Iterator[tuple[str, list[str]]]:
    """(`well A1` or `row A`, the fields that it lacks) of each line that is left out because of them."""
    required = [column.field for column in dialect.columns if column.required] if dialect.shape == "table" else []
    for each in _things(dialect, plate) if required else ():
        lacks = [name for name in required if FIELDS[dialect.source][name](plate, each) is None]
        if lacks:
            what = {"wells": "well", "titres": "row", "plates": "the plate"}[dialect.source]
            name = getattr(each, "well", None) or getattr(each, "row", None)
            yield (f"{what} {name}" if name else what), lacks


def _things(dialect: Dialect, plate: PlateResult) -> Sequence[Any]:
    """What has a line: wells that were read and are used for something, sera with an endpoint, a plate of which a well
    says something; or all of them."""
    say = dialect.missing == "say"
    if dialect.source == "plates":
        return (None,) if say or any(plate.sort_of(well) != "invalid" for well in judged(plate)) else ()
    if dialect.source == "titres":
        return [row for row in plate.rows if say or row.endpoint is not None]
    used = [well for well in plate.wells if well.role != "unused" and (say or well.call.is_read)]
    by_column = dialect.order == "column"
    return sorted(used, key=lambda well: parse_well(well.well)[:: -1 if by_column else 1])


def cell(dialect: Dialect, column: Column, values: dict[str, Value]) -> str:
    """One value as this dialect writes it; text with a guard where it has one."""
    value = values[column.field]
    if value is None:
        return ""
    if column.field in _WELL_FIELDS:
        return well_text(str(value), dialect.well_style)
    if column.field == "call" and dialect.calls:
        return _mapped(dialect, str(value))
    if isinstance(value, int | float):
        return number_text(value, column.places, dialect.decimal)
    text = value if isinstance(value, str) else time_text(value, dialect.times)
    return guarded(text) if dialect.formula_guard or column.field in _PROSE else named(dialect, text)


def named(dialect: Dialect, text: str) -> str:
    """A name as it is, for nobody may change it: one that a spreadsheet would work out is refused."""
    if text.startswith(FORMULA_SIGNS):
        raise RenderError(
            f"{text[:80]!r} begins like a formula (dialect {dialect.name!r}; expected a letter or a digit)"
        )
    return text


def _mapped(dialect: Dialect, call: str) -> str:
    words = {str(known): word for known, word in dialect.calls.items()}
    if call not in words:
        raise RenderError(f"call {call!r} has no word in dialect {dialect.name!r} (expected one of {', '.join(words)})")
    return words[call]


def encoded(dialect: Dialect, lines: Iterable[Sequence[str]]) -> bytes:
    """Lines as bytes; RenderError for a value that this dialect cannot hold."""
    quoting = {"none": csv.QUOTE_NONE, "minimal": csv.QUOTE_MINIMAL, "all": csv.QUOTE_ALL}[dialect.quoting]
    unsound = re.compile(f'[\0{re.escape(dialect.delimiter)}"\r\n]' if dialect.quoting == "none" else "\0")
    content = io.BytesIO()
    text = io.TextIOWrapper(content, dialect.encoding, newline="")
    writer = csv.writer(text, delimiter=dialect.delimiter, quoting=quoting, lineterminator=dialect.eol)  # type: ignore[arg-type]
    try:
        for line in lines:
            if unsound.search("".join(line)):
                for value in line:
                    _check_plain(dialect, value)
            writer.writerow(line)
        text.flush()
    except UnicodeEncodeError as error:
        bad = error.object[error.start : error.end][:20]
        raise RenderError(f"{bad!r} cannot be written in {dialect.encoding} (dialect {dialect.name!r})") from error
    return ("\ufeff".encode(dialect.encoding) if dialect.bom else b"") + content.getvalue()


def _check_plain(dialect: Dialect, value: str) -> None:
    """What would need quoting where nothing is quoted, and what no importer reads back as it was."""
    if "\0" in value:
        raise RenderError(f"a NUL character in {value[:80]!r} (expected text)")
    if dialect.quoting == "none" and any(sign in value for sign in (dialect.delimiter, '"', "\r", "\n")):
        raise RenderError(
            f"{value[:80]!r} would need quoting (dialect {dialect.name!r} quotes nothing; expected none of "
            f"{dialect.delimiter!r}, '\"' and line ends)"
        )


def senaite_2d(dialect: Dialect, results: Results) -> bytes:
    """`ID,<keyword>,end`, then a line for each serum with its log₂ titre; every serum needs an id of its own."""
    lines = [["ID", dialect.keyword, "end"]]
    seen: set[str] = set()
    for plate in results.plates:
        for row in plate.rows:
            if row.endpoint is None:
                continue
            if row.serum_id is None:
                raise RenderError(f"plate {plate.plate_number} row {row.row} has no serum id (SENAITE knows no others)")
            if row.serum_id in seen:
                raise RenderError(f"serum {row.serum_id!r} has two results (expected one of each)")
            seen.add(row.serum_id)
            lines.append([named(dialect, row.serum_id), str(row.endpoint), "end"])
    return encoded(dialect, lines)
