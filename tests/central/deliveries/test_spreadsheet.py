"""A spreadsheet that opens our files works nothing out and changes no number, whatever things are called."""

import csv
import io
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import msgspec
import openpyxl
import pytest

from central.deliveries.dialect import Dialect, shipped
from central.deliveries.render import RenderError, render
from central.deliveries.results import PlateResult, Results, Reviewed
from protocol.messages import LabId
from tests.central.deliveries.hostile_names import AT_THE_DOOR, NAMES
from tests.central.deliveries.results import make_plate, make_results
from tests.make import NOON

SIGNS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
CSV = [dialect for dialect in shipped().values() if dialect.shape not in ("asm", "xlsx")]
PLATE = make_plate()
NUMBERS = {"confidence", "titre", "titre_log2", "call_code", "column", "positive_count", "negative_count"}


def test_the_corpus_is_of_five_hundred_and_knows_what_the_doors_let_in() -> None:
    assert len(NAMES) == len(set(NAMES)) == 500
    pattern = LabId.__metadata__[0].pattern  # type: ignore[attr-defined]
    assert pattern == f"^{AT_THE_DOOR.pattern}$(?!\\n)"
    assert not [name for name in NAMES if AT_THE_DOOR.fullmatch(name) and name.startswith(SIGNS)]


def named(dialect: Dialect, name: str) -> Results:
    """One plate on which everything that has a name has this one, and a reviewer gave it as his reason."""
    rows = tuple(msgspec.structs.replace(row, serum_id=name) for row in PLATE.rows[:1])
    said = Reviewed(name, NOON, name)
    wells = tuple(msgspec.structs.replace(well, sample_id=name, reviewed=said) for well in PLATE.wells[:12])
    people = {"reviewer": name, "operator": name}
    plate = msgspec.structs.replace(PLATE, rows=rows, wells=wells, submission=name, test=name, barcode=name, **people)
    return make_results(plate, submission=name, test=name)


def refused(dialect: Dialect, name: str) -> bool:
    """Whether this dialect does not write such a name."""
    try:
        render(dialect, named(dialect, name))
    except RenderError:
        return True
    return False


@pytest.mark.parametrize("dialect", CSV, ids=lambda dialect: dialect.name)
def test_no_cell_begins_like_a_formula_and_every_name_that_the_doors_let_in_is_written(dialect: Dialect) -> None:
    written = [name for name in NAMES if not refused(dialect, name)]
    assert {name for name in NAMES if AT_THE_DOOR.fullmatch(name)} <= set(written)
    if dialect.reader == "lims":
        assert not [name for name in written if name.startswith(SIGNS)]
    for name in written:
        for line in (
            render(dialect, named(dialect, name)).content.decode(dialect.encoding).lstrip("\ufeff").splitlines()
        ):
            for cell in line.split(dialect.delimiter):
                assert not re.match(r'"?[=+@＝＋＠]', cell) or name not in cell, cell


def test_prose_is_guarded_also_for_a_system_and_an_id_is_never_changed() -> None:
    said = Reviewed("=a", NOON, "-b")
    wells = tuple(msgspec.structs.replace(well, reviewed=said) for well in make_plate().wells)
    content = render(shipped()["wells"], make_results(make_plate(wells=wells, operator="+c"))).content.decode()
    assert content.count(",'=a,") == content.count(",'-b,") == content.count(",'+c,") == 84
    with pytest.raises(RenderError, match="'=1' begins like a formula"):
        render(shipped()["wells"], make_results(make_plate(barcode="=1")))


def batches(dialect: Dialect) -> Iterator[Results]:
    """Every name that this dialect writes, as many plates to a file as it can have."""
    written = iter([name for name in NAMES if not refused(dialect, name)])
    number = 0
    while names := list(
        islice(written, 1 if dialect.shape in ("counts", "counts_legacy", "grid", "senaite_2d") else 500)
    ):
        plates: list[PlateResult] = []
        for name in names:
            number += 1
            (plate,) = named(dialect, name).plates
            plates.append(msgspec.structs.replace(plate, run_id=f"run-{number}"))
        yield make_results(*plates, submission=names[0], test=names[0])


def converted(folder: Path, files: Sequence[Path], options: str) -> None:
    """What LibreOffice makes of these, as workbooks beside them."""
    program = shutil.which("soffice")
    assert program is not None
    command = [program, f"-env:UserInstallation=file://{folder / 'profile'}", "--headless", f"--infilter=CSV:{options}",
               "--convert-to", "xlsx", "--outdir", str(folder), *map(str, files)]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, timeout=500)


@pytest.mark.skipif(shutil.which("soffice") is None, reason="LibreOffice is not installed (libreoffice-calc-nogui)")
def test_libreoffice_works_nothing_out_and_changes_no_number(tmp_path: Path) -> None:
    """Each CSV dialect with the names of the corpus; of those with one name to a file every tenth."""
    made: dict[Path, tuple[Dialect, bytes]] = {}
    for dialect in CSV:
        for number, results in enumerate(batches(dialect)):
            if number % 10 == 0:
                content = render(dialect, results).content
                made[tmp_path / f"{dialect.name}-{number}.csv"] = dialect, content
    for path, (_, content) in made.items():
        path.write_bytes(content)
    for delimiter, language in ((",", 1033), (";", 1031)):
        files = [path for path, (dialect, _) in made.items() if dialect.delimiter == delimiter]
        converted(tmp_path, files, f"{ord(delimiter)},34,76,1,,{language}")
    counted = [compared(path, *of) for path, of in made.items()]
    print(f"\n{len(made)} files, {sum(counted)} numbers the same, no formula")
    assert sum(counted) > 1000


def compared(path: Path, dialect: Dialect, content: bytes) -> int:
    """How many numbers of a file are what they were; no cell is a formula."""
    sheet = openpyxl.load_workbook(path.with_suffix(".xlsx")).worksheets[0]
    cells = list(sheet.iter_rows())
    assert not [cell for line in cells for cell in line if cell.data_type == "f"], path
    if dialect.shape != "table":
        return 0
    head, *lines = parsed(dialect, content)
    columns = [at for at, column in enumerate(dialect.columns) if column.field in NUMBERS]
    for line, row in zip(lines, cells[1:], strict=True):
        for at in columns:
            assert float(line[at].replace(",", ".")) == row[at].value, (path, head[at], line[at], row[at].value)
    return len(lines) * len(columns)


def parsed(dialect: Dialect, content: bytes) -> list[list[str]]:
    """The file as Python's own reader has it."""
    text = content.decode("utf-8-sig" if dialect.bom else dialect.encoding)
    return list(csv.reader(io.StringIO(text, newline=""), delimiter=dialect.delimiter))
