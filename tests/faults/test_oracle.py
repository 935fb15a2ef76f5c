"""The judge is judged first: each wrong that it must see, made by hand."""

from pathlib import Path

import msgspec
import pytest

from tests.faults import record
from tests.faults.oracle import Fact, Oracle, Verdict, facts, judge
from tests.faults.record import Result, results
from tests.faults.table import BEGIN, END, PAGE, with_table

ONE = Fact("1", "a" * 64, "bench-1", "S,T,1", "e", 1)
TWO = Fact("2", "b" * 64, "bench-1", "S,T,2", "e", 2)


def verdict(*arrived: Fact, held: tuple[str, ...] = ()) -> Verdict:
    return judge([ONE, TWO], [ONE, TWO], arrived, held)


def test_all_that_was_saved_arrived_is_clean() -> None:
    assert verdict(ONE, TWO).clean


def test_what_neither_arrived_nor_is_held_is_lost() -> None:
    assert verdict(ONE).lost == ("2",)
    assert verdict(ONE, held=("2",)).clean


def test_a_second_row_is_doubled() -> None:
    assert verdict(ONE, TWO, TWO).doubled == ("2",)


def test_two_readings_in_one_place_are_doubled() -> None:
    assert verdict(ONE, msgspec.structs.replace(TWO, seq=1)).doubled == ("1", "2")


def test_another_digest_is_altered() -> None:
    assert verdict(ONE, msgspec.structs.replace(TWO, digest="c" * 64)).altered == ("2",)


@pytest.mark.parametrize("change", [{"device": "bench-2"}, {"plate": "S,T,9"}, {"seq": 7}, {"epoch": "f"}])
def test_another_owner_is_misattributed(change: dict[str, object]) -> None:
    assert verdict(ONE, msgspec.structs.replace(TWO, **change)).misattributed == ("2",)


def test_what_nobody_began_is_strange() -> None:
    assert judge([ONE], [ONE], [ONE, TWO]).strange == ("2",)


def test_a_plate_that_was_shown_once_and_read_twice_is_doubled() -> None:
    again = msgspec.structs.replace(TWO, plate=ONE.plate)
    assert judge([ONE, again], [ONE, again], [ONE, again], one_per_plate=True).plates_doubled == (ONE.plate,)


def test_a_line_that_is_half_written_is_left_out(tmp_path: Path) -> None:
    oracle = Oracle(tmp_path / "ledger")
    oracle.say("saved", ONE)
    oracle.say("arrived", TWO)
    oracle.close()
    with (tmp_path / "ledger").open("ab") as file:
        file.write(b'{"kind":"saved","fact":{"id":"3"')
    assert facts(tmp_path / "ledger", "saved") == [ONE]
    assert facts(tmp_path / "ledger", "arrived") == [TWO]


def test_only_a_full_run_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "FOLDER", tmp_path)
    result = Result(id="E1", title="kills", acked=3, lost=0, doubled=0, altered=0, seconds=1.0, full=True)
    monkeypatch.delenv("FAULTS_FULL", raising=False)
    record.record(result)
    assert record.results(tmp_path) == []
    monkeypatch.setenv("FAULTS_FULL", "1")
    record.record(result)
    (kept,) = record.results(tmp_path)
    assert kept.date
    assert kept.acked == 3


def test_the_table_stands_between_its_marks() -> None:
    row = Result(id="E1", title="kills", faults={"SIGKILL": 5}, acked=3, lost=0, doubled=0, altered=0, seconds=1.0,
                 full=True, date="2026-11-21", machine="2 cores")  # fmt: skip
    page = with_table(f"before\n{BEGIN}\nold\n{END}\nafter\n", [row])
    assert "old" not in page
    assert "| E1 | kills; 5 SIGKILL | 3 | 0 | 0 | 0 |  | 1 s | 2026-11-21 |" in page
    assert page.startswith("before\n")
    assert page.endswith("\nafter\n")


def test_the_page_shows_what_was_recorded() -> None:
    page = PAGE.read_text()
    assert with_table(page, results()) == page, "run `make docs`"
