"""Passwords: what is accepted, how it is kept (argon2id), and a comparison that takes as long for a stranger.

Length counts, composition does not (NIST SP 800-63B-4); what everybody tries first is refused. The cost is OWASP's
m = 46 MiB, t = 1, p = 1 from ASVS 5.0, appendix C.
"""

import re
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

MIN_LENGTH: Final = 10
MAX_LENGTH: Final = 256

_hasher: Final = PasswordHasher(time_cost=1, memory_cost=46 * 1024, parallelism=1)

# What stays of a password once digits and signs at its ends are taken off.
_COMMON_TEXT: Final = """
    password passwort passw0rd motdepasse contraseña qwerty qwertyuiop qwertyuiopasdfghjkl qwertz qwertzuiop azerty
    azertyuiop asdfghjkl asdfghjklzxcvbnm zxcvbnm abcdefgh abcdefghij abcdefghijkl abcdefghijklmnopqrstuvwxyz
    iloveyou letmein letmeinnow welcome welcomehome administrator admin adminadmin passwordpassword changeme
    changemenow default football baseball basketball sunshine princess princessprincess superman batman trustno
    whatever starwars computer internet laboratory labor laboratorio microplate wellread wellreadadmin secret
    supersecret topsecret test testtest testtesttest guest guestguest monkey dragon master masterkey access
    login loginlogin hello helloworld shadow michael jennifer jordan pokemon charlie q1w2e3r4t5y q1w2e3r4t
    1q2w3e4r5t6y 1q2w3e4r5t 1qaz2wsx3edc zaq12wsx qazwsxedc qazwsxedcrfv
"""
_COMMON: Final = frozenset(_COMMON_TEXT.split())
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
    if len(set(plain)) < 5 or counted or {bare, plain} & (_COMMON | {name.casefold()}):
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
