"""What each dialect says of each state, as a table: `python -m tests.central.deliveries.sayings` makes docs/missing.md.

One well, one row or the whole plate is given a state, the file is made, and what a reader finds of it there is read
back: nothing, a refusal, an error document, or the words and numbers of the result.
"""

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import openpyxl

from central.deliveries.dialect import Dialect, shipped
from central.deliveries.render import RenderError, render
from central.deliveries.results import PlateResult, RowResult
from protocol.assay import CALLS, Call
from protocol.profiles import PROFILES
from tests.central.deliveries.results import make_plate, make_results

PAGE: Final = Path(__file__).parents[3] / "docs" / "missing.md"
WELL, ROW = "A7", "A"
NOTHING: Final = "nothing"

# The fields of a file that are a result; all others say of what, by whom or when.
RESULTS: Final = frozenset(
    {"call", "call_code", "interpretation", "titre", "titre_log2", "censor", "confidence", "positive_count",
     "negative_count", "invalid_count"}
)  # fmt: skip


def states() -> Iterator[tuple[str, PlateResult]]:
    """(name, a plate with it): every call of a well, everything that a row may be, every status of a plate."""
    plate = make_plate(dict.fromkeys("ABCDEFGH", 8))
    for call in Call:
        yield f"well: {call}", _with_well(plate, call)
    for grade in ("high", "medium", "low"):
        yield f"row: 8 dilutions, grade {grade}", _with_row(plate, endpoint=8, grade=grade)
    yield "row: below the first dilution", _with_row(plate, endpoint=0, grade="high", flags=("below",))
    yield "row: at the last dilution", _with_row(plate, endpoint=12, grade="high", flags=("at_limit",))
    yield "row: no endpoint", _with_row(plate, endpoint=None, grade="low", flags=("gap",))
    yield "row: not reportable", _with_row(plate, endpoint=None, grade="high")
    for status in ("final", "preliminary", "corrected", "invalid"):
        yield f"plate: {status}", msgspec.structs.replace(plate, status=status)
    unread = tuple(msgspec.structs.replace(well, call=Call.NOT_READ, confidence=0.0) for well in plate.wells)
    lost = tuple(msgspec.structs.replace(row, endpoint=None, grade="low") for row in plate.rows)
    yield "plate: nothing was read", msgspec.structs.replace(plate, wells=unread, rows=lost)


def _with_well(plate: PlateResult, call: Call) -> PlateResult:
    """The well with this call, on a plate of an assay that has it."""
    if call.is_read and call not in CALLS["cells"]:
        other = PROFILES["colour-96" if call in (Call.POSITIVE, Call.NEGATIVE) else "mic-96"]
        plate = msgspec.structs.replace(plate, assay=msgspec.structs.replace(plate.assay, inhibited=other.inhibited))
    wells = [
        msgspec.structs.replace(well, call=call, confidence=0.97 if call.is_read else 0.0)
        if well.well == WELL
        else well
        for well in plate.wells
    ]
    return msgspec.structs.replace(plate, wells=tuple(wells))


def _with_row(plate: PlateResult, **fields: Any) -> PlateResult:
    (first, *others) = plate.rows
    assert first.row == ROW
    changed = RowResult(row=ROW, serum_id=first.serum_id, **fields)
    return msgspec.structs.replace(plate, rows=(changed, *others))


def levels(dialect: Dialect) -> frozenset[str]:
    """Of what a dialect speaks; a state of anything else changes nothing in its file."""
    if dialect.shape == "xlsx":
        return frozenset({"well", "row", "plate"})
    of_rows = dialect.shape in ("counts", "counts_legacy", "senaite_2d") or dialect.source == "titres"
    return frozenset({"row" if of_rows else "well", "plate"})


def said(dialect: Dialect, plate: PlateResult) -> dict[str, str] | str:
    """What a file says of the well, the row or the plate: result fields as they stand there; NOTHING; or a refusal."""
    try:
        content = render(dialect, make_results(plate)).content
    except RenderError:
        return "refused"
    found = _READERS[dialect.shape](dialect, content)
    return NOTHING if found is None else found


def _table(dialect: Dialect, content: bytes) -> dict[str, str] | None:
    fields = [column.field for column in dialect.columns]
    text = content.decode("utf-8-sig" if dialect.bom else dialect.encoding)
    for line in list(csv.reader(io.StringIO(text), delimiter=dialect.delimiter))[1:]:
        values = dict(zip(fields, line, strict=True))
        if _is_ours(values):
            return {name: value for name, value in values.items() if name in RESULTS}
    return None


