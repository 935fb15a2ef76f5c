"""What files never say: nothing missing is zero, negative or blank for a laboratory's system, in any dialect."""

import csv
import io
import json
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import msgspec
import openpyxl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from central.deliveries.cells import FIELDS, OF_PLATE
from central.deliveries.dialect import Column, Dialect, DialectError, load, shipped
from central.deliveries.render import RenderError, file_name, render
from central.deliveries.results import RowResult, WellResult
from central.deliveries.tables import cell, encoded, rows, table
from protocol.assay import Call
from protocol.plate import row_label
from tests.central.deliveries.results import make_plate, make_results, make_wells

LIMS = [dialect for dialect in shipped().values() if dialect.reader == "lims"]
LINES = [dialect for dialect in LIMS if dialect.shape in ("table", "senaite_2d", "counts", "counts_legacy")]
ALL_LOST = make_plate(dict.fromkeys("ABCDEFGH"), wells=())


def lines(dialect: Dialect, content: bytes) -> list[list[str]]:
    """The file as Python's own reader has it."""
    return list(csv.reader(io.StringIO(content.decode(dialect.encoding)), delimiter=dialect.delimiter))


@pytest.mark.parametrize("dialect", LIMS, ids=lambda dialect: dialect.name)
def test_a_serum_without_a_result_is_in_no_line(dialect: Dialect) -> None:
    rendered = render(dialect, make_results())
    assert rendered.left_out == ("plate 1 row H",)
    if dialect.source == "titres" or dialect.shape == "senaite_2d":
        assert b"FL7-H" not in rendered.content
        assert b"FL7-G" in rendered.content  # below the first dilution is a result


@pytest.mark.parametrize("dialect", LINES, ids=lambda dialect: dialect.name)
def test_a_system_that_takes_a_blank_for_a_negative_finds_none_where_something_is_missing(dialect: Dialect) -> None:
    head, *rest = lines(dialect, render(dialect, make_results()).content)
    results = {"call", "label", "class", "call_code", "Result", "titre_log2", "titre", "ENTRY", "HI", "confidence"}
    for line in rest:
        said = dict(zip(head, line, strict=True))
        assert all(value for name, value in said.items() if name in results), said


@pytest.mark.parametrize("dialect", LIMS, ids=lambda dialect: dialect.name)
def test_a_dialect_that_refuses_what_is_missing_names_it(dialect: Dialect) -> None:
    strict = msgspec.structs.replace(dialect, missing="refuse")
    with pytest.raises(RenderError, match="without a result: plate 1 row H"):
        render(strict, make_results())


@pytest.mark.parametrize("name", ["labware", "titres", "standard", "wells", "openelis", "summary"])
def test_a_plate_that_nobody_could_read_counts_nothing(name: str) -> None:
    dialect = shipped()[name]
    rest = lines(dialect, render(dialect, make_results(ALL_LOST)).content)[1:]
    assert [line for line in rest if name != "labware"] == []
    assert {line[-1] for line in rest} <= {"0"}  # labware counts sera: there are none, and its total says so


def test_the_older_labware_file_is_refused_where_it_would_divide_by_nothing() -> None:
    with pytest.raises(RenderError, match="divides by their number"):
        render(shipped()["labware-legacy"], make_results(ALL_LOST))


def test_the_older_labware_file_has_its_figures_and_not_those_of_the_sera() -> None:
    ends: dict[str, int | None] = dict(zip("ABCDEFGH", (8, 8, 8, 8, 9, 9, 10, 11), strict=True))
    rendered = render(shipped()["labware-legacy"], make_results(make_plate(ends)))
    found = {line[2]: line[3] for line in lines(shipped()["labware-legacy"], rendered.content)[1:]}
    assert (found["GMT"], found["MEAN"], found["SD"], found["CV"]) == ("8.88", "0.67", "1.18", "1.76776695")


