"""Blocks in the shape of the plate: a layer's name in the corner, 1 to N across, A and on down, a blank line after."""

from collections.abc import Iterator
from typing import Final

from central.deliveries.cells import FIELDS
from central.deliveries.dialect import Column, Dialect
from central.deliveries.results import PlateResult, Results
from central.deliveries.tables import RenderError, cell, encoded

_PLACES: Final = {"confidence": 3}
_CORNERS: Final = {"empty": "", "angles": "<>"}


def grid(dialect: Dialect, results: Results) -> bytes:
    """The layers of one plate; a well that was not read is an empty cell, and never a number."""
    if len(results.plates) != 1:
        raise RenderError(f"{len(results.plates)} plates (expected one: a grid is of one plate)")
    blocks = [encoded(dialect, _block(dialect, layer, results.plates[0])) for layer in dialect.layers]
    return dialect.eol.encode(dialect.encoding).join(blocks)


def _block(dialect: Dialect, layer: str, plate: PlateResult) -> Iterator[list[str]]:
    form = plate.assay.format
    wells = {well.well: well for well in plate.wells if well.call.is_read or layer == "sample_id"}
    column, field = Column(layer, places=_PLACES.get(layer)), FIELDS["wells"][layer]
    yield [_CORNERS.get(dialect.corner, layer), *(str(number) for number in range(1, form.columns + 1))]
    for label in form.row_labels():
        found = (wells.get(name) for name in form.row(label))
        yield [label, *("" if well is None else cell(dialect, column, {layer: field(plate, well)}) for well in found)]
