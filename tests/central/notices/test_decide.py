"""Deciding: one notice for a thing until it is over, told once, whatever the value does in between."""

from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from central.notices.decide import Decision, Measured, Rule, Standing, decide
from central.notices.kinds import KINDS, Kind, is_high, is_low, value_words
from central.notices.states import STANDING, NoticeState
from tests.make import NOON

LOOK_S = 30


def make_rule(**fields: Any) -> Rule:
    """A rule about backlogs that opens at 10 and is over below 5, at once."""
    values: dict[str, Any] = {
        "id": "rule", "site_id": "main", "kind": "backlog_count", "enabled": True, "device_id": None, "opens_at": 10.0,
        "closes_at": 5.0, "hold_s": 0, "calm_s": 0, "window_s": 0, "least": 0, "repeat_s": None, "tell_end": True,
        "tells": True,
    }  # fmt: skip
    return Rule(**(values | fields))


class Bench:
    """Keeps notices as the database does, for one rule and one device, and counts what is told."""

    def __init__(self, rule: Rule) -> None:
        self.rule, self.now = rule, NOON
        self.notices: list[Standing] = []
        self.over: list[Standing] = []
        self.told: list[tuple[str, str, datetime]] = []

    def look(self, value: float | None, silenced: frozenset[str | None] = frozenset()) -> list[Decision]:
        """One look that finds this value, None: the device is not there."""
        found = [] if value is None else [Measured("device", "bench-1", value, f"{value}", "bench-1")]
        decisions = decide(self.rule, found, self.notices, silenced, self.now)
        for each in decisions:
            self._do(each)
        assert decide(self.rule, found, self.notices, silenced, self.now) == [], "a second look finds more to do"
        self.now += timedelta(seconds=LOOK_S)
        return decisions

    def _do(self, each: Decision) -> None:
        seen = each.notice
        if seen is None:
            assert each.measured is not None
            seen = Standing(
                f"n{len(self.told)}-{self.now:%H%M%S}", "device", "bench-1", "bench-1", NoticeState.WAITING, self.now,
                None, 0, False, 0.0, "",
            )  # fmt: skip
        else:
            self.notices.remove(seen)
        after = msgspec.structs.replace(seen, state=each.state, since=each.since)
        if each.tell is not None:
            after = msgspec.structs.replace(after, told_at=self.now, tells=after.tells + 1)
            self.told.append((after.id, each.tell, self.now))
        if each.state is NoticeState.CLOSED:
            self.over.append(after)
        elif each.state is not NoticeState.GONE:
            self.notices.append(after)

    @property
    def state(self) -> str | None:
        """Of the one notice that has not closed."""
        return self.notices[0].state.value if self.notices else None


def test_a_value_at_the_limit_opens_a_notice_and_tells_of_it_once() -> None:
    bench = Bench(make_rule())
    for value in (9.9, 10, 11, 500, 10):
        bench.look(value)
    assert bench.state == "open"
    assert [tell for _, tell, _ in bench.told] == ["opened"]


def test_between_the_limits_nothing_changes() -> None:
    bench = Bench(make_rule())
    for value in (7, 10, 7, 12, 5, 9, 10, 6):
        bench.look(value)
    assert [tell for _, tell, _ in bench.told] == ["opened"]
    bench.look(4.9)
    assert (bench.state, len(bench.over)) == (None, 1)
    bench.look(7)
    assert bench.state is None
    assert [tell for _, tell, _ in bench.told] == ["opened", "closed"]


def test_what_does_not_hold_leaves_no_trace() -> None:
    bench = Bench(make_rule(hold_s=60))
    for value in (10, 10, 9, 10, 10, 9):
        bench.look(value)
        assert bench.state in (None, "waiting")
    assert not bench.told
    for value in (10, 10, 10):
        bench.look(value)
    assert bench.state == "open"


def test_a_notice_closes_only_after_it_was_calm_for_long_enough() -> None:
    bench = Bench(make_rule(calm_s=60))
    states = []
    for value in (10, 0, 0, 7, 0, 0, 0):
        bench.look(value)
        states.append(bench.state)
    assert states == ["open", "easing", "easing", "open", "easing", "easing", None]
    assert [tell for _, tell, _ in bench.told] == ["opened", "closed"]


def test_a_thing_that_is_gone_is_over() -> None:
    bench = Bench(make_rule())
    bench.look(10)
    bench.look(None)
    assert bench.state is None


def test_a_rule_that_is_switched_off_closes_its_notices_and_tells_nobody() -> None:
    bench = Bench(make_rule(calm_s=3600))
    bench.look(10)
    bench.rule = make_rule(calm_s=3600, enabled=False)
    bench.look(10)
    assert (bench.state, [tell for _, tell, _ in bench.told]) == (None, ["opened"])


