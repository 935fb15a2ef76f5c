"""Where a plate may go: nothing leaves the table, and nothing is approved that nobody read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from central.laboratory.states import TRANSITIONS, PlateEvent, PlateState, StateError, after, slowest


@given(st.lists(st.sampled_from(PlateEvent)))
def test_any_events_lead_from_state_to_state_and_void_is_the_end(events: list[PlateEvent]) -> None:
    state, was_read = PlateState.REGISTERED, False
    for event in events:
        try:
            state = after(state, event)
        except StateError:
            assert event not in TRANSITIONS[state]
            continue
        was_read = was_read or event is PlateEvent.READ
        assert was_read or state in {PlateState.REGISTERED, PlateState.PLATED, PlateState.VOID}
    assert set(TRANSITIONS[PlateState.VOID]) == set()


def test_what_cannot_happen_is_refused_with_what_can() -> None:
    with pytest.raises(StateError, match="registered cannot approve \\(expected plate, read, void\\)"):
        after(PlateState.REGISTERED, PlateEvent.APPROVE)


def test_several_plates_are_where_the_slowest_is() -> None:
    assert slowest([PlateState.APPROVED, PlateState.READ, PlateState.VOID]) is PlateState.READ
    assert slowest([PlateState.APPROVED, PlateState.AMENDED]) is PlateState.AMENDED
    assert slowest([]) is PlateState.VOID
