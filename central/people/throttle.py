"""Slows guessing down, and keeps the owner in.

Every failed sign-in makes the next one from that address wait twice as long, up to a minute. An account takes at most
24 wrong tries in a quarter of an hour from addresses that it was never signed in to from: fewer than 100 in an hour,
from however many addresses. One address alone cannot use those up, so the owner gets in from anywhere else at once;
and an address that is known is slowed by nothing but its own failures.

A try is counted before it is looked at, so that a thousand at once are not looked at all. Pure: the caller brings the
clock. Memory is bounded; the oldest entries go first.
"""

from collections import OrderedDict, deque
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import IPv6Address, ip_address
from typing import Any, Final

FREE_TRIES: Final = 3
LONGEST_DELAY_S: Final = 60.0
FORGET_AFTER: Final = timedelta(hours=1)
MAX_ENTRIES: Final = 10_000
# Of one account, from addresses that are not known.
ACCOUNT_TRIES: Final = 24
ACCOUNT_WINDOW: Final = timedelta(minutes=15)

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
        self._accounts: OrderedDict[str, deque[datetime]] = OrderedDict()
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()

    def wait_s(self, account: str, address: str, now: datetime) -> float:
        """Seconds until a sign-in to this account from this address is looked at again; 0 for now."""
        failures = self._failures.get(self._bucket(account, address))
        own_s = 0.0 if failures is None else failures.wait_s(now)
        if self.knows(account, address):
            return own_s
        times = self._accounts.get(account)
        if times is None or len(times) < ACCOUNT_TRIES:
            return own_s
        return max(own_s, (times[0] + ACCOUNT_WINDOW - now).total_seconds())

    def failed(self, account: str, address: str, now: datetime) -> None:
        """Count a try; `succeeded` takes it back where it was a good one."""
        bucket = self._bucket(account, address)
        before = self._failures.pop(bucket, None)
        times = before.times if before is not None and now - before.last_at < FORGET_AFTER else 0
        self._failures[bucket] = _Failures(times + 1, now)
        _drop_oldest(self._failures)
        if not self.knows(account, address):
            tries = self._accounts.pop(account, deque(maxlen=ACCOUNT_TRIES))
            tries.append(now)
            self._accounts[account] = tries
            _drop_oldest(self._accounts)

    def take_back(self, account: str, address: str) -> None:
        """The try that was counted last was no failure."""
        bucket = self._bucket(account, address)
        before = self._failures.get(bucket)
        if before is not None:
            self._failures[bucket] = _Failures(max(0, before.times - 1), before.last_at)
        if not self.knows(account, address) and self._accounts.get(account):
            self._accounts[account].pop()

    def succeeded(self, account: str, address: str) -> None:
        """Take the try back, know the address from now on, and forget what went wrong before for this account there.

        What others behind the same address did wrong stays.
        """
        self.take_back(account, address)
        self.know(account, address)
        self._failures.pop(self._bucket(account, address), None)

    def know(self, account: str, address: str) -> None:
        """This account was signed in to from this address before."""
        key = (account, network_of(address))
        self._known.pop(key, None)
        self._known[key] = None
        _drop_oldest(self._known)

    def knows(self, account: str, address: str) -> bool:
        """Whether it was."""
        return (account, network_of(address)) in self._known

    def _bucket(self, account: str, address: str) -> Bucket:
        network = network_of(address)
        return ("known", account, network) if (account, network) in self._known else ("address", "", network)


def _drop_oldest(entries: OrderedDict[Any, Any]) -> None:
    while len(entries) > MAX_ENTRIES:
        entries.popitem(last=False)


def network_of(address: str) -> str:
    """Whoever has one IPv6 address has the 2**64 of its network."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    if isinstance(found, IPv6Address) and found.ipv4_mapped is None:
        return str(IPv6Address(int(found) >> 64 << 64))
    return str(getattr(found, "ipv4_mapped", None) or found)
