"""Nothing is lost, doubled, altered or given to another, whatever happens between bench and central; seeds replay."""

import subprocess
import sys
from collections import Counter
from dataclasses import replace

import msgspec
import pytest

from tests.faults.record import is_full_run, times
from tests.simulation.broker import Wire
from tests.simulation.faults import KINDS
from tests.simulation.many import Figures
from tests.simulation.oracle import InvariantError, Oracle, Promise
from tests.simulation.run import ALIVE_WITHIN_S, Life, simulate

SEEDS = 300
DEVICE_YEARS = times(2, 100)
# Ten times as long lives in a full run: a hundred years in short ones would be forty thousand of them.
LONG = ("--long",) if is_full_run() else ()


def play(*arguments: object, **environment: str) -> tuple[int, list[str]]:
    command = [sys.executable, "-m", "tests.simulation", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment or None)
    return done.returncode, done.stdout.splitlines() or [done.stderr[-2000:]]


def test_every_invariant_holds_in_hundreds_of_lives_of_a_laboratory() -> None:
    status, lines = play("--seeds", SEEDS, "--device-years", DEVICE_YEARS, "--processes", 2, *LONG)
    assert status == 0, lines
    figures = msgspec.json.decode(lines[-1], type=Figures)
    assert figures.failed == ()
    assert figures.device_years >= DEVICE_YEARS
    assert figures.acknowledged > 10_000
    assert figures.worst_healed_s <= ALIVE_WITHIN_S + 60
    # Bounded: what is sent again is not more than a few times what is saved, in lives as hard as these.
    assert figures.sendings < 5 * figures.acknowledged
    missing = {kind.__name__.replace("_", " ") for kind in KINDS} - figures.faults.keys()
    assert not missing, "these faults never happened"


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_a_seed_replays_to_the_same_trace_in_any_process(hash_seed: str) -> None:
    here = simulate(11)
    status, lines = play("--seed", 11, "--trace", PYTHONHASHSEED=hash_seed)
    assert status == 0, lines
    assert msgspec.json.decode(lines[-1])["digest"] == here.digest
    assert len(lines) > 100


def test_another_seed_is_another_life() -> None:
    assert simulate(11).digest != simulate(12).digest


def quiet_life(drawn: Life) -> Life:
    return replace(drawn, days=1.0, devices=3, kinds=(), wire=Wire(), readings=20)


def test_where_nothing_happens_each_reading_is_sent_once_and_soon() -> None:
    report = simulate(5, life=quiet_life)
    assert report.wrong == ""
    assert report.acknowledged == report.runs >= 60
    assert report.sendings == report.acknowledged
    assert report.worst_wait_s < 10


def test_a_perfect_wire_and_two_brokers_make_no_doubles() -> None:
    report = simulate(6, life=lambda drawn: replace(quiet_life(drawn), brokers=2))
    assert report.wrong == ""
    assert report.sendings == report.acknowledged


def promised(oracle: Oracle, number: int) -> Promise:
    promise = Promise(f"id-{number}", f"digest-{number}", "bench-1", "S-1,NDV,1")
    oracle.begun(promise)
    oracle.saved(promise.id, ("bench-1", "epoch", number), 1, 0.0)
    return promise


def test_the_oracle_notices_what_is_lost() -> None:
    oracle = Oracle()
    promised(oracle, 1)
    with pytest.raises(InvariantError, match=r"I1: saved at .* and lost: id-1"):
        oracle.judge_loss({}, {}, Counter())


def test_the_oracle_notices_a_reading_that_is_settled_and_not_committed() -> None:
    oracle = Oracle()
    one = promised(oracle, 1)
    with pytest.raises(InvariantError, match="I1: settled, but central never committed it"):
        oracle.settled(one.id, one.digest)


def test_the_oracle_notices_other_bytes_and_other_places() -> None:
    oracle = Oracle()
    one = promised(oracle, 1)
    with pytest.raises(InvariantError, match="I3"):
        oracle.committed(one.id, "other", ("bench-1", "epoch", 1), 1.0)
    with pytest.raises(InvariantError, match="I5"):
        oracle.committed(one.id, one.digest, ("bench-1", "epoch", 2), 1.0)
    with pytest.raises(InvariantError, match="I5: a run that no bench began"):
        oracle.committed("id-of-nobody", one.digest, ("bench-1", "epoch", 1), 1.0)


def test_the_oracle_notices_a_number_that_is_given_twice() -> None:
    oracle = Oracle()
    promised(oracle, 1)
    with pytest.raises(InvariantError, match="number 1 was given again"):
        promised(oracle, 1)
