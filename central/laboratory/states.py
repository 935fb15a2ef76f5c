"""Where a plate is on its way through the laboratory: one table, nothing else changes a state.

    registered → plated → read → in_review → approved → delivered
                            ↑________|  ↑______|          |
                   (void, read again)  amended ←──────────┘        every state but void → void

`delivered` says that a laboratory system has taken the result; what changes afterwards is `amended` and is approved and
delivered again. A test is where the slowest of its plates is, a submission where the slowest of its tests is.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import Final


class PlateState(StrEnum):
    """Where a plate is."""

    REGISTERED = "registered"
    PLATED = "plated"
    READ = "read"
    IN_REVIEW = "in_review"
    APPROVED = "approved"
    DELIVERED = "delivered"
    AMENDED = "amended"
    VOID = "void"


class PlateEvent(StrEnum):
    """What happens to a plate."""

    PLATE = "plate"  # its sera are in it
    READ = "read"  # a run of it was accepted
    REVIEW = "review"  # somebody looks at its run
    APPROVE = "approve"
    DELIVER = "deliver"
    AMEND = "amend"  # a run, a correction or a new reading after approval
    UNREAD = "unread"  # its last run was voided
    VOID = "void"


_S, _E = PlateState, PlateEvent
TRANSITIONS: Final[dict[PlateState, dict[PlateEvent, PlateState]]] = {
    _S.REGISTERED: {_E.PLATE: _S.PLATED, _E.READ: _S.READ, _E.VOID: _S.VOID},
    _S.PLATED: {_E.READ: _S.READ, _E.VOID: _S.VOID},
    _S.READ: {
        _E.READ: _S.READ, _E.REVIEW: _S.IN_REVIEW, _E.APPROVE: _S.APPROVED, _E.UNREAD: _S.PLATED, _E.VOID: _S.VOID,
    },
    _S.IN_REVIEW: {
        _E.READ: _S.READ, _E.REVIEW: _S.IN_REVIEW, _E.APPROVE: _S.APPROVED, _E.UNREAD: _S.PLATED, _E.VOID: _S.VOID,
    },
    _S.APPROVED: {
        _E.READ: _S.AMENDED, _E.REVIEW: _S.AMENDED, _E.AMEND: _S.AMENDED, _E.DELIVER: _S.DELIVERED,
        _E.UNREAD: _S.AMENDED, _E.VOID: _S.VOID,
    },
    _S.DELIVERED: {
        _E.READ: _S.AMENDED, _E.REVIEW: _S.AMENDED, _E.AMEND: _S.AMENDED, _E.DELIVER: _S.DELIVERED,
        _E.UNREAD: _S.AMENDED, _E.VOID: _S.VOID,
    },
    _S.AMENDED: {
        _E.READ: _S.AMENDED, _E.REVIEW: _S.AMENDED, _E.AMEND: _S.AMENDED, _E.APPROVE: _S.APPROVED,
        _E.UNREAD: _S.AMENDED, _E.VOID: _S.VOID,
    },
    _S.VOID: {},
}  # fmt: skip

# From the slowest on; amended waits for a person like what is in review.
_ORDER: Final = (
    _S.REGISTERED, _S.PLATED, _S.READ, _S.IN_REVIEW, _S.AMENDED, _S.APPROVED, _S.DELIVERED,
)  # fmt: skip


class StateError(ValueError):
    """Something that cannot happen to a plate where it is."""


def after(state: PlateState, event: PlateEvent) -> PlateState:
    """Where a plate is after this; StateError where it cannot happen."""
    found = TRANSITIONS[state].get(event)
    if found is None:
        possible = ", ".join(TRANSITIONS[state]) or "nothing"
        raise StateError(f"a plate that is {state} cannot {event} (expected {possible})")
    return found


def slowest(states: Iterable[PlateState]) -> PlateState:
    """Where several are together: where the slowest is; void plates hold nothing up, and alone are void."""
    going = [state for state in states if state is not PlateState.VOID]
    return min(going, key=_ORDER.index, default=PlateState.VOID)
