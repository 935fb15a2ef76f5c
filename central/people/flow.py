"""One sign-in at a provider, from our page to its answer: kept in a sealed cookie for ten minutes, and good once.

`state` binds the answer to this browser, `nonce` the token to this question, the verifier of PKCE the code to us. The
cookie says `SameSite=Lax`, because the answer comes from the provider's page; nobody is signed in by it.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
from datetime import datetime, timedelta
from typing import Final

import msgspec
from sqlalchemy import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from central.db import transaction
from central.seal import Seal, SealError
from central.tables import used_states

GOOD_FOR: Final = timedelta(minutes=10)
_OWNER: Final = "sign-in elsewhere"


class Flow(msgspec.Struct, frozen=True):
    """What we remember of the question; `link` is the code of an administrator's link that it began with.

    `person_id` and `session_id`: as whom this browser was signed in then. Its cookie does not come with the answer.
    """

    state: str
    nonce: str
    verifier: str
    began_at: datetime
    next_page: str
    link: str = ""
    person_id: str = ""
    session_id: str = ""

    @property
    def challenge(self) -> str:
        """S256 of the verifier (RFC 7636 §4.2)."""
        return base64.urlsafe_b64encode(hashlib.sha256(self.verifier.encode()).digest()).decode().rstrip("=")

    def answers(self, state: str) -> bool:
        """Whether an answer with this state is one to our question."""
        return hmac.compare_digest(self.state.encode(), state.encode())


def begin(next_page: str, link: str, now: datetime) -> Flow:
    """A new question; each of its three secrets has 256 random bits."""
    state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
    return Flow(state, nonce, verifier, now, next_page, link)


def sealed(seal: Seal, flow: Flow) -> str:
    """As the browser keeps it: it can neither read nor change it."""
    return base64.urlsafe_b64encode(seal.close(msgspec.json.encode(flow), _OWNER)).decode()


def opened(seal: Seal, text: str, now: datetime) -> Flow | None:
    """What the browser kept; None where it is not of our making, or too old."""
    try:
        content = base64.b64decode(text.encode(), altchars=b"-_", validate=True)
        flow = msgspec.json.decode(seal.open(content, _OWNER), type=Flow)
    except (SealError, msgspec.DecodeError, binascii.Error, ValueError):
        return None
    return flow if now - flow.began_at < GOOD_FOR else None


async def use_up(engine: AsyncEngine, flow: Flow) -> bool:
    """Whether this is the first answer to this question."""
    digest = hashlib.sha256(flow.state.encode()).hexdigest()
    try:
        async with transaction(engine) as connection:
            row = {"state_sha256": digest, "expires_at": flow.began_at + GOOD_FOR}
            await connection.execute(insert(used_states).values(row))
    except IntegrityError:
        return False
    return True
