"""Requests as somebody makes them who wants to break something: a seed gives the same one again."""

# ruff: noqa: E501  (lists of hostile values are read across, not down)

import json
import random
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlencode

TEXTS: Final = (
    "", " ", "0", "-1", "1e309", "NaN", "null", "true", "[]", "{}", "%", "%00", "%2e%2e%2f", "../../../etc/passwd",
    "..\\..\\windows", "/etc/passwd", "file:///etc/passwd", "http://169.254.169.254/", "//evil.example", "\\\\evil\\x",
    "'", "\"", "' OR 1=1 --", "'; DROP TABLE runs; --", "1; SELECT pg_sleep(9)", "${7*7}", "{{7*7}}", "{%raw%}", "#{1}",
    "<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>", "javascript:alert(1)", "=1+2", "@SUM(A1)", "\r\nX-A: b",
    "\x00", "a\x00b", "\x1b[31mred", "\u202e", "\ufeff", "\ud7ff", "\uffff", "\U0001f9ea", "e\u0301", "İ", "ß", "ﬃ",
    "A" * 300, "9" * 400, "0x41", "1_000", "٣", "2026-11-20T12:00:00Z", "2026-02-30", "0000-00-00", "9999-12-31T23:59:60Z",
    "a" * 63 + "!", "(a+)+$", "wr_x_y", "Bearer", "__proto__", "constructor", "S-1001", "S~1~1", "~0", "*",
)  # fmt: skip
VALUES: Final[tuple[Any, ...]] = (
    None, True, False, 0, -1, 2**31, 2**53 + 1, 2**63, -(2**63), 2**64, 10**30, 0.1, -0.0, 1e308, [], {}, [[]], [None],
    {"": ""}, {"a": {"b": []}}, *TEXTS,
)  # fmt: skip
BODIES: Final = (
    b"", b"{", b"}", b"null", b"[", b"\"", b"\xff\xfe", b"{\"a\":1,\"a\":2}", b"[" * 50_000, b"{\"a\":" * 10_000, b"NaN",
    b"1e99999", b"1" * 5000, b"\x00" * 100, b"{\"name\":\"\\ud800\"}", b"{\"name\":\"a\\u0000b\"}", b"a" * 70_000,
    b"a=1&a=2&=&%", b"--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nb\r\n--x--\r\n", b"PK\x03\x04", b"\x1f\x8b\x08",
)  # fmt: skip
TYPES: Final = (
    "application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "multipart/form-data",
    "text/plain", "application/msgpack", "application/yaml", "application/octet-stream", "image/jpeg", "x", "", "a/b; c=\xe9",
)  # fmt: skip
HEADERS: Final = (
    ("accept", "application/xml"), ("accept-language", "x" * 300), ("if-match", "\"1\""), ("if-match", "*"),
    ("if-match", "W/\"x"), ("if-match", "\"99999999999999999999\""), ("if-none-match", "\"x\", *"), ("last-event-id", "-1"),
    ("last-event-id", "9" * 18), ("content-range", "bytes 0-0/1"), ("content-range", "bytes 5-1/0"), ("range", "bytes=0-"),
    ("range", "bytes=-1,9-1"), ("x-forwarded-for", "1.2.3.4, x"), ("x-forwarded-host", "evil.example"), ("host", "evil.example"),
    ("x-forwarded-proto", "https"), ("origin", "https://evil.example"), ("origin", "null"), ("sec-fetch-site", "cross-site"),
    ("x-http-method-override", "DELETE"), ("content-encoding", "gzip"), ("content-length", "-1"), ("content-length", "x"),
    ("transfer-encoding", "chunked"), ("cookie", "wellread_session=x; wellread_session=y"), ("cookie", "=;;=\xff"),
    ("authorization", "Basic YTpi"), ("authorization", "Bearer"), ("authorization", "Bearer a.b.c"), ("authorization", "Bearer \xff"),
    ("authorization", "Bearer wr_a_b"), ("user-agent", "\x1b[31m<script>"), ("x-csrf-token", "x"), ("expect", "100-continue"),
)  # fmt: skip
METHODS: Final = (
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "PATCH",
    "DELETE",
    "OPTIONS",
    "TRACE",
    "CONNECT",
    "PROPFIND",
    "get",
    "X",
)


