"""One look: who looks, what is found, what is decided, and the transaction that makes it so.

Of several centrals one looks at a time, by setting `looked_at` first. Should two look at once all the same (a slow one
and its successor), every step asks for the state that it saw and letters are written only by who made the step: so a
notice opens once and is told once.
"""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import structlog
from sqlalchemy import Row, delete, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from central.db import insert_ignore, reading, transaction
from central.notices.decide import Decision, Measured, Rule, Standing, decide
from central.notices.facts import OF_DEVICES, ground_of, measure
from central.notices.states import NoticeState
from central.notices.words import call, letter, where_to_look
from central.tables import notice_letters, notice_rules, notice_silences, notice_turn, notices, sites

log: Final = structlog.get_logger(__name__)

# Between looks: much shorter than anything that rules ask for.
EVERY: Final = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision with the rule's row that it was made by."""

    rule: Row[Any]
    decision: Decision


async def look(engine: AsyncEngine, name: str, now: datetime, *, url: str, hears: bool = True) -> int:
    """Look if it is time and nobody else does; how many steps were taken. `hears`: the broker is connected.

    A central that hears no device knows nothing of any: then nothing is said of them, neither that they are silent nor
    that they are back.
    """
    if not await _take_turn(engine, name, now):
        return 0
    decided = await _decide(engine, now, hears=hears)
    if not decided:
        return 0
    async with transaction(engine) as connection:
        titles = {row.id: row.title for row in await connection.execute(select(sites.c.id, sites.c.title))}
        done = [await _do(connection, each, titles, url, now) for each in decided]
    return sum(done)


async def _take_turn(engine: AsyncEngine, name: str, now: datetime) -> bool:
    free = or_(notice_turn.c.looked_at.is_(None), notice_turn.c.looked_at <= now - EVERY)
    turn = update(notice_turn).where(free).values(looked_at=now, looked_by=name)
    async with transaction(engine) as connection:
        return (await connection.execute(turn)).rowcount == 1


async def _decide(engine: AsyncEngine, now: datetime, *, hears: bool) -> list[Decided]:
    async with reading(engine) as connection:
        rules = (await connection.execute(select(notice_rules).order_by(notice_rules.c.id))).all()
        standing = await _standing(connection)
        quiet = await _silenced(connection, now)
        ground = await ground_of(connection, now)
        decided = []
        for row in rules:
            rule, here = rule_of(row), standing.get(row.id, [])
            if not hears and rule.kind in OF_DEVICES:
                continue
            found: Sequence[Measured] = ()
            try:
                if rule.enabled:
                    found = await measure(connection, ground, rule, [each.object_id for each in here])
            except (ValueError, ArithmeticError, LookupError) as error:
                # What one rule stumbles over must not keep the others from looking.
                log.warning("rule_not_measured", rule=rule.id, reason=f"{type(error).__name__}: {error}")
                continue
            silenced = quiet.get((row.site_id, row.id), frozenset()) | quiet.get((row.site_id, None), frozenset())
            decided += [Decided(row, each) for each in decide(rule, found, here, silenced, now)]
    return decided


def rule_of(row: Row[Any]) -> Rule:
    """A stored rule as deciding needs it."""
    names = [name for name in Rule.__struct_fields__ if name != "tells"]
    values = {name: row._mapping[name] for name in names}
    return Rule(**values, tells=bool(row.recipients) or row.webhook_url is not None)


async def _standing(connection: AsyncConnection) -> dict[str, list[Standing]]:
    query = select(notices).where(notices.c.state != NoticeState.CLOSED.value)
    found: dict[str, list[Standing]] = {}
    for row in await connection.execute(query):
        found.setdefault(row.rule_id, []).append(standing_of(row))
    return found


def standing_of(row: Row[Any]) -> Standing:
    """A stored notice as deciding needs it."""
    names = ("id", "object_kind", "object_id", "device_id", "since", "told_at", "tells", "value", "detail")
    values = {name: row._mapping[name] for name in names}
    return Standing(**values, state=NoticeState(row.state), acknowledged=row.acknowledged_at is not None)


