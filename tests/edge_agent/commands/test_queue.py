"""The queue at the command line: everything that waits can be seen, and what a person may do about it is done."""

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event, Thread

import pytest
from click.testing import CliRunner, Result

from edge_agent.__main__ import DEGRADED, main
from edge_agent.durable import write_durably
from edge_agent.link.enrol import DEVICE_ID_FILE
from edge_agent.outbox import requests
from edge_agent.outbox.outbox import Outbox
from edge_agent.outbox.requests import FOLDER, Answer, Retry, ask, take_up
from tests.edge_agent.bench import kept, open_outbox, put, states
from tests.edge_agent.outbox.test_outbox import flip_a_bit
from tests.make import make_reading_id


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state folder with three readings: one settled, one quarantined, one waiting."""
    folder = tmp_path / "state"
    with closing(open_outbox(folder)) as outbox:
        ids = put(outbox, 1, 2, 3)
        outbox.settle(ids[:1])
        outbox.quarantine(ids[1], "unknown_profile", "hi-97")
    write_durably(folder / DEVICE_ID_FILE, b"bench-1\n")
    return folder


def queue(state: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["queue", "--state-dir", str(state), *arguments], prog_name="wellread-agent")


@contextmanager
def running_agent(state: Path) -> Iterator[Outbox]:
    """An agent as far as requests go: it holds the outbox and takes them up."""
    stop = Event()
    with closing(open_outbox(state)) as outbox:
        thread = Thread(target=requests.run, args=(outbox, state, stop))
        thread.start()
        try:
            yield outbox
        finally:
            stop.set()
            thread.join()


def test_one_reading_is_shown_whole_with_why_it_was_set_aside(state: Path) -> None:
    shown = json.loads(queue(state, "show", make_reading_id(2)).output)
    assert (shown["state"], shown["rejected_code"], shown["rejected_detail"]) == (
        "quarantined",
        "unknown_profile",
        "hi-97",
    )
    assert shown["reading"] == json.loads(kept(2)[0])


def test_a_damaged_reading_is_shown_as_far_as_it_can_be(state: Path) -> None:
    flip_a_bit(state, make_reading_id(3))
    shown = json.loads(queue(state, "show", make_reading_id(3)).output)
    assert shown["document_sha256"] != shown["digest"]


def test_a_reading_that_is_not_here_is_an_error(state: Path) -> None:
    result = queue(state, "show", make_reading_id(9))
    assert (result.exit_code, "no reading" in result.output) == (1, True)


@pytest.mark.parametrize("command", ["retry", "requeue"])
@pytest.mark.parametrize("which", ["all", make_reading_id(2)])
def test_quarantined_readings_are_sent_again(state: Path, command: str, which: str) -> None:
    assert queue(state, command, which).exit_code == 0
    assert states(state)[make_reading_id(2)] == "pending"


def test_beside_a_running_agent_it_is_the_agent_that_does_it(state: Path) -> None:
    with running_agent(state):
        assert queue(state, "retry", "all").output.endswith("1 readings will be sent again\n")
        assert queue(state, "quarantine", make_reading_id(3), "--reason", "wrong plate").exit_code == 0
        assert queue(state, "retry", make_reading_id(1)).exit_code == 1
        rows = [json.loads(line) for line in queue(state, "list", "--json").output.splitlines()]
    assert [(row["seq"], row["state"], row["rejected_detail"]) for row in rows] == [
        (2, "pending", None),
        (3, "quarantined", "wrong plate"),
    ]
    assert list((state / FOLDER).iterdir()) == []


def test_a_request_that_nobody_took_up_is_done_at_the_next_start(state: Path) -> None:
    with closing(open_outbox(state)):
        assert ask(state, Retry(("all",)), "r1", patience_s=0.1) is None
    with closing(open_outbox(state)) as outbox:
        take_up(outbox, state)
    assert states(state)[make_reading_id(2)] == "pending"


def test_a_request_that_is_none_is_answered_and_gone(state: Path) -> None:
    (state / FOLDER).mkdir()
    (state / FOLDER / "r1.json").write_bytes(b"{half")
    with closing(open_outbox(state)) as outbox:
        take_up(outbox, state)
    assert [path.name for path in (state / FOLDER).iterdir()] == ["r1.answer"]
    assert "is no request" in (state / FOLDER / "r1.answer").read_text()


def test_taking_a_request_up_twice_does_no_harm(state: Path) -> None:
    with closing(open_outbox(state)) as outbox:
        first = requests.carry_out(Retry(("all",)), outbox, state)
        assert first == Answer("1 readings will be sent again")
        assert requests.carry_out(Retry(("all",)), outbox, state) == Answer("0 readings will be sent again")


def test_what_central_has_cannot_be_set_aside(state: Path) -> None:
    result = queue(state, "quarantine", make_reading_id(1), "--reason", "wrong plate")
    assert (result.exit_code, "central has" in result.output) == (1, True)


def test_an_archive_goes_from_card_to_card(state: Path, tmp_path: Path) -> None:
    secret = tmp_path / "passphrase"
    secret.write_text("a bench by the window\n")
    options = ("--passphrase-file", str(secret))
    exported = queue(state, "export", str(tmp_path / "a"), "--all", "--pictures", *options)
    assert exported.exit_code == 0
    signer = exported.output.split()[-1]
    refused = queue(tmp_path / "new", "import", str(tmp_path / "a"), *options)
    assert (refused.exit_code, signer in refused.output) == (1, True)
    taken = queue(tmp_path / "new", "import", str(tmp_path / "a"), *options, "--signer", signer)
    assert taken.output == "3 readings taken up, 0 were here already\n"
    assert states(tmp_path / "new").keys() == states(state).keys()


def test_what_is_damaged_is_named_and_the_export_says_that_it_is_not_all(state: Path, tmp_path: Path) -> None:
    flip_a_bit(state, make_reading_id(3))
    result = queue(state, "export", str(tmp_path / "a"))
    assert result.exit_code == DEGRADED
    assert make_reading_id(3) in result.stderr
