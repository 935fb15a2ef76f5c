"""Signing in and out, and who a request speaks for.

One message for an unknown name and for a wrong password, after as much work. A try is counted before it is looked at.
What a person may do is in `access`; what becomes of accounts in `users`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

import anyio
from sqlalchemy import ColumnElement, Row, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from central.audit.chain import Actor, Change, record
from central.db import reading, transaction
from central.people import refresh, sessions
from central.people.callers import (
    CodeNeededError,
    DeviceCaller,
    KeyCaller,
    NotSignedInError,
    Origin,
    Person,
    Proof,
    TooManyTriesError,
)
from central.people.names import is_user_name
from central.people.passwords import verify_password
from central.people.sessions import Kind, person_of_session
from central.people.throttle import Throttle
from central.people.tokens import TokenKey
from central.people.totp import good_step
from central.seal import Seal, SealError
from central.tables import sessions as sessions_table
from central.tables import users

__all__ = ["DeviceCaller", "KeyCaller", "NotSignedInError", "People", "Person", "TooManyTriesError", "reauthenticate"]

_WRONG: Final = "name or password is wrong"
_NO_PASSWORD: Final = (
    "this needs a password, and you have none here: ask an administrator for a link to set one (you go on signing in "
    "elsewhere as before)"
)


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A session that begins or goes on: its cookie or access token, and a program's refresh token."""

    user_id: str
    session_id: str
    token: str
    refresh_token: str = ""


