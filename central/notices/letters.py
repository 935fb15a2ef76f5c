"""The outbox of letters: which is due, who sends it, and what became of it.

Several centrals share the work by leases, as deliveries do. A letter is written once, in the transaction that opens,
repeats or closes its notice, and keeps its id and words at every try: what a central that died had handed over already
goes out again under the same Message-ID (or `webhook-id`), by which the other side knows it. Rather that than a notice
that nobody hears of. A letter that cannot go holds up no other.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
import structlog
from sqlalchemy import Row, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from central.db import DATABASE_ERRORS, reading, transaction
from central.deliveries.editing import Desk
from central.deliveries.places import PlaceError, target_of
from central.deliveries.states import retry_delay_s
from central.deliveries.targets.target import TargetError
from central.deliveries.targets.webhook import Webhook
from central.mail import LetterRefusedError, Mailer, MailError
from central.seal import SealError
from central.tables import memberships, notice_letters, notice_rules, users

log: Final = structlog.get_logger(__name__)

# A mail server has 20 s for each of its answers, and gives some nine of them.
LEASE: Final = timedelta(minutes=4)
# After so many tries, most of a day, it is given up: the notice is on its page all the while.
MOST_ATTEMPTS: Final = 100
_AT_ONCE: Final = 8

Send = Callable[[Row[Any]], Awaitable[None]]


class LetterError(Exception):
    """A letter that did not go; `final`: trying again is no use."""

    def __init__(self, detail: str, *, final: bool) -> None:
        """`detail` is shown with the notice; it names no address of a person."""
        super().__init__(detail)
        self.final = final


@dataclass(frozen=True, slots=True)
class Postman:
    """Who sends: its name, which is new at every start, its clock, chance from 0 to 1, and how a letter goes."""

    name: str
    now: Callable[[], datetime]
    chance: Callable[[], float]
    send: Send


async def post(engine: AsyncEngine, postman: Postman) -> int:
    """Send what is due, several at once; how many were tried."""
    leased = await _lease(engine, postman)
    await asyncio.gather(*(_try(engine, postman, row) for row in leased))
    return len(leased)


async def _lease(engine: AsyncEngine, postman: Postman) -> list[Row[Any]]:
    now = postman.now()
    free = or_(notice_letters.c.leased_until.is_(None), notice_letters.c.leased_until < now)
    due = (
        select(notice_letters.c.id)
        .where(notice_letters.c.state == "due", notice_letters.c.due_at <= now, free)
        .order_by(notice_letters.c.due_at, notice_letters.c.id)
        .limit(_AT_ONCE)
        .with_for_update(skip_locked=True)
    )
    async with transaction(engine) as connection:
        ids = list(await connection.scalars(due))
        if not ids:
            return []
        mine = notice_letters.c.id.in_(ids)
        lease = {"leased_by": postman.name, "leased_until": now + LEASE}
        await connection.execute(update(notice_letters).where(mine).values(lease))
        return list(await connection.execute(select(notice_letters).where(mine).order_by(notice_letters.c.id)))


async def _try(engine: AsyncEngine, postman: Postman, row: Row[Any]) -> None:
    values: dict[str, Any] = {"attempts": row.attempts + 1, "leased_until": None}
    try:
        await postman.send(row)
    except LetterError as error:
        log.warning("letter_not_sent", letter=row.id, channel=row.channel, reason=str(error))
        values |= _failed(postman, row, str(error), final=error.final)
    except DATABASE_ERRORS:
        raise
    except Exception as error:
        # Our bug: said, and tried again later. It must not hold up the letters behind this one.
        log.exception("letter_failed", letter=row.id)
        values |= _failed(postman, row, f"an error of ours, {type(error).__name__}", final=False)
    else:
        values |= {"state": "sent", "sent_at": postman.now(), "last_error": None}
    mine = (notice_letters.c.id == row.id, notice_letters.c.leased_by == postman.name, notice_letters.c.state == "due")
    async with transaction(engine) as connection:
        await connection.execute(update(notice_letters).where(*mine).values(values))


def _failed(postman: Postman, row: Row[Any], reason: str, *, final: bool) -> dict[str, Any]:
    attempts = row.attempts + 1
    delay_s = retry_delay_s(attempts, postman.chance())
    values: dict[str, Any] = {"last_error": reason, "due_at": postman.now() + timedelta(seconds=delay_s)}
    return values | ({"state": "failed"} if final or attempts >= MOST_ATTEMPTS else {})


def sender(desk: Desk, mailer: Mailer | None) -> Send:
    """How letters go from this central."""

    async def send(row: Row[Any]) -> None:
        if row.channel == "email":
            await _mail(desk, mailer, row)
        else:
            await _call(desk, row)

    return send


async def _mail(desk: Desk, mailer: Mailer | None, row: Row[Any]) -> None:
    if mailer is None:
        raise LetterError("no mail server (expected WELLREAD_SMTP_URL to name one)", final=True)
    async with reading(desk.engine) as connection:
        address = await address_of(connection, row.recipient, row.site_id)
    if address is None:
        raise LetterError(f"person {row.recipient} has no address, or belongs here no longer", final=True)
    try:
        await mailer.send(address, row.content["subject"], row.content["text"], letter_id=row.id)
    except MailError as error:
        detail = str(error).replace(address, "the person's address")
        raise LetterError(detail, final=isinstance(error, LetterRefusedError)) from error
    except ValueError as error:  # an address that no header can hold
        raise LetterError(f"person {row.recipient} has an address that cannot be written to", final=True) from error


async def address_of(connection: AsyncConnection, user_id: str, site_id: str) -> str | None:
    """Where a person is written to; None for who has no address, is gone, or does not belong to the site."""
    belongs = select(memberships.c.user_id).where(memberships.c.user_id == user_id, memberships.c.site_id == site_id)
    query = select(users.c.email).where(
        users.c.id == user_id,
        users.c.disabled_at.is_(None),
        users.c.erased_at.is_(None),
        or_(users.c.role == "admin", belongs.exists()),
    )
    found: str | None = await connection.scalar(query)
    return found or None


async def _call(desk: Desk, row: Row[Any]) -> None:
    async with reading(desk.engine) as connection:
        rule = (await connection.execute(select(notice_rules).where(notice_rules.c.id == row.rule_id))).one()
    if rule.webhook_url is None or rule.secret is None:
        raise LetterError("the rule has no webhook any more", final=True)
    try:
        secret = desk.seal.open(rule.secret, rule.id).decode()
        target = target_of("webhook", {"url": rule.webhook_url}, secret, desk.bounds)
        assert isinstance(target, Webhook), f"the webhook of notice rule {rule.id} is a {type(target).__name__}"
        await target.send(row.id, msgspec.json.encode(row.content))
    except SealError as error:
        raise LetterError(f"{error}: give the rule its secret again", final=True) from error
    except PlaceError as error:
        raise LetterError(str(error), final=True) from error
    except TargetError as error:
        raise LetterError(str(error), final=error.final) from error
