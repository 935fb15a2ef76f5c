"""The laboratory's OpenID Connect provider, where the settings name one: where people are sent, and what it answers.

Authorization code with PKCE (RFC 9700 §2.1.1). Everything that the provider sends is bounded, redirects are not
followed, and its addresses are HTTPS but on this very machine. Decision 0032 says whom it signs in.
"""

import json
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

import anyio
import httpx
from joserfc.jwk import KeySet

from central.people.flow import Flow
from central.people.id_token import Expected, Identity, IdTokenError, UnknownKeyError, identity_of, public_keys
from central.settings import Settings

TIMEOUT_S: Final = 10.0
MOST_BYTES: Final = 256 * 1024
KEPT_FOR: Final = timedelta(hours=1)
# So often at most new keys are asked for because of a token: a stranger's token must not make us ask without end.
KEYS_EVERY: Final = timedelta(seconds=30)
_HERE: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_ENDPOINTS: Final = ("authorization_endpoint", "token_endpoint", "jwks_uri")
_WAYS: Final = "token_endpoint_auth_methods_supported"


class ProviderError(Exception):
    """The provider does not answer, or not as it should; the message is for the log and holds no secret."""


@dataclass(slots=True)
class _Known:
    """What the provider said of itself, and when; with its keys."""

    metadata: Mapping[str, Any]
    keys: KeySet
    at: datetime


class Provider:
    """One provider and who we are to it."""

    def __init__(
        self, issuer: str, client_id: str, client_secret: str, title: str, *, now: Callable[[], datetime]
    ) -> None:
        """Nothing is asked before somebody wants to sign in. The host's own list of authorities is trusted."""
        self.issuer = issuer
        self.title = title
        self._client_id = client_id
        self._client_secret = client_secret
        self._now = now
        self._known: _Known | None = None
        self._asking = anyio.Lock()
        self._unanswered = 0
        self._answers = anyio.CapacityLimiter(4)
        self._trust = ssl.create_default_context()

    async def address(self, flow: Flow, redirect_uri: str) -> str:
        """Where the browser goes to sign in there."""
        known = await self._know()
        asked = {
            "response_type": "code",
            "client_id": self._client_id,
            "redirect_uri": redirect_uri,
            "scope": "openid email",
            "state": flow.state,
            "nonce": flow.nonce,
            "code_challenge": flow.challenge,
            "code_challenge_method": "S256",
        }
        endpoint = str(known.metadata["authorization_endpoint"])
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(asked)}"

    async def identity(self, code: str, flow: Flow, redirect_uri: str, *, issuer: str | None) -> Identity:
        """Whom the provider's answer speaks of; `issuer` is what the answer says of itself (RFC 9207)."""
        async with self._answers:
            known = await self._know()
            required = known.metadata.get("authorization_response_iss_parameter_supported") is True
            if issuer != self.issuer and (required or issuer is not None):
                raise ProviderError("the answer is of another issuer")
            token = await self._exchange(known.metadata, code, flow, redirect_uri)
            expected = Expected(self.issuer, self._client_id, flow.nonce)
            try:
                return await self._believed(known, token, expected)
            except IdTokenError as error:
                raise ProviderError(f"the ID token is {error}") from error

    async def _believed(self, known: _Known, token: str, expected: Expected) -> Identity:
        try:
            return identity_of(token, known.keys, expected, self._now())
        except UnknownKeyError:
            if self._now() - known.at < KEYS_EVERY:
                raise
        return identity_of(token, (await self._know(afresh=known)).keys, expected, self._now())

    async def _know(self, afresh: _Known | None = None) -> _Known:
        """What the provider says of itself: kept for an hour, or asked for again where `afresh` is what we have.

        Who waited while somebody else got no answer does not ask once more: a queue would wait for ever.
        """
        unanswered = self._unanswered
        async with self._asking:
            if self._unanswered != unanswered:
                raise ProviderError(f"{self.issuer} did not answer a moment ago")
            known = self._known
            if known is not None and known is not afresh and self._now() - known.at < KEPT_FOR:
                return known
            try:
                self._known = await self._asked()
            except ProviderError:
                self._unanswered += 1
                raise
            return self._known

    async def _asked(self) -> _Known:
        async with self._client() as client:
            where = f"{self.issuer.rstrip('/')}/.well-known/openid-configuration"
            metadata = self._checked(await _document(client, "GET", where))
            listed = await _document(client, "GET", metadata["jwks_uri"])
        return _Known(metadata, _keys(listed), self._now())

    def _checked(self, metadata: Any) -> Mapping[str, Any]:
        if not isinstance(metadata, dict) or metadata.get("issuer") != self.issuer:
            raise ProviderError(f"what is at {self.issuer} is of another issuer")
        for name in _ENDPOINTS:
            if not isinstance(metadata.get(name), str) or not is_safe(metadata[name]):
                raise ProviderError(f"{self.issuer} has no good {name} (expected an https:// address)")
        if not isinstance(metadata.get(_WAYS, []), list):
            raise ProviderError(f"{self.issuer} has no good {_WAYS} (expected a list)")
        return metadata

    async def _exchange(self, metadata: Mapping[str, Any], code: str, flow: Flow, redirect_uri: str) -> str:
        """The ID token for a code."""
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri}
        form["code_verifier"] = flow.verifier
        auth = None
        taken = metadata.get(_WAYS, ["client_secret_basic"])
        if self._client_secret and "client_secret_basic" in taken:
            auth = httpx.BasicAuth(quote(self._client_id, safe=""), quote(self._client_secret, safe=""))
        else:
            form |= {"client_id": self._client_id}
            form |= {"client_secret": self._client_secret} if self._client_secret else {}
        async with self._client() as client:
            answer = await _document(client, "POST", str(metadata["token_endpoint"]), data=form, auth=auth)
        token = answer.get("id_token") if isinstance(answer, dict) else None
        if not isinstance(token, str):
            raise ProviderError("the answer for the code has no ID token")
        return token

    def _client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(verify=self._trust, timeout=TIMEOUT_S, follow_redirects=False, trust_env=False)


