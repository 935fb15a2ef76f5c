"""What a provider says of a person, and whether to believe it (OpenID Connect Core §3.1.3.7): pure.

Signed by a key that the provider publishes, with an algorithm of our list and never with a shared secret; from this
issuer, for us and for nobody beside us, not expired, and an answer to the question that we asked (`nonce`).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from joserfc import jwk, jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet

from central.people.names import email_address

# Public keys alone sign: with HS256 whoever knows the public key could sign with it (RFC 8725 §2.1).
ALGORITHMS: Final = ("RS256", "PS256", "ES256", "EdDSA", "Ed25519")
_KINDS: Final = frozenset({"RSA", "EC", "OKP"})
_MOST_KEYS: Final = 50
_MOST_SUBJECT: Final = 200
# Clocks differ.
LEEWAY_S: Final = 60


class IdTokenError(ValueError):
    """A token that is not believed; the message says why, and holds nothing of it."""


class UnknownKeyError(IdTokenError):
    """Signed with a key that is not among those that we know: the provider may have a new one."""


@dataclass(frozen=True, slots=True)
class Expected:
    """Who must have said it, to whom, and as the answer to what."""

    issuer: str
    client_id: str
    nonce: str


@dataclass(frozen=True, slots=True)
class Identity:
    """Who somebody is there. `email` only where the provider says that it has proved it."""

    issuer: str
    subject: str
    email: str | None


def public_keys(document: Any) -> KeySet:
    """The keys of a provider's JWK set that can sign for us; what we cannot read is left out."""
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise IdTokenError("no list of keys (expected a JWK set)")
    found = []
    for each in listed[:_MOST_KEYS]:
        if not isinstance(each, dict) or each.get("kty") not in _KINDS or each.get("use", "sig") != "sig":
            continue
        try:
            found.append(jwk.import_key(each))
        except (JoseError, ValueError, TypeError, KeyError):
            continue
    return KeySet(found)


def identity_of(token: str, keys: KeySet, expected: Expected, now: datetime) -> Identity:
    """Whom a token speaks of; IdTokenError where it is not believed."""
    try:
        claims: Mapping[str, Any] = jwt.decode(token, keys, algorithms=list(ALGORITHMS)).claims
        _registry(expected, now).validate(dict(claims))
    except InvalidKeyIdError as error:
        raise UnknownKeyError("signed with a key that the provider does not publish") from error
    except (JoseError, ValueError, TypeError, KeyError) as error:
        raise IdTokenError(f"not believed: {type(error).__name__}") from error
    if _listed(claims["aud"]) != [expected.client_id] or claims.get("azp", expected.client_id) != expected.client_id:
        raise IdTokenError("meant for somebody else (expected our client id alone in `aud` and `azp`)")
    subject = claims["sub"]
    if not isinstance(subject, str) or not 1 <= len(subject) <= _MOST_SUBJECT or not subject.isprintable():
        raise IdTokenError(f"`sub` is no name (expected 1 to {_MOST_SUBJECT} printable characters)")
    return Identity(expected.issuer, subject, _proved_address(claims))


def _registry(expected: Expected, now: datetime) -> jwt.JWTClaimsRegistry:
    return jwt.JWTClaimsRegistry(
        now=math.ceil(now.timestamp()),
        leeway=LEEWAY_S,
        iss={"essential": True, "value": expected.issuer},
        aud={"essential": True, "value": expected.client_id},
        sub={"essential": True},
        iat={"essential": True},
        exp={"essential": True},
        nonce={"essential": True, "value": expected.nonce},
    )


def _listed(audience: Any) -> Sequence[Any]:
    return audience if isinstance(audience, list) else [audience]


def _proved_address(claims: Mapping[str, Any]) -> str | None:
    address = claims.get("email")
    if claims.get("email_verified") is not True or not isinstance(address, str):
        return None
    try:
        return email_address(address)
    except ValueError:
        return None
