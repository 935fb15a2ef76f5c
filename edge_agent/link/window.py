"""Which readings to send now. Pure: the clock, the randomness and what waits come as arguments.

At most `size` readings are without an answer at one time. An unanswered one is sent again after
`protocol.delivery.retry_delay_s`, and where answers are known to take longer, after twice as long as they take: a
central that is slow must not be given everything twice on top. New readings go before the backlog, and the backlog
never takes the whole window, so that a result at the bench does not wait behind three days of them. Where `most` allows
it the window widens while answers are quick, and halves when one is slow: whoever shares central with many takes less
of it. While central is away one reading at a time goes out as a probe: its answer is proof of life even where central's
retained state is lost.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from protocol.delivery import (
    FIRST_RETRY_S,
    LONGEST_PATIENCE_S,
    QUICK_ANSWER_S,
    SEND_WINDOW,
    SLOW_ANSWER_S,
    retry_delay_s,
)

# Fewer, and a handful of plates read together waits for the backlog's answers; more, and the backlog drains slower.
KEPT_FOR_LIVE: Final = 4
PROBE_WINDOW: Final = 1


@dataclass(frozen=True)
class Waiting:
    """A reading that waits to be sent. `historical`: from before this start of the agent, or old already."""

    id: str
    seq: int
    historical: bool


@dataclass(frozen=True)
class InFlight:
    """A reading that was sent and not answered: how often, when last, and when to send it again."""

    seq: int
    historical: bool
    attempt: int
    sent_at_s: float
    resend_at_s: float


@dataclass(frozen=True)
class Window:
    """What is in flight, and what may be: `size` readings now, `most` if answers are quick.

    `patience_s` is how long an answer may take before its reading is sent again, as answers are now.
    """

    size: int = SEND_WINDOW
    in_flight: Mapping[str, InFlight] = field(default_factory=dict)
    most: int = SEND_WINDOW
    patience_s: float = FIRST_RETRY_S

    @property
    def free(self) -> int:
        """How many more may be sent."""
        return max(0, self.size - len(self.in_flight))

    def attempts(self, reading_id: str) -> int:
        """How often this one was sent without an answer."""
        flight = self.in_flight.get(reading_id)
        return flight.attempt if flight else 0

    def choose(self, waiting: Sequence[Waiting], now_s: float) -> list[Waiting]:
        """The readings to send now, in order: overdue ones, then new, then backlog."""
        sent = [Waiting(name, flight.seq, flight.historical) for name, flight in self.in_flight.items()]
        # More may be in flight than the window holds, after central went away: then only the first ones are repeated.
        repeatable = sorted(sent, key=_live_first)[: self.size]
        overdue = [one for one in repeatable if self.in_flight[one.id].resend_at_s <= now_s]
        fresh = [one for one in sorted(waiting, key=_live_first) if one.id not in self.in_flight]
        free = self.free
        backlog_free = max(0, free - (KEPT_FOR_LIVE if self.size > KEPT_FOR_LIVE else 0))
        live = [one for one in fresh if not one.historical][:free]
        backlog = [one for one in fresh if one.historical][: min(backlog_free, free - len(live))]
        return overdue + live + backlog

    def sent(self, one: Waiting, now_s: float, jitter: float) -> "Window":
        """The window after this reading was sent (again)."""
        before = self.in_flight.get(one.id)
        attempt = before.attempt + 1 if before else 1
        # Lost or only late, nobody knows: until an answer tells, the others are given longer before they go twice too.
        window = self._after_silence(now_s - before.sent_at_s) if before and attempt == 2 else self
        delay_s = max(retry_delay_s(attempt, jitter), window.patience_s * (1 + 0.2 * jitter))
        flight = InFlight(one.seq, one.historical, attempt, now_s, now_s + delay_s)
        return replace(window, in_flight={**window.in_flight, one.id: flight})

    def answered(self, ids: Collection[str], now_s: float) -> "Window":
        """The window after central answered for these readings."""
        # Of what was sent twice nobody knows which sending was answered.
        flights = [self.in_flight[one] for one in ids if one in self.in_flight]
        waits_s = [now_s - flight.sent_at_s for flight in flights if flight.attempt == 1]
        window = replace(self.without(ids), size=self._paced(waits_s))
        return window._patient(2 * max(waits_s)) if waits_s else window

    def without(self, ids: Collection[str]) -> "Window":
        """The window without these: they were never sent."""
        gone = set(ids)
        return replace(self, in_flight={name: sent for name, sent in self.in_flight.items() if name not in gone})

    def restarted(self, size: int, now_s: float, jitter: float) -> "Window":
        """The window after the line or central came or went: what was in flight may be lost, so it waits anew."""
        delay_s = retry_delay_s(1, jitter)
        flights = {
            name: InFlight(sent.seq, sent.historical, 1, now_s, now_s + delay_s)
            for name, sent in self.in_flight.items()
        }
        return Window(size, flights, self.most)

    def widening_to(self, most: int) -> "Window":
        """The window where this many may be in flight if answers are quick."""
        return replace(self, size=min(self.size, most), most=most)

    def _after_silence(self, waited_s: float) -> "Window":
        """The window after a reading had no answer for so long: patience doubles, and less is sent, once for all."""
        window = self._patient(2 * waited_s)
        slower = self.size >= SEND_WINDOW and window.patience_s > self.patience_s
        return replace(window, size=max(SEND_WINDOW, self.size // 2)) if slower else window

    def _patient(self, wanted_s: float) -> "Window":
        """The window where an answer is waited for so long: at once if it is longer, step by step if it is shorter."""
        if wanted_s <= self.patience_s:
            patience_s = self.patience_s - (self.patience_s - wanted_s) / 4
            return replace(self, patience_s=max(FIRST_RETRY_S, patience_s))
        patience_s = min(wanted_s, LONGEST_PATIENCE_S)
        flights = {
            name: replace(sent, resend_at_s=max(sent.resend_at_s, sent.sent_at_s + patience_s))
            for name, sent in self.in_flight.items()
        }
        return replace(self, in_flight=flights, patience_s=patience_s)

    def _paced(self, waits_s: Sequence[float]) -> int:
        if not waits_s or self.size < SEND_WINDOW:
            return self.size
        if max(waits_s) > SLOW_ANSWER_S:
            return max(SEND_WINDOW, self.size // 2)
        return min(self.most, self.size + len(waits_s)) if max(waits_s) < QUICK_ANSWER_S else self.size


def _live_first(one: Waiting) -> tuple[bool, int]:
    return one.historical, one.seq
