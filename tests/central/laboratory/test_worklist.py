"""Files of what is to be done: every shape that people send, every way to be bad, nothing half understood."""

import csv
import io
import string
import struct
import zipfile
from datetime import date
from typing import Any

import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from central.laboratory import sheets
from central.laboratory.fields import LAB_ID
from central.laboratory.sheets import SheetError, lines_of
from central.laboratory.worklist import Placed, Worklist, WorklistError, parse

HEAD = "submission,test,plate,row,serum"
TEXT = f"{HEAD},farm,hau\nS-1,NDV,1,A,F1,Hof Süd,4\nS-1,NDV,1,B,F2,Hof Süd,4\nS-1,IBD,1,A,F1,,\n"


def read(content: bytes | str) -> Worklist:
    """The worklist of a file."""
    return parse(lines_of(content.encode() if isinstance(content, str) else content))


def rows(found: Worklist, submission: str = "S-1", test: str = "NDV", plate: str = "1") -> dict[str, str]:
    """What is in the rows of a plate, in words."""
    placed = found.submissions[submission].tests[test].plates[plate].rows
    return {row: holds.words for row, holds in placed.items()}


def errors(content: bytes | str) -> list[tuple[int, str | None, str]]:
    """(line, column, value) of every error."""
    with pytest.raises(WorklistError) as caught:
        read(content)
    return [(error.line, error.column, error.value) for error in caught.value.errors]


def workbook(*lines: list[Any]) -> bytes:
    """An XLSX file of these lines."""
    book = openpyxl.Workbook()
    for line in lines:
        book.active.append(line)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1", "cp1252"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_table_is_one_worklist_however_it_is_written(encoding: str, delimiter: str, end: str) -> None:
    found = read(TEXT.replace(",", delimiter).replace("\n", end).encode(encoding))
    assert found == read(TEXT)
    assert found.submissions["S-1"].fields == {"farm": "Hof Süd"}
    assert (rows(found), found.submissions["S-1"].tests["NDV"].fields) == ({"A": "F1", "B": "F2"}, {"hau": 4})


def test_columns_go_by_many_names_in_any_order_and_strange_ones_are_named() -> None:
    text = "Sample ID;Well;Plate No.;SUBMISSION_NO;Sample-No;Colour;Date vaccinated\nF1;a1;1;NDV;S-1;red;1.10.2026\n"
    found = read(text)
    assert (rows(found), found.ignored) == ({"A": "F1"}, ("Colour",))
    assert found.submissions["S-1"].fields == {"vaccinated_on": date(2026, 10, 1)}


def test_a_workbook_says_the_same_as_the_table() -> None:
    head = [*HEAD.split(","), "farm", "hau"]
    lines = [
        ["S-1", "NDV", 1, "A", "F1", "Hof Süd", 4.0],
        ["S-1", "NDV", 1, "B", "F2", "Hof Süd", 4],
        ["S-1", "IBD", 1, "A", "F1"],
    ]
    assert read(workbook(head, *lines)) == read(TEXT)


def test_a_formula_is_never_worked_out_and_never_taken() -> None:
    lines = workbook(HEAD.split(","), ["S-1", "NDV", 1, "A", "=1+1"], ['=HYPERLINK("x")', "NDV", 1, "B", "F2"])
    assert errors(lines) == [(2, "serum", "=…"), (3, "submission", "=…")]


def test_plate_maps_say_a_serum_for_each_row() -> None:
    text = 'farm,Hof\n\n"S-1|NDV|1",1,2,3\nA,F1,F1,F1\nB,F2,,\nC,,,\n\n"S-1,NDV,2",1,2,3\nA,F3,F3,F3\n'
    found = read(text)
    assert (rows(found), rows(found, plate="2")) == ({"A": "F1", "B": "F2"}, {"A": "F3"})
    assert found.submissions["S-1"].fields == {"farm": "Hof"}
    named = "submission;S-1\ntest;NDV\nplate;1\n;1;2;3\nA;F1;F1;F1\nB;F2;F2;F2\n"
    assert rows(read(named)) == {"A": "F1", "B": "F2"}


def test_a_control_serum_has_a_lot() -> None:
    text = "submission,test,plate,row,serum,control,lot of control,control lot\n"
    found = read(text + "S-1,NDV,1,H,,POS,,L7\n")
    assert found.submissions["S-1"].tests["NDV"].plates["1"].rows == {"H": Placed(control="POS", lot="L7")}
    assert errors(text + "S-1,NDV,1,H,F1,POS,,L7\n") == [(2, "control", "POS")]
    assert errors(text + "S-1,NDV,1,H,,POS,,\n") == [(2, "control_lot", "")]


