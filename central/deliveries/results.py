"""What there is to hand over: plates as they stand after review, as plain values. All that a file says comes from here.

A row without an endpoint, or that a reviewer set "not reportable", has no result, and a well that was not read has no
call: they are never zero and never negative, whatever shape the file has.
"""

from datetime import datetime
from typing import Final, Literal

import msgspec

from protocol.assay import SAYS_NOTHING, AssayProfile, Call, Role
from protocol.endpoint import Grade, titre_text

Status = Literal["final", "preliminary", "corrected", "not_read", "invalid"]
Sort = Literal["positive", "negative", "invalid"]

# Numbers for systems that know no words; never renumbered, only added to.
CALL_CODES: Final[dict[Call, int]] = {
    Call.FLOWING: 1,
    Call.BUTTON: 2,
    Call.PARTIAL: 3,
    Call.DIFFUSE: 4,
    Call.EMPTY: 5,
    Call.GROWTH: 6,
    Call.WEAK_GROWTH: 7,
    Call.CLEAR: 8,
    Call.POSITIVE: 9,
    Call.NEGATIVE: 10,
    Call.INDETERMINATE: 11,
}


class Reviewed(msgspec.Struct, frozen=True):
    """Who changed a well's call, when and why."""

    by: str
    at: datetime
    reason: str


class WellResult(msgspec.Struct, frozen=True, kw_only=True):
    """One well as it stands. `box_px` is (left, top, right, bottom) in the photograph."""

    well: str
    call: Call
    confidence: float
    flags: tuple[str, ...] = ()
    role: Role = "sample"
    sample_id: str | None = None
    box_px: tuple[float, float, float, float] | None = None
    reviewed: Reviewed | None = None


class RowResult(msgspec.Struct, frozen=True, kw_only=True):
    """One serum as it stands: `endpoint` in dilutions, None where nothing is to be reported."""

    row: str
    endpoint: int | None
    grade: Grade
    flags: tuple[str, ...] = ()
    serum_id: str | None = None


class PlateResult(msgspec.Struct, frozen=True, kw_only=True):
    """One plate: its current run with everything that a file may say of it; `barcode` is its code as it was read."""

    run_id: str
    revision: int
    submission: str
    test: str
    plate_number: str
    barcode: str
    assay: AssayProfile
    device_id: str
    model_name: str
    model_version: int
    read_at: datetime
    image_sha256: str
    status: Literal["final", "preliminary", "corrected", "invalid"]
    wells: tuple[WellResult, ...]
    rows: tuple[RowResult, ...]
    operator: str | None = None
    reviewer: str | None = None

    def status_of(self, well: WellResult) -> Status:
        """What a system may do with this well's call."""
        return "not_read" if not well.call.is_read else self.status

    def sort_of(self, well: WellResult) -> Sort:
        """Inhibited, not inhibited, or saying nothing."""
        if not well.call.is_read or well.call in SAYS_NOTHING:
            return "invalid"
        return "positive" if well.call in self.assay.inhibited else "negative"

    def titre_of(self, row: RowResult) -> tuple[str, int] | None:
        """(censor, titre): `("", 64)`, `("<", 2)` below the first dilution, `(">=", 4096)` at the last."""
        if row.endpoint is None:
            return None
        text = titre_text(row.endpoint, self.assay)
        censor = {"<": "<", "≥": ">="}.get(text[0], "")
        return censor, int(text.rpartition(":")[2])


def _without_results(plate: PlateResult) -> PlateResult:
    return msgspec.structs.replace(plate, rows=tuple(msgspec.structs.replace(row, endpoint=None) for row in plate.rows))


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """A submission, or one test of it: its plates, and when the file is made. `revision` counts its files."""

    submission: str
    test: str | None
    plates: tuple[PlateResult, ...]
    at: datetime
    revision: int = 1

    def valid(self) -> "Results":
        """The same, but a serum of a plate whose controls failed has no result, whatever was seen in its row."""
        plates = (_without_results(plate) if plate.status == "invalid" else plate for plate in self.plates)
        return msgspec.structs.replace(self, plates=tuple(plates))

    def distribution(self) -> dict[int, int]:
        """How many sera have their endpoint at 0, 1, …; those without one are in no count."""
        highest = max((plate.assay.dilutions for plate in self.plates), default=12)
        counts = dict.fromkeys(range(highest + 1), 0)
        for plate in self.plates:
            for row in plate.rows:
                if row.endpoint is not None:
                    counts[row.endpoint] += 1
        return counts

    def without_result(self) -> tuple[str, ...]:
        """Rows that no file says anything of, by name, for whoever asks what is missing."""
        return tuple(
            f"plate {plate.plate_number} row {row.row}"
            for plate in self.plates
            for row in plate.rows
            if row.endpoint is None
        )
