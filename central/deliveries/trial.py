"""A test file to where a rule sends files: as everything that leaves goes there, and without a result in it."""

import secrets
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import Row

from central.audit.chain import Actor, Change, record
from central.db import transaction
from central.deliveries.editing import Desk, held_rule
from central.deliveries.places import PlaceError, target_of
from central.deliveries.targets.email import Email
from central.deliveries.targets.target import Outgoing, TargetError
from central.deliveries.targets.webhook import Webhook
from central.people.sites import Sites
from central.seal import SealError

_SAID: Final = "A test file from Wellread. It holds no results: take it away."


@dataclass(frozen=True, slots=True)
class Tried:
    """What was brought there: its name, which no two tries have in common."""

    name: str = field(default_factory=lambda: f"wellread-test-{secrets.token_hex(4)}.txt")


async def try_rule(desk: Desk, rule_id: str, *, sites: Sites, actor: Actor, now: datetime) -> Tried:
    """Bring a test file there, once and at once; TargetError says what is wrong and what to do."""
    async with transaction(desk.engine) as connection:
        rule = await held_rule(connection, rule_id, sites)
        change = Change("delivery_rule.try", "delivery_rule", rule_id, rule.site_id)
        await record(connection, actor, [change], now)
    tried = Tried()
    await _send(desk, rule, tried)
    return tried


async def _send(desk: Desk, rule: Row[Any], tried: Tried) -> None:
    try:
        secret = None if rule.secret is None else desk.seal.open(rule.secret, rule.id).decode()
        target = target_of(rule.target_kind, rule.target, secret, desk.bounds)
    except PlaceError as error:
        raise TargetError(str(error), "change the rule", final=True) from error
    except SealError as error:
        raise TargetError(str(error), "give the rule its secret again", final=True) from error
    file = Outgoing(tried.name, tried.name, "text/plain", f"{_SAID}\n".encode())
    match target:
        case Webhook():
            await target.send(tried.name, msgspec.json.encode({"type": "delivery.test", "data": {"said": _SAID}}))
        case Email():
            await target.send(target.test_letter(file, _SAID))
        case _:
            await target.finish(file, await target.prepare(file))
