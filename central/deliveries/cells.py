"""The fields that a file may have, and one value as the text that a dialect writes for it.

A field is a function of a plate and one of its wells or rows. Its value is text, a number or a time, and stays that
until it is written: so a number is never mistaken for text that could be a formula.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache
from typing import Any, Final, Literal, TypeAlias

from central.deliveries.results import CALL_CODES, PlateResult, RowResult, WellResult
from protocol.plate import parse_well, row_label

Source = Literal["wells", "titres", "plates"]
Value: TypeAlias = str | int | float | datetime | None

# A cell of a spreadsheet that begins so is worked out, whatever it was meant to be; wide forms become plain ones.
FORMULA_SIGNS: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\0", "＝", "＋", "－", "＠")


def _of_wells() -> dict[str, Callable[[PlateResult, WellResult], Value]]:
    return {
        "run_id": lambda plate, _: plate.run_id,
        "run_revision": lambda plate, _: plate.revision,
        "plate_barcode": lambda plate, _: plate.barcode,
        "plate_number": lambda plate, _: plate.plate_number,
        "plate_format": lambda plate, _: plate.assay.plate_format,
        "well": lambda _, well: well.well,
        "row": lambda _, well: split_well(well.well)[0],
        "column": lambda _, well: split_well(well.well)[1],
        "sample_id": lambda _, well: well.sample_id,
        "sample_no": lambda plate, _: plate.submission,
        "submission_id": lambda plate, _: plate.submission,
        "test": lambda plate, _: plate.test,
        "sample_role": lambda _, well: well.role,
        "assay": lambda plate, _: plate.assay.name,
        "call": lambda _, well: well.call.value if well.call.is_read else None,
        "call_code": lambda _, well: CALL_CODES.get(well.call),
        "call_source": lambda _, well: "model" if well.reviewed is None else "reviewer",
        "confidence": lambda _, well: well.confidence if well.call.is_read else None,
        "quality_flag": lambda _, well: "|".join(well.flags),
        "status": lambda plate, well: plate.status_of(well),
        "interpretation": lambda plate, well: plate.sort_of(well),
        "measured_at": lambda plate, _: plate.read_at,
        "device_id": lambda plate, _: plate.device_id,
        "operator": lambda plate, _: plate.operator,
        "model_name": lambda plate, _: plate.model_name,
        "model_version": lambda plate, _: plate.model_version,
        "reviewed_by": lambda _, well: well.reviewed and well.reviewed.by,
        "reviewed_at": lambda _, well: well.reviewed and well.reviewed.at,
        "review_reason": lambda _, well: well.reviewed and well.reviewed.reason,
        "image_sha256": lambda plate, _: plate.image_sha256,
        "xmin": lambda _, well: well.box_px and well.box_px[0],
        "ymin": lambda _, well: well.box_px and well.box_px[1],
        "xmax": lambda _, well: well.box_px and well.box_px[2],
        "ymax": lambda _, well: well.box_px and well.box_px[3],
    }


def _of_titres() -> dict[str, Callable[[PlateResult, RowResult], Value]]:
    def titre(at: int) -> Callable[[PlateResult, RowResult], Value]:
        def part(plate: PlateResult, row: RowResult) -> Value:
            found = plate.titre_of(row)
            return None if found is None else found[at]

        return part

    return {
        "run_id": lambda plate, _: plate.run_id,
        "submission": lambda plate, _: plate.submission,
        "test": lambda plate, _: plate.test,
        "plate": lambda plate, _: plate.plate_number,
        "row": lambda _, row: row.row,
        "serum_id": lambda _, row: row.serum_id,
        "titre_log2": lambda _, row: row.endpoint,
        "titre": titre(1),
        "censor": titre(0),
        "grade": lambda _, row: row.grade,
        "flags": lambda _, row: "|".join(row.flags),
        "read_at": lambda plate, _: plate.read_at,
        "device": lambda plate, _: plate.device_id,
        "model": lambda plate, _: f"{plate.model_name}-v{plate.model_version}",
        "profile": lambda plate, _: plate.assay.name,
        "reviewer": lambda plate, _: plate.reviewer,
        "revision": lambda plate, _: plate.revision,
        "status": lambda plate, _: plate.status,
    }


def _of_plates() -> dict[str, Callable[[PlateResult, None], Value]]:
    def sorted_as(sort: str) -> Callable[[PlateResult, None], int]:
        return lambda plate, _: sum(plate.sort_of(well) == sort for well in judged(plate))

    def percentage(sort: str) -> Callable[[PlateResult, None], Value]:
        def of(plate: PlateResult, _: None) -> Value:
            wells = judged(plate)
            return 100 * sum(plate.sort_of(well) == sort for well in wells) / len(wells) if wells else None

        return of

    return {
        "sample_no": lambda plate, _: plate.submission,
        "test": lambda plate, _: plate.test,
        "plate_number": lambda plate, _: plate.plate_number,
        "total_wells": lambda plate, _: len(judged(plate)),
        "positive_count": sorted_as("positive"),
        "negative_count": sorted_as("negative"),
        "invalid_count": sorted_as("invalid"),
        "positive_percentage": percentage("positive"),
        "negative_percentage": percentage("negative"),
        "analysis_time": lambda plate, _: plate.read_at,
        "device_id": lambda plate, _: plate.device_id,
    }


def judged(plate: PlateResult) -> tuple[WellResult, ...]:
    """The wells that a result is made of: dilutions of samples, and samples of their own."""
    return tuple(well for well in plate.wells if well.role == "sample")


FIELDS: Final[Mapping[Source, Mapping[str, Callable[[PlateResult, Any], Value]]]] = {
    "wells": _of_wells(),
    "titres": _of_titres(),
    "plates": _of_plates(),
}


# Fields of wells that are of their plate: worked out once for its ninety-six.
OF_PLATE: Final = frozenset({
    "run_id", "run_revision", "plate_barcode", "plate_number", "plate_format", "sample_no", "submission_id", "test",
    "assay", "measured_at", "device_id", "operator", "model_name", "model_version", "image_sha256",
})  # fmt: skip


@lru_cache(maxsize=4096)
def split_well(well: str) -> tuple[str, int]:
    """(row, column) of a well: `("B", 7)`."""
    row, column = parse_well(well)
    return row_label(row), column


def number_text(value: float, places: int | None, decimal: str) -> str:
    """A number, rounded half up where places are given; whole numbers stay whole."""
    text = str(value) if places is None else _rounded(str(value), places)
    return text if decimal == "." else text.replace(".", decimal)


@lru_cache(maxsize=4096)
def _rounded(number: str, places: int) -> str:
    return str(Decimal(number).quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP))


def time_text(at: datetime, style: str) -> str:
    """RFC 3339 in UTC with its Z, or `strftime`'s own directions."""
    utc = at.astimezone(UTC)
    if style == "rfc3339":
        return utc.isoformat(timespec="seconds").replace("+00:00", "Z")
    return utc.strftime(style)


def well_text(well: str, style: str) -> str:
    """A well as another program writes it: `A1`, `A01` or `A:1`."""
    row, column = split_well(well)
    return {"A1": f"{row}{column}", "A01": f"{row}{column:02d}", "A:1": f"{row}:{column}"}[style]


def guarded(text: str) -> str:
    """Text that a spreadsheet takes for text."""
    return f"'{text}" if text.startswith(FORMULA_SIGNS) else text
