"""What was measured, what stands, what the rule says → what to do. Pure: no clock, no database.

A silence keeps people from being told and nothing else: notices open and close as ever, and one that is still open when
the silence ends is told then. Who acknowledged a notice is not told of it again.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, TypeAlias

import msgspec

from central.notices.kinds import Kind, is_high, is_low
from central.notices.states import NoticeEvent, NoticeState, after

Tell = Literal["opened", "repeated", "closed"]
# (kind of thing, its id)
Object: TypeAlias = tuple[str, str]


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """A rule as deciding needs it. `tells`: somebody is told at all."""

    id: str
    site_id: str
    kind: Kind
    enabled: bool
    device_id: str | None
    opens_at: float
    closes_at: float
    hold_s: int
    calm_s: int
    window_s: int
    least: int
    repeat_s: int | None
    tell_end: bool
    tells: bool


class Measured(msgspec.Struct, frozen=True):
    """One thing and its value; `detail` says what was found in words that stay true."""

    object_kind: str
    object_id: str
    value: float
    detail: str
    device_id: str | None = None

    @property
    def object(self) -> Object:
        """What it is of."""
        return self.object_kind, self.object_id


class Standing(msgspec.Struct, frozen=True):
    """A notice that has not closed. `told_at`: when people were last told of it."""

    id: str
    object_kind: str
    object_id: str
    device_id: str | None
    state: NoticeState
    since: datetime
    told_at: datetime | None
    tells: int
    acknowledged: bool
    value: float
    detail: str

    @property
    def object(self) -> Object:
        """What it is of."""
        return self.object_kind, self.object_id


@dataclass(frozen=True, slots=True)
class Decision:
    """A notice (None: a new one) goes to this state, and people are told or not; `since` is when it got there."""

    notice: Standing | None
    measured: Measured | None
    state: NoticeState
    since: datetime
    tell: Tell | None


def decide(
    rule: Rule, found: Iterable[Measured], standing: Sequence[Standing], silenced: frozenset[str | None], now: datetime
) -> list[Decision]:
    """What is to be done by this rule, nothing where all is as it was.

    `silenced` holds the devices of which nobody is told anything now, and None where that is so of the whole rule.
    """
    values: Mapping[Object, Measured] = {}
    if rule.enabled:
        values = {each.object: each for each in found if rule.device_id in (None, each.device_id)}
    known = {notice.object: notice for notice in standing}
    decisions = []
    for which in sorted(values.keys() | known.keys()):
        notice, measured = known.get(which), values.get(which)
        device_id = measured.device_id if measured is not None else notice.device_id if notice is not None else None
        quiet = None in silenced or (device_id is not None and device_id in silenced)
        decision = _one(rule, notice, measured, quiet=quiet, now=now)
        if decision is not None:
            decisions.append(decision)
    return decisions


def _one(
    rule: Rule, notice: Standing | None, measured: Measured | None, *, quiet: bool, now: datetime
) -> Decision | None:
    high = measured is not None and is_high(rule.kind, measured.value, rule.opens_at)
    low = measured is None or is_low(rule.kind, measured.value, rule.closes_at)
    if notice is None:
        if not high:
            return None
        before, since = NoticeState.WAITING, now
    else:
        before, since = notice.state, notice.since
    state, since = _moved(rule, before, since, high=high, low=low, now=now)
    tell = None if quiet or not rule.tells else _tell(rule, notice, state, now)
    if notice is not None and state is before and tell is None:
        return None
    return Decision(notice, measured, state, since, tell)


def _moved(
    rule: Rule, state: NoticeState, since: datetime, *, high: bool, low: bool, now: datetime
) -> tuple[NoticeState, datetime]:
    """As many steps as are due at this moment: where nothing has to hold or to be calm, several."""
    while True:
        event = _event(rule, state, since, high=high, low=low, now=now)
        if event is None:
            return state, since
        state, since = after(state, event), now


def _event(
    rule: Rule, state: NoticeState, since: datetime, *, high: bool, low: bool, now: datetime
) -> NoticeEvent | None:
    match state:
        case NoticeState.WAITING if not high:
            return NoticeEvent.FALL
        case NoticeState.WAITING if now - since >= timedelta(seconds=rule.hold_s):
            return NoticeEvent.HOLD
        case NoticeState.OPEN if low:
            return NoticeEvent.EASE
        case NoticeState.EASING if not low:
            return NoticeEvent.RETURN
        case NoticeState.EASING if not rule.enabled or now - since >= timedelta(seconds=rule.calm_s):
            return NoticeEvent.END
        case _:
            return None


def _tell(rule: Rule, notice: Standing | None, state: NoticeState, now: datetime) -> Tell | None:
    told_at = None if notice is None else notice.told_at
    acknowledged = notice is not None and notice.acknowledged
    if state is NoticeState.OPEN and not acknowledged:
        if told_at is None:
            return "opened"
        if rule.repeat_s is not None and now - told_at >= timedelta(seconds=rule.repeat_s):
            return "repeated"
    if state is NoticeState.CLOSED and told_at is not None and rule.tell_end and rule.enabled:
        return "closed"
    return None
