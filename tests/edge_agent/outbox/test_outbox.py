"""The outbox: on the disk before "saved", no number twice, no damaged bytes sent, forgotten only when settled."""

import random
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from edge_agent.durable import write_durably
from edge_agent.outbox.file import OutboxError, check_settings, open_file
from edge_agent.outbox.look import count_states, open_for_looking
from edge_agent.outbox.outbox import LIVE_S
from edge_agent.outbox.packing import Packer
from edge_agent.outbox.rows import Reconciled
from edge_agent.outbox.tables import put_meta
from protocol import ledger
from protocol.codec import digest
from protocol.delivery import State
from protocol.errors import LocalProtocolError
from protocol.messages import Held, LedgerDay, Refusal
from tests.edge_agent.bench import kept, open_outbox, put, states
from tests.make import NOON, make_reading_id
from tests.standins import ManualClock

PUTTING = """
import sys, itertools
from pathlib import Path
from tests.edge_agent.bench import open_outbox, put
outbox = open_outbox(Path(sys.argv[1]))
for number in itertools.count(int(sys.argv[2])):
    print(*put(outbox, number), flush=True)
"""


def test_every_reading_reported_before_a_kill_is_in_the_file_afterwards(tmp_path: Path) -> None:
    reported: list[str] = []
    rng = random.Random(1)
    for life in range(6):
        command = [sys.executable, "-c", PUTTING, str(tmp_path), str(life * 10_000)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            reported += [process.stdout.readline().strip() for _ in range(rng.randint(1, 15))]
            process.send_signal(signal.SIGKILL)
            reported += [line.strip() for line in process.stdout if line.endswith("\n")]
    assert set(reported) <= set(states(tmp_path))
    with closing(open_outbox(tmp_path)) as outbox:
        assert all(path.stat().st_size for path in (tmp_path / "pictures").iterdir())
        assert outbox.depth().pending == len(list((tmp_path / "pictures").iterdir()))


def test_settings_that_saved_rests_on_are_asserted(tmp_path: Path) -> None:
    with closing(open_file(tmp_path / "outbox.db", lambda: "epoch")) as connection:
        check_settings(connection)
        connection.execute("PRAGMA synchronous = NORMAL")
        with pytest.raises(OutboxError, match=r"synchronous is 1 \(expected 2\)"):
            check_settings(connection)


def test_a_file_of_a_newer_agent_is_refused(tmp_path: Path) -> None:
    with closing(open_file(tmp_path / "outbox.db", lambda: "epoch")) as connection:
        put_meta(connection, "version", 99)
    with pytest.raises(OutboxError, match="version 99"):
        open_file(tmp_path / "outbox.db", lambda: "epoch")


def test_two_agents_cannot_hold_one_outbox(tmp_path: Path) -> None:
    with closing(open_outbox(tmp_path)), pytest.raises(OutboxError, match="in use by another"):
        open_outbox(tmp_path)


def test_the_epoch_stays_and_sequence_numbers_are_never_given_twice(tmp_path: Path) -> None:
    clock = ManualClock()
    with closing(open_outbox(tmp_path, clock)) as outbox:
        outbox.settle(put(outbox, 1, 2))
        clock.advance(timedelta(days=1).total_seconds())
        outbox.prune(timedelta(hours=1), 0)
        assert states(tmp_path) == {}
    with closing(open_outbox(tmp_path, clock)) as outbox:
        assert outbox.epoch == "epoch-1"
        assert outbox.put(*kept(3)) == 3


def test_the_picture_is_on_the_disk_before_its_row_is_tried(tmp_path: Path) -> None:
    document, photograph = kept(2, id=make_reading_id(1))
    with closing(open_outbox(tmp_path)) as outbox:
        put(outbox, 1)
        with pytest.raises(sqlite3.IntegrityError):
            outbox.put(document, photograph)
    assert (tmp_path / "pictures" / f"{picture_of(2)}.jpg").read_bytes() == photograph


def test_a_photograph_that_is_not_the_readings_is_refused(tmp_path: Path) -> None:
    with closing(open_outbox(tmp_path)) as outbox:
        with pytest.raises(LocalProtocolError, match="SHA-256"):
            outbox.put(kept(1)[0], b"another photograph")
        assert states(tmp_path) == {}


def test_a_picture_without_a_row_is_swept_at_the_next_start(tmp_path: Path) -> None:
    with closing(open_outbox(tmp_path)) as outbox:
        put(outbox, 1)
    write_durably(tmp_path / "pictures" / ("0" * 64 + ".jpg"), b"its row was never written")
    with closing(open_outbox(tmp_path)):
        assert len(list((tmp_path / "pictures").iterdir())) == 1


def test_a_picture_that_cannot_be_written_leaves_no_row(tmp_path: Path) -> None:
    with closing(open_outbox(tmp_path)) as outbox:
        (tmp_path / "pictures").rmdir()
        with pytest.raises(FileNotFoundError):
            outbox.put(*kept(1), key="plate.jpg")
        assert states(tmp_path) == {}
        assert not outbox.was_captured("plate.jpg")


def test_a_damaged_row_is_set_aside_with_the_reason_and_never_sent(tmp_path: Path) -> None:
    with closing(open_outbox(tmp_path)) as outbox:
        first, second = put(outbox, 1, 2)
    flip_a_bit(tmp_path, first)
    with closing(open_outbox(tmp_path)) as outbox:
        assert [one.id for one in outbox.send([first, second])] == [second]
    assert states(tmp_path) == {first: "quarantined", second: "pending"}


def test_a_row_under_another_id_is_damaged_too(tmp_path: Path) -> None:
    other = make_reading_id(99)
    with closing(open_outbox(tmp_path)) as outbox:
        (own,) = put(outbox, 1)
    with closing(sqlite3.connect(tmp_path / "outbox.db")) as connection, connection:
        connection.execute("UPDATE readings SET id = ? WHERE id = ?", [other, own])
    with closing(open_outbox(tmp_path)) as outbox:
        assert outbox.send([other]) == []
    assert states(tmp_path) == {other: "quarantined"}


def test_what_was_sent_and_not_answered_waits_again_after_a_restart(tmp_path: Path) -> None:
    with closing(open_outbox(tmp_path)) as outbox:
        ids = put(outbox, 1)
        assert [outbox.send(ids)[0].attempt for _ in range(2)] == [1, 2]
        assert outbox.due(10, ids) == []
    with closing(open_outbox(tmp_path, session="second")) as outbox:
        assert [(one.id, one.historical) for one in outbox.due(10)] == [(ids[0], True)]
        assert outbox.send(ids)[0].attempt == 1


def test_sending_writes_nothing_to_the_disk(tmp_path: Path) -> None:
    with closing(open_outbox(tmp_path)) as outbox:
        ids = put(outbox, 1, 2)
        before = (tmp_path / "outbox.db-wal").read_bytes()
        outbox.send(ids)
        assert (tmp_path / "outbox.db-wal").read_bytes() == before


def test_those_in_flight_do_not_crowd_out_what_waits(tmp_path: Path) -> None:
    with closing(open_outbox(tmp_path)) as outbox:
        ids = put(outbox, 1, 2, 3, 4)
        assert [one.id for one in outbox.due(2, ids[:2])] == ids[2:]


def test_what_central_provably_has_is_settled_and_what_it_lacks_waits_again(tmp_path: Path) -> None:
    with closing(open_outbox(tmp_path)) as outbox:
        ids = put(outbox, 1, 2, 3)
        outbox.settle(ids[2:])
        (day,) = outbox.ledger()
        assert (day.day, day.ranges, day.unsettled) == ("2026-11-20", ((1, 3),), 2)
        there = [ledger.Entry(seq, digest(kept(seq)[0])) for seq in (1, 2)]
        assert outbox.reconcile([held_by(day, there)]) == Reconciled(settled=2, missed=1)
    assert states(tmp_path) == {ids[0]: "settled", ids[1]: "settled", ids[2]: "pending"}


def test_another_cards_readings_under_the_same_numbers_settle_nothing(tmp_path: Path) -> None:
    with closing(open_outbox(tmp_path)) as outbox:
        put(outbox, 1, 2)
        (day,) = outbox.ledger()
        there = [ledger.Entry(seq, digest(kept(seq + 10)[0])) for seq in (1, 2)]
        assert outbox.reconcile([held_by(day, there)]) == Reconciled(settled=0, missed=0)
        assert outbox.depth().pending == 2


def test_a_damaged_reading_is_in_no_account(tmp_path: Path) -> None:
    with closing(open_outbox(tmp_path)) as outbox:
        first, second = put(outbox, 1, 2)
    flip_a_bit(tmp_path, first)
    with closing(open_outbox(tmp_path)) as outbox:
        outbox.send([first, second])
        assert [day.ranges for day in outbox.ledger()] == [((2, 2),)]


def test_a_reading_that_waits_long_becomes_history(tmp_path: Path) -> None:
    clock = ManualClock()
    with closing(open_outbox(tmp_path, clock)) as outbox:
        (old,) = put(outbox, 1)
        clock.advance(LIVE_S + 1)
        (new,) = put(outbox, 2)
        assert [(one.id, one.historical) for one in outbox.due(10)] == [(new, False), (old, True)]


def test_only_accepted_settles_and_what_is_settled_stays_so(tmp_path: Path) -> None:
    with closing(open_outbox(tmp_path)) as outbox:
        ids = put(outbox, 1, 2)
        outbox.send(ids)
        outbox.settle([ids[0], ids[0], make_reading_id(77)])
        outbox.quarantine(ids[0], "conflict", "a late answer")
    assert states(tmp_path) == {ids[0]: "settled", ids[1]: "pending"}


def test_a_quarantined_reading_is_sent_again_when_a_person_says_so(tmp_path: Path) -> None:
    with closing(open_outbox(tmp_path)) as outbox:
        ids = put(outbox, 1, 2, 3)
        outbox.quarantine(ids[0], "unknown_profile", "hi-96-x")
        outbox.quarantine(ids[1], "unknown_profile", "hi-96-x")
        assert outbox.requeue([ids[0], ids[2]]) == [ids[0]]
        assert outbox.requeue(["all"]) == [ids[1]]
        assert outbox.depth().quarantined == 0


def test_pruning_keeps_every_reading_that_central_lacks(tmp_path: Path) -> None:
    clock = ManualClock()
    with closing(open_outbox(tmp_path, clock)) as outbox:
        ids = put(outbox, 1, 2, 3)
        outbox.settle(ids[:2])
        outbox.want([picture_of(1)])
        clock.advance(timedelta(days=400).total_seconds())
        outbox.prune(timedelta(days=35), 0)
        assert [path.stem for path in sorted((tmp_path / "pictures").iterdir())] == sorted(
            [picture_of(1), picture_of(3)]
        )
    assert set(states(tmp_path)) == {ids[0], ids[2]}


def test_a_picture_that_is_asked_for_again_changes_nothing_on_the_disk(tmp_path: Path) -> None:
    with closing(open_outbox(tmp_path)) as outbox, closing(sqlite3.connect(tmp_path / "outbox.db")) as beside:
        put(outbox, 1)
        versions = []
        for _ in range(3):
            versions.append(beside.execute("PRAGMA data_version").fetchone())
            outbox.want([picture_of(1)])
        assert versions[0] != versions[1] == versions[2]
        assert [picture.sha256 for picture in outbox.wanted()] == [picture_of(1)]


def test_a_picture_is_wanted_until_it_is_uploaded_or_lost(tmp_path: Path) -> None:
    with closing(open_outbox(tmp_path)) as outbox:
        put(outbox, 1, 2)
        outbox.want([picture_of(1), picture_of(2)])
        assert [picture.sha256 for picture in outbox.wanted()] == [picture_of(1), picture_of(2)]
        outbox.mark_uploaded(picture_of(1))
        outbox.mark_lost(picture_of(2))
        assert outbox.wanted() == []
        outbox.want([picture_of(2)])
        assert outbox.depth().pictures == 0


def test_refused_photographs_are_kept_the_newest_of_them_as_files(tmp_path: Path) -> None:
    with closing(open_outbox(tmp_path)) as outbox:
        for number in range(4):
            refusal = Refusal(NOON + timedelta(seconds=number), f"{number}.jpg", "no_plate", "nothing found")
            outbox.refuse(refusal, b"bytes", key=f"key {number}", keep=2)
        assert outbox.was_captured("key 0")
        assert outbox.last_refusal() == refusal
        assert len(list((tmp_path / "refused").iterdir())) == 2
    with closing(open_for_looking(tmp_path / "outbox.db")) as connection:
        assert count_states(connection)["refused"] == 4


def test_depth_counts_what_central_lacks(tmp_path: Path) -> None:
    with closing(open_outbox(tmp_path)) as outbox:
        ids = put(outbox, 1, 2, 3, 4)
        outbox.send(ids[:1])
        outbox.settle(ids[1:2])
        outbox.quarantine(ids[2], "conflict", "other content")
        depth = outbox.depth()
    assert (depth.last_seq, depth.pending, depth.quarantined, depth.epoch) == (4, 2, 1, "epoch-1")


def test_a_state_that_is_none_is_sent_again(tmp_path: Path) -> None:
    with closing(open_outbox(tmp_path)) as outbox:
        (own,) = put(outbox, 1)
    with closing(sqlite3.connect(tmp_path / "outbox.db")) as connection, connection:
        connection.execute("UPDATE readings SET state = 'sgttled'")
    with closing(open_outbox(tmp_path)):
        assert states(tmp_path) == {own: State.PENDING}


def held_by(day: LedgerDay, there: list[ledger.Entry]) -> Held:
    """Central's answer to one day of an account, when it has these."""
    held = ledger.compare(day, there)
    assert held is not None
    return held


def picture_of(number: int) -> str:
    """The SHA-256 of the photograph of reading `number`."""
    return digest(kept(number)[1])


def flip_a_bit(folder: Path, reading_id: str) -> None:
    """Change one byte of a stored reading, as a worn card does."""
    with closing(sqlite3.connect(folder / "outbox.db")) as connection, connection:
        seq, packed = connection.execute(
            "SELECT seq, packed FROM documents JOIN readings USING (seq) WHERE id = ?", [reading_id]
        ).fetchone()
        damaged = Packer().unpack(packed).replace(b'"flowing"', b'"flowimg"', 1)
        connection.execute("UPDATE documents SET packed = ? WHERE seq = ?", [Packer().pack(damaged), seq])
