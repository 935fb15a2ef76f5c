"""The pruning plan: what central lacks stays whatever the limits say."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.outbox.retention import Kept, Limits, Plan, plan_pruning
from protocol.delivery import State
from tests.make import NOON

DAY_S = 86_400.0
MUCH = 10**9


def kept(seq: int, state: State = State.SETTLED, days: float = 0, picture: str = "", needed: bool = False) -> Kept:
    settled_at = NOON - timedelta(days=days) if state is State.SETTLED else None
    return Kept(seq, state, settled_at, picture or f"p{seq}", 100, needed or state is not State.SETTLED, 10)


def plan(rows: list[Kept], days: float = 35, pictures: int = MUCH, readings: int = MUCH) -> Plan:
    sizes = {row.picture_sha256: row.picture_bytes for row in rows}
    return plan_pruning(
        rows, NOON, Limits(days * DAY_S, pictures, readings),
        picture_bytes=sum(sizes.values()), reading_bytes=sum(row.packed_bytes for row in rows),
    )  # fmt: skip


ROWS = st.lists(
    st.builds(kept, st.integers(1, 1000), st.sampled_from(State), st.floats(0, 100), st.just(""), st.booleans()),
    max_size=30,
    unique_by=lambda row: row.seq,
)


@given(ROWS, st.floats(0, 50), st.integers(0, 1000), st.integers(0, 300))
def test_nothing_that_central_lacks_is_ever_planned(
    rows: list[Kept], days: float, pictures: int, readings: int
) -> None:
    planned = plan(rows, days, pictures, readings)
    needed = {row.seq for row in rows if row.state is not State.SETTLED or row.picture_needed}
    assert not needed & set(planned.readings)
    assert not {row.picture_sha256 for row in rows if row.seq in needed} & set(planned.pictures)


@given(ROWS, st.integers(0, 300))
def test_readings_go_until_the_rest_fits_and_no_further(rows: list[Kept], most: int) -> None:
    planned = plan(rows, days=1000, readings=most)
    left = sum(row.packed_bytes for row in rows if row.seq not in planned.readings)
    may_go = [row.seq for row in rows if row.state is State.SETTLED and not row.picture_needed]
    assert left <= most or list(planned.readings) == may_go
    assert left + 10 > most or not planned.readings


@given(ROWS, st.floats(0, 50))
def test_no_reading_stays_without_its_picture_while_there_is_room(rows: list[Kept], days: float) -> None:
    assert plan(rows, days).pictures == ()


def test_old_settled_readings_go() -> None:
    assert plan([kept(1, days=36), kept(2, days=34)]) == Plan((1,), ())


def test_above_the_limit_the_oldest_pictures_go_and_their_readings_stay() -> None:
    rows = [kept(1), kept(2, state=State.PENDING), kept(3), kept(4)]
    assert plan(rows, pictures=250) == Plan((), ("p1", "p3"))


def test_above_the_limit_of_readings_the_oldest_go() -> None:
    rows = [kept(1), kept(2, state=State.PENDING), kept(3), kept(4)]
    assert plan(rows, readings=25) == Plan((1, 3), ())


def test_a_picture_of_several_readings_is_counted_once() -> None:
    rows = [kept(1, picture="same"), kept(2, picture="same"), kept(3)]
    assert plan(rows, pictures=100) == Plan((), ("same",))


def test_a_clock_that_went_back_makes_nothing_old() -> None:
    assert plan([kept(1, days=-20_000)]) == Plan((), ())
