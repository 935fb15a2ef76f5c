"""Passwords, tokens, the delay after failed sign-ins, and users: without the web around them."""

import json
import stat
from datetime import timedelta
from pathlib import Path

import pytest
from joserfc import jwt
from joserfc.jwk import OctKey, OKPKey
from sqlalchemy.ext.asyncio import AsyncEngine

from central.people.auth import NotSignedInError, People, TooManyTriesError, add_user
from central.people.passwords import PasswordRefusedError, check_password, hash_password, verify_password
from central.people.throttle import FREE_TRIES, LONGEST_DELAY_S, Throttle
from central.people.tokens import TokenKey
from tests.central.web import PASSWORD, Clock
from tests.make import NOON


@pytest.mark.parametrize(
    "password",
    ["short", "password123", "Password1234!", "1234567890", "aaaaaaaaaaaaaaaa", "anna-maria", "qwertyuiop", "x" * 300],
)
def test_a_password_that_is_guessed_first_is_refused_without_repeating_it(password: str) -> None:
    with pytest.raises(PasswordRefusedError) as refusal:
        check_password(password, "anna-maria")
    assert password not in str(refusal.value)


@pytest.mark.parametrize("password", [PASSWORD, "e3b0-c442-98fc-1c14", "8" + "0123456789" * 8, "Пароль из слов и 42"])
def test_a_long_password_needs_no_particular_signs(password: str) -> None:
    check_password(password, "anna")


def test_a_password_is_kept_as_argon2id_with_46_mib() -> None:
    stored = hash_password(PASSWORD)
    assert stored.startswith("$argon2id$v=19$m=47104,t=1,p=1$")
    assert verify_password(stored, PASSWORD)
    assert not verify_password(stored, PASSWORD + "!")


def test_nobody_has_a_password_that_matches() -> None:
    assert not verify_password(None, PASSWORD)


def test_the_signing_key_is_made_once_and_readable_by_its_owner_only(tmp_path: Path) -> None:
    token = TokenKey.load(tmp_path).issue("u1", "api", NOON)
    assert TokenKey.load(tmp_path).read(token, "api", NOON) is not None
    (file,) = tmp_path.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_an_api_token_lives_a_quarter_of_an_hour_and_a_session_twelve(tmp_path: Path) -> None:
    key = TokenKey.load(tmp_path)
    for audience, life in (("api", timedelta(minutes=15)), ("pages", timedelta(hours=12))):
        token = key.issue("u1", audience, NOON)  # type: ignore[arg-type]
        second = timedelta(seconds=1)
        assert key.read(token, audience, NOON + life - second) is not None  # type: ignore[arg-type]
        assert key.read(token, audience, NOON + life + second) is None  # type: ignore[arg-type]


def test_a_session_is_no_api_token_and_the_other_way_round(tmp_path: Path) -> None:
    key = TokenKey.load(tmp_path)
    assert key.read(key.issue("u1", "pages", NOON), "api", NOON) is None
    assert key.read(key.issue("u1", "api", NOON), "pages", NOON) is None


def _forged(tmp_path: Path) -> dict[str, str]:
    claims = {"iss": "wellread-central", "aud": "api", "sub": "u1", "iat": 1.0, "exp": 4e9, "jti": "x"}
    kept = json.loads((tmp_path / "signing-key.json").read_text())
    ours = OKPKey.import_key(kept)
    stranger = OKPKey.generate_key("Ed25519", private=True)
    public = OctKey.import_key(kept["x"])
    head = {"typ": "at+jwt"}
    good = jwt.encode(head | {"alg": "Ed25519"}, claims, ours, algorithms=["Ed25519"])
    header, body, signature = good.split(".")
    return {
        "other key": jwt.encode(head | {"alg": "Ed25519"}, claims, stranger, algorithms=["Ed25519"]),
        "hmac with the public key": jwt.encode(head | {"alg": "HS256"}, claims, public, algorithms=["HS256"]),
        "no signature": f"{header}.{body}.",
        "alg none": f"eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0.{body}.",
        "signature of another": f"{header}.{body}.{signature[::-1]}",
        "other issuer": jwt.encode(head | {"alg": "Ed25519"}, claims | {"iss": "x"}, ours, algorithms=["Ed25519"]),
        "other type": jwt.encode({"alg": "Ed25519", "typ": "JWT"}, claims, ours, algorithms=["Ed25519"]),
        "no end": jwt.encode(
            head | {"alg": "Ed25519"}, {k: v for k, v in claims.items() if k != "exp"}, ours, algorithms=["Ed25519"]
        ),
        "not a token": "a.b.c",
        "empty": "",
    }


