"""A call to a laboratory system's address: Standard Webhooks, with the file's address and digest instead of the file.

The same id is sent at every try, so that the other side can tell a repetition. The name is looked up once, every
address that it has is checked, and the connection goes to the one that was checked: nobody can point us at ourselves or
at machines that only we can reach, unless settings list their network. Redirects are not followed, and no more than
64 kB of an answer is read.
"""

import base64
import hashlib
import hmac
import http.client
import re
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Final
from urllib.parse import SplitResult, urlsplit

import anyio.to_thread
import msgspec

from central.deliveries.targets.addresses import Network, Reach, Resolve, resolve
from central.deliveries.targets.target import Outgoing, Place, TargetError

TIMEOUT_S: Final = 5.0
# For the whole of a call: who gives an answer byte by byte is not listened to for ever.
WHOLE_CALL_S: Final = 10.0
MOST_ANSWER_BYTES: Final = 64 * 1024
SECRET_PREFIX: Final = "whsec_"
# What an address may be made of (RFC 3986): no spaces, no line ends, nothing but ASCII.
_SIGNS: Final = re.compile(r"[A-Za-z0-9._~:/?#@!$&'()*+,;=%\[\]-]{1,2000}")
_LEAST_SECRET_BYTES, _MOST_SECRET_BYTES = 24, 64


@dataclass(frozen=True, slots=True)
class Webhook:
    """One address, the secret that signs, and the networks inside that may be called."""

    url: str
    secret: bytes
    file_url: Callable[[str], str]
    now: Callable[[], datetime]
    inside: tuple[Network, ...] = ()
    resolve: Resolve = resolve
    trust: ssl.SSLContext | None = None
    whole_call_s: float = WHOLE_CALL_S

    async def prepare(self, file: Outgoing) -> Place:
        """Nothing can be brought near; the address is checked, so that a bad one is said at once."""
        await anyio.to_thread.run_sync(self._checked)
        return {"url": self.url}

    async def finish(self, file: Outgoing, place: Place) -> bool:
        """Call; a 2xx says that the other side has it."""
        await self.send(file.id, self.body(file))
        return True

    async def send(self, message_id: str, body: bytes) -> None:
        """Call with anything else; the same id and body at every try."""
        await anyio.to_thread.run_sync(self._call, message_id, body)

    async def taken(self, file: Outgoing, place: Place) -> bool:
        """It was: a call is answered or it is not placed."""
        return True

    def body(self, file: Outgoing) -> bytes:
        """What is sent: the same at every try."""
        said = {
            "type": "delivery.placed",
            "data": {
                "id": file.id,
                "name": file.name,
                "media_type": file.media_type,
                "sha256": hashlib.sha256(file.content).hexdigest(),
                "bytes": len(file.content),
                "url": self.file_url(file.id),
            },
        }
        return msgspec.json.encode(said)

    def _call(self, message_id: str, body: bytes) -> None:
        url, address = self._checked()
        moment = int(self.now().timestamp())
        headers = {
            "Host": url.netloc,
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "User-Agent": "wellread",
            "webhook-id": message_id,
            "webhook-timestamp": str(moment),
            "webhook-signature": signature(self.secret, message_id, moment, body),
        }
        connection = _Pinned(url, address, self.trust)
        limit = threading.Timer(self.whole_call_s, connection.break_off)
        limit.start()
        try:
            connection.request("POST", (url.path or "/") + (f"?{url.query}" if url.query else ""), body, headers)
            with connection.getresponse() as answer:
                answer.read(MOST_ANSWER_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise TargetError(f"{self.url} does not answer: {error}", "it is tried again") from error
        finally:
            limit.cancel()
            connection.close()
        if connection.broken_off:  # what was cut off looks like an answer that ended
            raise TargetError(f"{self.url} takes longer than {self.whole_call_s:g} s to answer", "it is tried again")
        self._judge(answer.status)

    def _judge(self, status: int) -> None:
        if 200 <= status < 300:
            return
        said = f"{self.url} answers {status} {_phrase(status)}"
        if status == HTTPStatus.GONE:
            raise TargetError(said, "it wants no more of this; the rule has to be changed", final=True)
        if 300 <= status < 400:
            raise TargetError(said, "a redirect is not followed; give the rule the address itself", final=True)
        raise TargetError(said, "it is tried again")

    def _checked(self) -> tuple[SplitResult, str]:
        """The address in parts, and one checked address of its host."""
        url = _parsed(self.url)
        reach = Reach(self.inside, self.resolve)
        found = reach.addresses(url.hostname or "", url.port or (443 if url.scheme == "https" else 80))
        if url.scheme != "https" and not all(reach.lists(address) for address in found):
            raise TargetError(f"{self.url} is not https", "give the rule an https address", final=True)
        return url, found[0]


class _Pinned(http.client.HTTPConnection):
    """A connection to a checked address, speaking to the name that was asked for."""

    def __init__(self, url: SplitResult, address: str, trust: ssl.SSLContext | None) -> None:
        super().__init__(address, url.port or (443 if url.scheme == "https" else 80), timeout=TIMEOUT_S)
        self._name, self._tls = url.hostname or "", url.scheme == "https"
        self._trust, self.broken_off = trust, False

    def break_off(self) -> None:
        """End the conversation from another thread: whoever reads reads nothing more."""
        self.broken_off = True
        if self.sock is not None:
            with suppress(OSError):
                self.sock.shutdown(socket.SHUT_RDWR)

    def connect(self) -> None:
        """Connect to the address; the certificate must be the name's."""
        super().connect()
        if self._tls:
            context = self._trust or ssl.create_default_context()
            self.sock = context.wrap_socket(self.sock, server_hostname=self._name)


def signature(secret: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """`v1,` and the HMAC-SHA256 of `id.timestamp.body`, as Standard Webhooks has it."""
    signed = b".".join((message_id.encode(), str(timestamp).encode(), body))
    return "v1," + base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()


def parse_secret(text: str) -> bytes:
    """The key of `whsec_…`; ValueError where it is none, without repeating it."""
    try:
        key = base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
    except ValueError as error:
        raise ValueError(f"not a webhook secret (expected {SECRET_PREFIX} and base64)") from error
    if not _LEAST_SECRET_BYTES <= len(key) <= _MOST_SECRET_BYTES:
        expected = f"{_LEAST_SECRET_BYTES} to {_MOST_SECRET_BYTES}"
        raise ValueError(f"a webhook secret of {len(key)} bytes (expected {expected})")
    return key


def _parsed(text: str) -> SplitResult:
    try:
        url = urlsplit(text)
        sound = url.scheme in ("http", "https") and url.hostname and url.port != 0
    except ValueError as error:
        raise TargetError(f"not an address: {text[:200]!r}", "expected https://host/path", final=True) from error
    if not sound or url.username is not None or url.fragment or not _SIGNS.fullmatch(text):
        raise TargetError(f"not an address: {text[:200]!r}", "expected https://host/path", final=True)
    return url


def _phrase(status: int) -> str:
    return http.client.responses.get(status, "")
