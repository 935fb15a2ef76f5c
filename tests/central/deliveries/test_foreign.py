"""Readers that others wrote find in our files what we put there, for plates of 96 and of 384 wells."""

import io
import json
import string
from typing import Any

import msgspec
import openpyxl
import pytest
from allotropy.allotrope.schemas import validate_asm_schema
from allotropy.exceptions import AllotropeValidationError
from allotropy.parser_factory import Vendor
from allotropy.to_allotrope import allotrope_from_io

from central.deliveries.dialect import shipped
from central.deliveries.render import render
from central.deliveries.results import CALL_CODES, PlateResult, RowResult, WellResult
from protocol.assay import AssayProfile, Call, Series
from protocol.plate import plate_format
from tests.central.deliveries.results import HI, make_plate, make_results

# These readers are not ours to mend: what they import is out of date in places.
pytestmark = pytest.mark.filterwarnings("default")
SEVERAL = (Call.FLOWING, Call.BUTTON, Call.PARTIAL, Call.DIFFUSE, Call.EMPTY)
# What a grid is wrapped in by the program whose files that reader knows.
MARS = (
    "User: USER,Path: C:\\Data,Test run no.: 1\nTest name: HI,Date: 20/11/2026,Time: 12:00:00\n"
    "ID1: S-1001,ID2: NDV\nAbsorbance\n\nRaw Data (600)\n\n"
)


def full_plate(wells: int) -> PlateResult:
    """A plate on which every well was read, and neighbours differ."""
    form = plate_format(wells)
    series = tuple(Series(label, form.row(label)) for label in form.row_labels())
    assay: AssayProfile = msgspec.structs.replace(HI, plate_format=wells, series=series, controls=())
    found = tuple(
        WellResult(well=name, call=SEVERAL[(at * 7 + at // 5) % 5], confidence=0.9, sample_id=f"FL7-{name}")
        for at, name in enumerate(form.names())
    )
    rows = tuple(RowResult(row=label, endpoint=3, grade="high", serum_id=f"FL7-{label}") for label in form.row_labels())
    return msgspec.structs.replace(make_plate(), assay=assay, wells=found, rows=rows)


@pytest.mark.parametrize("wells", [96, 384])
def test_the_asm_document_is_one(wells: int) -> None:
    plate = full_plate(wells)
    document = json.loads(render(shipped()["asm"], make_results(plate)).content)
    validate_asm_schema(document)
    (read,) = document["plate reader aggregate document"]["plate reader document"]
    found = {
        each["sample document"]["well location identifier"]: each["processed data aggregate document"][
            "processed data document"
        ][0]["custom information aggregate document"]["custom information document"][0]["scalar string datum"]
        for each in read["measurement aggregate document"]["measurement document"]
    }
    assert found == {well.well: well.call.value for well in plate.wells}


def test_the_asm_document_of_a_plate_with_unread_wells_is_one() -> None:
    validate_asm_schema(json.loads(render(shipped()["asm"], make_results()).content))


@pytest.mark.parametrize("missing", ["measurement identifier", "sample document", "device control aggregate document"])
def test_a_document_without_what_the_schema_asks_for_would_be_found(missing: str) -> None:
    document = json.loads(render(shipped()["asm"], make_results()).content)
    (read,) = document["plate reader aggregate document"]["plate reader document"]
    del read["measurement aggregate document"]["measurement document"][0][missing]
    with pytest.raises(AllotropeValidationError):
        validate_asm_schema(document)


def mars_values(block: str) -> dict[str, float]:
    """What the reader of another program's grids finds in ours, by well."""
    document: Any = allotrope_from_io(io.BytesIO((MARS + block).encode()), "plate.csv", Vendor.BMG_MARS)
    found = {}
    for group in document["plate reader aggregate document"]["plate reader document"]:
        for each in group["measurement aggregate document"]["measurement document"]:
            place = each["sample document"]["location identifier"]
            found[place] = each["absorbance"]["value"]
    return found


@pytest.mark.parametrize("wells", [96, 384])
def test_a_reader_of_grids_finds_every_well_where_it_is(wells: int) -> None:
    plate = full_plate(wells)
    dialect = msgspec.structs.replace(shipped()["grid"], layers=("call_code",), corner="empty")
    found = mars_values(render(dialect, make_results(plate)).content.decode())
    assert found == {well.well: CALL_CODES[well.call] for well in plate.wells}


@pytest.mark.parametrize("wells", [96, 384])
def test_a_spreadsheet_has_every_well_and_ids_as_text(wells: int) -> None:
    plate = full_plate(wells)
    book = openpyxl.load_workbook(io.BytesIO(render(shipped()["xlsx"], make_results(plate)).content))
    head, *rest = book["Wells"].iter_rows()
    column = {cell.value: at for at, cell in enumerate(head)}
    calls = {line[column["well"]].value: line[column["call"]].value for line in rest}
    assert calls == {well.well: well.call.value for well in plate.wells}
    ids = ("plate_barcode", "well", "sample_id")
    assert {line[column[name]].data_type for line in rest for name in ids} == {"s"}
    assert set(string.ascii_uppercase[:8]) <= {well[0] for well in calls}