def _is_ours(values: Mapping[str, Any]) -> bool:
    """Whether a line is of the well, of the row, or of the one plate."""
    return values.get("well", WELL) == WELL and ("well" in values or values.get("row", ROW) == ROW)


def _counts(dialect: Dialect, content: bytes) -> dict[str, str]:
    lines = list(csv.reader(io.StringIO(content.decode(dialect.encoding))))[1:]
    return {name: entry for _, _, name, entry in lines if entry != "0"}


def _senaite(dialect: Dialect, content: bytes) -> dict[str, str] | None:
    lines = {line[0]: line[1] for line in csv.reader(io.StringIO(content.decode(dialect.encoding)))}
    return {"titre_log2": lines[f"FL7-{ROW}"]} if f"FL7-{ROW}" in lines else None


def _grid(dialect: Dialect, content: bytes) -> dict[str, str] | None:
    found = {}
    for block in content.decode(dialect.encoding).split(dialect.eol * 2):
        lines = list(csv.reader(io.StringIO(block)))
        if lines[0][0] in RESULTS:
            found[lines[0][0]] = lines[1][int(WELL[1:])]
    return found if any(found.values()) else None


def _asm(_: Dialect, content: bytes) -> dict[str, str] | None:
    (plate,) = json.loads(content)["plate reader aggregate document"]["plate reader document"]
    for well in plate["measurement aggregate document"]["measurement document"]:
        if well["sample document"]["well location identifier"] == WELL:
            if "error aggregate document" in well:
                (error,) = well["error aggregate document"]["error document"]
                return {"error": error["error"]}
            (call,) = well["processed data aggregate document"]["processed data document"]
            data = call["custom information aggregate document"]["custom information document"]
            values = {each["datum label"]: each.get("scalar string datum") for each in data}
            return {"call": values["call"], "status": values["status"]}
    return None


def _workbook(_: Dialect, content: bytes) -> dict[str, str] | None:
    found: dict[str, str] = {}
    book = openpyxl.load_workbook(io.BytesIO(content))
    for name in ("Wells", "Titres"):
        head, *lines = book[name].iter_rows(values_only=True)
        for line in lines:
            values = dict(zip(head, line, strict=True))
            if _is_ours(values):
                found |= {f: "" if v is None else str(v) for f, v in values.items() if f in RESULTS}
    return found


_READERS: Final[Mapping[str, Callable[[Dialect, bytes], dict[str, str] | None]]] = {
    "table": _table,
    "counts": _counts,
    "counts_legacy": _counts,
    "senaite_2d": _senaite,
    "grid": _grid,
    "asm": _asm,
    "xlsx": _workbook,
}


def page() -> str:
    """The table as Markdown."""
    dialects = list(shipped().values())
    head = ["state", *(f"`{dialect.name}`" for dialect in dialects)]
    lines = [head, ["---"] * len(head)]
    for state, plate in states():
        cells = [_cell(dialect, state, plate) for dialect in dialects]
        lines.append([state.replace("_", " "), *cells])
    return _TEXT + "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _cell(dialect: Dialect, state: str, plate: PlateResult) -> str:
    if state.partition(":")[0] not in levels(dialect):
        return "·"
    found = said(dialect, plate)
    if isinstance(found, str) or "error" in found:
        return found if isinstance(found, str) else f"error: {found['error']}"
    if dialect.shape.startswith("counts"):
        return f"{sum(int(entry) for name, entry in found.items() if name.isdigit())} sera"
    counts = {"positive_count": "+", "negative_count": "−", "invalid_count": "?"}
    if counts.keys() <= found.keys():
        return ", ".join(f"{found[name]} {sign}" for name, sign in counts.items())
    shown = [found[name] for name in ("call", "call_code", "interpretation", "censor", "titre", "titre_log2", "status")
             if found.get(name)]  # fmt: skip
    return ", ".join(shown) or "(empty cells)"


_TEXT: Final = """# What files say where something is missing

Made by `python -m tests.central.deliveries.sayings` from the shipped dialects, and held to by
`tests/central/deliveries/test_sayings.py`: change neither by hand.

For each state, what a reader finds of that well, that row or that plate: of a plate with eight sera of 8 dilutions, of
which well A7, row A or the whole has this state. `nothing`: no line and no cell with anything in it. `·`: this dialect
does not speak of such a thing. `+`, `−` and `?` count wells that are inhibited, that are not, and that say nothing.
Only in what is for people, `wells-excel` and `xlsx`, may a cell be empty. A void plate is in no file at all; one whose
approval does not hold, or whose controls failed, is never delivered, and its wells are only seen in previews.

"""

if __name__ == "__main__":
    PAGE.write_text(page())
