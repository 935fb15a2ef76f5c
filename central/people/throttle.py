"""Slows guessing down: every failed sign-in makes the next one wait twice as long, per account and per address.

Nobody can lock the owner out with it: the wait is never more than a minute, a try during the wait does not prolong
it, and an address from which the account was signed in to before is not slowed by failures from elsewhere.
Pure: the caller brings the clock. Memory is bounded; the oldest entries go first.
"""

from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

FREE_TRIES: Final = 3
LONGEST_DELAY_S: Final = 60.0
FORGET_AFTER: Final = timedelta(hours=1)
MAX_ENTRIES: Final = 10_000

Bucket = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class _Failures:
    times: int
    last_at: datetime

    def wait_s(self, now: datetime) -> float:
        if self.times < FREE_TRIES:
            return 0.0
        delay_s = min(2.0 ** (self.times - FREE_TRIES), LONGEST_DELAY_S)
        return max(0.0, delay_s - (now - self.last_at).total_seconds())


class Throttle:
    """Remembers failed sign-ins of this process."""

    def __init__(self) -> None:
        """Starts with no failures known."""
        self._failures: OrderedDict[Bucket, _Failures] = OrderedDict()
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()

    def wait_s(self, account: str, address: str, now: datetime) -> float:
        """Seconds until a sign-in to this account from this address is looked at again; 0 for now."""
        found = (self._failures.get(bucket) for bucket in self._buckets(account, address))
        return max((failures.wait_s(now) for failures in found if failures is not None), default=0.0)

    def failed(self, account: str, address: str, now: datetime) -> None:
        """Count a wrong password or an unknown name."""
        for bucket in self._buckets(account, address):
            before = self._failures.pop(bucket, None)
            times = before.times if before is not None and now - before.last_at < FORGET_AFTER else 0
            self._failures[bucket] = _Failures(times + 1, now)
        while len(self._failures) > MAX_ENTRIES:
            self._failures.popitem(last=False)

    def succeeded(self, account: str, address: str) -> None:
        """Forget what this account did wrong from this address, and know it from now on."""
        self._failures.pop(("known", account, address), None)
        self._known.pop((account, address), None)
        self._known[account, address] = None
        while len(self._known) > MAX_ENTRIES:
            self._known.popitem(last=False)

    def _buckets(self, account: str, address: str) -> tuple[Bucket, ...]:
        if (account, address) in self._known:
            return (("known", account, address),)
        return ("account", account, ""), ("address", "", address)
