"""Deciding: new, repeated or refused, from values alone; the first to hold an id or a place keeps it."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from central.intake.decide import Decision, HeldRun, answers, decide
from central.intake.plan import Delivery, Planned, Refused, plan
from tests.central.wire import EPOCH, make_delivery
from tests.make import NOON, make_reading_id

ENROLLED = {"bench-1"}


def planned(number: int, **fields: object) -> Planned:
    """A good reading of `bench-1`."""
    found = plan(make_delivery(number, **fields), NOON)
    assert isinstance(found, Planned)
    return found


def held(*runs: Planned) -> list[HeldRun]:
    """These as central holds them."""
    return [HeldRun(run.id, run.place, run.digest) for run in runs]


def fates(decision: Decision) -> tuple[list[str], list[str], list[str]]:
    """Ids of the new, of the accepted; codes of the refused."""
    return [run.id for run in decision.new], [run.id for run in decision.accepted], [no.code for no in decision.refused]


ONE, TWO = make_reading_id(1), make_reading_id(2)


def test_what_is_not_here_is_new() -> None:
    assert fates(decide([planned(1), planned(2)], [], ENROLLED)) == ([ONE, TWO], [ONE, TWO], [])


def test_what_is_here_is_accepted_again() -> None:
    assert fates(decide([planned(1)], held(planned(1)), ENROLLED)) == ([], [ONE], [])


def test_the_second_copy_in_a_batch_is_a_repetition() -> None:
    decision = decide([planned(1), planned(1)], [], ENROLLED)
    assert fates(decision) == ([ONE], [ONE, ONE], [])
    assert decision.repeated == 1


def test_the_same_reading_from_another_place_is_accepted() -> None:
    decision = decide([planned(1, seq=9), planned(1, seq=9)], held(planned(1)), ENROLLED)
    assert fates(decision) == ([], [ONE, ONE], [])
    assert [each.place[2] for each in decision.elsewhere] == [9]


def test_the_other_place_of_a_run_is_taken() -> None:
    decision = decide([planned(2, seq=9)], [*held(planned(1)), *held(planned(1, seq=9))], ENROLLED)
    assert fates(decision) == ([], [], ["conflict"])


def test_the_same_id_with_other_content_is_a_conflict_even_from_another_place() -> None:
    other = planned(1, agent="0.2.0", seq=9)
    decision = decide([other], held(planned(1)), ENROLLED)
    assert fates(decision) == ([], [], ["conflict"])
    assert planned(1).digest in decision.refused[0].detail


def test_a_place_that_is_taken_is_a_conflict_in_the_same_batch_too() -> None:
    assert fates(decide([planned(1), planned(2, seq=1)], [], ENROLLED)) == ([ONE], [ONE], ["conflict"])


def test_a_device_that_may_not_deliver_is_refused_even_what_is_here() -> None:
    assert fates(decide([planned(1)], held(planned(1)), set())) == ([], [], ["wrong_device"])


def test_there_is_one_answer_per_device_and_epoch() -> None:
    batch = [planned(1), planned(2), planned(3, epoch="epoch-2"), planned(4, device_id="bench-2")]
    decision = decide(batch, [], {"bench-1", "bench-2"})
    found = answers(decision, {planned(2).picture}, NOON)
    assert [(device, ack.epoch, len(ack.accepted), ack.wanted) for device, ack in found] == [
        ("bench-1", EPOCH, 2, (planned(2).picture,)),
        ("bench-1", "epoch-2", 1, ()),
        ("bench-2", EPOCH, 1, ()),
    ]


def test_a_refusal_without_a_device_has_nobody_to_be_told() -> None:
    lost = plan(Delivery("somewhere/else", b"poison"), NOON)
    assert isinstance(lost, Refused)
    decision = decide([lost], [], ENROLLED)
    assert (len(decision.refused), answers(decision, (), NOON)) == (1, ())


BATCHES = st.lists(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=6), max_size=4)
READINGS = {(number, seq): planned(number, seq=seq) for number in range(1, 5) for seq in range(1, 5)}


@given(BATCHES)
def test_every_reading_has_one_fate_and_no_id_or_place_is_ever_given_twice(
    batches: Sequence[Sequence[tuple[int, int]]],
) -> None:
    here: list[Planned] = []
    for batch in batches:
        decision = decide([READINGS[key] for key in batch], held(*here), ENROLLED)
        assert len(decision.accepted) + len(decision.refused) == len(batch)
        here += decision.new
        assert {run.id for run in decision.accepted} <= {run.id for run in here}
    assert len({run.id for run in here}) == len({run.place for run in here}) == len(here)
