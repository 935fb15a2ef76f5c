"""An Excel workbook for people, its cells typed, so that no id becomes a date or a formula."""

import io
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import xlsxwriter

from central.deliveries.cells import FIELDS, Source, Value
from central.deliveries.dialect import Dialect
from central.deliveries.results import Results
from central.deliveries.tables import rows

_TITRES: Final = (
    "submission", "test", "plate", "row", "serum_id", "censor", "titre", "titre_log2", "grade", "flags", "read_at",
    "device", "reviewer", "revision", "status",
)  # fmt: skip
_WELLS: Final = (
    "plate_barcode", "well", "sample_id", "sample_role", "call", "confidence", "call_source", "quality_flag", "status",
    "review_reason",
)  # fmt: skip
_RUNS: Final = (
    "sample_no", "test", "plate_number", "total_wells", "positive_count", "negative_count", "invalid_count",
    "analysis_time", "device_id",
)  # fmt: skip
_SHEETS: Final[tuple[tuple[str, Source, tuple[str, ...]], ...]] = (
    ("Titres", "titres", _TITRES),
    ("Wells", "wells", _WELLS),
    ("Run", "plates", _RUNS),
)


def workbook(dialect: Dialect, results: Results) -> bytes:
    """The workbook; the same results give the same bytes."""
    content = io.BytesIO()
    options = {"in_memory": True, "strings_to_formulas": False, "strings_to_numbers": False, "strings_to_urls": False}
    with xlsxwriter.Workbook(content, options | {"remove_timezone": True}) as book:
        book.set_properties({"created": results.at.astimezone(UTC).replace(tzinfo=None)})
        time = book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"})
        styles = {"head": book.add_format({"bold": True}), "time": time}
        for title, source, fields in _SHEETS:
            assert set(fields) <= FIELDS[source].keys()
            sheet = book.add_worksheet(title)
            sheet.freeze_panes(1, 0)
            for at, field in enumerate(fields):
                sheet.write_string(0, at, field, styles["head"])
            these = msgspec.structs.replace(dialect, source=source)
            for line, values in enumerate(rows(these, results, fields), 1):
                _write(sheet, line, [values[field] for field in fields], styles)
            sheet.autofit()
    return content.getvalue()


def _write(sheet: Any, line: int, values: Sequence[Value], styles: dict[str, Any]) -> None:
    for at, value in enumerate(values):
        match value:
            case None:
                continue
            case datetime():
                sheet.write_datetime(line, at, value.astimezone(UTC).replace(tzinfo=None), styles["time"])
            case int() | float():
                sheet.write_number(line, at, value)
            case _:
                sheet.write_string(line, at, value)
