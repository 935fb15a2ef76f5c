"""Whom a provider's word signs in: somebody who has an account here, and nobody else. It never makes one.

A person is known by issuer and subject together, once linked: at the first sign-in, by an address that the provider
has proved and exactly one account has (of a viewer or operator alone), or by an administrator's link; or by an
administrator who writes the subject down. Who was unlinked is linked again by an administrator alone: no address does
it a second time. An account has one identity at a provider, so that an address that is given to somebody else there
later on opens nothing here.
"""

import hashlib
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import Row, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from central.audit.chain import Actor, Change, record
from central.db import transaction
from central.people.callers import Origin
from central.people.id_token import Identity
from central.people.links import whose_link
from central.people.sessions import end_all
from central.people.users import UnknownUserError, void_links
from central.tables import audit_entries, identities, invitations, users

# Who approves or administers: whoever gets hold of a mailbox, or of the provider's list of them, must not become them.
_NOT_BY_ADDRESS: Final = ("reviewer", "admin")


class NotLinkedError(Exception):
    """The provider knows this person, and nobody here is linked to them."""


class IdentityRow(msgspec.Struct, frozen=True):
    """Who a person is elsewhere."""

    issuer: str
    subject: str
    linked_at: datetime


async def whom(engine: AsyncEngine, identity: Identity, *, link: str, origin: Origin, now: datetime) -> Row[Any]:
    """The user's row; linked now where that can be. NotLinkedError, or LinkError for an administrator's link."""
    try:
        async with transaction(engine) as connection:
            row = await _linked(connection, identity)
            if link:
                row = await _by_link(connection, identity, row, code=link, origin=origin, now=now)
            if row is None:
                row = await _by_address(connection, identity, origin, now)
    except IntegrityError as error:
        raise NotLinkedError("linked by somebody else at this moment") from error
    if row.disabled_at is not None or row.erased_at is not None:
        raise NotLinkedError("the account is shut out")
    return row


async def identities_of(connection: AsyncConnection, user_id: str) -> tuple[IdentityRow, ...]:
    """Who a person is elsewhere."""
    columns = [identities.c[name] for name in IdentityRow.__struct_fields__]
    query = select(*columns).where(identities.c.user_id == user_id).order_by(identities.c.issuer)
    return tuple(IdentityRow(**row._mapping) for row in await connection.execute(query))


async def link_by_hand(
    engine: AsyncEngine, user_id: str, issuer: str, subject: str, *, actor: Actor, now: datetime, reason: str | None
) -> None:
    """An administrator says who somebody is there; NotLinkedError where either is linked already."""
    try:
        async with transaction(engine) as connection:
            row = (await connection.execute(select(users).where(users.c.id == user_id))).one_or_none()
            if row is None or row.erased_at is not None:
                raise UnknownUserError(f"no user {user_id!r} here")
            identity = Identity(issuer, subject, None)
            await _link(connection, identity, user_id, by="administrator", actor=actor, now=now, reason=reason)
    except IntegrityError as error:
        raise NotLinkedError("one of the two is linked already (expected the link to be removed first)") from error


async def unlink(engine: AsyncEngine, user_id: str, *, actor: Actor, now: datetime, reason: str | None = None) -> bool:
    """No provider signs this person in any more, and no sign-in of theirs goes on; False where none did."""
    async with transaction(engine) as connection:
        mine = delete(identities).where(identities.c.user_id == user_id).returning(identities.c.issuer)
        issuers = (await connection.scalars(mine)).all()
        if issuers:
            await end_all(connection, user_id, "revoked", now)
        gone = [Change("user.unlink", "user", user_id, old={"issuer": each}, reason=reason) for each in issuers]
        await record(connection, actor, gone, now)
    return bool(issuers)


async def _linked(connection: AsyncConnection, identity: Identity) -> Row[Any] | None:
    query = (
        select(users)
        .join(identities, identities.c.user_id == users.c.id)
        .where(identities.c.issuer == identity.issuer, identities.c.subject == identity.subject)
    )
    return (await connection.execute(query)).one_or_none()


async def _by_link(
    connection: AsyncConnection, identity: Identity, known: Row[Any] | None, *, code: str, origin: Origin, now: datetime
) -> Row[Any]:
    """Whose link it is; used up by that."""
    mine = await whose_link(connection, code, now)
    if known is not None and known.id != mine.id:
        raise NotLinkedError("linked to another account")
    digest = hashlib.sha256(code.encode()).hexdigest()
    unused = (invitations.c.code_sha256 == digest) & invitations.c.used_at.is_(None)
    if (await connection.execute(update(invitations).where(unused).values(used_at=now))).rowcount != 1:
        raise NotLinkedError("the link was used at this moment")
    await void_links(connection, mine.id, now)
    if known is None:
        await _link(connection, identity, mine.id, by="link", actor=_person(mine.id, origin), now=now)
    return (await connection.execute(select(users).where(users.c.id == mine.id))).one()


async def _by_address(connection: AsyncConnection, identity: Identity, origin: Origin, now: datetime) -> Row[Any]:
    """The one account with an address that the provider has proved."""
    address = identity.email
    if address is None:
        raise NotLinkedError("no address that the provider has proved")
    # Signs beyond ASCII have more than one small letter: two that look apart must not become one.
    same = func.lower(users.c.email) == address.lower() if address.isascii() else users.c.email == address
    found = (await connection.execute(select(users).where(same, users.c.erased_at.is_(None)))).all()
    if len(found) != 1 or found[0].disabled_at is not None:
        raise NotLinkedError(f"the address is of {len(found)} accounts (expected one that may sign in)")
    if found[0].role in _NOT_BY_ADDRESS:
        raise NotLinkedError(f"a {found[0].role} is not linked by an address (expected an administrator's link)")
    if await _was_unlinked(connection, found[0].id):
        raise NotLinkedError("the account was unlinked (expected an administrator's link)")
    await _link(connection, identity, found[0].id, by="address", actor=_person(found[0].id, origin), now=now)
    return found[0]


async def _was_unlinked(connection: AsyncConnection, user_id: str) -> bool:
    """Whether an administrator ever took this person's link away: the trail knows, and forgets nothing."""
    mine = (audit_entries.c.object_kind == "user") & (audit_entries.c.object_id == user_id)
    unlinked = select(audit_entries.c.number).where(mine, audit_entries.c.action == "user.unlink").limit(1)
    return await connection.scalar(unlinked) is not None


async def _link(
    connection: AsyncConnection,
    identity: Identity,
    user_id: str,
    *,
    by: str,
    actor: Actor,
    now: datetime,
    reason: str | None = None,
) -> None:
    row = {"issuer": identity.issuer, "subject": identity.subject, "user_id": user_id, "linked_at": now}
    await connection.execute(insert(identities).values(row))
    linked = Change("user.link", "user", user_id, new={"issuer": identity.issuer, "by": by}, reason=reason)
    await record(connection, actor, [linked], now)


def _person(user_id: str, origin: Origin) -> Actor:
    return Actor("person", user_id, origin.address, origin.request_id)
