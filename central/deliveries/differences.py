"""What a correction changed: the calls and titres of one delivery against those of the revision before. Pure.

What has no result is not there: a serum that is in the one and not in the other was given a result, or lost it.
"""

from collections.abc import Iterator, Mapping
from typing import Final, Literal, TypeAlias

import msgspec

from central.deliveries.render import Rendered
from central.deliveries.results import PlateResult, Results
from protocol.endpoint import result_text
from protocol.plate import parse_well, row_index

# So much of a list of differences is written into a log's line; all of it is kept beside it.
_MOST_IN_WORDS: Final = 20


class SaidOfPlate(msgspec.Struct, frozen=True):
    """What one plate's wells and sera were said to be: only those with a result. `sera` are the names by row."""

    run_id: str
    calls: dict[str, str]
    results: dict[str, str]
    sera: dict[str, str]


# What a delivery said, by plate: `NDV, plate 1`.
Said: TypeAlias = dict[str, SaidOfPlate]


class Difference(msgspec.Struct, frozen=True):
    """One thing that changed; None where there was, or is, no result. `where` is a well, a row, or empty for a run."""

    plate: str
    kind: Literal["run", "well", "serum", "serum_id"]
    where: str
    serum_id: str | None
    old: str | None
    new: str | None


class Differences(msgspec.Struct, frozen=True):
    """Everything that changed since a revision."""

    since_revision: int
    items: tuple[Difference, ...]


class Made(msgspec.Struct, frozen=True):
    """A delivery's file, what it says, and what is different from the one before, where there is one."""

    file: Rendered
    said: Said
    differences: Differences | None = None


def said_of(results: Results) -> Said:
    """The calls and titres of these results."""
    return {f"{plate.test}, plate {plate.plate_number}": _said_of_plate(plate) for plate in results.plates}


def differences(before: Mapping[str, SaidOfPlate], now: Mapping[str, SaidOfPlate]) -> tuple[Difference, ...]:
    """What changed, plate by plate: the run, titres by row, then wells, in the order of the plate."""
    nothing = SaidOfPlate("", {}, {}, {})
    found: list[Difference] = []
    for plate in sorted({*before, *now}):
        old, new = before.get(plate, nothing), now.get(plate, nothing)
        if old.run_id != new.run_id:
            found.append(Difference(plate, "run", "", None, old.run_id or None, new.run_id or None))
        for row in sorted({*old.sera, *new.sera, *old.results, *new.results}, key=row_index):
            found += _of_row(plate, row, old, new)
        for well in sorted({*old.calls, *new.calls}, key=parse_well):
            if old.calls.get(well) != new.calls.get(well):
                found.append(Difference(plate, "well", well, None, old.calls.get(well), new.calls.get(well)))
    return tuple(found)


def in_words(found: Differences) -> str:
    """One line for a log: `against r1: 2 differences: NDV, plate 1, row A (FL7-A): 1:64 → 1:32; …`."""
    count = len(found.items)
    head = f"against r{found.since_revision}: {count} difference{'' if count == 1 else 's'}"
    named = "; ".join(_words(each) for each in found.items[:_MOST_IN_WORDS])
    more = f"; and {count - _MOST_IN_WORDS} more" if count > _MOST_IN_WORDS else ""
    return f"{head}: {named}{more}" if named else head


def _said_of_plate(plate: PlateResult) -> SaidOfPlate:
    results = {row.row: _result(plate, row.row, row.endpoint) for row in plate.rows if row.endpoint is not None}
    return SaidOfPlate(
        run_id=plate.run_id,
        calls={well.well: well.call.value for well in plate.wells if well.call.is_read and well.role != "unused"},
        results=results,
        sera={row.row: row.serum_id for row in plate.rows if row.serum_id is not None},
    )


def _result(plate: PlateResult, row: str, endpoint: int) -> str:
    return result_text(row, endpoint, plate.assay)


def _of_row(plate: str, row: str, old: SaidOfPlate, new: SaidOfPlate) -> Iterator[Difference]:
    serum_id = new.sera.get(row) or old.sera.get(row)
    if old.sera.get(row) != new.sera.get(row):
        yield Difference(plate, "serum_id", row, serum_id, old.sera.get(row), new.sera.get(row))
    if old.results.get(row) != new.results.get(row):
        yield Difference(plate, "serum", row, serum_id, old.results.get(row), new.results.get(row))


def _words(one: Difference) -> str:
    serum = f" ({one.serum_id})" if one.serum_id and one.kind == "serum" else ""
    where = {"run": "run", "well": one.where, "serum": f"row {one.where}", "serum_id": f"serum in row {one.where}"}
    return f"{one.plate}, {where[one.kind]}{serum}: {one.old or 'no result'} → {one.new or 'no result'}"