async def _silenced(connection: AsyncConnection, now: datetime) -> dict[tuple[str, str | None], frozenset[str | None]]:
    """(site, rule or None: all of them) → the devices, None standing for all of them."""
    query = select(notice_silences).where(notice_silences.c.until > now, notice_silences.c.ended_at.is_(None))
    found: dict[tuple[str, str | None], frozenset[str | None]] = {}
    for row in await connection.execute(query):
        key = row.site_id, row.rule_id
        found[key] = found.get(key, frozenset()) | {row.device_id}
    return found


async def _do(connection: AsyncConnection, each: Decided, titles: dict[str, str], url: str, now: datetime) -> bool:
    """Make it so, and write the letters that it asks for; False where somebody else was quicker."""
    notice_id = await _step(connection, each, now)
    if notice_id is None:
        return False
    if each.decision.tell is not None:
        row = (await connection.execute(select(notices).where(notices.c.id == notice_id))).one()
        await connection.execute(insert(notice_letters), list(_letters(each, row, titles, url, now)))
    return True


async def _step(connection: AsyncConnection, each: Decided, now: datetime) -> str | None:
    """The notice's id; None where it is not as it was seen (any more), or nothing is left of it."""
    decision, seen = each.decision, each.decision.notice
    values = _values(decision, now)
    if seen is None:
        assert decision.measured is not None, f"a new notice by rule {each.rule.id} of nothing"
        made = str(uuid.uuid4())
        row = {
            "id": made,
            "site_id": each.rule.site_id,
            "rule_id": each.rule.id,
            "kind": each.rule.kind,
            "object_kind": decision.measured.object_kind,
            "object_id": decision.measured.object_id,
            "device_id": decision.measured.device_id,
            "tells": 0,
        }
        put = insert_ignore(connection.dialect.name, notices).values(row | values)
        return made if (await connection.execute(put)).rowcount == 1 else None
    as_seen = (
        notices.c.id == seen.id,
        notices.c.state == seen.state.value,
        notices.c.tells == seen.tells,
        notices.c.acknowledged_at.is_not(None) if seen.acknowledged else notices.c.acknowledged_at.is_(None),
    )
    if decision.state is NoticeState.GONE:
        await connection.execute(delete(notices).where(*as_seen))
        return None
    if decision.tell is not None:
        values["tells"] = seen.tells + 1
    done = await connection.execute(update(notices).where(*as_seen).values(values))
    return seen.id if done.rowcount == 1 else None


def _values(decision: Decision, now: datetime) -> dict[str, Any]:
    seen = decision.notice
    values: dict[str, Any] = {"state": decision.state.value, "since": decision.since}
    if decision.measured is not None:
        values |= {"value": decision.measured.value, "detail": decision.measured.detail}
    before = None if seen is None else seen.state
    if decision.state is not NoticeState.WAITING and before in (None, NoticeState.WAITING):
        values["opened_at"] = now
    if decision.state is NoticeState.CLOSED:
        values["closed_at"] = now
    if decision.tell is not None:
        values |= {"told_at": now, "tells": 1}
    return values


def _letters(
    each: Decided, notice: Row[Any], titles: dict[str, str], url: str, now: datetime
) -> Iterable[dict[str, Any]]:
    """A letter to each person of the rule, and the call: in the transaction that opens, repeats or closes."""
    rule, tell = each.rule, each.decision.tell
    assert tell is not None, f"letters of notice {notice.id} about nothing"
    page = f"{url}{where_to_look(rule.kind, notice.object_kind, notice.object_id)}"
    row = {
        "notice_id": notice.id, "rule_id": rule.id, "site_id": rule.site_id, "event": tell, "round": notice.tells,
        "state": "due", "created_at": now, "due_at": now, "attempts": 0,
    }  # fmt: skip
    site = titles[rule.site_id]
    text = letter(tell, rule.kind, rule.title, site, notice.detail, page, notice.opened_at)
    for user_id in sorted(set(rule.recipients)):
        yield row | {"id": str(uuid.uuid4()), "channel": "email", "recipient": user_id, "content": text}
    if rule.webhook_url is not None:
        names = ("id", "site_id", "kind", "object_kind", "object_id", "device_id", "value", "detail", "opened_at")
        facts = {name: notice._mapping[name] for name in (*names, "closed_at")}
        body = call(tell, now, facts, page)
        yield row | {"id": str(uuid.uuid4()), "channel": "webhook", "recipient": "webhook", "content": body}
