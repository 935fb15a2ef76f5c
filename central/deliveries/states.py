"""How far a delivery has come: one table, nothing else changes a state.

    pending ─generate→ generated ─begin→ placing ─place→ placed ─acknowledge→ acknowledged
       │  └──fail──→ failed ←──fail──┘      └──────fail───┘ │          (a system, or its folder, has taken it)
       └── supersede ── from any but placing, acknowledged ─┘→ superseded
    failed ─retry→ pending where nothing was placed, ─resume→ placing where something may have been

`placing` is the one moment in which nobody knows whether the place has the file: it is written down before the file
gets its name, so that who comes after a crash looks for the unfinished file and need not place it twice. What was
placed is known to have arrived only when it is acknowledged.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class DeliveryState(StrEnum):
    """Where a delivery is."""

    PENDING = "pending"
    GENERATED = "generated"
    PLACING = "placing"
    PLACED = "placed"
    ACKNOWLEDGED = "acknowledged"
    FAILED = "failed"
    SUPERSEDED = "superseded"


class DeliveryEvent(StrEnum):
    """What happens to one."""

    GENERATE = "generate"
    BEGIN = "begin"
    PLACE = "place"
    ACKNOWLEDGE = "acknowledge"
    FAIL = "fail"
    RETRY = "retry"
    RESUME = "resume"
    SUPERSEDE = "supersede"


_S, _E = DeliveryState, DeliveryEvent
TRANSITIONS: Final[Mapping[DeliveryState, Mapping[DeliveryEvent, DeliveryState]]] = {
    _S.PENDING: {_E.GENERATE: _S.GENERATED, _E.FAIL: _S.FAILED, _E.SUPERSEDE: _S.SUPERSEDED},
    _S.GENERATED: {_E.BEGIN: _S.PLACING, _E.FAIL: _S.FAILED, _E.SUPERSEDE: _S.SUPERSEDED},
    # Once begun it is finished: a file that may be there already is not taken back.
    _S.PLACING: {_E.PLACE: _S.PLACED, _E.FAIL: _S.FAILED},
    _S.PLACED: {_E.ACKNOWLEDGE: _S.ACKNOWLEDGED, _E.SUPERSEDE: _S.SUPERSEDED},
    _S.ACKNOWLEDGED: {},
    _S.FAILED: {_E.RETRY: _S.PENDING, _E.RESUME: _S.PLACING, _E.SUPERSEDE: _S.SUPERSEDED},
    _S.SUPERSEDED: {},
}
# What a worker still has to do something for.
OPEN: Final = (_S.PENDING, _S.GENERATED, _S.PLACING)


class DeliveryStateError(ValueError):
    """Something that cannot happen to a delivery where it is."""


def after(state: DeliveryState, event: DeliveryEvent) -> DeliveryState:
    """Where a delivery is after this; DeliveryStateError where it cannot happen."""
    found = TRANSITIONS[state].get(event)
    if found is None:
        possible = ", ".join(TRANSITIONS[state]) or "nothing"
        raise DeliveryStateError(f"a delivery that is {state} cannot {event} (expected {possible})")
    return found


# Seconds until the next try: a folder that is away for an hour is tried every ten minutes, one for a blink at once.
RETRY_DELAYS_S: Final = (1.0, 5.0, 30.0, 120.0, 600.0)
# After so many tries a person is told: at the longest delay that is most of a day.
MOST_ATTEMPTS: Final = 100
# One that is being placed while its correction waits for it: a quarter of an hour, then the correction goes.
MOST_ATTEMPTS_CORRECTED: Final = 6


def retry_delay_s(attempts: int, jitter: float) -> float:
    """How long to wait after the `attempts`-th failure; `jitter` from 0 to 1 spreads it by a fifth either way."""
    return RETRY_DELAYS_S[min(attempts, len(RETRY_DELAYS_S)) - 1] * (0.8 + 0.4 * jitter)