def test_a_well_of_nobody_is_in_no_file_that_asks_whose_it_is() -> None:
    nameless = make_plate(wells=tuple(msgspec.structs.replace(well, sample_id=None) for well in make_plate().wells))
    assert lines(shipped()["openelis"], render(shipped()["openelis"], make_results(nameless)).content)[1:] == []


def test_what_would_need_quoting_is_refused_where_nothing_is_quoted() -> None:
    with pytest.raises(RenderError, match="'S,1' would need quoting"):
        render(shipped()["standard"], make_results(make_plate(submission="S,1")))


def test_a_sign_that_the_encoding_lacks_is_refused() -> None:
    with pytest.raises(RenderError, match="cannot be written in ascii"):
        render(shipped()["labware"], make_results(submission="Größe"))


def test_a_correction_has_another_name() -> None:
    names = {file_name(shipped()["titres"], make_results(revision=revision)) for revision in (1, 2, 3)}
    assert names == {f"titres_S-1001_20261120_120000{end}.csv" for end in ("", "_r2", "_r3")}


@given(st.text(min_size=1, max_size=40))
def test_no_name_of_a_submission_leaves_the_folder(name: str) -> None:
    for dialect in shipped().values():
        found = file_name(dialect, make_results(make_plate(plate_number=name, run_id=name), submission=name, test=name))
        assert "/" not in found and "\\" not in found and "\0" not in found  # noqa: PT018
        assert not found.startswith(".")


HOSTILE = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "＝1", "=cmd|' /C calc'!A0"]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_spreadsheet_for_people_works_nothing_out(text: str) -> None:
    dialect = shipped()["wells-excel"]
    found = render(dialect, make_results(make_plate(barcode=text))).content.decode("utf-8-sig")
    for line in list(csv.reader(io.StringIO(found), delimiter=";"))[1:]:
        assert line[0] == f"'{text}"
    assert "0,970" in found  # a number is no text: the guard leaves it alone


@pytest.mark.parametrize("text", HOSTILE)
def test_a_workbook_holds_text_as_text(text: str) -> None:
    content = render(shipped()["xlsx"], make_results(make_plate(submission=text))).content
    sheet = openpyxl.load_workbook(io.BytesIO(content))["Titres"]
    assert {(cell.value, cell.data_type) for cell in sheet["A"][1:]} == {(text, "s")}


def test_a_workbook_keeps_ids_and_numbers_apart() -> None:
    book = openpyxl.load_workbook(io.BytesIO(render(shipped()["xlsx"], make_results(submission="S-1")).content))
    head, first, *_ = book["Titres"].iter_rows(values_only=True)
    said: dict[Any, Any] = dict(zip(head, first, strict=True))
    assert (said["plate"], said["titre"], said["titre_log2"]) == ("1", 256, 8)


def test_a_grid_is_the_plate() -> None:
    blocks = render(shipped()["grid"], make_results()).content.decode().split("\n\n")
    assert [block.split(",", 1)[0] for block in blocks] == ["call_code", "confidence", "sample_id"]
    rows = [line.split(",") for line in blocks[0].splitlines()]
    assert rows[0][1:] == [str(number) for number in range(1, 13)]
    assert rows[1][:3] == ["A", "1", "1"]
    assert set(rows[8][1:]) == {""}  # row H was not read


def test_asm_says_what_was_not_read_as_an_error_and_as_no_call() -> None:
    found = json.loads(render(shipped()["asm"], make_results()).content)
    (plate,) = found["plate reader aggregate document"]["plate reader document"]
    wells = plate["measurement aggregate document"]["measurement document"]
    lost = [well for well in wells if "error aggregate document" in well]
    assert {well["sample document"]["well location identifier"][0] for well in lost} == {"H"}
    assert not any("processed data aggregate document" in well for well in lost)
    assert len(wells) == 96


