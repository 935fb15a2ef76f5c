"""The life of a reading between a device's outbox and central, as a table. Pure: no clock, no randomness, no I/O.

    pending ──send──▶ sent ──accepted──▶ settled
     ▲ ▲               │ │               │
     │ └──unanswered───┘ └──rejected──▶ quarantined ──requeue──▶ pending
     └──────────────missed───────────────┘

Three rules. A reading is forgotten only once it is `settled`, and only central's `accepted`, sent after its commit,
settles it: a broker's acknowledgement says that the broker's memory has it, which is not that. And a late or repeated
answer changes nothing: an answer may arrive for a reading in any state, because brokers double and delay. And a
settled reading that central turns out not to have (`missed`: it was set back to a backup) waits again.
"""

from enum import StrEnum
from typing import Final

from protocol.errors import LocalProtocolError


class State(StrEnum):
    """Where a reading stands."""

    PENDING = "pending"
    SENT = "sent"
    SETTLED = "settled"
    QUARANTINED = "quarantined"


class Event(StrEnum):
    """What can happen to it."""

    SEND = "send"
    UNANSWERED = "unanswered"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    REQUEUE = "requeue"
    MISSED = "missed"


TRANSITIONS: Final[dict[State, dict[Event, State]]] = {
    State.PENDING: {
        Event.SEND: State.SENT,
        Event.ACCEPTED: State.SETTLED,
        Event.REJECTED: State.QUARANTINED,
        Event.UNANSWERED: State.PENDING,
        Event.REQUEUE: State.PENDING,
        Event.MISSED: State.PENDING,
    },
    State.SENT: {
        Event.SEND: State.SENT,
        Event.ACCEPTED: State.SETTLED,
        Event.REJECTED: State.QUARANTINED,
        Event.UNANSWERED: State.PENDING,
        Event.REQUEUE: State.PENDING,
        Event.MISSED: State.PENDING,
    },
    State.QUARANTINED: {
        # The earlier answer may have been a refusal of a damaged copy; what central committed is committed.
        Event.ACCEPTED: State.SETTLED,
        Event.REJECTED: State.QUARANTINED,
        Event.UNANSWERED: State.QUARANTINED,
        Event.REQUEUE: State.PENDING,
        Event.MISSED: State.QUARANTINED,
    },
    State.SETTLED: {
        Event.ACCEPTED: State.SETTLED,
        Event.REJECTED: State.SETTLED,
        Event.UNANSWERED: State.SETTLED,
        Event.MISSED: State.PENDING,
    },
}


def next_state(state: State, event: Event) -> State:
    """The state after an event; LocalProtocolError where the table has no such step."""
    try:
        return TRANSITIONS[state][event]
    except KeyError:
        expected = ", ".join(TRANSITIONS[state])
        raise LocalProtocolError(f"a {state} reading cannot {event} (expected one of {expected})") from None


# Shorter and a slow commit is answered by a second copy; longer and a lost message waits although the line is up.
FIRST_RETRY_S: Final = 2.0
# Where answers take longer it is twice what they take, up to this: longer and what was lost waits for nothing.
LONGEST_PATIENCE_S: Final = 20.0
# Longer and a healed line stays unused for minutes; shorter and an absent central is knocked at for nothing.
LONGEST_RETRY_S: Final = 300.0

# Readings without an answer at one time: more only fills the broker's memory, fewer leaves a fast line idle.
SEND_WINDOW: Final = 32
# Of a backlog it may become so many, while answers are quick; slow ones halve it. So a reader that comes home alone has
# all of central, and one of a hundred its share, with no queue in the broker that a live reading would wait behind.
WIDEST_WINDOW: Final = 256
QUICK_ANSWER_S: Final = 0.4
SLOW_ANSWER_S: Final = 0.8
# Readings of a backlog in one message, and their bytes before packing: plates of 1536 wells have 250 kB each.
MOST_IN_BATCH: Final = 32
MOST_BATCH_BYTES: Final = 1024 * 1024
# So often a reading is sent among others; without an answer it then goes alone, so that a bad one holds up no others.
SENT_TOGETHER: Final = 2


def retry_delay_s(attempt: int, jitter: float) -> float:
    """Seconds to wait for an answer to the `attempt`-th sending (from 1) before sending again.

    Doubles up to `LONGEST_RETRY_S`; `jitter` in −1…1, from the caller's randomness, spreads it by ±20 % so that a
    thousand devices do not knock together after an outage.
    """
    if attempt < 1 or not -1 <= jitter <= 1:
        raise LocalProtocolError(f"attempt {attempt}, jitter {jitter} (expected attempt ≥ 1, jitter from -1 to 1)")
    return min(FIRST_RETRY_S * 2.0 ** min(attempt - 1, 16), LONGEST_RETRY_S) * (1 + 0.2 * jitter)