BAD: dict[str, tuple[str, list[tuple[int, str | None, str]]]] = {
    "a row twice": (f"{HEAD}\nS-1,NDV,1,A,F1\nS-1,NDV,1,A,F2\n", [(3, "serum", "F2")]),
    "two farms": (f"{HEAD},farm\nS-1,NDV,1,A,F1,x\nS-1,NDV,1,B,F2,y\n", [(3, "farm", "y")]),
    "no identity": (f"{HEAD}\n,NDV,1,A,F1\nS-1,,1,A,F1\n", [(2, "submission", ""), (3, "test", "")]),
    "a row without a serum": (f"{HEAD}\nS-1,NDV,1,A,\n", [(2, "serum", "")]),
    "a serum without a row": (f"{HEAD}\nS-1,NDV,1,,F1\n", [(2, "row", "")]),
    "no such row": (f"{HEAD}\nS-1,NDV,1,AG,F1\nS-1,NDV,1,1,F1\n", [(2, "row", "AG"), (3, "row", "1")]),
    "too many cells": (f"{HEAD}\nS-1,NDV,1,A,F1,oops\n", [(2, None, "oops")]),
    "two columns for one": (f"{HEAD},sample_id\nS-1,NDV,1,A,F1,F1\n", [(1, "sample_id", "sample_id")]),
    "numbers and days": (
        f"{HEAD},age,hau,received\nS-1,NDV,1,A,F1,-1,0,2026-02-30\nS-1,NDV,1,A,F1,1e3,4.5,11/20/2026\n",
        [
            (2, "received_on", "2026-02-30"), (2, "age_days", "-1"), (2, "hau", "0"),
            (3, "received_on", "11/20/2026"), (3, "age_days", "1e3"), (3, "hau", "4.5"),
        ],
    ),
    "two sera in a row of a map": ('"S|T|1",1,2,3\nA,F1,F2,F1\n', [(2, "A", "F1 and F2")]),
    "a map without a plate": (",1,2,3\nA,F1,F1,F1\n", [
        (1, "submission", ""), (1, "test", ""), (1, "plate", ""),
        (2, "submission", ""), (2, "test", ""), (2, "plate", ""),
    ]),
    "a line of no map": ('"S|T|1",1,2,3\nA,F1,F1,F1\nthe end of it\n', [(3, None, "the end of it")]),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_every_error_of_a_bad_file_is_named(name: str) -> None:
    content, expected = BAD[name]
    assert errors(content) == expected


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty file"),
        (b"\n\n , \n", "empty file"),
        (b"a,b,c\n1,2,3\n", "no head and no plate map"),
        (HEAD.encode(), "a head without lines"),
        (HEAD.encode() + b'\nS-1,NDV,1,A,"F1\n', "quotes that are closed"),
        (HEAD.encode() + b"," * 70 + b"x\n", "at most 64"),
        (HEAD.encode() + b"\nS-1,NDV,1,,\n" * 20_001, "more than 20000 lines"),
        (b"x" * 5_000_001, "at most 5000000"),
        (b"PK\x03\x04 and no more", "cannot be unpacked"),
        (workbook(["a"])[:-30], "cannot be unpacked"),
    ],
)  # fmt: skip
def test_what_is_no_worklist_is_refused_with_what_is_expected(content: bytes, said: str) -> None:
    with pytest.raises(SheetError, match=said):
        read(content)


def test_a_zip_bomb_is_refused_before_anything_reads_it() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("xl/sheet.xml", "w") as part:
        for _ in range(60):
            part.write(b"0" * 1_000_000)
    bomb = out.getvalue()
    assert len(bomb) < 100_000
    with pytest.raises(SheetError, match=f"more than {sheets.MAX_UNPACKED_BYTES} bytes unpacked"):
        lines_of(bomb)
    # An archive may say of its size what it likes.
    size = struct.pack("<I", 60_000_000)
    with pytest.raises(SheetError, match="unpacked"):
        lines_of(bomb.replace(size, struct.pack("<I", 10)))


