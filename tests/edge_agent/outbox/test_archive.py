"""Readings on a stick: whole, signed, proven; taken up once however often, and nothing that is damaged or another's."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from edge_agent.durable import write_durably
from edge_agent.link.enrol import DEVICE_ID_FILE
from edge_agent.link.signing import public_key, signing_key
from edge_agent.outbox.archive import Exported, Imported, export_archive, import_archive
from edge_agent.outbox.keeping import ANOTHER_DEVICE
from protocol.archive import End, Reading, read
from protocol.sealing import ArchiveError
from tests.edge_agent.bench import kept, open_outbox, put, states
from tests.edge_agent.outbox.test_outbox import flip_a_bit, picture_of
from tests.make import NOON, make_reading_id

PASSPHRASE = "a bench by the window"


def export(
    state: Path, path: Path, *, everything: bool = False, pictures: bool = True, passphrase: str | None = None
) -> Exported:
    return export_archive(state, path, NOON, everything=everything, pictures=pictures, passphrase=passphrase)


def take_up(path: Path, state: Path, signer: str | None = None, passphrase: str | None = None) -> Imported:
    with closing(open_outbox(state, new_epoch=lambda: "epoch-2")) as outbox:
        return import_archive(path, outbox, state, passphrase, signer)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A reader's state: one reading settled, one quarantined, two waiting."""
    folder = tmp_path / "state"
    with closing(open_outbox(folder)) as outbox:
        ids = put(outbox, 1, 2, 3, 4)
        outbox.settle(ids[:1])
        outbox.quarantine(ids[1], "unknown_profile", "hi-97")
    write_durably(folder / DEVICE_ID_FILE, b"bench-1\n")
    return folder


def test_what_central_lacks_is_exported_as_it_was_captured(state: Path, tmp_path: Path) -> None:
    exported = export(state, tmp_path / "a")
    records = list(read([(tmp_path / "a").read_bytes()], signer=exported.signer))
    readings = [record for record in records if isinstance(record, Reading)]
    assert [bytes(one.envelope.reading) for one in readings] == [kept(number)[0] for number in (2, 3, 4)]
    assert [(one.envelope.epoch, one.envelope.seq) for one in readings] == [
        ("epoch-1", 2),
        ("epoch-1", 3),
        ("epoch-1", 4),
    ]
    assert isinstance(records[-1], End)
    assert (records[-1].readings, records[-1].pictures) == (exported.readings, exported.pictures) == (3, 3)


def test_a_new_card_goes_on_as_the_reader_that_died(state: Path, tmp_path: Path) -> None:
    signer, new = export(state, tmp_path / "a", everything=True).signer, tmp_path / "new"
    assert str(take_up(tmp_path / "a", new, signer)) == "4 readings taken up, 0 were here already"
    assert (new / DEVICE_ID_FILE).read_text() == "bench-1\n"
    with closing(open_outbox(new)) as outbox:
        assert outbox.epoch == "epoch-2"
        due = [one.id for one in outbox.due(9)]
        assert [one.document for one in outbox.send(due)] == [kept(number)[0] for number in (1, 2, 3, 4)]
        outbox.want([picture_of(3)])
        assert [picture.path.read_bytes() for picture in outbox.wanted()] == [kept(3)[1]]


def test_taking_up_again_changes_nothing(state: Path, tmp_path: Path) -> None:
    export(state, tmp_path / "a", everything=True)
    before = states(state)
    for _ in range(2):
        assert str(take_up(tmp_path / "a", state)) == "0 readings taken up, 4 were here already"
    assert states(state) == before


def test_a_reading_that_is_damaged_here_is_replaced_by_the_archives(state: Path, tmp_path: Path) -> None:
    export(state, tmp_path / "a")
    flip_a_bit(state, make_reading_id(3))
    with closing(open_outbox(state)) as outbox:
        assert outbox.send([make_reading_id(3)]) == []
    assert take_up(tmp_path / "a", state).new == 1
    with closing(open_outbox(state)) as outbox:
        assert [one.document for one in outbox.send([make_reading_id(3)])] == [kept(3)[0]]