def test_a_notice_is_repeated_as_often_as_the_rule_says_and_no_longer_once_somebody_sees_to_it() -> None:
    bench = Bench(make_rule(repeat_s=600))
    for _ in range(60):  # half an hour
        bench.look(10)
    assert [tell for _, tell, _ in bench.told] == ["opened", "repeated", "repeated"]
    bench.notices = [msgspec.structs.replace(each, acknowledged=True) for each in bench.notices]
    for _ in range(60):
        bench.look(10)
    assert len(bench.told) == 3


@pytest.mark.parametrize("silenced", [None, "bench-1"], ids=["the rule", "the device"])
def test_in_a_silence_nobody_is_told_and_what_still_stands_at_its_end_is_told_then(silenced: str | None) -> None:
    bench = Bench(make_rule(repeat_s=600))
    for _ in range(60):
        bench.look(10, frozenset({silenced}))
    assert (bench.state, bench.told) == ("open", [])
    bench.look(10, frozenset({"bench-2"}))
    assert [tell for _, tell, _ in bench.told] == ["opened"]


def test_what_opened_and_closed_in_a_silence_is_never_told() -> None:
    bench = Bench(make_rule())
    bench.look(10, frozenset({None}))
    bench.look(0, frozenset({None}))
    bench.look(0)
    assert (len(bench.over), bench.told) == (1, [])


def test_a_rule_of_one_device_says_nothing_of_the_others() -> None:
    found = [Measured("device", name, 99, "", name) for name in ("bench-1", "bench-2")]
    made = decide(make_rule(device_id="bench-2"), found, [], frozenset(), NOON)
    assert [each.measured.object_id for each in made if each.measured] == ["bench-2"]


def test_a_kind_of_which_less_is_worse_opens_below() -> None:
    bench = Bench(make_rule(kind="disk_soon_full", opens_at=48.0, closes_at=72.0))
    states = []
    for value in (73, 48, 60, 72, 73):
        bench.look(value)
        states.append(bench.state)
    assert states == [None, "open", "open", "open", None]


values = st.none() | st.sampled_from([0, 4.9, 5, 7, 9.9, 10, 50])
looks = st.lists(st.tuples(values, st.booleans()), max_size=120)


@given(looks, st.sampled_from([0, 60, 90]), st.sampled_from([0, 60, 150]), st.sampled_from([None, 600]))
def test_whatever_a_value_does_each_notice_is_told_once_and_ends_once(
    seen: list[tuple[float | None, bool]], hold_s: int, calm_s: int, repeat_s: int | None
) -> None:
    bench = Bench(make_rule(hold_s=hold_s, calm_s=calm_s, repeat_s=repeat_s))
    for value, quiet in seen:
        before = len(bench.told)
        bench.look(value, frozenset({None}) if quiet else frozenset())
        assert len(bench.notices) <= 1
        assert not quiet or len(bench.told) == before
    for name in {name for name, _, _ in bench.told}:
        tells = [(tell, at) for each, tell, at in bench.told if each == name]
        kinds = [tell for tell, _ in tells]
        assert kinds[0] == "opened"
        assert kinds.count("opened") == 1
        assert kinds.count("closed") <= 1
        assert "closed" not in kinds[:-1]
        again = [at for tell, at in tells if tell != "closed"]
        gaps = [(late - early).total_seconds() for early, late in pairwise(again)]
        assert all(repeat_s is not None and gap >= repeat_s for gap in gaps)


@given(st.lists(values, max_size=60), st.sampled_from([0, 60, 90]), st.sampled_from([0, 60, 150]))
def test_a_notice_opens_only_of_what_held_and_is_over_once_it_was_calm(
    seen: list[float | None], hold_s: int, calm_s: int
) -> None:
    bench = Bench(make_rule(hold_s=hold_s, calm_s=calm_s))
    for at, value in enumerate(seen):
        was = bench.state
        bench.look(value)
        if bench.state == "open" and was in (None, "waiting"):
            held = seen[max(0, at - hold_s // LOOK_S) : at + 1]
            assert len(held) == hold_s // LOOK_S + 1
            assert all(each is not None and each >= 10 for each in held)
    for _ in range(calm_s // LOOK_S + 1):
        bench.look(0)
    assert bench.state is None


def test_every_kind_has_first_limits_that_make_sense() -> None:
    assert set(KINDS) == set(get_args(Kind))
    for kind, facts in KINDS.items():
        assert is_high(kind, facts.opens_at, facts.opens_at)
        assert not is_low(kind, facts.opens_at, facts.closes_at)
        assert facts.title
        assert value_words(kind, facts.opens_at)


def test_only_what_is_open_or_easing_is_shown() -> None:
    assert {state.value for state in STANDING} == {"open", "easing"}