def bad_dialects() -> Iterator[tuple[str, str]]:
    """(TOML after the name, what is said)."""
    table = 'shape = "table"\ncolumns = [{ field = "well" }]\n'
    yield table + "bom = true", "are for people"
    yield table + 'decimal = ","\ndelimiter = ";"', "are for people"
    yield table + 'missing = "say"', "take a blank for a negative"
    yield table + 'file_name = "../x.csv"', "file_name"
    yield table + 'file_name = ".hidden.csv"', "file_name"
    yield table + 'file_name = "imported.csv"', "file_name"
    yield table + 'file_name = "{password}.csv"', "file_name"
    yield table + 'file_name = "{submission.__class__}.csv"', "file_name"
    yield table + 'delimiter = "\\n"', "delimiter"
    yield table + 'encoding = "utf-7"', "encoding"
    yield 'shape = "table"', "without columns"
    yield 'shape = "table"\ncolumns = [{ field = "colour" }]', "no field 'colour'"
    yield 'shape = "senaite_2d"\nkeyword = "H I"', "keyword"
    yield table + 'colour = "red"', "unknown field `colour`"


@pytest.mark.parametrize(("text", "said"), list(bad_dialects()))
def test_a_dialect_that_is_not_sound_is_refused_with_the_field(text: str, said: str) -> None:
    with pytest.raises(DialectError, match=said):
        load(f'name = "x"\nversion = 1\ntitle = "X"\n{text}\n')


def test_labware_holds_the_known_distribution_of_a_real_plate(plates: Path) -> None:
    vectors = json.loads((plates / "hi" / "endpoint-vectors.json").read_text())
    expected = [tuple(map(str, row)) for row in vectors["labware_rows"]]
    ends = [int(name) for name, count in expected if name != "No." for _ in range(int(count))]
    sera = tuple(RowResult(row=row_label(at), endpoint=end, grade="high") for at, end in enumerate(ends))
    rendered = render(
        shipped()["labware"], make_results(msgspec.structs.replace(make_plate(), wells=(), rows=sera), test=None)
    )
    found = lines(shipped()["labware"], rendered.content)[1:]
    assert [(line[0], line[1]) for line in found] == [("S-1001", "S-1001")] * 14  # no test: the submission in both
    assert [tuple(line[2:]) for line in found] == expected


def test_a_file_name_is_one_name_in_utc() -> None:
    at = datetime(2026, 11, 20, 1, 2, 3, tzinfo=timezone(timedelta(hours=2)))
    results = make_results(submission="a/b:c", at=at)
    assert file_name(shipped()["labware"], results) == "interface_a_b_c_20261119_230203.csv"


def test_what_fields_say_of_a_plate_they_say_of_all_its_wells() -> None:
    plate = make_plate({"A": 8, "B": None, "C": 0})
    wells = FIELDS["wells"]
    assert set(wells) >= OF_PLATE
    for name in OF_PLATE:
        assert {wells[name](plate, well) for well in plate.wells} == {wells[name](plate, None)}, name


@pytest.mark.parametrize("places", [None, 3])
@pytest.mark.parametrize("required", [False, True])
def test_a_line_is_its_cells_one_by_one(places: int | None, required: bool) -> None:
    known = sorted(FIELDS["wells"])
    columns = [Column(name, places=places, required=required and name == "sample_id") for name in known]
    dialect = msgspec.structs.replace(shipped()["wells"], columns=tuple(columns), formula_guard=True)
    ends = {"A": 8, "B": None, "C": 0}
    nobody = WellResult(well="A2", call=Call.BUTTON, confidence=1.0, sample_id=None)
    formula = WellResult(well="A3", call=Call.BUTTON, confidence=0.12345, sample_id="=1+1", flags=("glare",))
    plate = make_plate(ends, wells=make_wells(ends, A2=nobody, A3=formula), operator="-anna")
    some = make_results(plate, make_plate(run_id="run-2", operator=None))
    one_by_one = [[cell(dialect, column, values) for column in columns] for values in rows(dialect, some, known)]
    assert table(dialect, some) == encoded(dialect, [known, *one_by_one])
    assert b"'=1+1" in table(dialect, some)
