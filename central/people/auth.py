"""People: adding them, signing in and out, and who a request speaks for.

One message for an unknown name and for a wrong password, after as much work. What a person may do is in `access`.
"""

import re
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

import anyio
from sqlalchemy import ColumnElement, RowMapping, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from central.audit.chain import COMMAND, Actor, Change, record
from central.db import reading, transaction
from central.people.passwords import check_password, hash_password, verify_password
from central.people.permissions import ROLES, Role, Scope
from central.people.sites import EVERY_SITE, MAIN_SITE, Sites
from central.people.throttle import Throttle
from central.people.tokens import Audience, Claims, TokenKey
from central.tables import memberships, users

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._@-]{0,63}")


class NotSignedInError(Exception):
    """No sign-in, or one that does not hold (any more)."""


class TooManyTriesError(Exception):
    """Sign-in is delayed after failures; `wait_s` says for how long."""

    def __init__(self, wait_s: float) -> None:
        """Seconds until the next try is looked at."""
        super().__init__(f"too many failed sign-ins (try again in {wait_s:.0f} s)")
        self.wait_s = wait_s


@dataclass(frozen=True, slots=True)
class Person:
    """A signed-in user and whose things they see.

    `session` is set when a cookie said so, and a form then needs its CSRF token.
    """

    id: str
    name: str
    role: Role
    sites: Sites
    session: Claims | None = None


@dataclass(frozen=True, slots=True)
class DeviceCaller:
    """An enrolled device, by its upload token."""

    id: str


@dataclass(frozen=True, slots=True)
class KeyCaller:
    """A machine, by its key: what it may do there, and at which site."""

    id: str
    scopes: frozenset[Scope]
    sites: Sites


async def add_user(
    engine: AsyncEngine,
    *,
    name: str,
    password: str,
    role: Role,
    now: datetime,
    site_ids: Sequence[str] = (MAIN_SITE,),
    actor: Actor = COMMAND,
) -> Person:
    """A new user of these sites; ValueError says what is wrong with the name, the password or the role."""
    name = user_name(name)
    if role not in ROLES:
        raise ValueError(f"not a role: {role!r} (expected {' or '.join(ROLES)})")
    check_password(password, name)
    hashed = await anyio.to_thread.run_sync(hash_password, password)
    person = Person(str(uuid.uuid4()), name, role, EVERY_SITE if role == "admin" else Sites.of(site_ids))
    row = {"id": person.id, "name": name, "password_hash": hashed, "role": role, "created_at": now}
    added = Change("user.add", "user", person.id, new={"role": role, "sites": list(site_ids)})
    try:
        async with transaction(engine) as connection:
            await connection.execute(insert(users).values(row))
            await connection.execute(insert(memberships), [{"user_id": person.id, "site_id": at} for at in site_ids])
            await record(connection, actor, [added], now)
    except IntegrityError as error:
        raise ValueError(f"user {name!r} exists (expected a new name)") from error
    return person


def user_name(text: str) -> str:
    """A user's name in its one spelling: lower case."""
    name = text.strip().lower()
    if not _NAME.fullmatch(name):
        raise ValueError(f"not a user name: {text[:80]!r} (expected 1 to 64 of a-z, 0-9, '.', '_', '-', '@')")
    return name


class People:
    """Sign-in, sign-out and tokens of one central; `now` is its clock."""

    def __init__(self, engine: AsyncEngine, key: TokenKey, now: Callable[[], datetime]) -> None:
        """Failures are remembered from here on."""
        self.key = key
        self._engine = engine
        self._now = now
        self._throttle = Throttle()
        # A comparison takes 46 MiB: two at a time are enough for people and bound what guessing can take.
        self._comparisons = anyio.CapacityLimiter(2)

    async def sign_in(self, *, name: str, password: str, address: str) -> Person:
        """The person with this name and password; NotSignedInError or TooManyTriesError otherwise."""
        account = name.strip().lower()[:64]
        wait_s = self._throttle.wait_s(account, address, self._now())
        if wait_s > 0:
            raise TooManyTriesError(wait_s)
        row = await self._row(users.c.name, account) if _NAME.fullmatch(account) else None
        stored = None if row is None else str(row["password_hash"])
        good = await anyio.to_thread.run_sync(verify_password, stored, password, limiter=self._comparisons)
        if row is None or not good:
            self._throttle.failed(account, address, self._now())
            raise NotSignedInError("name or password is wrong")
        self._throttle.succeeded(account, address)
        return await self._person(row)

    async def sign_out(self, person: Person) -> None:
        """End every session and token of this person, here and elsewhere."""
        async with transaction(self._engine) as connection:
            await connection.execute(update(users).where(users.c.id == person.id).values(signed_out_at=self._now()))

    def issue(self, person: Person, audience: Audience) -> str:
        """A token that speaks for this person from now on."""
        return self.key.issue(person.id, audience, self._now())

    async def of_token(self, token: str, audience: Audience) -> Person:
        """Whom a token speaks for, with the role of this moment; NotSignedInError if it does not hold."""
        claims = self.key.read(token, audience, self._now())
        row = None if claims is None else await self._row(users.c.id, claims.user_id)
        if claims is None or row is None:
            raise NotSignedInError("the sign-in is not valid or has expired")
        signed_out_at = row["signed_out_at"]
        if signed_out_at is not None and claims.issued_at <= signed_out_at.timestamp():
            raise NotSignedInError("signed out")
        return await self._person(row, claims if audience == "pages" else None)

    async def _row(self, column: ColumnElement[str], value: str) -> RowMapping | None:
        async with reading(self._engine) as connection:
            found = await connection.execute(select(users).where(column == value))
            return found.mappings().first()

    async def _person(self, row: RowMapping, session: Claims | None = None) -> Person:
        role = next((role for role in ROLES if role == row["role"]), ROLES[0])
        if role == "admin":
            return Person(row["id"], row["name"], role, EVERY_SITE, session)
        async with reading(self._engine) as connection:
            mine = await connection.scalars(select(memberships.c.site_id).where(memberships.c.user_id == row["id"]))
            return Person(row["id"], row["name"], role, Sites.of(mine), session)


async def reauthenticate(
    people: People, person: Person, *, password: str, code: str | None, address: str
) -> Literal["password", "password+totp"]:
    """Prove once more who signs: password, and the one-time code where the person has one.

    NotSignedInError or TooManyTriesError otherwise; a wrong try counts like a failed sign-in.
    """
    found = await people.sign_in(name=person.name, password=password, address=address)
    if found.id != person.id:
        raise NotSignedInError("name or password is wrong")
    return "password"
