"""The window: never too many unanswered, never twice too soon, live readings first, the rest in the end."""

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.link.window import KEPT_FOR_LIVE, PROBE_WINDOW, Waiting, Window
from protocol.delivery import (
    FIRST_RETRY_S,
    LONGEST_PATIENCE_S,
    QUICK_ANSWER_S,
    SEND_WINDOW,
    SLOW_ANSWER_S,
    WIDEST_WINDOW,
    retry_delay_s,
)


def waiting(*seqs: int, historical: bool = False) -> list[Waiting]:
    return [Waiting(f"r{seq}", seq, historical) for seq in seqs]


def send_all(window: Window, ones: list[Waiting], now_s: float) -> Window:
    for one in ones:
        window = window.sent(one, now_s, 0.0)
    return window


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.booleans()),
        st.tuples(st.just("wait"), st.floats(0.1, 400)),
        st.tuples(st.just("answer"), st.integers(0, 200)),
        st.tuples(st.just("restart"), st.booleans()),
    ),
    max_size=120,
)


@given(STEPS)
def test_never_more_in_flight_than_the_window_and_never_again_before_its_time(steps: list[tuple[str, object]]) -> None:
    window, queue, now_s, seq, sent_at = Window(SEND_WINDOW), [], 0.0, 0, {}
    for kind, value in steps:
        if kind == "put":
            seq += 1
            queue.append(Waiting(f"r{seq}", seq, bool(value)))
        elif kind == "wait":
            now_s += float(str(value))
        elif kind == "answer":
            window = window.answered([f"r{value}"], now_s)
        else:
            window, sent_at = window.restarted(SEND_WINDOW if value else PROBE_WINDOW, now_s, 0.0), {}
        before = len(window.in_flight)
        chosen = window.choose(queue, now_s)
        assert len({one.id for one in chosen}) == len(chosen)
        for one in chosen:
            assert now_s - sent_at.get(one.id, -1e9) >= retry_delay_s(1, 0.0)
            sent_at[one.id] = now_s
        window = send_all(window, chosen, now_s)
        queue = [one for one in queue if one.id not in window.in_flight]
        assert len(window.in_flight) <= max(window.size, before)


@given(st.lists(st.booleans(), max_size=150), st.integers(1, SEND_WINDOW))
def test_everything_that_waits_is_sent_once_answers_come(lanes: list[bool], size: int) -> None:
    queue = [Waiting(f"r{seq}", seq, historical) for seq, historical in enumerate(lanes)]
    window, sent = Window(size), []
    for _ in range(len(lanes) + 1):
        chosen = window.choose([one for one in queue if one.id not in sent], 0.0)
        window = send_all(window, chosen, 0.0)
        for one in chosen:
            sent.append(one.id)
            window = window.answered([one.id], 0.0)
    assert sorted(sent) == sorted(one.id for one in queue)


def test_live_readings_go_before_the_backlog_and_each_lane_in_order() -> None:
    queue = waiting(1, 2, 3, historical=True) + waiting(9, 8)
    assert [one.seq for one in Window(32).choose(queue, 0.0)] == [8, 9, 1, 2, 3]


def test_the_backlog_leaves_room_for_live_readings() -> None:
    backlog = waiting(*range(100), historical=True)
    window = send_all(Window(32), Window(32).choose(backlog, 0.0), 0.0)
    assert len(window.in_flight) == 32 - KEPT_FOR_LIVE
    assert [one.seq for one in window.choose(backlog + waiting(200), 0.0)] == [200]


def test_an_unanswered_reading_is_sent_again_later_each_time() -> None:
    window, now_s, gaps = send_all(Window(32), waiting(1), 0.0), 0.0, []
    for _ in range(9):
        due_s = window.in_flight["r1"].resend_at_s
        assert window.choose([], due_s - 0.001) == []
        gaps.append(due_s - now_s)
        now_s = due_s
        window = send_all(window, window.choose([], now_s), now_s)
    assert gaps == [2, 4, 8, 16, 32, 64, 128, 256, 300]


def test_while_central_is_away_only_one_of_many_in_flight_is_repeated() -> None:
    window = send_all(Window(32), waiting(*range(20)), 0.0).restarted(PROBE_WINDOW, 10.0, 0.0)
    assert [one.seq for one in window.choose(waiting(99), 1000.0)] == [0]


