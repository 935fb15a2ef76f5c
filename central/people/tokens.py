"""Signed tokens: who they speak for, for what, and until when. One Ed25519 key, made once, in `data_dir`, mode 0600.

A token names a user and a session and nothing more: whether it goes on, and the role, are looked up at every call, so
that a change counts at once. The algorithm is fixed by the key (RFC 8725 §3.1), and `aud` and `typ` keep an API token,
a page's cookie and the ticket between password and code apart.
"""

import hashlib
import hmac
import json
import math
import secrets
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from central.files import write_once

API_LIFE: Final = timedelta(minutes=15)
SESSION_LIFE: Final = timedelta(days=7)
TICKET_LIFE: Final = timedelta(minutes=5)

Audience = Literal["api", "pages", "ticket"]

# Signatures that need not be looked at twice; some 1 KB each.
REMEMBERED: Final = 4096

_ALGORITHM: Final = "Ed25519"  # RFC 9864; the older name EdDSA is refused
_ISSUER: Final = "wellread-central"
_TYPES: Final[dict[Audience, str]] = {"api": "at+jwt", "pages": "session+jwt", "ticket": "ticket+jwt"}
_LIVES: Final[dict[Audience, timedelta]] = {"api": API_LIFE, "pages": SESSION_LIFE, "ticket": TICKET_LIFE}


@dataclass(frozen=True, slots=True)
class Claims:
    """What a good token says."""

    user_id: str
    issued_at: float
    token_id: str
    session_id: str


class TokenKey:
    """The key that signs; `TokenKey.load(data_dir)` makes it the first time."""

    def __init__(self, key: OKPKey) -> None:
        """`key` holds the private half."""
        self._key = key
        # Claims by the digest of a token whose signature was good: the token itself is kept nowhere.
        self._good: OrderedDict[bytes, dict[str, Any]] = OrderedDict()
        # The first segments that we write: no other header is so much as parsed, and none has `kid`, `jku` or `crit`.
        self._heads = {audience: self._sign(audience, {}).partition(".")[0] for audience in _TYPES}
        self._csrf_key = hashlib.sha256(b"wellread csrf " + str(key.as_dict(private=True)["d"]).encode()).digest()

    @classmethod
    def load(cls, data_dir: Path) -> "TokenKey":
        """The key kept in `data_dir`; two processes that start together end up with the same one."""
        path = data_dir / "signing-key.json"
        if not path.exists():
            write_once(path, json.dumps(OKPKey.generate_key(_ALGORITHM, private=True).as_dict(private=True)))
        return cls(OKPKey.import_key(json.loads(path.read_text())))

    def issue(self, user_id: str, audience: Audience, now: datetime, *, session_id: str) -> str:
        """A token for this session of this user, good for as long as its audience has it."""
        claims = {
            "iss": _ISSUER,
            "aud": audience,
            "sub": user_id,
            "iat": now.timestamp(),
            "exp": (now + _LIVES[audience]).timestamp(),
            "jti": secrets.token_urlsafe(16),
            "sid": session_id,
        }
        return self._sign(audience, claims)

    def _sign(self, audience: Audience, claims: dict[str, Any]) -> str:
        header = {"alg": _ALGORITHM, "typ": _TYPES[audience]}
        return jwt.encode(header, claims, self._key, algorithms=[_ALGORITHM])

    def read(self, token: str, audience: Audience, now: datetime) -> Claims | None:
        """What the token says, or None unless it was made here, for this audience, and is still good."""
        if token.partition(".")[0] != self._heads[audience]:
            return None
        try:
            claims = self._signed(token)
            _registry(audience, now).validate(claims)
        except (JoseError, ValueError):
            return None
        return Claims(str(claims["sub"]), float(claims["iat"]), str(claims["jti"]), str(claims["sid"]))

    def _signed(self, token: str) -> dict[str, Any]:
        """What was signed, whether it still holds or not; JoseError or ValueError where nothing was.

        A program sends one token for a quarter of an hour, and a good signature stays good.
        """
        digest = hashlib.sha256(token.encode()).digest()
        claims = self._good.get(digest)
        if claims is None:
            claims = jwt.decode(token, self._key, algorithms=[_ALGORITHM]).claims
            self._good[digest] = claims
            if len(self._good) > REMEMBERED:
                self._good.popitem(last=False)
        return claims

    def csrf_token(self, token_id: str) -> str:
        """What a form of this session must carry: it cannot be made without the key."""
        return hmac.new(self._csrf_key, token_id.encode(), hashlib.sha256).hexdigest()

    def is_csrf_token(self, token_id: str, found: str) -> bool:
        """Whether a form's value belongs to this session."""
        return hmac.compare_digest(self.csrf_token(token_id).encode(), found.encode())


def _registry(audience: Audience, now: datetime) -> jwt.JWTClaimsRegistry:
    return jwt.JWTClaimsRegistry(
        now=math.ceil(now.timestamp()),  # `iat` has fractions: a token of this very second is not from the future
        leeway=0,
        iss={"essential": True, "value": _ISSUER},
        aud={"essential": True, "value": audience},
        sub={"essential": True},
        iat={"essential": True},
        exp={"essential": True},
        jti={"essential": True},
        sid={"essential": True},
    )
