"""Results + dialect → a file: its name and its bytes. Pure, so that a preview is the file itself."""

import re
from collections.abc import Callable
from datetime import UTC
from pathlib import PurePosixPath
from typing import Final

import msgspec

from central.deliveries.asm import asm
from central.deliveries.counts import counts, counts_legacy
from central.deliveries.dialect import Dialect, Shape
from central.deliveries.grid import grid
from central.deliveries.results import Results
from central.deliveries.tables import RenderError, senaite_2d, table
from central.deliveries.workbook import workbook

_MEDIA_TYPES: Final[dict[Shape, str]] = {
    "asm": "application/json",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
_SHAPES: Final[dict[Shape, Callable[[Dialect, Results], bytes]]] = {
    "counts": counts,
    "counts_legacy": counts_legacy,
    "table": table,
    "grid": grid,
    "senaite_2d": senaite_2d,
    "asm": asm,
    "xlsx": workbook,
}
_NOT_IN_A_NAME: Final = re.compile(r"[^A-Za-z0-9._-]")

__all__ = ["RenderError", "Rendered", "file_name", "render"]


class Rendered(msgspec.Struct, frozen=True):
    """A file that is ready to be placed; `left_out` names the rows that it says nothing of."""

    name: str
    content: bytes
    media_type: str
    left_out: tuple[str, ...]


def render(dialect: Dialect, results: Results) -> Rendered:
    """The file of these results; RenderError where the dialect cannot say them, or refuses what is missing."""
    if not results.plates:
        raise RenderError(f"no plate of submission {results.submission!r} has a run (expected at least one)")
    results = results.valid()
    left_out = results.without_result()
    if left_out and dialect.missing == "refuse":
        raise RenderError(f"without a result: {', '.join(left_out)} (dialect {dialect.name!r} refuses what is missing)")
    content = _SHAPES[dialect.shape](dialect, results)
    return Rendered(file_name(dialect, results), content, _MEDIA_TYPES.get(dialect.shape, "text/csv"), left_out)


def file_name(dialect: Dialect, results: Results) -> str:
    """The file's name. A correction has another name than what it corrects: importers remember names."""
    first = results.plates[0]
    name = dialect.file_name.format(
        submission=_plain(results.submission),
        test=_plain(results.test or "all"),
        plate_number=_plain(first.plate_number),
        run_id=_plain(first.run_id),
        revision=results.revision,
        at=f"{results.at.astimezone(UTC):%Y%m%d_%H%M%S}",
    )
    if results.revision > 1 and "{revision}" not in dialect.file_name:
        path = PurePosixPath(name)
        name = f"{path.stem}_r{results.revision}{path.suffix}"
    return name


def _plain(text: str) -> str:
    """What a name may hold: `/` and `:` become `_`, and nothing begins with a dot."""
    return _NOT_IN_A_NAME.sub("_", text).lstrip(".") or "_"
