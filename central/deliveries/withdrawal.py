"""The file that withdraws: which plates and sera a file before it should not have said anything of. Pure.

It holds no result, so that no importer can take anything in it for one: each line says whose result is withdrawn.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import PurePosixPath

import msgspec

from central.deliveries.cells import guarded, time_text
from central.deliveries.dialect import Dialect
from central.deliveries.differences import SaidOfPlate
from central.deliveries.render import Rendered
from central.deliveries.tables import RenderError, encoded, named
from protocol.plate import row_index


class Withdrawn(msgspec.Struct, frozen=True, kw_only=True):
    """One plate that is void, and what the file said of it."""

    submission: str
    test: str
    plate: str
    said: SaidOfPlate


def withdrawal(
    dialect: Dialect, of: Sequence[Withdrawn], *, file: str, withdrawn_at: datetime, revision: int
) -> Rendered:
    """The file that takes back what `file` said of these plates."""
    head = [[column.header or column.field for column in dialect.withdrawal]] if dialect.header else []
    at = time_text(withdrawn_at.astimezone(UTC), dialect.times)
    fields = [column.field for column in dialect.withdrawal]
    by_row = "row" in fields or "serum_id" in fields
    found = [values for one in of for values in _lines(one, file, at, by_row=by_row)]
    if not found:
        raise RenderError("no serum had a result there (expected a withdrawal without row and serum_id)")
    lines = [[_text(dialect, values[field]) for field in fields] for values in found]
    path = PurePosixPath(file)
    name = f"{path.stem}_withdrawn_r{revision}{path.suffix}"
    return Rendered(name, encoded(dialect, [*head, *lines]), "text/csv", ())


def _lines(one: Withdrawn, file: str, at: str, *, by_row: bool) -> Iterator[dict[str, str]]:
    plain = {
        "submission": one.submission, "test": one.test, "plate": one.plate, "run_id": one.said.run_id,
        "status": "withdrawn", "withdrawn_at": at, "file": file,
    }  # fmt: skip
    if not by_row:
        yield plain
        return
    for row in sorted(one.said.results, key=row_index):
        yield plain | {"row": row, "serum_id": one.said.sera.get(row, "")}


def _text(dialect: Dialect, text: str) -> str:
    return guarded(text) if dialect.formula_guard else named(dialect, text)
