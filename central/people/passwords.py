"""Passwords: what is accepted, how it is kept (argon2id), and a comparison that takes as long for a stranger.

Length counts, composition does not (NIST SP 800-63B-4); what everybody tries first is refused, also with digits and
signs at its ends. The lists are those of zxcvbn. The cost is OWASP's m = 46 MiB, t = 1, p = 1 (ASVS 5.0, appendix C).
"""

import re
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from zxcvbn.frequency_lists import FREQUENCY_LISTS

MIN_LENGTH: Final = 10
MAX_LENGTH: Final = 256

_hasher: Final = PasswordHasher(time_cost=1, memory_cost=46 * 1024, parallelism=1)

# What its field tries first and no list of the world's knows.
_OF_THE_FIELD: Final = frozenset(
    ("laboratory", "laboratorio", "labor", "microplate", "wellread", "wellreadadmin", "supersecret", "changemenow")
)
# The 30,000 passwords that leaks show most often, and the commonest words and names.
_COMMON: Final = _OF_THE_FIELD | frozenset(word for listed in FREQUENCY_LISTS.values() for word in listed)
_COUNTING: Final = "1234567890" * 3
_ENDS: Final = re.compile(r"^[\W\d_]+|[\W\d_]+$")


class PasswordRefusedError(ValueError):
    """The password is too short, too long, or one of those that are tried first."""


def check_password(password: str, name: str) -> None:
    """Refuse what a guesser tries first; the message never repeats the password."""
    if not MIN_LENGTH <= len(password) <= MAX_LENGTH:
        raise PasswordRefusedError(f"a password of {len(password)} characters (expected {MIN_LENGTH} to {MAX_LENGTH})")
    plain = password.casefold()
    bare = _ENDS.sub("", plain)
    counted = plain in _COUNTING or plain in _COUNTING[::-1]
    common = not {bare, plain}.isdisjoint(_COMMON) or name.casefold() in {bare, plain}
    if len(set(plain)) < 5 or counted or common:
        raise PasswordRefusedError("a password that is among the first to be guessed (expected a less common one)")


def hash_password(password: str) -> str:
    """The password as it is stored; takes 46 MiB and some 50 ms, so call it off the event loop."""
    return _hasher.hash(password)


def verify_password(stored: str | None, password: str) -> bool:
    """Whether this is the password; as slow when there is nobody to compare it with (`stored` is None)."""
    try:
        _hasher.verify(_NOBODY if stored is None else stored, password[: MAX_LENGTH + 1])
    except (VerificationError, InvalidHashError):
        return False
    return stored is not None


# Argon2 of a random string that nobody has kept, with the same cost as a real one.
_NOBODY: Final = _hasher.hash("nobody's password, compared so that a stranger's sign-in takes as long")
