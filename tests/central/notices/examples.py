"""One successful call of every operation on notices that changes something, for the test of the audit trail."""

from datetime import timedelta
from typing import Any, Final

import httpx
from sqlalchemy import insert, select

from central.db import transaction
from central.tables import notice_rules, notices
from tests.central.audit.ground import Example, Ground
from tests.make import NOON

RULE: Final = {"title": "Bench 1 alone", "kind": "device_offline", "device_id": "bench-1"}
SILENCE: Final = {"device_id": "bench-1", "reason": "moved", "until": (NOON + timedelta(hours=1)).isoformat()}


async def acknowledge(ground: Ground) -> httpx.Response:
    """Somebody sees to a notice that stands."""
    async with transaction(ground.engine) as connection:
        rule_id = await connection.scalar(select(notice_rules.c.id).limit(1))
        row: dict[str, Any] = {
            "id": "0" * 36, "site_id": "main", "rule_id": rule_id, "kind": "device_offline", "object_kind": "device",
            "object_id": "bench-1", "state": "open", "since": NOON, "value": 1, "detail": "d", "opened_at": NOON,
            "tells": 0,
        }  # fmt: skip
        await connection.execute(insert(notices).values(row))
    return await ground.call("POST", f"/notices/{'0' * 36}/acknowledge", "operator", json={"comment": "mine"})


async def change(ground: Ground) -> httpx.Response:
    """A rule that opens later."""
    made = await ground.made("/notice-rules", RULE)
    body = RULE | {"opens_at": 7200}
    return await ground.call("PUT", f"/notice-rules/{made['id']}", json=body, headers={"if-match": '"1"'})


async def end(ground: Ground) -> httpx.Response:
    """A silence that is over before its time."""
    made = await ground.made("/notice-silences", SILENCE)
    return await ground.call("POST", f"/notice-silences/{made['id']}/end", "operator")


EXAMPLES: Final[dict[str, Example]] = {
    "POST /api/v1/notice-rules": lambda on: on.call("POST", "/notice-rules", json=RULE),
    "PUT /api/v1/notice-rules/{rule_id}": change,
    "POST /api/v1/notices/{notice_id}/acknowledge": acknowledge,
    "POST /api/v1/notice-silences": lambda on: on.call("POST", "/notice-silences", "operator", json=SILENCE),
    "POST /api/v1/notice-silences/{silence_id}/end": end,
}
