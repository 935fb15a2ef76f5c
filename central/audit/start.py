"""What the trail says when central starts: which version it is, and whether its settings are those of the last time."""

import hashlib
import re
from datetime import datetime
from importlib.metadata import version
from typing import Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncEngine

from central.audit.chain import SYSTEM, Change, record
from central.db import transaction
from central.settings import Settings

_SECRET: Final = re.compile(r"password|secret|token")
_IN_URL: Final = re.compile(r"://[^/@\s]*@")


def facts(settings: Settings) -> dict[str, str]:
    """Version, and a digest over every setting but the secret ones: of those only whether they are set."""
    plain = {
        name: bool(value) if _SECRET.search(name) else _IN_URL.sub("://…@", str(value))
        for name, value in msgspec.to_builtins(settings, enc_hook=str).items()
    }
    digest = hashlib.sha256(msgspec.json.encode(plain, order="sorted")).hexdigest()
    return {"version": version("wellread"), "settings_sha256": digest}


async def record_start(engine: AsyncEngine, settings: Settings, now: datetime) -> None:
    """An entry for each start."""
    change = Change("central.start", "central", "central", new=facts(settings))
    async with transaction(engine) as connection:
        await record(connection, SYSTEM, [change], now)
