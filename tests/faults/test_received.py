"""The judge of deliveries is judged first: each wrong that it must see, made by hand; and the watch on folders."""

import os
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.faults.lims import Watch
from tests.faults.received import WEBHOOK, Event, Notes, Reader, Verdict, contents, judge

CONTENT = b"row,titre_log2\nA,6\nB,7\n"
FOLDER = "folder"


def approved(revision: int = 1, **titres: int) -> Event:
    return Event(
        kind="approved", id="run-1", submission="S-1", revision=revision, titres=titres or {"A": 6, "B": 7}
    )  # fmt: skip


def file(name: str = "titres_S-1_20261120_120000.csv", content: bytes = CONTENT, **fields: Any) -> Event:
    values = {"kind": "file", "place": FOLDER, "name": name, **contents(content), **fields}
    return msgspec.convert(values, Event)


def fetched(delivery: str = "d1", **fields: Any) -> Event:
    return file(kind="fetched", place=WEBHOOK, id=delivery, **fields)


def told(number: int, detail: str = "run.approved") -> Event:
    return Event(kind="change", number=number, id="run-1", detail=detail)


def verdict(*found: Event, place: str = FOLDER) -> Verdict:
    return judge([approved(), told(1), *found], [place])


def test_what_was_approved_and_arrived_once_is_clean() -> None:
    assert verdict(file()).clean


def test_what_did_not_arrive_is_lost() -> None:
    assert verdict().lost == ("S-1 r1 at folder",)


def test_a_second_file_is_doubled() -> None:
    assert verdict(file(), file()).doubled == ("S-1 r1 at folder",)


def test_a_second_file_under_another_name_is_strange() -> None:
    assert verdict(file(), file(name="titres_S-1_20261120_120000_r2.csv")).strange == ("S-1 r2 at folder",)


@pytest.mark.parametrize("content", [b"row,titre_log2\nA,6\nB,8\n", CONTENT[:-4], CONTENT[:-2], b"", b"\xff\0"])
def test_other_bytes_than_were_approved_are_altered(content: bytes) -> None:
    assert verdict(file(content=content)).altered == ("S-1 r1 at folder",)


def test_a_correction_must_arrive_and_what_it_overtook_need_not() -> None:
    corrected = file(name="titres_S-1_20261120_120000_r2.csv", content=CONTENT.replace(b"6", b"5"))
    events = [approved(), approved(2, A=5, B=7), told(1), told(2)]
    assert judge([*events, corrected], [FOLDER]).clean
    assert judge([*events, file(), corrected], [FOLDER]).clean
    assert judge([*events, file()], [FOLDER]).lost == ("S-1 r2 at folder",)


def test_a_correction_with_what_was_corrected_is_altered() -> None:
    stale = file(name="titres_S-1_20261120_120000_r2.csv")
    found = judge([approved(), approved(2, A=5, B=7), told(1), told(2), stale], [FOLDER])
    assert found.altered == ("S-1 r2 at folder",)


def test_a_call_that_rings_twice_is_one_and_two_calls_of_one_file_are_doubled() -> None:
    call = msgspec.structs.replace(fetched(), kind="call")
    assert verdict(call, call, fetched(), fetched(), place=WEBHOOK).clean
    assert verdict(fetched(), fetched("d2"), place=WEBHOOK).doubled == ("S-1 r1 at webhook",)


def test_a_call_of_which_nothing_could_be_fetched_is_lost() -> None:
    call = msgspec.structs.replace(fetched(), kind="call")
    assert verdict(call, place=WEBHOOK).lost == ("S-1 r1 at webhook",)


def test_a_call_about_other_bytes_than_were_fetched_is_altered() -> None:
    call = msgspec.structs.replace(fetched(), kind="call", sha256="0" * 64)
    assert verdict(call, fetched(), place=WEBHOOK).altered == ("S-1 r1 at webhook",)


def test_a_file_that_was_made_under_its_name_and_an_answer_of_ours_with_an_error_are_seen() -> None:
    found = verdict(file(), Event(kind="partial", place=FOLDER, name="a"), Event(kind="refused", detail="GET /: 500"))
    assert (len(found.partial), found.refused) == (1, ("GET /: 500",))
    assert not found.clean


@pytest.mark.parametrize("numbers", [(1, 3), (1, 1), (2, 1), (2,), (1,)])
def test_a_feed_that_skips_doubles_or_turns_round_is_seen(numbers: tuple[int, ...]) -> None:
    feed = [told(number, "run.changed" if at else "run.approved") for at, number in enumerate(numbers)]
    twice = [approved(), approved(2, A=5)] if numbers == (1,) else [approved()]
    assert judge([*twice, *feed], []).feed


def test_a_line_that_is_half_written_is_read_once_it_is_whole(tmp_path: Path) -> None:
    notes, reader = Notes(tmp_path / "notes"), Reader(tmp_path / "notes")
    notes.say("file", place=FOLDER, name="a")
    with notes.path.open("ab") as half:
        half.write(b'{"kind":')
    assert [event.name for event in reader.read_on()] == ["a"]
    with notes.path.open("ab") as half:
        half.write(b'"file","name":"b"}\n')
    assert [event.name for event in reader.read_on()] == ["a", "b"]


def test_the_watch_tells_a_file_that_gets_its_name_from_one_that_is_made_or_written_under_it(tmp_path: Path) -> None:
    watch = Watch({FOLDER: tmp_path}).events()
    (tmp_path / ".part").write_bytes(b"1")
    os.rename(tmp_path / ".part", tmp_path / "a.csv")
    (tmp_path / "b.csv").write_bytes(b"1")
    found = [(name, what) for _, what, name in islice(watch, 5)]
    assert found == [(".part", 0x100), (".part", 0x2), ("a.csv", 0x80), ("b.csv", 0x100), ("b.csv", 0x2)]
