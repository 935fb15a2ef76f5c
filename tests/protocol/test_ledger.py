"""What a device holds against what central holds: settled by digest only, and whatever is missing is sent."""

from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st

from protocol.ledger import MOST_RANGES, Entry, Verdict, compare, day_digest, judge, ledger_day, missing, ranges_of

DAY = "2026-03-01"
SEQS = st.sets(st.integers(1, 60), max_size=40)
SOME_SEQS = st.sets(st.integers(1, 60), min_size=1, max_size=40)


def entry(seq: int, *, settled: bool = False, content: str = "") -> Entry:
    return Entry(seq, sha256(f"{seq} {content}".encode()).hexdigest(), settled)


def learn(own: list[Entry], held: list[Entry]) -> Verdict | None:
    """What the device learns when it tells its account and central answers."""
    answer = compare(ledger_day(DAY, own), held)
    return None if answer is None else judge(own, answer)


@given(SOME_SEQS, SEQS, SEQS)
def test_what_central_has_is_settled_and_what_it_lacks_is_sent(
    own: set[int], held: set[int], settled: set[int]
) -> None:
    verdict = learn([entry(seq, settled=seq in settled) for seq in own], [entry(seq) for seq in held])
    if verdict is None:
        assert own <= held
        assert own <= settled
    else:
        assert set(verdict.held) == own & held
        assert set(verdict.missed) == own - held


@given(SOME_SEQS, SEQS, SOME_SEQS)
def test_nothing_is_settled_by_its_number_where_one_reading_is_another(
    own: set[int], held: set[int], altered: set[int]
) -> None:
    there = [entry(seq, content="other" if seq in altered else "") for seq in held]
    verdict = learn([entry(seq) for seq in own], there)
    assert verdict is not None
    wrong = altered & own & held
    assert not wrong & set(verdict.held)
    assert wrong <= set(verdict.missed)


@given(SOME_SEQS, SEQS)
def test_what_the_device_has_forgotten_is_none_of_its_business(own: set[int], forgotten: set[int]) -> None:
    everything = [entry(seq) for seq in own | forgotten]
    assert learn([entry(seq, settled=True) for seq in own], everything) is None


def test_a_reading_captured_and_accepted_since_the_account_is_left_alone() -> None:
    own = [entry(1), entry(2)]
    answer = compare(ledger_day(DAY, own), [entry(1)])
    assert answer is not None
    assert judge([*own, entry(3, settled=True)], answer) == Verdict(held=(1,), missed=(2,))


def test_a_day_full_of_holes_is_cut_and_the_rest_is_sent_again() -> None:
    own = [entry(seq) for seq in range(1, 4 * MOST_RANGES, 2)]
    verdict = learn(own, own)
    assert verdict is not None
    assert len(verdict.held) == MOST_RANGES
    assert len(ledger_day(DAY, own).ranges) == MOST_RANGES


def test_the_digest_is_of_places_and_contents_in_order() -> None:
    assert day_digest([entry(2), entry(1)]) == day_digest([entry(1), entry(2)])
    assert day_digest([entry(1)]) != day_digest([entry(2)])
    lines = "".join(f"{e.seq} {e.digest}\n" for e in (entry(1), entry(2)))
    assert day_digest([entry(1), entry(2)]) == sha256(lines.encode()).hexdigest()


@given(SEQS)
def test_ranges_and_holes_cover_everything_once(seqs: set[int]) -> None:
    ranges = list(ranges_of(seqs))
    holes = missing(ranges, 1, 60)
    covered = [seq for first, last in [*ranges, *holes] for seq in range(first, last + 1)]
    assert sorted(covered) == list(range(1, 61))
    assert {seq for first, last in ranges for seq in range(first, last + 1)} == seqs
