"""Names of users and addresses for their mail: what they may be."""

import re
from typing import Final

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._@-]{0,63}")
_EMAIL: Final = re.compile(r"[^@\s<>,;:\"()\[\]\\]{1,64}@[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})+")
# What a person's name is once the person is forgotten; nobody can take it.
PSEUDONYM: Final = "erased-"


def is_user_name(text: str) -> bool:
    """Whether somebody may have this name."""
    return _NAME.fullmatch(text) is not None


def user_name(text: str) -> str:
    """A user's name in its one spelling: lower case; ValueError says what is expected."""
    name = text.strip().lower()
    if not is_user_name(name) or name.startswith(PSEUDONYM):
        raise ValueError(f"not a user name: {text[:80]!r} (expected 1 to 64 of a-z, 0-9, '.', '_', '-', '@')")
    return name


def email_address(text: str) -> str:
    """An address that mail can be sent to; ValueError says what is expected."""
    address = text.strip()
    if len(address) > 254 or not _EMAIL.fullmatch(address) or not address.isprintable():
        raise ValueError(f"not an e-mail address: {text[:80]!r} (expected name@laboratory.example)")
    return address
