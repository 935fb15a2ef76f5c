"""What RFC 8725 warns of, tried on our tokens: none of it says anything."""

import base64
import json
import random
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import OctKey, OKPKey

from central.people.tokens import TokenKey
from tests.make import NOON

CLAIMS: dict[str, Any] = {
    "iss": "wellread-central",
    "aud": "api",
    "sub": "u1",
    "iat": NOON.timestamp(),
    "exp": NOON.timestamp() + 900,
    "jti": "x",
    "sid": "s1",
}
HEADER = {"alg": "Ed25519", "typ": "at+jwt"}
MUTANTS = 10_000


def _text(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


@pytest.fixture
def key(tmp_path: Path) -> TokenKey:
    """The key of a central."""
    return TokenKey.load(tmp_path)


@pytest.fixture
def ours(tmp_path: Path, key: TokenKey) -> OKPKey:
    """Its private half, to sign with what central would never write."""
    return OKPKey.import_key(json.loads((tmp_path / "signing-key.json").read_text()))


def signed(ours: OKPKey, header: dict[str, Any] | None = None, **claims: Any) -> str:
    """A token with our signature; a claim of None is left out."""
    said = {name: value for name, value in (CLAIMS | claims).items() if value is not None}
    return jwt.encode(HEADER | (header or {}), said, ours, algorithms=["Ed25519"])


def test_what_these_tests_forge_would_be_taken_were_it_right(key: TokenKey, ours: OKPKey) -> None:
    assert key.read(signed(ours), "api", NOON) is not None


def test_a_token_whose_signature_is_known_ends_when_it_says(key: TokenKey, ours: OKPKey) -> None:
    token = signed(ours)
    assert key.read(token, "api", NOON) == key.read(token, "api", NOON + timedelta(seconds=899)) is not None
    assert key.read(token, "api", NOON + timedelta(seconds=901)) is None
    assert key.read(token, "pages", NOON) is None


def test_a_known_token_with_another_signature_says_nothing(key: TokenKey, ours: OKPKey) -> None:
    token = signed(ours)
    assert key.read(token, "api", NOON) is not None
    body, _, signature = token.rpartition(".")
    assert key.read(f"{body}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}", "api", NOON) is None
    other = signed(ours, sub="u2").rpartition(".")[0]
    assert key.read(f"{other}.{signature}", "api", NOON) is None


def test_only_so_many_signatures_are_remembered(key: TokenKey, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []
    decode = jwt.decode

    def counted(token: str, *arguments: Any, **options: Any) -> jwt.Token:
        looked.append(token)
        return decode(token, *arguments, **options)

    monkeypatch.setattr("central.people.tokens.REMEMBERED", 2)
    monkeypatch.setattr("central.people.tokens.jwt.decode", counted)
    tokens = [key.issue("u1", "api", NOON, session_id=f"s{at}") for at in range(3)]
    for token in (*tokens, tokens[2], tokens[0]):
        assert key.read(token, "api", NOON) is not None
    assert looked == [*tokens, tokens[0]]


def test_our_own_signature_over_wrong_claims_says_nothing(key: TokenKey, ours: OKPKey) -> None:
    now = NOON.timestamp()
    wrong: dict[str, dict[str, Any]] = {
        "issuer": {"iss": "x"},
        "audience": {"aud": "pages"},
        "audiences": {"aud": ["pages", "ticket"]},
        "ended": {"exp": now - 1},
        "ends this second": {"exp": now},
        "ends never": {"exp": None},
        "ends in words": {"exp": "never"},
        "not yet": {"nbf": now + 60},
        "from the future": {"iat": now + 60},
        "nobody": {"sub": None},
        "no session": {"sid": None},
        "no id": {"jti": None},
        "a list of users": {"sub": ["u1"]},
    }
    taken = [name for name, claims in wrong.items() if key.read(signed(ours, **claims), "api", NOON) is not None]
    assert taken == []


def test_our_own_signature_under_another_header_says_nothing(key: TokenKey, ours: OKPKey) -> None:
    public = ours.as_dict(private=False)
    wrong: dict[str, dict[str, Any]] = {
        "type JWT": {"typ": "JWT"},
        "type of a page": {"typ": "session+jwt"},
        "kid": {"kid": "../../../../dev/null"},
        "kid as SQL": {"kid": "' UNION SELECT 'key'--"},
        "jku": {"jku": "https://evil.example/keys"},
        "x5u": {"x5u": "https://evil.example/cert"},
        "jwk": {"jwk": public},
    }
    taken = [name for name, header in wrong.items() if key.read(signed(ours, header), "api", NOON) is not None]
    assert taken == []


def test_other_keys_and_algorithms_say_nothing(key: TokenKey, ours: OKPKey) -> None:
    stranger = OKPKey.generate_key("Ed25519", private=True)
    public = str(ours.as_dict(private=False)["x"])
    body = _text(CLAIMS)
    good = signed(ours)
    forged = {
        "another's key": signed(stranger),
        "another's key in the header": jwt.encode(
            HEADER | {"jwk": stranger.as_dict(private=False)}, CLAIMS, stranger, algorithms=["Ed25519"]
        ),
        "HMAC with our public key": jwt.encode(
            HEADER | {"alg": "HS256"}, CLAIMS, OctKey.import_key(public), algorithms=["HS256"]
        ),
        "empty": "",
        "words": "a.b.c",
        "no signature": f"{good.rsplit('.', 1)[0]}.",
    }
    for none in ("none", "None", "NONE", "nOnE", "", "HS256", "EdDSA"):
        forged[f"alg {none}"] = f"{_text(HEADER | {'alg': none})}.{body}."
        forged[f"alg {none} with our signature"] = f"{_text(HEADER | {'alg': none})}.{body}.{good.rsplit('.', 1)[1]}"
    assert [name for name, token in forged.items() if key.read(token, "api", NOON) is not None] == []


def test_a_second_after_its_end_a_token_says_nothing(key: TokenKey) -> None:
    token = key.issue("u1", "api", NOON, session_id="s1")
    assert key.read(token, "api", NOON + timedelta(seconds=899)) is not None
    assert key.read(token, "api", NOON + timedelta(seconds=901)) is None


def test_of_ten_thousand_changed_tokens_none_says_anything_else(key: TokenKey, ours: OKPKey) -> None:
    chance, good = random.Random(8725), signed(ours)
    claims = key.read(good, "api", NOON)
    signs = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/ \x00é"
    taken = []
    for _ in range(MUTANTS):
        at, what = chance.randrange(len(good)), chance.randrange(4)
        sign = chance.choice(signs)
        changed = (
            good[:at] + sign + good[at + 1 :],
            good[:at] + good[at + 1 :],
            good[:at] + sign + good[at:],
            good[:at] + good[at : at + 8][::-1] + good[at + 8 :],
        )[what]
        if changed != good and key.read(changed, "api", NOON) not in (None, claims):
            taken.append(changed)
    assert taken == []


def test_ten_thousand_changed_headers_are_all_refused(key: TokenKey, ours: OKPKey) -> None:
    chance, good = random.Random(7515), signed(ours)
    _, body, signature = good.split(".")
    values = ["none", "HS256", "RS256", "EdDSA", "Ed25519", "at+jwt", "", None, 0, True, [], {}, "../key", "x" * 300]
    names = ["alg", "typ", "kid", "jku", "jwk", "x5u", "x5c", "crit", "b64", "cty", "zip", "enc"]
    taken = []
    for _ in range(MUTANTS):
        header = dict(HEADER) if chance.random() < 0.7 else {}
        for name in chance.sample(names, chance.randint(1, 4)):
            header[name] = chance.choice(values)  # type: ignore[assignment]
        token = f"{_text(header)}.{body}.{chance.choice([signature, ''])}"
        if token != good and key.read(token, "api", NOON) is not None:
            taken.append(header)
    assert taken == []
