"""One-time codes after RFC 6238 (SHA-1, 30 s, 6 digits: what every authenticator app knows).

A code is good once: the step that it was good for is kept, and no step up to it is taken again. In the database a
secret is sealed (`central.seal`), bound to the person whose it is.
"""

import base64
import hashlib
import hmac
import secrets
from datetime import datetime
from typing import Final
from urllib.parse import quote, urlencode

STEP_S: Final = 30
DIGITS: Final = 6
# Clocks differ: the step before and the one after are taken too.
_NEIGHBOURS: Final = (-1, 0, 1)


def new_secret() -> bytes:
    """160 random bits, as RFC 4226 recommends."""
    return secrets.token_bytes(20)


def code_at(secret: bytes, step: int) -> str:
    """The code of a step (RFC 4226 §5.3)."""
    digest = hmac.new(secret, step.to_bytes(8, "big"), hashlib.sha1).digest()
    start = digest[-1] & 0x0F
    number = int.from_bytes(digest[start : start + 4], "big") & 0x7FFF_FFFF
    return f"{number % 10**DIGITS:0{DIGITS}d}"


def good_step(secret: bytes, code: str, now: datetime, last_step: int | None) -> int | None:
    """The step that this code is good for, after the last one used; None where it is not."""
    typed = code.replace(" ", "").encode()
    here = int(now.timestamp()) // STEP_S
    found = [here + by for by in _NEIGHBOURS if hmac.compare_digest(code_at(secret, here + by).encode(), typed)]
    return next((step for step in found if last_step is None or step > last_step), None)


def key_text(secret: bytes) -> str:
    """The secret as an authenticator app takes it by hand: base32 in groups of four."""
    text = base64.b32encode(secret).decode().rstrip("=")
    return " ".join(text[at : at + 4] for at in range(0, len(text), 4))


def app_link(secret: bytes, name: str) -> str:
    """`otpauth://totp/…`, which opens an authenticator app."""
    values = {"secret": base64.b32encode(secret).decode().rstrip("="), "issuer": "Wellread"}
    return f"otpauth://totp/Wellread:{quote(name)}?{urlencode(values)}"