class People:
    """Sign-in, sign-out and tokens of one central; `now` is its clock, `seal` opens the secrets of one-time codes."""

    def __init__(self, engine: AsyncEngine, key: TokenKey, now: Callable[[], datetime], seal: Seal) -> None:
        """Failures are remembered from here on."""
        self.key = key
        self.seal = seal
        self._engine = engine
        self._now = now
        self._throttle = Throttle()
        # A comparison takes 46 MiB: two at a time are enough for people and bound what guessing can take.
        self._comparisons = anyio.CapacityLimiter(2)

    async def sign_in(
        self, *, name: str, password: str, code: str | None = None, kind: Kind = "api", origin: Origin
    ) -> SignedIn:
        """A session for this name and password, and code where the person has one.

        NotSignedInError, CodeNeededError (then `sign_in_with_code` goes on) or TooManyTriesError otherwise.
        """
        account = name.strip().lower()[:64]
        column = users.c.name if is_user_name(account) else None
        row, proof = await self._prove(account, column, password=password, code=code, origin=origin)
        return await self.begin(row, kind, proof, origin)

    async def sign_in_with_code(self, *, ticket: str, code: str, kind: Kind, origin: Origin) -> SignedIn:
        """A session for whom CodeNeededError gave this ticket."""
        claims = self.key.read(ticket, "ticket", self._now())
        if claims is None:
            raise NotSignedInError("that took too long (sign in again)")
        row = await self._user(users.c.id, claims.user_id)
        if row is None:
            raise NotSignedInError(_WRONG)
        self._charge(row.name, origin)
        await self._use_code(row, code, origin)
        self._throttle.succeeded(row.name, origin.address)
        return await self.begin(row, kind, "oidc+totp" if claims.session_id == "oidc" else "password+totp", origin)

    async def sign_in_elsewhere(self, row: Row[Any], origin: Origin) -> SignedIn:
        """A page's session for whom a provider knows; CodeNeededError where the person has one-time codes."""
        if row.totp_confirmed_at is not None:
            raise CodeNeededError(self._ticket(row.id, "oidc"))
        return await self.begin(row, "pages", "oidc", origin)

    async def prove(self, person: Person, *, password: str, code: str | None, origin: Origin) -> Proof:
        """Prove once more that it is this person; NotSignedInError or TooManyTriesError otherwise."""
        if not person.has_password:
            raise NotSignedInError(_NO_PASSWORD)
        _, proof = await self._prove(person.name, users.c.id, person.id, password=password, code=code, origin=origin)
        return proof

    async def begin(self, row: Row[Any], kind: Kind, proof: Proof, origin: Origin) -> SignedIn:
        """A session for somebody who proved who it is, by the row that was looked at; NotSignedInError if it changed.

        A comparison takes its time: what ended every sign-in meanwhile, as a new password does, ends this one too.
        """
        now, user_id = self._now(), str(row.id)
        async with transaction(self._engine) as connection:
            held = select(users.c.password_hash, users.c.disabled_at).where(users.c.id == user_id).with_for_update()
            if (await connection.execute(held)).one() != (row.password_hash, None):
                raise NotSignedInError("the account was changed at this moment (sign in again)")
            session_id = await sessions.begin(connection, user_id, kind, proved=proof, origin=origin, now=now)
            refresh_token = await refresh.first_token(connection, session_id, now) if kind == "api" else ""
            new = {"session": session_id, "kind": kind, "proved": proof}
            who = Actor("person", user_id, origin.address, origin.request_id)
            await record(connection, who, [Change("user.sign_in", "user", user_id, new=new)], now)
        return SignedIn(user_id, session_id, self._token(user_id, kind, session_id), refresh_token)

    async def refresh(self, token: str, origin: Origin) -> SignedIn:
        """The next access and refresh token of a session; NotSignedInError where this one is used up or over."""
        async with transaction(self._engine) as connection:
            found = await refresh.rotate(connection, token, origin, self._now())
        if found is None:
            raise NotSignedInError("the refresh token is not good (any more): sign in again")
        access = self._token(found.user_id, "api", found.session_id)
        return SignedIn(found.user_id, found.session_id, access, found.token)

    async def of_token(self, token: str, audience: Kind, *, seen: bool = True) -> Person:
        """Whom a token speaks for, with the role of this moment; NotSignedInError if it does not hold."""
        claims = self.key.read(token, audience, self._now())
        if claims is None:
            raise NotSignedInError("the sign-in is not valid or has expired")
        return await person_of_session(self._engine, claims, audience, self._now(), seen=seen)

    async def sign_out(self, person: Person, actor: Actor) -> None:
        """End the session that this person speaks through."""
        await self._end(sessions_table.c.id == person.session_id, person.id, actor, "signed_out")

    async def end_sessions(self, user_id: str, actor: Actor, session_id: str | None = None) -> bool:
        """End one session of this person, or every one; False where there was none to end."""
        which = sessions_table.c.user_id == user_id
        if session_id is not None:
            which &= sessions_table.c.id == session_id
        return await self._end(which, user_id, actor, "revoked")

    async def _end(self, which: ColumnElement[bool], user_id: str, actor: Actor, why: sessions.Why) -> bool:
        async with transaction(self._engine) as connection:
            ended = await sessions.end(connection, which, why, self._now())
            change = Change("user.sign_out", "user", user_id, old={"sessions": sorted(ended)}, new={"why": why})
            await record(connection, actor, [change] if ended else [], self._now())
        return bool(ended)

    def _token(self, user_id: str, kind: Kind, session_id: str) -> str:
        return self.key.issue(user_id, kind, self._now(), session_id=session_id)

    def _ticket(self, user_id: str, first: Literal["password", "oidc"]) -> str:
        """What the form of the code carries: who it is, and what was proved already."""
        return self.key.issue(user_id, "ticket", self._now(), session_id=first)

    async def _prove(
        self,
        account: str,
        column: ColumnElement[str] | None,
        value: str | None = None,
        *,
        password: str,
        code: str | None,
        origin: Origin,
    ) -> tuple[Row[Any], Proof]:
        """The user's row and what was proved, after as much work for a stranger as for anybody."""
        row = None if column is None else await self._user(column, value or account)
        async with reading(self._engine) as connection:
            if await sessions.was_here(connection, "" if row is None else row.id, origin.address, self._now()):
                self._throttle.know(account, origin.address)
        self._charge(account, origin)
        stored = None if row is None or row.disabled_at is not None else row.password_hash
        good = await anyio.to_thread.run_sync(verify_password, stored, password, limiter=self._comparisons)
        if row is None or not good:
            await self.note_failure(None if row is None else row.id, "password", origin)
            raise NotSignedInError(_WRONG)
        if row.totp_confirmed_at is None:
            self._throttle.succeeded(account, origin.address)
            return row, "password"
        if not code:
            self._throttle.take_back(account, origin.address)  # no more than that: codes are guessed too
            raise CodeNeededError(self._ticket(row.id, "password"))
        await self._use_code(row, code, origin)
        self._throttle.succeeded(account, origin.address)
        return row, "password+totp"

    def _charge(self, account: str, origin: Origin) -> None:
        """Count a try as failed until it is known to be good; TooManyTriesError where it is not looked at."""
        wait_s = self._throttle.wait_s(account, origin.address, self._now())
        if wait_s > 0:
            raise TooManyTriesError(wait_s)
        self._throttle.failed(account, origin.address, self._now())

    async def _use_code(self, row: Row[Any], code: str, origin: Origin) -> None:
        """Use a one-time code up; NotSignedInError where it is not good."""
        step = None
        if row.totp_secret is not None and row.disabled_at is None:
            try:
                step = good_step(self.seal.open(row.totp_secret, row.id), code, self._now(), row.totp_last_step)
            except SealError as error:
                raise NotSignedInError(str(error)) from error
        if step is None or not await self._used(row.id, step):
            await self.note_failure(row.id, "code", origin)
            raise NotSignedInError("the one-time code is wrong or was used (expected the one that is shown now)")

    async def _used(self, user_id: str, step: int) -> bool:
        """Whether this call used the step up: of two at once, one did."""
        later = or_(users.c.totp_last_step.is_(None), users.c.totp_last_step < step)
        use = update(users).where(users.c.id == user_id, later).values(totp_last_step=step)
        async with transaction(self._engine) as connection:
            return (await connection.execute(use)).rowcount == 1

    async def note_failure(self, user_id: str | None, what: str, origin: Origin) -> None:
        """In the audit trail: the account's id, never the name that was typed, which may be a password."""
        who = Actor("system", "nobody", origin.address, origin.request_id)
        failed = Change("user.sign_in_failed", "user", user_id or "unknown", new={"wrong": what})
        async with transaction(self._engine) as connection:
            await record(connection, who, [failed], self._now())

    async def _user(self, column: ColumnElement[str], value: str) -> Row[Any] | None:
        async with reading(self._engine) as connection:
            return await _user_row(connection, column, value)


async def _user_row(connection: AsyncConnection, column: ColumnElement[str], value: str) -> Row[Any] | None:
    return (await connection.execute(select(users).where(column == value))).one_or_none()


async def reauthenticate(
    people: People, person: Person, *, password: str, code: str | None, address: str
) -> Literal["password", "password+totp"]:
    """Prove once more who signs: password, and the one-time code where the person has one.

    CodeNeededError where it is missing; NotSignedInError or TooManyTriesError where something is wrong. A wrong try
    counts like a failed sign-in, and a code that signed signs nothing else.
    """
    proof = await people.prove(person, password=password, code=code, origin=Origin(address))
    assert proof in ("password", "password+totp"), f"{proof} signs nothing"
    return proof
