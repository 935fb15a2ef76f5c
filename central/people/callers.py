"""Who a request may speak for: a person, a machine with a key, a device; and why it speaks for nobody."""

from dataclasses import dataclass
from typing import Literal

from central.people.permissions import Role, Scope
from central.people.sites import Sites
from central.people.tokens import Claims

# What a person brought when signing in; a code by itself is never enough.
Proof = Literal["password", "password+totp", "oidc", "oidc+totp"]


class NotSignedInError(Exception):
    """No sign-in, or one that does not hold (any more)."""


class CodeNeededError(NotSignedInError):
    """The first proof is good, and this person's one-time code is asked for; `ticket` says so for five minutes."""

    def __init__(self, ticket: str) -> None:
        """`ticket` goes into the form that asks for the code."""
        super().__init__("a one-time code is needed as well (expected 6 digits in `code`)")
        self.ticket = ticket


class TooManyTriesError(Exception):
    """Sign-in is delayed after failures; `wait_s` says for how long."""

    def __init__(self, wait_s: float) -> None:
        """Seconds until the next try is looked at."""
        super().__init__(f"too many failed sign-ins (try again in {wait_s:.0f} s)")
        self.wait_s = wait_s


@dataclass(frozen=True, slots=True)
class Person:
    """A signed-in user and whose things they see.

    `session` is set when a cookie said so, and a form then needs its CSRF token. `session_id` is set either way.
    `has_code`: a one-time code is asked for whenever this person signs in or signs. `has_password`: not so of who
    signs in at a provider alone.
    """

    id: str
    name: str
    role: Role
    sites: Sites
    session: Claims | None = None
    session_id: str = ""
    has_code: bool = False
    has_password: bool = True


@dataclass(frozen=True, slots=True)
class KeyCaller:
    """A machine, by its key: what it may do there, and at which site."""

    id: str
    scopes: frozenset[Scope]
    sites: Sites


@dataclass(frozen=True, slots=True)
class DeviceCaller:
    """An enrolled device, by its upload token."""

    id: str


@dataclass(frozen=True, slots=True)
class Origin:
    """From where a request came: network address, what the program calls itself, the request's id."""

    address: str
    agent: str = ""
    request_id: str | None = None