def altered(content: bytes, part: str, old: bytes, new: bytes) -> bytes:
    """A workbook with other bytes in one part."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target:
        for entry in source.infolist():
            kept = source.read(entry)
            assert entry.filename != part or old in kept
            target.writestr(entry.filename, kept.replace(old, new) if entry.filename == part else kept)
    return out.getvalue()


def test_a_sheet_that_lies_of_its_size_or_its_lines_is_refused_or_read_as_it_is() -> None:
    book = workbook(HEAD.split(","), ["S-1", "NDV", 1, "A", "F1"])
    part = "xl/worksheets/sheet1.xml"
    huge = altered(book, part, b'ref="A1:E2"', b'ref="A1:XFD1048576"')
    assert rows(read(huge)) == {"A": "F1"}
    far = altered(book, part, b'<row r="2"', b'<row r="1048576"').replace(b'r="A2"', b'r="A1048576"')
    with pytest.raises(SheetError, match="more than 40000 lines"):
        read(far)
    bombed = altered(book, part, b"<sheetData>", b'<sheetData a="&x;">')
    with pytest.raises(SheetError, match="cannot be read"):
        read(bombed)


ids = st.from_regex(LAB_ID, fullmatch=True)
plans = st.dictionaries(
    st.tuples(ids, ids, ids), st.dictionaries(st.sampled_from("ABCDEFGH"), ids, min_size=1), min_size=1, max_size=6
)


@settings(max_examples=60)
@given(plans, st.sampled_from([",", ";", "\t"]))
def test_what_is_written_is_what_is_read(wanted: dict[tuple[str, str, str], dict[str, str]], delimiter: str) -> None:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter)
    writer.writerow(HEAD.split(","))
    for code, placed in wanted.items():
        writer.writerows([*code, row, serum] for row, serum in placed.items())
    found = read(out.getvalue())
    assert {code: rows(found, *code) for code in wanted} == wanted


@settings(max_examples=150)
@given(st.one_of(st.binary(max_size=300), st.text(alphabet=string.printable, max_size=300).map(str.encode)))
def test_any_bytes_are_a_worklist_or_an_error(content: bytes) -> None:
    for begun in (content, f"{HEAD}\n".encode() + content, b'"S|T|1",1,2,3\n' + content):
        try:
            found = read(begun)
        except (SheetError, WorklistError):
            continue
        assert all(LAB_ID.fullmatch(name) for name in found.submissions)


WHOLE = workbook(HEAD.split(","), ["S-1", "NDV", 1, "A", "F1"])


@settings(max_examples=40)
@given(st.data())
def test_a_damaged_workbook_is_a_worklist_or_an_error(data: st.DataObject) -> None:
    content = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(4, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        read(bytes(content))
    except (SheetError, WorklistError):
        return


# What people and attackers put into names: formulas, markup, SQL, paths, controls, signs that look alike.
_SEEDS = (
    "=1+1", "+1", "-1", "@SUM(A1)", "<script>alert(1)</script>", "';DROP TABLE runs;--", "../../etc/passwd", "..", "~1",
    "{{7*7}}", "${x}",
    "%00", "\x00", "\x1b[31m", "\u202e", "\u200b", "Ｓ-1", "S–1", "é", "S 1", " ", "'", "`", "|a|", "a,b",
    "#", "?", "&", "%2e", "\\", "*", "CON:", "S-1\u0000", "a" * 65, "_x", ".x", ":x", "/x", "-",
)  # fmt: skip


def hostile() -> list[str]:
    """Five hundred names of which none is one."""
    around = "{} {}x S{} S-{}-1 {}{} 1{}1 x.{} {}/ A:{} 0{} z{}z {}S S_{} x/{} {}:1 F{}F Q.{} {}.. {}S{}".split()  # noqa: SIM905
    made = [pattern.replace("{}", seed) for seed in _SEEDS for pattern in around]
    return [name for name in made if not LAB_ID.fullmatch(name.strip())][:500]


def test_five_hundred_hostile_names_are_refused_and_inert() -> None:
    names = hostile()
    assert len(names) == 500
    for name in names:
        out = io.StringIO()
        csv.writer(out).writerows([HEAD.split(","), ["S-1", "NDV", "1", "A", name]])
        try:
            found = read(out.getvalue())
        except (SheetError, WorklistError):
            continue
        assert all(LAB_ID.fullmatch(serum) for serum in rows(found).values()), name


ENTITIES = (
    b'<!DOCTYPE x [<!ENTITY x SYSTEM "file:///etc/hostname">]>',
    b'<!DOCTYPE x SYSTEM "http://127.0.0.1:9/x.dtd">',
    b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>',
)


@pytest.mark.parametrize("entities", ENTITIES)
@pytest.mark.parametrize("part", ["xl/workbook.xml", "xl/worksheets/sheet1.xml", "xl/styles.xml"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_workbook_with_entities_of_its_own_is_refused_before_anything_reads_it(
    part: str, entities: bytes, encoding: str
) -> None:
    book = workbook(HEAD.split(","), ["S-1", "NDV", 1, "A", "F1"])
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(book)) as source, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target:
        assert part in source.namelist()
        for entry in source.infolist():
            kept = source.read(entry)
            if entry.filename == part:
                # Far into the part, across the pieces that it is read in.
                head, _, rest = kept.decode().partition("?>")
                said = head.replace("UTF-8", encoding.upper()) + "?>" + " " * 65_530
                kept = (said + entities.decode() + rest).encode(encoding)
            target.writestr(entry.filename, kept)
    with pytest.raises(SheetError, match=f"defines XML entities in '{part}'"):
        read(out.getvalue())
