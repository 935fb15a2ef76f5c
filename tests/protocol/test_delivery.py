"""The life of a reading: what may happen to it, whatever the network does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.delivery import LONGEST_RETRY_S, TRANSITIONS, Event, State, next_state, retry_delay_s
from protocol.errors import LocalProtocolError

EVENTS = st.lists(st.sampled_from(list(Event)), max_size=40)


@given(EVENTS)
def test_only_an_acceptance_settles_and_only_central_lacking_it_unsettles(events: list[Event]) -> None:
    state, accepted = State.PENDING, False
    for event in events:
        try:
            state = next_state(state, event)
        except LocalProtocolError:
            continue
        accepted = (accepted or event is Event.ACCEPTED) and event is not Event.MISSED
        assert (state is State.SETTLED) == accepted


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("answer", [Event.ACCEPTED, Event.REJECTED, Event.UNANSWERED, Event.MISSED])
def test_an_answer_may_come_in_any_state(state: State, answer: Event) -> None:
    assert next_state(state, answer) in State


def test_the_table_has_every_state_and_only_known_events() -> None:
    assert set(TRANSITIONS) == set(State)
    assert {event for steps in TRANSITIONS.values() for event in steps} == set(Event)


def test_a_settled_reading_is_never_sent_again() -> None:
    with pytest.raises(LocalProtocolError, match="settled reading cannot send"):
        next_state(State.SETTLED, Event.SEND)


@given(st.integers(1, 10_000), st.floats(-1, 1))
def test_the_wait_grows_and_is_bounded(attempt: int, jitter: float) -> None:
    assert 1.6 <= retry_delay_s(attempt, jitter) <= LONGEST_RETRY_S * 1.2
    assert retry_delay_s(attempt + 1, 0) >= retry_delay_s(attempt, 0)


def test_the_zeroth_attempt_is_a_bug() -> None:
    with pytest.raises(LocalProtocolError):
        retry_delay_s(0, 0)