def test_a_forged_token_says_nothing(tmp_path: Path) -> None:
    key = TokenKey.load(tmp_path)
    assert {name for name, token in _forged(tmp_path).items() if key.read(token, "api", NOON) is not None} == set()


def test_each_failure_doubles_the_wait_up_to_a_minute() -> None:
    throttle, waits = Throttle(), []
    for _ in range(12):
        throttle.failed("anna", "10.0.0.9", NOON)
        waits.append(throttle.wait_s("anna", "10.0.0.9", NOON))
    assert waits[: FREE_TRIES + 3] == [0, 0, 1, 2, 4, 8]
    assert waits[-1] == LONGEST_DELAY_S


def test_guessing_from_many_addresses_slows_the_account() -> None:
    throttle = Throttle()
    for number in range(10):
        throttle.failed("anna", f"10.0.0.{number}", NOON)
    assert throttle.wait_s("anna", "10.9.9.9", NOON) > 30


def test_guessing_many_accounts_slows_the_address() -> None:
    throttle = Throttle()
    for number in range(10):
        throttle.failed(f"user{number}", "10.0.0.9", NOON)
    assert throttle.wait_s("somebody", "10.0.0.9", NOON) > 30


def test_guessing_from_elsewhere_does_not_slow_the_owner_at_a_known_address() -> None:
    throttle = Throttle()
    throttle.succeeded("anna", "10.0.0.1")
    for _ in range(50):
        throttle.failed("anna", "10.6.6.6", NOON)
    assert throttle.wait_s("anna", "10.0.0.1", NOON) == 0
    assert throttle.wait_s("anna", "10.6.6.6", NOON) > 0


def test_failures_are_forgotten_after_an_hour() -> None:
    throttle = Throttle()
    for _ in range(20):
        throttle.failed("anna", "10.0.0.9", NOON)
    throttle.failed("anna", "10.0.0.9", NOON + timedelta(hours=2))
    assert throttle.wait_s("anna", "10.0.0.9", NOON + timedelta(hours=2)) == 0


@pytest.mark.anyio
async def test_a_user_is_added_once_whatever_the_case_of_the_name(engine: AsyncEngine) -> None:
    await add_user(engine, name="Anna", password=PASSWORD, role="admin", now=NOON)
    with pytest.raises(ValueError, match="user 'anna' exists"):
        await add_user(engine, name="ANNA", password=PASSWORD, role="viewer", now=NOON)


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["", "no spaces", "a\x00b", "-x", "<b>", "x" * 65])
async def test_a_name_that_cannot_be_one_is_named(engine: AsyncEngine, name: str) -> None:
    with pytest.raises(ValueError, match="not a user name"):
        await add_user(engine, name=name, password=PASSWORD, role="admin", now=NOON)


@pytest.mark.anyio
async def test_wrong_passwords_delay_and_are_not_looked_at_meanwhile(engine: AsyncEngine, tmp_path: Path) -> None:
    clock = Clock()
    await add_user(engine, name="anna", password=PASSWORD, role="admin", now=NOON)
    people = People(engine, TokenKey.load(tmp_path), clock)
    for _ in range(FREE_TRIES):
        with pytest.raises(NotSignedInError, match="name or password is wrong"):
            await people.sign_in(name="anna", password="wrong one", address="10.0.0.9")
    with pytest.raises(TooManyTriesError):
        await people.sign_in(name="anna", password=PASSWORD, address="10.0.0.9")
    clock.tick(1.5)
    assert (await people.sign_in(name="anna", password=PASSWORD, address="10.0.0.9")).name == "anna"


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["nobody", "\x00", "x" * 3000, "' OR 1=1 --"])
async def test_an_unknown_name_is_answered_like_a_wrong_password(
    engine: AsyncEngine, tmp_path: Path, name: str
) -> None:
    people = People(engine, TokenKey.load(tmp_path), Clock())
    with pytest.raises(NotSignedInError, match="name or password is wrong"):
        await people.sign_in(name=name, password=PASSWORD, address="10.0.0.9")


@pytest.mark.anyio
async def test_signing_out_ends_every_token_issued_before(engine: AsyncEngine, tmp_path: Path) -> None:
    clock = Clock()
    anna = await add_user(engine, name="anna", password=PASSWORD, role="viewer", now=NOON)
    people = People(engine, TokenKey.load(tmp_path), clock)
    before = people.issue(anna, "api")
    clock.tick(1)
    await people.sign_out(anna)
    with pytest.raises(NotSignedInError, match="signed out"):
        await people.of_token(before, "api")
    clock.tick(0.1)
    assert (await people.of_token(people.issue(anna, "api"), "api")).id == anna.id
