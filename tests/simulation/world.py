"""Virtual time, one source of chance, and a trace: whatever happens in a simulation happens through here.

No clock is read, no thread started, nothing depends on the order of a set: the same seed gives the same trace, byte for
byte, in any process.
"""

import heapq
import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from random import Random
from typing import Final

Action = Callable[[], object]

# What a correct clock shows when a simulation begins.
BEGIN: Final = datetime(2026, 11, 20, 7, 0, tzinfo=UTC)


class World:
    """Time, chance, and what is still to happen."""

    def __init__(self, seed: int, show: Callable[[str], None] | None = None) -> None:
        """`show` is given each line of the trace."""
        self.seed, self.random = seed, Random(seed)
        self.now_s, self.steps = 0.0, 0
        self._show, self._trace = show, sha256()
        self._coming: list[tuple[float, int, Action]] = []
        self._number = 0

    @property
    def now(self) -> datetime:
        """The true time, UTC."""
        return BEGIN + timedelta(seconds=self.now_s)

    @property
    def digest(self) -> str:
        """SHA-256 of the trace so far."""
        return self._trace.hexdigest()

    def after(self, delay_s: float, action: Action) -> None:
        """Let something happen later. What is due at the same moment happens in the order of asking."""
        self._number += 1
        heapq.heappush(self._coming, (self.now_s + delay_s, self._number, action))

    def play(self, until_s: float, done: Callable[[], bool] | None = None) -> bool:
        """Let everything happen up to this time, or until `done`; whether it was done."""
        while self._coming and self._coming[0][0] <= until_s:
            self.now_s, _, action = heapq.heappop(self._coming)
            self.steps += 1
            action()
            if done is not None and done():
                return True
        self.now_s = max(self.now_s, until_s) if math.isfinite(until_s) else self.now_s
        return done is not None and done()

    def tell(self, *words: object) -> None:
        """One line of the trace."""
        line = f"{self.now_s:.6f} {' '.join(map(str, words))}"
        self._trace.update(line.encode() + b"\n")
        if self._show is not None:
            self._show(line)

    def chance(self, share: float) -> bool:
        """Whether something that happens in this share of cases happens now."""
        return share > 0 and self.random.random() < share

    def between(self, low: float, high: float) -> float:
        """A number between these, all equally likely."""
        return self.random.uniform(low, high)

    def around(self, mean: float) -> float:
        """A waiting time with this mean, short ones far more often than long ones."""
        return self.random.expovariate(1 / mean)
