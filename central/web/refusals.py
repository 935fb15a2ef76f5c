"""What was refused, in the log: a line for each, by operation and caller, with nothing of what was sent.

A flood of refusals fills no disk: beyond so many in a minute they are counted, and the count is the next line.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import structlog
from litestar.types import Scope

from central.web.headers import request_id_of

# Who is not known, may not, sends too much, too often, or what nobody understands. What is not there is no refusal.
STATUSES: Final = frozenset({400, 401, 403, 412, 413, 422, 428, 429})
PER_MINUTE: Final = 120
_WINDOW_S: Final = 60.0

log: Final = structlog.get_logger(__name__)


class Refusals:
    """Those of this process."""

    def __init__(self) -> None:
        """None yet."""
        self._began: datetime | None = None
        self._logged = 0
        self._more = 0

    def note(self, scope: Scope, status: int, now: datetime) -> None:
        """One more, where it is of a status that the log tells."""
        if status not in STATUSES:
            return
        # A clock that was set back begins anew as well: else nothing were told until it is where it was.
        if self._began is None or not 0 <= (now - self._began).total_seconds() < _WINDOW_S:
            if self._more:
                log.warning("refused_more", times=self._more)
            self._began, self._logged, self._more = now, 0, 0
        if self._logged >= PER_MINUTE:
            self._more += 1
            return
        self._logged += 1
        log.warning("refused", status=status, **_facts(scope))


def _facts(scope: Scope) -> Mapping[str, Any]:
    """Which operation, of whom, from where. The path itself may hold a link's code."""
    state: Mapping[str, Any] = scope
    caller, client = state.get("user"), state.get("client")
    return {
        "operation": operation_of(scope),
        "caller": f"{type(caller).__name__.removesuffix('Caller').lower()}:{caller.id}" if caller else "nobody",
        "address": client[0] if client else "unknown",
        "request_id": request_id_of(scope),
    }


def operation_of(scope: Scope) -> str:
    """`GET /runs/{run_id}`: what a path is a case of."""
    said: Mapping[str, Any] = scope
    return f"{said.get('method', 'SOCKET')} {said.get('path_template', 'unknown')}"
