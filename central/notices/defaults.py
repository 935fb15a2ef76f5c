"""The rules that a new site begins with: one of each kind, which tell nobody until somebody says whom."""

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from central.notices.kinds import KINDS
from central.tables import notice_rules


async def put_first_rules(connection: AsyncConnection, site_id: str, now: datetime) -> None:
    """In the transaction that makes the site."""
    await connection.execute(insert(notice_rules), first_rules(site_id, now))


def first_rules(site_id: str, now: datetime) -> list[dict[str, Any]]:
    """Their rows."""
    return [
        {
            "id": str(uuid.uuid4()),
            "site_id": site_id,
            "kind": kind,
            "title": facts.title,
            "opens_at": facts.opens_at,
            "closes_at": facts.closes_at,
            "hold_s": facts.hold_s,
            "calm_s": facts.calm_s,
            "window_s": facts.window_s,
            "least": facts.least,
            "revision": 1,
            "enabled": True,
            "tell_end": True,
            "recipients": [],
            "created_at": now,
            "created_by": "system",
        }
        for kind, facts in KINDS.items()
    ]
