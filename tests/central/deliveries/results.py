"""Results to hand over: a plate of HI as a laboratory has it, with everything that may be missing."""

from datetime import timedelta
from typing import Any

from central.deliveries.results import PlateResult, Results, Reviewed, RowResult, WellResult
from protocol.assay import Call
from protocol.profiles import PROFILES
from tests.make import NOON

HI = PROFILES["hi-96"]


def make_wells(rows: dict[str, int | None], **changed: WellResult) -> tuple[WellResult, ...]:
    """Wells of an HI plate whose rows flow to these dilutions; None: the whole row was lost to glare."""
    wells = []
    for series in HI.series:
        end = rows.get(series.row, 0)
        for k, name in enumerate(series.wells, 1):
            call = Call.OBSCURED if end is None else Call.FLOWING if k <= end else Call.BUTTON
            x, y = 40.0 * k, 40.0 * HI.format.row_labels().index(series.row) + 40
            well = WellResult(
                well=name,
                call=call,
                confidence=0.0 if end is None else 0.97,
                flags=("glare",) if end is None else (),
                sample_id=f"FL7-{series.row}",
                box_px=(x - 15, y - 15, x + 15, y + 15),
            )
            wells.append(changed.get(name, well))
    return tuple(wells)


def make_plate(rows: dict[str, int | None] | None = None, **fields: Any) -> PlateResult:
    """Eight sera: six with titres, one below, one that could not be read."""
    ends = {"A": 8, "B": 8, "C": 9, "D": 10, "E": 12, "F": 3, "G": 0, "H": None} if rows is None else rows
    reviewed = Reviewed("anna", NOON + timedelta(hours=2), "moulding seam")
    seam = WellResult(well="A9", call=Call.PARTIAL, confidence=0.55, sample_id="FL7-A", reviewed=reviewed)
    values: dict[str, Any] = {
        "run_id": "019a0000-0001-76b8-86b2-73ff34fce19d",
        "revision": 2,
        "submission": "S-1001",
        "test": "NDV",
        "plate_number": "1",
        "barcode": "S-1001|NDV|1",
        "assay": HI,
        "device_id": "bench-1",
        "model_name": "hi-wells",
        "model_version": 2,
        "read_at": NOON,
        "image_sha256": "ab" * 32,
        "status": "final",
        "wells": make_wells(ends, A9=seam),
        "rows": tuple(
            RowResult(
                row=row,
                endpoint=end,
                grade="low" if end is None else "high",
                flags=("gap",) if end is None else ("at_limit",) if end == 12 else ("below",) if end == 0 else (),
                serum_id=f"FL7-{row}",
            )
            for row, end in ends.items()
        ),
        "operator": "otto",
        "reviewer": "anna",
    }
    return PlateResult(**values | fields)


def make_results(*plates: PlateResult, **fields: Any) -> Results:
    """The results of one submission and test."""
    values: dict[str, Any] = {"submission": "S-1001", "test": "NDV", "plates": plates or (make_plate(),), "at": NOON}
    return Results(**values | fields)
