"""How far a notice has come: one table, nothing else changes a state.

    (high) → waiting ──hold──→ open ──ease──→ easing ──end──→ closed
                │                ↑              │
                └──fall→ gone    └────return────┘

Only `open` and `easing` are shown; `waiting` is a value that has not been high for long enough, and leaves no trace
when it falls (`gone`). A notice that has closed stays so: the next time is another one.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class NoticeState(StrEnum):
    """Where a notice is."""

    WAITING = "waiting"
    OPEN = "open"
    EASING = "easing"
    CLOSED = "closed"
    GONE = "gone"


class NoticeEvent(StrEnum):
    """What happens to one."""

    HOLD = "hold"
    FALL = "fall"
    EASE = "ease"
    RETURN = "return"
    END = "end"


_S, _E = NoticeState, NoticeEvent
TRANSITIONS: Final[Mapping[NoticeState, Mapping[NoticeEvent, NoticeState]]] = {
    _S.WAITING: {_E.HOLD: _S.OPEN, _E.FALL: _S.GONE},
    _S.OPEN: {_E.EASE: _S.EASING},
    _S.EASING: {_E.RETURN: _S.OPEN, _E.END: _S.CLOSED},
    _S.CLOSED: {},
    _S.GONE: {},
}
# What is shown as not over.
STANDING: Final = (_S.OPEN, _S.EASING)


def after(state: NoticeState, event: NoticeEvent) -> NoticeState:
    """Where a notice is after this; KeyError where it cannot happen."""
    return TRANSITIONS[state][event]