def _keys(document: Any) -> KeySet:
    try:
        return public_keys(document)
    except IdTokenError as error:
        raise ProviderError(f"no keys of the provider: {error}") from error


async def _document(client: httpx.AsyncClient, method: str, url: str, **sent: Any) -> Any:
    """A JSON document; ProviderError where there is none, or one without end, in bytes or in time."""
    content = b""
    try:
        with anyio.fail_after(TIMEOUT_S):
            async with client.stream(method, url, headers={"accept": "application/json"}, **sent) as answer:
                async for part in answer.aiter_bytes():
                    content += part
                    if len(content) > MOST_BYTES:
                        raise ProviderError(f"{_place(url)} answers without end (expected at most {MOST_BYTES} bytes)")
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise ProviderError(f"{_place(url)} does not answer: {type(error).__name__}") from error
    if answer.status_code != 200:
        raise ProviderError(f"{_place(url)} answers {answer.status_code} (expected 200)")
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ProviderError(f"{_place(url)} answers something else than JSON") from error


def _place(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.hostname}{parts.path}"


def is_safe(url: str) -> bool:
    """Whether an address is HTTPS, or of this very machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return False
    return (parts.scheme == "https" and bool(host)) or (parts.scheme == "http" and host in _HERE)


def provider_of(settings: Settings, now: Callable[[], datetime]) -> Provider | None:
    """From settings, which were checked; None where they name no issuer."""
    issuer, secret_file = settings.oidc_issuer, settings.oidc_client_secret_file
    if not issuer:
        return None
    secret = Path(secret_file).read_text().strip() if secret_file else settings.oidc_client_secret
    title = settings.oidc_title or str(urlsplit(issuer).hostname)
    return Provider(issuer, settings.oidc_client_id, secret, title, now=now)
