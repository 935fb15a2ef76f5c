"""How many requests a caller may send: so many in a minute, all at once if he likes, refilled as time passes.

A person, a key and a device each have a quota of their own, wherever they come from. Who shows nothing that holds is
counted by network address, and a header says what that is only where a proxy of ours wrote it (uvicorn's
`forwarded_allow_ips`, see `central.serve`). Counted in this process: of several behind one address each allows as much.
Memory is bounded; who was not heard of for longest is forgotten first, with a quota that is full again.
"""

import math
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from litestar.connection import ASGIConnection
from litestar.datastructures import MutableScopeHeaders
from litestar.types import Message, Scope

from central.people.callers import DeviceCaller, KeyCaller, Person
from central.people.throttle import network_of
from central.web.problems import ProblemError

# Of somebody who is known; an address that nobody is known at has a fifth of that.
PER_MINUTE: Final = 3000
UNKNOWN_SHARE: Final = 5
MAX_CALLERS: Final = 10_000
_WINDOW_S: Final = 60

_STATE: Final = "quota"

Caller = Person | KeyCaller | DeviceCaller | None


@dataclass(frozen=True, slots=True)
class Turn:
    """What is left to a caller: `left` requests of `per_minute`, all of them again in `full_s`; `wait_s` until one."""

    kind: str
    per_minute: int
    left: int
    full_s: int
    wait_s: int

    @property
    def headers(self) -> Mapping[str, str]:
        """As draft-ietf-httpapi-ratelimit-headers-10 writes them, and Retry-After where it is none."""
        said = {
            "ratelimit-policy": f'"{self.kind}";q={self.per_minute};w={_WINDOW_S}',
            "ratelimit": f'"{self.kind}";r={self.left};t={self.full_s}',
        }
        return said | ({"retry-after": str(self.wait_s)} if self.wait_s else {})


@dataclass(slots=True)
class _Bucket:
    level: float
    at: datetime


class Rates:
    """The callers of this process."""

    def __init__(self) -> None:
        """Nobody has called."""
        self._buckets: OrderedDict[tuple[str, str], _Bucket] = OrderedDict()

    def take(self, kind: str, name: str, per_minute: int, now: datetime) -> Turn:
        """One request of this caller; where `wait_s` is not 0 it is one too many, and does not count."""
        bucket = self._buckets.pop((kind, name), None) or _Bucket(per_minute, now)
        per_second = per_minute / _WINDOW_S
        passed_s = max(0.0, (now - bucket.at).total_seconds())
        level = min(float(per_minute), bucket.level + passed_s * per_second)
        wait_s = 0 if level >= 1 else math.ceil((1 - level) / per_second)
        level -= 0 if wait_s else 1
        self._buckets[kind, name] = _Bucket(level, now)
        while len(self._buckets) > MAX_CALLERS:
            self._buckets.popitem(last=False)
        return Turn(kind, per_minute, int(level), math.ceil((per_minute - level) / per_second), wait_s)


def take_turn(
    connection: ASGIConnection[Any, Any, Any, Any], rates: Rates, caller: Caller, per_minute: int, now: datetime
) -> None:
    """Count a request of this caller; a ProblemError 429 where it is one too many."""
    kind, name = _who(caller, connection)
    allowed = per_minute if caller is not None else max(1, per_minute // UNKNOWN_SHARE)
    turn = rates.take(kind, name, allowed, now)
    connection.scope.setdefault("state", {})[_STATE] = turn
    if turn.wait_s:
        raise ProblemError(429, f"more than {allowed} requests in a minute (try again in {turn.wait_s} s)")


def _who(caller: Caller, connection: ASGIConnection[Any, Any, Any, Any]) -> tuple[str, str]:
    match caller:
        case Person():
            return "person", caller.id
        case KeyCaller():
            return "key", caller.id
        case DeviceCaller():
            return "device", caller.id
        case None:
            return "address", network_of(connection.client.host if connection.client else "unknown")


async def rate_headers(message: Message, scope: Scope) -> None:
    """Litestar's `before_send` hook: every counted answer says what is left."""
    turn = scope.get("state", {}).get(_STATE)
    if message["type"] == "http.response.start" and isinstance(turn, Turn):
        headers = MutableScopeHeaders.from_message(message)
        for name, value in turn.headers.items():
            headers[name] = value