@dataclass(frozen=True)
class Shape:
    """One operation: path with `{names}`, the names of its queries, its body's schema, or a form's fields."""

    method: str
    path: str
    queries: tuple[str, ...] = ()
    schema: Mapping[str, Any] | None = None
    form: tuple[str, ...] = ()


@dataclass(frozen=True)
class Request:
    """What is sent."""

    method: str
    path: str
    query: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


class Attacker:
    """Makes requests; `known` are values that stand in the database."""

    def __init__(self, shapes: Sequence[Shape], known: Sequence[Any], components: Mapping[str, Any], seed: int) -> None:
        """The same seed, the same requests."""
        self.chance: Final = random.Random(seed)
        self._shapes, self._known, self._components = shapes, known, components

    def request(self, csrf: str = "") -> Request:
        """The next one; `csrf` goes into forms, so that they are looked at."""
        chance = self.chance
        shape = chance.choice(self._shapes)
        method = shape.method if chance.random() < 0.93 else chance.choice(METHODS)
        path = self._path(shape.path)
        asked = [(name, self._text()) for name in shape.queries if chance.random() < 0.35]
        if chance.random() < 0.1:
            asked.append((self._text(), self._text()))
        body, kind = self._body(shape, csrf)
        headers = [("content-type", kind)] if body or chance.random() < 0.1 else []
        headers += [chance.choice(HEADERS) for _ in range(chance.choice((0, 0, 0, 0, 1, 2)))]
        return Request(method, path, urlencode(asked, errors="replace"), tuple(headers), body)

    def _text(self) -> str:
        chance = self.chance
        if chance.random() < 0.55:
            return str(chance.choice(self._known))
        if chance.random() < 0.2:
            return "".join(chance.choice(string.printable) for _ in range(chance.randrange(12)))
        return chance.choice(TEXTS)

    def _path(self, template: str) -> str:
        parts = [quote(self._text(), safe="") if part.startswith("{") else part for part in template.split("/")]
        path = "/".join(parts)
        if self.chance.random() < 0.05:
            at = self.chance.randrange(len(path) + 1)
            path = (
                path[:at] + self.chance.choice(("/", "//", "/../", "%2f", ";", "/.", "%00", "é", ".json")) + path[at:]
            )
        return path if path.startswith("/") else f"/{path}"

    def _body(self, shape: Shape, csrf: str) -> tuple[bytes, str]:
        chance = self.chance
        if chance.random() < 0.12:
            return chance.choice(BODIES), chance.choice(TYPES)
        if shape.form:
            fields = [(name, self._text()) for name in shape.form if chance.random() < 0.85]
            fields += [("csrf_token", csrf)] if chance.random() < 0.95 else []
            return urlencode(fields, errors="replace").encode(), "application/x-www-form-urlencoded"
        if shape.schema is None:
            return (b"", "") if chance.random() < 0.9 else (json.dumps(self._value()).encode(), "application/json")
        return json.dumps(self._of(shape.schema, 0)).encode(), "application/json"

    def _value(self) -> Any:
        return self.chance.choice(self._known) if self.chance.random() < 0.5 else self.chance.choice(VALUES)

    def _of(self, schema: Mapping[str, Any], depth: int) -> Any:  # noqa: PLR0911
        """Something like what a schema describes, with here and there a value that is not."""
        chance = self.chance
        if depth > 6 or chance.random() < 0.06:
            return self._value()
        if "$ref" in schema:
            return self._of(self._components[schema["$ref"].rsplit("/", 1)[-1]], depth + 1)
        for several in ("oneOf", "anyOf", "allOf"):
            if schema.get(several):
                return self._of(chance.choice(schema[several]), depth + 1)
        if "enum" in schema:
            return chance.choice(schema["enum"])
        match schema.get("type"):
            case "object":
                named = schema.get("properties", {})
                made = {name: self._of(of, depth + 1) for name, of in named.items() if chance.random() < 0.9}
                return made | ({"unknown": 1} if chance.random() < 0.05 else {})
            case "array":
                return [self._of(schema.get("items") or {}, depth + 1) for _ in range(chance.choice((0, 1, 1, 2, 5)))]
            case "integer":
                return chance.choice((0, 1, 2, 3, 60, 2**40))
            case "number":
                return chance.choice((0.0, 0.5, 1, 64, 1e9))
            case "boolean":
                return chance.random() < 0.5
            case "null":
                return None
            case _:
                return self._text()