def test_when_central_comes_back_what_was_in_flight_is_sent_soon() -> None:
    window = send_all(Window(PROBE_WINDOW), waiting(1), 0.0)
    for _ in range(8):
        window = send_all(window, window.choose([], 1e6), 1e6)
    back = window.restarted(SEND_WINDOW, 2e6, 0.0)
    assert [one.seq for one in back.choose([], 2e6 + retry_delay_s(1, 0.0))] == [1]


def test_a_window_widens_while_answers_are_quick_and_halves_when_one_is_slow() -> None:
    window = Window(SEND_WINDOW).widening_to(WIDEST_WINDOW)
    backlog = waiting(*range(4000), historical=True)
    for step in range(12):
        chosen = window.choose([one for one in backlog if one.id not in window.in_flight], float(step))
        window = send_all(window, chosen, float(step))
        window = window.answered([one.id for one in chosen], step + QUICK_ANSWER_S - 0.1)
        backlog = [one for one in backlog if one not in chosen]
    assert window.size == WIDEST_WINDOW
    window = send_all(window, backlog[:100], 100.0).answered([backlog[0].id], 100.0 + SLOW_ANSWER_S + 0.1)
    assert window.size == WIDEST_WINDOW // 2
    for _ in range(9):
        window = send_all(window, backlog[200:201], 200.0).answered([backlog[200].id], 200.0 + SLOW_ANSWER_S + 0.1)
    assert window.size == SEND_WINDOW


def test_an_answer_to_what_was_sent_twice_says_nothing_of_the_pace() -> None:
    window = Window(SEND_WINDOW).widening_to(WIDEST_WINDOW)
    (one,) = waiting(1)
    window = window.sent(one, 0.0, 0.0).sent(one, 2.0, 0.0)
    assert window.answered([one.id], 2.1).size == SEND_WINDOW


def test_a_window_that_may_not_widen_stays_as_it_is() -> None:
    window = send_all(Window(SEND_WINDOW), waiting(1), 0.0).answered(["r1"], 0.1)
    assert window.size == SEND_WINDOW


def sendings(answer_s: float, seconds: int) -> tuple[int, int]:
    """(readings answered, sendings) of a backlog of which each reading is answered so long after its first sending."""
    window, backlog, sent = Window(SEND_WINDOW), waiting(*range(4000), historical=True), 0
    first_sent_s: dict[str, float] = {}
    for tick in range(seconds * 10):
        now_s = tick / 10
        there = [name for name, at_s in first_sent_s.items() if now_s - at_s >= answer_s and name in window.in_flight]
        window = window.answered(there, now_s)
        for one in window.choose([one for one in backlog if one.id not in first_sent_s], now_s):
            first_sent_s.setdefault(one.id, now_s)
            window, sent = window.sent(one, now_s, 0.0), sent + 1
    return len(first_sent_s) - len(window.in_flight), sent


def test_a_central_that_is_slow_is_not_given_everything_twice() -> None:
    answered, sent = sendings(answer_s=5.0, seconds=300)
    assert answered > 1000
    assert sent < 1.1 * answered


def test_patience_goes_as_it_came_and_is_bounded() -> None:
    window = send_all(Window(SEND_WINDOW), waiting(1, 2), 0.0).answered(["r1"], 7.0)
    assert window.patience_s == 14.0
    assert window.choose([], 13.9) == []
    assert [one.seq for one in window.choose([], 14.1)] == [2]
    assert send_all(Window(SEND_WINDOW), waiting(1), 0.0).answered(["r1"], 300.0).patience_s == LONGEST_PATIENCE_S
    for step in range(20):
        window = send_all(window, waiting(9), 100.0 + step).answered(["r9"], 100.1 + step)
    assert window.patience_s == FIRST_RETRY_S


def test_silence_makes_patient_and_slow_once_for_all_that_were_sent_together() -> None:
    window = send_all(Window(WIDEST_WINDOW, most=WIDEST_WINDOW), waiting(*range(100)), 0.0)
    window = send_all(window, window.choose([], 2.0), 2.0)
    assert (window.patience_s, window.size) == (4.0, WIDEST_WINDOW // 2)


def test_a_line_that_is_new_is_not_waited_for_as_the_one_before_was() -> None:
    window = send_all(Window(SEND_WINDOW), waiting(1), 0.0).answered(["r1"], 9.0)
    assert window.restarted(SEND_WINDOW, 10.0, 0.0).patience_s == FIRST_RETRY_S
