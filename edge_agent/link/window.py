"""Which readings to send now. Pure: the clock, the randomness and what waits come as arguments.

At most `size` readings are without an answer at one time. An unanswered one is sent again after
`protocol.delivery.retry_delay_s`. New readings go before the backlog, and the backlog never takes the whole window, so
that a result at the bench does not wait behind three days of them. Where `most` allows it the window widens while
answers are quick, and halves when one is slow: whoever shares central with many takes less of it. While central is away
one reading at a time goes out as a probe: its answer is proof of life even where central's retained state is lost.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from protocol.delivery import QUICK_ANSWER_S, SEND_WINDOW, SLOW_ANSWER_S, retry_delay_s

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
    """What is in flight, and what may be: `size` readings now, `most` if answers are quick."""

    size: int = SEND_WINDOW
    in_flight: Mapping[str, InFlight] = field(default_factory=dict)
    most: int = SEND_WINDOW

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
        flight = InFlight(one.seq, one.historical, attempt, now_s, now_s + retry_delay_s(attempt, jitter))
        return replace(self, in_flight={**self.in_flight, one.id: flight})

    def answered(self, ids: Collection[str], now_s: float) -> "Window":
        """The window after central answered for these readings."""
        # Of what was sent twice nobody knows which sending was answered.
        flights = [self.in_flight[one] for one in ids if one in self.in_flight]
        waits_s = [now_s - flight.sent_at_s for flight in flights if flight.attempt == 1]
        return replace(self.without(ids), size=self._paced(waits_s))

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

    def _paced(self, waits_s: Sequence[float]) -> int:
        if not waits_s or self.size < SEND_WINDOW:
            return self.size
        if max(waits_s) > SLOW_ANSWER_S:
            return max(SEND_WINDOW, self.size // 2)
        return min(self.most, self.size + len(waits_s)) if max(waits_s) < QUICK_ANSWER_S else self.size


def _live_first(one: Waiting) -> tuple[bool, int]:
    return one.historical, one.seq
