"""The pruning plan: what central lacks stays whatever the limits say."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.retention import Kept, Plan, plan_pruning
from protocol.delivery import State
from tests.make import NOON

DAY_S = 86_400.0


def kept(seq: int, state: State = State.SETTLED, days: float = 0, picture: str = "", wanted: bool = False) -> Kept:
    settled_at = NOON - timedelta(days=days) if state is State.SETTLED else None
    return Kept(seq, state, settled_at, picture or f"p{seq}", 100, wanted)


ROWS = st.lists(
    st.builds(
        kept,
        st.integers(1, 1000), st.sampled_from(State), st.floats(0, 100), st.sampled_from("abcdefgh"), st.booleans(),
    ),
    max_size=30,
    unique_by=lambda row: row.seq,
)  # fmt: skip


@given(ROWS, st.floats(0, 50), st.integers(0, 1000))
def test_nothing_that_central_lacks_is_ever_planned(rows: list[Kept], days: float, most_bytes: int) -> None:
    plan = plan_pruning(rows, NOON, days * DAY_S, most_bytes)
    assert all(row.state is State.SETTLED for row in rows if row.seq in plan.readings)
    needed = {row.picture_sha256 for row in rows if row.state is not State.SETTLED or row.picture_wanted}
    assert not needed & set(plan.pictures)


@given(ROWS, st.floats(0, 50))
def test_no_reading_stays_without_its_picture_while_there_is_room(rows: list[Kept], days: float) -> None:
    plan = plan_pruning(rows, NOON, days * DAY_S, 10**9)
    assert not {row.picture_sha256 for row in rows if row.seq not in plan.readings} & set(plan.pictures)


def test_old_settled_readings_go_with_their_pictures() -> None:
    rows = [kept(1, days=36), kept(2, days=34)]
    assert plan_pruning(rows, NOON, 35 * DAY_S, 10**9) == Plan((1,), ("p1",))


def test_above_the_limit_the_oldest_pictures_go_and_their_readings_stay() -> None:
    rows = [kept(1), kept(2, state=State.PENDING), kept(3), kept(4)]
    assert plan_pruning(rows, NOON, 35 * DAY_S, 250) == Plan((), ("p1", "p3"))


def test_a_clock_that_went_back_makes_nothing_old() -> None:
    rows = [kept(1, days=-20_000)]
    assert plan_pruning(rows, NOON, 35 * DAY_S, 10**9) == Plan((), ())
