"""An OpenID Connect provider on this machine that does what a test tells it to, also what none should."""

import base64
import hashlib
import json
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from joserfc import jwt
from joserfc.jwk import ECKey

CLIENT, SECRET = "wellread-of-the-lab", "s3cret of the two/of:us"


@dataclass
class Provider:
    """What it publishes, whom it speaks of and how it signs; tests change any of it."""

    issuer: str
    now: Callable[[], datetime]
    key: ECKey = field(default_factory=lambda: new_key("first"))
    published: list[ECKey] = field(default_factory=list)
    algorithm: str = "ES256"
    claims: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    token: Callable[[str], str | None] = str
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def authorise(self, address: str) -> dict[str, str]:
        """Somebody signs in at the address that central sent them to: what their browser brings back."""
        query = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
        assert (query["client_id"], query["response_type"]) == (CLIENT, "code")
        code = secrets.token_urlsafe(16)
        self.codes[code] = query
        return {"code": code, "state": query["state"], "iss": self.issuer}

    def rotate(self, name: str) -> None:
        """A new key signs, and it alone is published."""
        self.key = new_key(name)
        self.published = [self.key]

    def document(self, path: str) -> Any:
        """What is at a path."""
        self.asked.append(path)
        if path == "/keys":
            return {"keys": [key.as_dict(private=False) for key in self.published or [self.key]]}
        at = {name: f"{self.issuer}/{path_}" for name, path_ in (
            ("authorization_endpoint", "authorise"), ("token_endpoint", "token"), ("jwks_uri", "keys")
        )}  # fmt: skip
        return {"issuer": self.issuer} | at | self.metadata

    def exchanged(self, form: dict[str, str], authorization: str) -> Any:
        """The token for a code, where client, verifier and address are those that it was given for."""
        asked = self.codes.pop(form["code"])
        name, _, password = base64.b64decode(authorization.removeprefix("Basic ")).decode().partition(":")
        assert (unquote(name), unquote(password)) == (CLIENT, SECRET)
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        assert base64.urlsafe_b64encode(digest).decode().rstrip("=") == asked["code_challenge"]
        assert form["redirect_uri"] == asked["redirect_uri"]
        at = int(self.now().timestamp())
        said = {"iss": self.issuer, "aud": CLIENT, "sub": "a-17", "iat": at, "exp": at + 300, "nonce": asked["nonce"]}
        said |= {"email": "anna@lab.example", "email_verified": True} | self.claims
        header = {"alg": self.algorithm, "kid": self.key.kid}
        signed = jwt.encode(header, {n: v for n, v in said.items() if v is not None}, self.key, [self.algorithm])
        return {"token_type": "Bearer", "access_token": "unused", "id_token": self.token(signed)}


def new_key(name: str) -> ECKey:
    """A key for ES256, of this name."""
    return ECKey.generate_key("P-256", {"kid": name, "use": "sig"})


@contextmanager
def providing(now: Callable[[], datetime]) -> Iterator[Provider]:
    """A provider that answers on a port of its own."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._say(provider.document(self.path))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            form = {name: values[0] for name, values in parse_qs(body).items()}
            try:
                self._say(provider.exchanged(form, self.headers.get("authorization", "")))
            except (AssertionError, KeyError):
                self._say({"error": "invalid_grant"}, 400)

        def _say(self, document: Any, status: int = 200) -> None:
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    provider = Provider(f"http://127.0.0.1:{server.server_address[1]}", now)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
