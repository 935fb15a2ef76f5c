"""Pure: what one device may ask of central, so that one that is broken or hostile does not take the others' share.

An honest device has few messages on their way, and sends what it has no answer to again. So what one sends beyond its
share is let go of before anything is worked on: nothing is lost that its outbox does not hold. The caller brings the
clock; memory is bounded, and who was not heard of for longest is forgotten first.
"""

from collections import OrderedDict
from typing import Final

# Far more than any reader sends: a backlog comes in batches, and a plate takes seconds.
PER_SECOND: Final = 500
AT_ONCE: Final = 5000
MAX_DEVICES: Final = 10_000


class Shares:
    """The devices of one broker."""

    def __init__(self) -> None:
        """Nobody has sent anything."""
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, sender: str, at_s: float) -> bool:
        """Whether a message that came at this moment is within its sender's share."""
        left, before_s = self._left.pop(sender, (float(AT_ONCE), at_s))
        left = min(float(AT_ONCE), left + max(0.0, at_s - before_s) * PER_SECOND)
        self._left[sender] = (left - 1 if left >= 1 else left, at_s)
        while len(self._left) > MAX_DEVICES:
            self._left.popitem(last=False)
        return left >= 1