def test_what_came_by_hand_is_accounted_for_like_everything_else(state: Path, tmp_path: Path) -> None:
    signer, new = export(state, tmp_path / "a").signer, tmp_path / "new"
    take_up(tmp_path / "a", new, signer)
    with closing(open_outbox(new)) as outbox:
        assert [day.unsettled for day in outbox.ledger()] == [3]
        outbox.settle(make_reading_id(number) for number in (2, 3, 4))
        assert [(day.ranges, day.unsettled) for day in outbox.ledger()] == [(((1, 3),), 0)]


def test_another_readers_readings_are_kept_aside_and_exported_again(state: Path, tmp_path: Path) -> None:
    signer, other = export(state, tmp_path / "a").signer, tmp_path / "other"
    other.mkdir()
    write_durably(other / DEVICE_ID_FILE, b"bench-2\n")
    assert take_up(tmp_path / "a", other, signer).new == 3
    with closing(open_outbox(other)) as outbox:
        assert outbox.due(9) == []
    assert export(other, tmp_path / "b").readings == 3
    with closing(sqlite3.connect(other / "outbox.db")) as connection:
        assert connection.execute("SELECT DISTINCT rejected_code FROM readings").fetchall() == [(ANOTHER_DEVICE,)]


def test_an_archive_of_an_unknown_key_is_refused_and_nothing_taken(state: Path, tmp_path: Path) -> None:
    signer = export(state, tmp_path / "a").signer
    with pytest.raises(ArchiveError, match=f"signed with the key {signer} of bench-1"):
        take_up(tmp_path / "a", tmp_path / "new")
    assert states(tmp_path / "new") == {}


@pytest.mark.parametrize("kept_share", [0.3, 0.9, 0.999])
def test_a_torn_archive_is_refused_and_nothing_taken(state: Path, tmp_path: Path, kept_share: float) -> None:
    signer = export(state, tmp_path / "a").signer
    content = (tmp_path / "a").read_bytes()
    (tmp_path / "a").write_bytes(content[: int(len(content) * kept_share)])
    with pytest.raises(ArchiveError, match="cut off"):
        take_up(tmp_path / "a", tmp_path / "new", signer)
    assert states(tmp_path / "new") == {}


def test_a_sealed_archive_is_taken_up_with_its_passphrase_only(state: Path, tmp_path: Path) -> None:
    export(state, tmp_path / "a", passphrase=PASSPHRASE)
    with pytest.raises(ArchiveError, match="another passphrase"):
        take_up(tmp_path / "a", state, passphrase="a bench by the door")
    assert take_up(tmp_path / "a", state, passphrase=PASSPHRASE).known == 3


def test_what_is_damaged_here_is_left_out_by_name(state: Path, tmp_path: Path) -> None:
    flip_a_bit(state, make_reading_id(3))
    (state / "pictures" / f"{picture_of(4)}.jpg").write_bytes(b"worn")
    exported = export(state, tmp_path / "a")
    assert exported.readings == 2
    assert [make_reading_id(number) in line for number, line in zip((3, 4), exported.left_out, strict=True)] == [
        True
    ] * 2


def test_an_export_that_cannot_be_finished_leaves_nothing(state: Path, tmp_path: Path) -> None:
    with pytest.raises(ArchiveError):
        export(state, tmp_path / "stick", passphrase="short")
    assert not [path for path in tmp_path.iterdir() if "stick" in path.name]


def test_an_export_looks_beside_a_running_agent(state: Path, tmp_path: Path) -> None:
    with closing(open_outbox(state)) as outbox:
        assert export(state, tmp_path / "a").readings == 3
        put(outbox, 5)
        assert export(state, tmp_path / "b").readings == 4


def test_the_key_is_made_once_and_is_the_agents_only(tmp_path: Path) -> None:
    first = public_key(signing_key(tmp_path))
    assert public_key(signing_key(tmp_path)) == first
    assert (tmp_path / "signing.key").stat().st_mode & 0o777 == 0o600
